"""Reads audit logs by the form in ARCHITECTURE.md, with nothing of the program: segments, and what was shipped of them."""

from __future__ import annotations

import hashlib
import pathlib
import struct
import zlib

from harness import pb

GROUP, SEGMENT = 68, 128


def frames(data: bytes, at: int = 0) -> list[bytes]:
    """The whole groups from a place on, up to zeros or the end."""
    found = []
    while data[at:at + 4] == b"GLG1":
        length, = struct.unpack_from("<I", data, at + 4)
        frame = data[at:at + GROUP + length]
        if len(frame) < GROUP + length:
            break
        found.append(frame)
        at += len(frame)
    return found


def local(folder) -> list[bytes]:
    """Every group of a log's directory, in order."""
    found = []
    for path in sorted(pathlib.Path(folder).glob("*.segment")):
        found += frames(path.read_bytes(), SEGMENT)
    return found


def first_sequence(frame: bytes) -> int:
    return struct.unpack_from("<Q", frame, 16)[0]


def records(frame: bytes) -> list[bytes]:
    """The records of a group."""
    found, at = [], GROUP
    while at < len(frame):
        length = shift = 0
        while True:
            byte = frame[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        found.append(frame[at:at + length])
        at += length
    assert at == len(frame)
    return found


def verified(groups: list[bytes]) -> int:
    """Checks sums, sequences and the chain from the first group of a log on; gives the last sequence."""
    chain, sequence = bytes(32), 1
    for frame in groups:
        _, _, count, crc, first = struct.unpack_from("<4sIIIQ", frame)
        assert zlib.crc32(frame[:64]) == struct.unpack_from("<I", frame, 64)[0]
        assert zlib.crc32(frame[GROUP:]) == crc
        assert first == sequence, (first, sequence)
        leaves = records(frame)
        assert len(leaves) == count
        chain = hashlib.sha256(chain + frame[:32] + b"".join(
            hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves)).digest()
        assert chain == frame[32:64], f"the chain breaks at record {first}"
        sequence += count
    return sequence - 1


def decisions(groups: list[bytes]) -> dict[str, int]:
    """The sequence of each decision by its id."""
    found = {}
    for frame in groups:
        for sequence, data in enumerate(records(frame), first_sequence(frame)):
            record = pb.AuditRecord.FromString(data)
            if record.HasField("decision"):
                identity = record.decision.decision.decision_id
                assert identity not in found, f"{identity} is twice in the log"
                found[identity] = sequence
    return found
