"""Runs a real `greenlane serve` for the end-to-end tests and speaks gRPC with it.

The binary is `$GREENLANE_BIN`, by default `target/debug/greenlane` of this repository. The Python
stubs are generated from `proto/` into `tests/e2e/.stubs`, once for each state of the proto files.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import pathlib
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import types
import urllib.request

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

E2E = pathlib.Path(__file__).resolve().parent
REPO = E2E.parent.parent
STUBS = E2E / ".stubs"
POLL_SECONDS = 0.01
# The master secret of replicas that share a store.
SECRET = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
CHANNEL_OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.max_receive_message_length", 64 << 20),
]


def generate_stubs() -> pathlib.Path:
    """Makes the grpcio stubs of `proto/` and returns the folder to import them from."""
    protos = sorted((REPO / "proto").rglob("*.proto"))
    digest = hashlib.sha256(b"".join(p.name.encode() + p.read_bytes() for p in protos)).hexdigest()[:16]
    target = STUBS / digest
    if target.exists():
        return target
    import grpc_tools
    from grpc_tools import protoc

    STUBS.mkdir(exist_ok=True)
    (STUBS / ".gitignore").write_text("*\n")
    scratch = pathlib.Path(tempfile.mkdtemp(dir=STUBS))
    includes = [REPO / "proto", pathlib.Path(grpc_tools.__file__).parent / "_proto"]
    arguments = ["protoc", *(f"-I{path}" for path in includes),
                 f"--python_out={scratch}", f"--grpc_python_out={scratch}", *map(str, protos)]
    if protoc.main(arguments) != 0:
        raise RuntimeError("protoc failed")
    try:
        scratch.rename(target)  # atomic: two test runs may generate at once
    except OSError:
        shutil.rmtree(scratch)
    return target


def load_stubs() -> tuple[types.SimpleNamespace, dict[str, type]]:
    """Imports the stubs: every message and enum in one namespace, and the service stubs by name."""
    root = generate_stubs()
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    merged: dict = {}
    stubs: dict[str, type] = {}
    for path in sorted((root / "greenlane" / "v1").glob("*.py")):
        module = importlib.import_module(f"greenlane.v1.{path.stem}")
        if path.stem.endswith("_pb2_grpc"):
            stubs |= {name: value for name, value in vars(module).items() if name.endswith("Stub")}
        else:
            merged |= {name: value for name, value in vars(module).items()
                       if not name.startswith("_") and not isinstance(value, types.ModuleType)}
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

    return types.SimpleNamespace(**merged, Timestamp=Timestamp, Duration=Duration), stubs


pb, _stubs = load_stubs()


def violations(error: grpc.RpcError) -> list[str]:
    """The field paths of the `google.rpc.BadRequest` in an error, in the server's order."""
    status = rpc_status.from_call(error)
    paths = []
    for detail in status.details if status else []:
        bad_request = error_details_pb2.BadRequest()
        if detail.Unpack(bad_request):
            paths += [violation.field for violation in bad_request.field_violations]
    return paths


def eventually(condition, seconds: float, what: str):
    """Calls `condition` until it gives something true, and returns that; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(POLL_SECONDS)


def free_ports(count: int) -> list[int]:
    """Distinct loopback ports that nobody uses now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@contextlib.contextmanager
def file_system(folder: pathlib.Path, megabytes: int):
    """A file system of its own in a new folder; the test is skipped where this user may not mount one."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("this user may not mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def shifted_clock(offset: str) -> dict[str, str]:
    """The environment under which a program's wall clock is off by that much, such as "+90m"; others' is not."""
    libraries = sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries:
        raise RuntimeError("no libfaketime: tests/run.sh installs it")
    return {"LD_PRELOAD": str(libraries[0]), "FAKETIME": offset, "DONT_FAKE_MONOTONIC": "1", "TZ": "UTC"}


class Server:
    """One `greenlane serve` process with its own data directory below `tmp_path`.

    `settings` are configuration keys, such as {"freshness.relief_max_age": "1h"}. `upstream` is a store other than the
    embedded one: it has a `url` and a `connect()`. `environment` is added to the process's own.
    """

    pb = pb

    def __init__(self, tmp_path, settings: dict[str, str] | None = None, binary=None, upstream=None,
                 environment: dict[str, str] | None = None):
        self.tmp = pathlib.Path(tmp_path)
        self.data = self.tmp / "data"
        self.db = self.data / "greenlane.db"
        self.log = self.tmp / "server.log"
        self.binary = str(binary or os.environ.get("GREENLANE_BIN") or REPO / "target/debug/greenlane")
        grpc_port, http_port = free_ports(2)
        self.grpc_addr = f"127.0.0.1:{grpc_port}"
        self.http_addr = f"127.0.0.1:{http_port}"
        self.settings = {
            "server.grpc_addr": self.grpc_addr,
            "server.http_addr": self.http_addr,
            "server.data_dir": str(self.data),
            "drain.propagation": "50ms",
            # What is not optimised is overloaded soon.
            "limits.max_queue_delay": "0s",
        } | ({"upstream.url": upstream.url} if upstream else {}) | (settings or {})
        self.upstream = upstream
        self.environment = environment or {}
        self.process: subprocess.Popen | None = None
        self.channel: grpc.Channel | None = None

    # --- life ---------------------------------------------------------------------------------

    def start(self, wait: bool = True, deadline: float = 30.0, flags: tuple[str, ...] = ()) -> "Server":
        """Starts the process; with `wait`, returns once it is ready to answer."""
        self.tmp.mkdir(parents=True, exist_ok=True)
        if self.upstream:
            self.share_secret()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.binary, "serve", "--generate-secret", *flags], env=self._environment() | self.environment,
                cwd=self.tmp, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.channel = self.connect()
        self.facilitation = _stubs["FacilitationServiceStub"](self.channel)
        self.registry = _stubs["RegistryServiceStub"](self.channel)
        self.priority = _stubs["PriorityServiceStub"](self.channel)
        self.audit = _stubs["AuditServiceStub"](self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)
        if wait:
            self.wait_ready(deadline)
        return self

    def connect(self) -> grpc.Channel:
        """A channel to it."""
        return grpc.insecure_channel(self.grpc_addr, options=CHANNEL_OPTIONS)

    def get(self, path: str) -> str:
        """What it answers to GET over HTTP."""
        with urllib.request.urlopen(f"http://{self.http_addr}{path}", timeout=5) as answer:
            return answer.read().decode()

    def stop(self, deadline: float = 30.0) -> int:
        """Asks the process to stop (SIGTERM) and returns its exit code."""
        return self._end(signal.SIGTERM, deadline)

    def kill(self) -> int:
        """Kills the process (SIGKILL)."""
        return self._end(signal.SIGKILL, 10.0)

    def _end(self, number: int, deadline: float) -> int:
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.channel.close()

    def _environment(self) -> dict[str, str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GREENLANE_")}
        for key, value in self.settings.items():
            environment["GREENLANE_" + key.upper().replace(".", "__")] = str(value)
        return environment

    def command(self, *arguments: str, timeout: float = 60.0) -> subprocess.CompletedProcess:
        """Runs another command of the same binary with the same settings."""
        return subprocess.run([self.binary, *map(str, arguments)], env=self._environment(), cwd=self.tmp,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)

    def signal(self, number: int):
        self.process.send_signal(number)

    def __enter__(self) -> "Server":
        return self if self.process else self.start()

    def __exit__(self, *_):
        self.kill()

    # --- waiting ------------------------------------------------------------------------------

    def wait_for_store(self, deadline: float = 30.0):
        """Waits until the server has made its store."""
        self._wait(self._has_store, deadline, "the store")

    def wait_ready(self, deadline: float = 30.0):
        """Waits until the overall gRPC health is SERVING (never, when the data is EXPIRED)."""
        self._wait(self._is_serving, deadline, "SERVING")

    def wait_answering(self, version=None, deadline: float = 30.0):
        """Waits until a simulation is answered from `version`, by default the store's present one."""
        version = version or self.version()
        self._wait(lambda: self._answers(version), deadline, f"an answer from {version}")

    def _wait(self, condition, deadline: float, what: str):
        def check():
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.log_tail()}")
            return condition()

        try:
            eventually(check, deadline, what)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.log_tail()}") from None

    def _has_store(self) -> bool:
        if not self.db.exists():
            return False
        try:
            with contextlib.closing(sqlite3.connect(f"file:{self.db}?mode=ro", uri=True)) as connection:
                return connection.execute("SELECT count(*) FROM registry_meta").fetchone()[0] == 1
        except sqlite3.OperationalError:
            return False

    def _is_serving(self) -> bool:
        try:
            answer = self.health.Check(health_pb2.HealthCheckRequest(service=""), timeout=2)
            return answer.status == health_pb2.HealthCheckResponse.SERVING
        except grpc.RpcError:
            return False

    def _answers(self, version) -> bool:
        request = pb.DecideRequest(
            declaration_number="020220261000000001", direction=pb.DIRECTION_IMPORT, customs_office="0202",
            parties=[pb.Party(role=pb.PARTY_ROLE_CONSIGNEE, customs_code="0000000000")],
            min_registry_version=version)
        try:
            self.facilitation.Simulate(pb.SimulateRequest(request=request), timeout=2)
            return True
        except grpc.RpcError as error:
            waiting = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED,
                       grpc.StatusCode.FAILED_PRECONDITION)
            if error.code() in waiting:
                return False
            raise

    # --- the store and the secret -------------------------------------------------------------

    def migrate(self):
        """Makes the tables of a store that `serve` does not make itself."""
        self.tmp.mkdir(parents=True, exist_ok=True)
        done = self.command("migrate")
        assert done.returncode == 0, done.stdout + done.stderr

    def sql(self):
        """A connection to the store as another system would have: autocommit, 10 s busy timeout."""
        if self.upstream:
            return self.upstream.connect()
        connection = sqlite3.connect(self.db, timeout=10, isolation_level=None)
        connection.execute("PRAGMA busy_timeout = 10000")
        return connection

    def version(self, connection=None):
        """The store's present version, to send as `min_registry_version`."""
        own = connection or self.sql()
        try:
            epoch, sequence = own.execute("SELECT epoch, sequence FROM registry_meta").fetchone()
            return pb.RegistryVersion(epoch=epoch, sequence=sequence)
        finally:
            if connection is None:
                own.close()

    # --- what it says of itself ---------------------------------------------------------------

    def status(self, timeout: float = 5.0):
        """The answer of GetRegistryStatus."""
        return self.registry.GetRegistryStatus(pb.GetRegistryStatusRequest(), timeout=timeout)

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics, by its name and labels as they are written there."""
        lines = self.get("/metrics").splitlines()
        return {name: float(value) for name, value in
                (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name with these labels; 0 when there is none."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(value for sample, value in self.metrics().items()
                   if re.match(rf"{name}(\{{|$)", sample) and all(label in sample for label in wanted))

    def share_secret(self, secret: str = SECRET):
        """Gives the replica the master secret that every replica of a store must have, unless it has one."""
        file = self.data / "draw.secret"
        if not file.exists():
            self.data.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)
            file.write_text(secret)

    def secret(self) -> bytes:
        """The master secret of the draw."""
        return bytes.fromhex((self.data / "draw.secret").read_text().strip())

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


# --- messages from and to plain dicts -----------------------------------------------------------


def timestamp(wire):
    return None if wire is None else pb.Timestamp(seconds=wire[0], nanos=wire[1])


def decide_request(request, version=None):
    parties = [pb.Party(role=party["role"], **dict([party["id"]] if party["id"] else []))
               for party in request["parties"]]
    plain_fields = {k: v for k, v in request.items() if k not in ("parties", "goods", "accepted_at")}
    return pb.DecideRequest(
        **plain_fields, parties=parties, goods=[pb.GoodsItem(**item) for item in request["goods"]],
        accepted_at=timestamp(request["accepted_at"]), min_registry_version=version)


def simulate_request(simulation):
    request = simulation["request"]
    return pb.SimulateRequest(
        request=None if request is None else decide_request(request), policy_id=simulation["policy_id"],
        tier_overrides=[pb.TierOverride(**entry) for entry in simulation["tier_overrides"]],
        as_of=timestamp(simulation["as_of"]))


def plain(message) -> dict:
    """A message as the model writes it: short enum names, instants and durations in nanoseconds."""
    def value(field, raw):
        if field.enum_type:
            known = field.enum_type.values_by_number
            prefix = known[0].name.removesuffix("UNSPECIFIED")
            return known[raw].name.removeprefix(prefix) if raw in known else raw
        if field.message_type:
            timed = field.message_type.full_name in ("google.protobuf.Timestamp", "google.protobuf.Duration")
            return raw.seconds * 1_000_000_000 + raw.nanos if timed else plain(raw)
        return raw

    out = {}
    for field in message.DESCRIPTOR.fields:
        raw = getattr(message, field.name)
        if field.is_repeated:
            out[field.name] = [value(field, item) for item in raw]
        elif field.has_presence and not message.HasField(field.name):
            out[field.name] = None
        else:
            out[field.name] = value(field, raw)
    return out


def differences(path, expected, actual):
    """Yields one line for each field in which two plain values differ."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key in sorted(expected.keys() | actual.keys()):
            yield from differences(f"{path}.{key}", expected.get(key), actual.get(key))
    elif expected != actual and isinstance(expected, list) and isinstance(actual, list) and (
            expected and isinstance(expected[0], dict) and len(expected) == len(actual)):
        for i, pair in enumerate(zip(expected, actual)):
            yield from differences(f"{path}[{i}]", *pair)
    elif expected != actual:
        yield f"{path}:\n    model  {expected}\n    server {actual}"
