"""HTTP/2 by hand (RFC 9113), for what no proper client would send: frames as bytes over a socket."""

from __future__ import annotations

import select
import socket
import struct
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
CANCEL, REFUSED_STREAM, ENHANCE_YOUR_CALM = 0x8, 0x7, 0xB
INITIAL_WINDOW_SIZE = 4
DECIDE = "/greenlane.v1.FacilitationService/Decide"


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def settings(**values: int) -> bytes:
    names = {"initial_window_size": INITIAL_WINDOW_SIZE}
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", names[name], value) for name, value in values.items()))


def literal(name: str, value: str) -> bytes:
    """A header field that enters no table (RFC 7541, 6.2.2)."""
    def text(octets: bytes) -> bytes:
        if len(octets) < 127:
            return bytes([len(octets)]) + octets
        rest, length = len(octets) - 127, b"\x7f"
        while rest >= 128:
            length += bytes([rest % 128 | 128])
            rest //= 128
        return length + bytes([rest]) + octets

    return b"\0" + text(name.encode()) + text(value.encode())


def request_headers(path: str = DECIDE, **more: str) -> bytes:
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "replica", "te": "trailers",
              "content-type": "application/grpc"} | {name.replace("_", "-"): value for name, value in more.items()}
    return b"".join(literal(name, value) for name, value in fields.items())


def message(encoded: bytes) -> bytes:
    return b"\0" + struct.pack(">I", len(encoded)) + encoded


def call(stream: int, encoded: bytes, path: str = DECIDE, **headers: str) -> bytes:
    """A whole unary call."""
    return (frame(HEADERS, END_HEADERS, stream, request_headers(path, **headers))
            + frame(DATA, END_STREAM, stream, message(encoded)))


class Connection:
    """A connection that says HTTP/2's first words, unless it is not to `greet`."""

    def __init__(self, address: str, greet: bool = True, first: bytes = frame(SETTINGS), source: str | None = None,
                 seconds: float = 60.0, receive_buffer: int | None = None):
        host, port = address.rsplit(":", 1)
        self.seconds = seconds
        self.socket = socket.socket()
        self.socket.settimeout(seconds)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            self.socket.bind((source, 0))
        self.socket.connect((host, int(port)))
        self.received = b""
        self.ended = False
        if greet:
            self.socket.sendall(PREFACE + first)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *frames: bytes) -> bool:
        """Whether the peer takes it."""
        try:
            self.socket.sendall(b"".join(frames))
            return True
        except (BrokenPipeError, ConnectionResetError):
            self.ended = True
            return False

    def next(self):
        """The next frame: kind, flags, stream and payload; None when there is an end, however it came."""
        while True:
            if len(self.received) >= 9:
                length = int.from_bytes(self.received[:3], "big")
                if len(self.received) >= 9 + length:
                    kind, flags = self.received[3:5]
                    stream = int.from_bytes(self.received[5:9], "big") & 0x7FFFFFFF
                    payload, self.received = self.received[9:9 + length], self.received[9 + length:]
                    return kind, flags, stream, payload
            try:
                more = self.socket.recv(1 << 16)
            except ConnectionResetError:
                more = b""
            if not more:
                self.ended = True
                return None
            self.received += more

    def until(self, wanted):
        """Reads until a frame of which `wanted` is true, which it returns; None when there is none before the end."""
        deadline = time.monotonic() + self.seconds
        while (found := self.next()) is not None:
            if wanted(*found):
                return found
            assert time.monotonic() < deadline, "not before the deadline"
        return None

    def goaway(self) -> int | None:
        """Reads to the end, and gives the reason that was told before it; None when none was."""
        reason = None
        while (found := self.next()) is not None:
            if found[0] == GOAWAY:
                reason = int.from_bytes(found[3][4:8], "big")
        return reason

    def readable(self, seconds: float) -> bool:
        return bool(select.select([self.socket], [], [], seconds)[0])
