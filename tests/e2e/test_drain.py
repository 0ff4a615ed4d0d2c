"""SIGTERM when the world does not cooperate: clients that hang, a store that is silent, a disk that is full, each alone and all
at once. The process ends in the sum of its bounds, by its exit code tells what it could not do, and its last lines say what.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import struct
import time

import grpc
import pytest

from feed import decide, declare, fill
from harness import Server, eventually, file_system
from postgres_server import Postgres

IN_ORDER, FAILED, CALLS_CUT, DATA_LEFT = 0, 1, 3, 4
CODE = "2000000000"
BOUNDS = {"propagation": 0.1, "deadline": 0.7, "flush": 5.0, "snapshot": 5.0}
SETTINGS = {f"drain.{step}": f"{int(bound * 1000)}ms" for step, bound in BOUNDS.items()} | {
    "upstream.timeout": "60s", "audit.segment_bytes": str(1 << 20)}
# A call is cut at its bound, and this long after it who should have cut it; and the process itself ends.
SUM = sum(BOUNDS.values()) + 0.5 + 1.0


@pytest.fixture
def small_disk(tmp_path):
    """A file system that can be filled."""
    with file_system(tmp_path / "disk", megabytes=8) as folder:
        yield folder


def full(folder):
    """Leaves no byte free on the file system of that folder."""
    with contextlib.suppress(OSError), open(folder / "filler", "wb", buffering=0) as filler:
        while filler.write(bytes(4096)):
            pass


class HungCall:
    """A client over a bare socket that opens a call and then neither reads nor writes: it answers no ping, acknowledges no
    GOAWAY. `body` is what it sends; without one, the server waits for it. `window` is what it lets the server send."""

    def __init__(self, server, path: str, body: bytes | None = None, window: int = 65_535):
        host, _, port = server.grpc_addr.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)

        def field(name: str, value: str) -> bytes:
            # HPACK: a literal that is not indexed, with a new name (RFC 7541, 6.2.2); no length is 127 or more.
            return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()

        def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
            return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload

        headers = b"".join(field(*each) for each in (
            (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", server.grpc_addr),
            ("content-type", "application/grpc"), ("te", "trailers")))
        sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, struct.pack(">HI", 4, window)) + frame(1, 4, 1, headers)
        if body is not None:
            sent += frame(0, 1, 1, b"\0" + struct.pack(">I", len(body)) + body)
        self.socket.sendall(sent)
        # Acknowledged settings: the server has read what came with them.
        seen = b""
        while b"\0\0\0\4\1\0\0\0\0" not in seen:
            seen += self.socket.recv(4096)


def hang(server) -> list[HungCall]:
    """A call that never sends its message, and one that never takes its answer."""
    return [HungCall(server, "/greenlane.v1.FacilitationService/Decide"),
            HungCall(server, "/grpc.health.v1.Health/Check", body=b"", window=0)]


@pytest.mark.parametrize("hung, silent, filled, code, left", [
    (False, False, False, IN_ORDER, ()),
    (True, False, False, CALLS_CUT, ()),
    (False, True, False, DATA_LEFT, ("shipping", "saving")),
    (False, False, True, DATA_LEFT, ("audit",)),
    (True, True, True, DATA_LEFT, ("shipping", "saving", "audit")),
], ids=["nothing is wrong", "clients hang", "the store is silent", "the disk is full", "everything at once"])
def test_a_stop_ends_in_the_sum_of_its_bounds_and_tells_what_was_left(
        hung, silent, filled, code, left, tmp_path, small_disk):
    with Postgres() as postgres:
        server = Server(tmp_path / "replica", SETTINGS | {"audit.directory": str(small_disk / "audit")}, upstream=postgres)
        server.migrate()
        with server.sql() as sql:
            fill(sql, "CERTIFIED", 10)
        with server.start(deadline=60):
            decide(server, CODE)
            clients = hang(server) if hung else []
            if silent:
                postgres.freeze()
                # Given and logged, and on no way to the store.
                decide(server, CODE, number=2)
            if filled:
                full(small_disk)
                with pytest.raises(grpc.RpcError) as refused:
                    for number in range(3, 10_000):
                        decide(server, CODE, number=number)
                assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
            begun = time.monotonic()
            assert server.stop(SUM + 10) == code, server.log_tail()
            took = time.monotonic() - begun
            assert BOUNDS["propagation"] + (BOUNDS["deadline"] if hung else 0) <= took < SUM, server.log_tail()
            last = server.log.read_text().splitlines()
            assert "stopped" in last[-1], last[-1]
            for part in left:
                assert part in last[-1], last[-1]
                assert any("not flushed" in line and part in line for line in last[-8:]), server.log_tail()
            if hung:
                assert "cut=2" in last[-1], last[-1]
            for client in clients:
                client.socket.close()


def test_before_there_is_data_nobody_is_waited_for(tmp_path):
    with Server(tmp_path, {"drain.propagation": "10m"}).start(wait=False) as server:
        eventually(lambda: "listening" in server.log.read_text(), 60, "a replica that listens")
        assert server.stop(20) == IN_ORDER


def test_a_second_signal_does_not_wait_for_callers_but_still_lets_calls_finish(tmp_path):
    with Server(tmp_path, {"drain.propagation": "10m"}).start(wait=False) as server:
        server.wait_for_store(60)
        with server.sql() as sql:
            fill(sql, "CERTIFIED", 10)
        server.wait_ready()
        version = server.version()
        version.sequence += 1
        server.signal(signal.SIGTERM)
        eventually(lambda: "draining" in server.log.read_text(), 10, "a replica that drains")
        # In flight until the store has one more commit.
        call = server.facilitation.Decide.future(declare(CODE, version), timeout=20)
        eventually(lambda: server.metric("greenlane_grpc_requests_total", method="Decide") == 0 and call.running(), 5, "a call")
        decide(server, CODE, number=2)
        server.signal(signal.SIGINT)
        eventually(lambda: "told again" in server.log.read_text(), 10, "a replica that was told again")
        with server.sql() as sql:
            fill(sql, "CERTIFIED", 1, first=10)
        assert call.result().decision.registry_version.sequence >= version.sequence
        assert server.process.wait(20) == IN_ORDER, server.log_tail()
