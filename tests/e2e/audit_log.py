"""Reads an audit log from its description in ARCHITECTURE.md and src/audit, with nothing of the program: a second opinion."""

from __future__ import annotations

import hashlib
import pathlib
import struct
import zlib

from harness import pb

SEGMENT_HEADER, GROUP_HEADER = 128, 68


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def varint(buffer: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def segments(directory) -> list[pathlib.Path]:
    return sorted(pathlib.Path(directory).glob("[0-9]*.segment"))


class Segment:
    """The whole groups of one segment file; what is wrong in it before its end is an AssertionError."""

    def __init__(self, path: pathlib.Path):
        data = path.read_bytes()
        assert data[:8] == b"GLAUDIT1" and zlib.crc32(data[:124]) == struct.unpack("<I", data[124:128])[0], path
        self.first, = struct.unpack("<Q", data[8:16])
        assert path.name == f"{self.first:020}.segment"
        self.chain_before = self.chain = data[16:48]
        self.next = self.first
        self.records: list = []
        at = SEGMENT_HEADER
        while len(data) >= at + GROUP_HEADER and data[at:at + 4] == b"GLG1":
            header = data[at:at + GROUP_HEADER]
            length, count, crc, first, _written = struct.unpack("<IIIQq", header[4:32])
            payload = data[at + GROUP_HEADER:at + GROUP_HEADER + length]
            if zlib.crc32(header[:64]) != struct.unpack("<I", header[64:])[0] or zlib.crc32(payload) != crc:
                break
            assert first == self.next, f"{path}: record {self.next} is due, {first} is there"
            leaves, place = [], 0
            while place < length:
                size, place = varint(payload, place)
                record = payload[place:place + size]
                place += size
                leaves.append(sha(b"\0", record))
                self.records.append(pb.AuditRecord.FromString(record))
            assert len(leaves) == count
            self.chain = sha(self.chain, header[:32], *leaves)
            assert self.chain == header[32:64], f"{path}: the chain is broken at record {first}"
            self.next += count
            at += GROUP_HEADER + length
        self.end = at


class Reading:
    """Reads a log again and again as it grows, every full segment once."""

    def __init__(self, directory):
        self.directory = directory
        self._done: dict[pathlib.Path, Segment] = {}
        self.decisions: dict[str, object] = {}
        self.unlogged = 0

    def read(self) -> int:
        """Reads what there is; gives the sequence of the last record."""
        paths = segments(self.directory)
        following, chain, unlogged = 1, bytes(32), 0
        seen: set[str] = set()
        for path in paths:
            segment = self._done.get(path) or Segment(path)
            assert segment.first == following and segment.chain_before == chain, path
            following, chain = segment.next, segment.chain
            for record in segment.records:
                if record.HasField("decision"):
                    key = record.decision.decision.decision_id
                    assert key not in seen, f"decision {key} stands twice"
                    seen.add(key)
                    self.decisions[key] = record.decision
                unlogged += record.unlogged.decisions
            if path != paths[-1]:
                self._done[path] = segment
        self.unlogged = unlogged
        return following - 1
