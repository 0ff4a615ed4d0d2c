"""The audit log under kill -9, on a full disk and where writing fails: what a client received is in the log, whatever happened.

GREENLANE_AUDIT_KILLS (6; 200 in the long run) sets how often the server is killed. The disk that runs full is a small tmpfs,
where the tests may mount one; the write fails by a limit on file sizes, set on the running process.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import pathlib
import random
import resource
import threading
import time

import grpc
import pytest

from audit_log import Reading, Segment, segments
from feed import code, declare, following, size
from harness import REPO, eventually, file_system, pb

KILLS = size("AUDIT_KILLS", 6)
UNARY, BATCHES, BATCH, STREAM = 60, 4, 5, 20
SMALL = {"audit.segment_bytes": str(1 << 20)}
ENTERPRISES = [code(tier, number) for tier in ("ADVANCED_CERTIFIED", "REGULAR", "DISCREDITED") for number in range(10)]


class Load:
    """About 100 decisions in flight: single calls, batches and a stream; every answer is kept."""

    def __init__(self, server):
        self.server = server
        self.decisions: dict[str, object] = {}
        self.failures: collections.Counter = collections.Counter()
        self._lock = threading.Lock()
        self._number = random.randrange(1, 100_000_000)
        self._stopped = threading.Event()
        self._stream: threading.Thread | None = None

    def start(self) -> "Load":
        for _ in range(UNARY):
            self._unary()
        for _ in range(BATCHES):
            self._batch()
        self._stream = threading.Thread(target=self._streaming, daemon=True)
        self._stream.start()
        return self

    def stop(self):
        self._stopped.set()
        self._stream.join(10)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def _request(self):
        with self._lock:
            self._number += 1
            return declare(random.choice(ENTERPRISES), number=self._number)

    def _keep(self, decision):
        with self._lock:
            self.decisions[decision.decision_id] = decision

    def _failed(self, what):
        with self._lock:
            self.failures[what] += 1
        if not self._stopped.is_set():
            # A server that is away, or refuses, is asked again, not hammered.
            self._stopped.wait(0.01)

    def _unary(self):
        if self._stopped.is_set():
            return
        call = self.server.facilitation.Decide.future(self._request(), timeout=5)
        call.add_done_callback(self._unary_done)

    def _unary_done(self, call):
        with contextlib.suppress(Exception):  # a channel that was closed under the load
            if call.code() == grpc.StatusCode.OK:
                self._keep(call.result().decision)
            else:
                self._failed(call.code())
            self._unary()

    def _batch(self):
        if self._stopped.is_set():
            return
        requests = [self._request() for _ in range(BATCH)]
        call = self.server.facilitation.BatchDecide.future(pb.BatchDecideRequest(requests=requests), timeout=5)
        call.add_done_callback(self._batch_done)

    def _batch_done(self, call):
        with contextlib.suppress(Exception):
            if call.code() == grpc.StatusCode.OK:
                for result in call.result().results:
                    self._item(result)
            else:
                self._failed(call.code())
            self._batch()

    def _item(self, result):
        if result.WhichOneof("result") == "decision":
            self._keep(result.decision)
        else:
            self._failed(result.error.code)

    def _streaming(self):
        while not self._stopped.is_set():
            slots = threading.Semaphore(STREAM)

            def requests():
                while not self._stopped.is_set():
                    if slots.acquire(timeout=0.1):
                        yield pb.DecideStreamRequest(correlation_id=1, request=self._request())

            try:
                for response in self.server.facilitation.DecideStream(requests()):
                    self._item(response)
                    slots.release()
            except grpc.RpcError as error:
                self._failed(error.code())
            except ValueError:  # the channel is closed
                return


def verify(server, *arguments, good=True) -> dict:
    done = server.command("--output", "json", "audit", "verify", *arguments)
    assert done.returncode == (0 if good else 1), done.stdout + done.stderr
    return json.loads(done.stdout)


def audit(server) -> pathlib.Path:
    return pathlib.Path(server.settings.get("audit.directory", server.data / "audit"))


def assert_logged(received: dict, reading: Reading, but: int = 0):
    """Every decision that was received is in the log as it was received, but for so many."""
    last = reading.read()
    missing = [key for key in received if key not in reading.decisions]
    assert len(missing) == but, f"{len(missing)} of {len(received)} are not in the log"
    for key, decision in received.items():
        if key in reading.decisions:
            assert reading.decisions[key].decision == decision
    return last


def test_what_a_client_received_is_in_the_log_however_often_the_server_is_killed(tmp_path, capsys):
    rng = random.Random(251)
    received: dict = {}
    torn = sealed = 0
    with following(tmp_path, settings=SMALL) as server:
        reading = Reading(audit(server))
        for kill in range(KILLS):
            if kill:
                server.start()
                # The torn tail is cut before anything is served.
                assert verify(server)["torn_tail"] is None
            with Load(server) as load:
                eventually(lambda: len(load.decisions) > 100, 20, "decisions")
                time.sleep(rng.uniform(0, 1))  # the moment is random: there is nothing to wait for
                server.kill()
            received |= load.decisions
            report = verify(server)
            assert report["last_sequence"] == assert_logged(received, reading)
            torn += report["torn_tail"] is not None
            sealed = report["sealed"]
        server.start()
        eventually(lambda: verify(server)["sealed"] == len(segments(audit(server))) - 1, 20, "seals")
        assert verify(server)["torn_tail"] is None
        assert_logged(received, reading)
        server.stop()
        assert verify(server)["good"]
    with capsys.disabled():
        print(f"\n{KILLS} kills, {len(received)} decisions received and in the log, {torn} torn tails, {sealed} segments sealed")


# --- a disk that is full -------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 12 MB, all but 3 MB of it taken by a file."""
    with file_system(tmp_path / "disk", megabytes=12) as folder:
        (folder / "filler").write_bytes(bytes(9 << 20))
        yield folder


def test_a_full_disk_refuses_decisions_and_recovers_by_itself(tmp_path, small_disk):
    settings = SMALL | {"audit.directory": str(small_disk / "audit")}
    with following(tmp_path / "server", settings=settings) as server:
        reading = Reading(audit(server))
        with Load(server) as load:
            eventually(lambda: load.failures[grpc.StatusCode.UNAVAILABLE] > 100, 60, "refusals")
            assert set(load.failures) <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE.value[0]}, load.failures
            assert verify(server)["good"]
            before = len(load.decisions)
            assert before > 100
            (small_disk / "filler").unlink()
            eventually(lambda: len(load.decisions) > before + 1_000, 30, "decisions again")
        assert server.stop() == 0
        assert_logged(load.decisions, reading)
        assert reading.unlogged == 0
        report = verify(server)
        assert report["unlogged_decisions"] == 0
        server.start()
        eventually(lambda: verify(server)["sealed"] == len(segments(audit(server))) - 1, 20, "seals")


def test_a_full_disk_that_is_to_be_served_through_is_told_of_afterwards(tmp_path, small_disk):
    settings = SMALL | {"audit.directory": str(small_disk / "audit"), "audit.on_failure": "serve"}
    with following(tmp_path / "server", settings=settings) as server:
        reading = Reading(audit(server))
        with Load(server) as load:
            eventually(lambda: "cannot be written" in server.log_tail(), 60, "the disk to be full")
            before = len(load.decisions)
            eventually(lambda: len(load.decisions) > before + 1_000, 30, "decisions all the same")
            (small_disk / "filler").unlink()
            eventually(lambda: "written again" in server.log_tail(), 30, "the log to be written again")
            before = len(load.decisions)
            eventually(lambda: len(load.decisions) > before + 1_000, 30, "decisions")
        assert not load.failures
        assert server.stop() == 0
        reading.read()
        missing = [key for key in load.decisions if key not in reading.decisions]
        # Some may have been decided without having been received.
        assert 1_000 < len(missing) <= reading.unlogged <= len(missing) + 200
        assert_logged(load.decisions, reading, len(missing))
        assert verify(server)["unlogged_decisions"] == reading.unlogged


# --- a write that fails ---------------------------------------------------------------------------


@pytest.fixture
def unsignalled(tmp_path):
    """The program, started so that a write beyond the limit fails and does not kill it."""
    binary = os.environ.get("GREENLANE_BIN") or REPO / "target/debug/greenlane"
    wrapper = tmp_path / "unsignalled"
    wrapper.write_text(f"#!/bin/sh\ntrap '' XFSZ\nexec {binary} \"$@\"\n")
    wrapper.chmod(0o755)
    return wrapper


@pytest.mark.parametrize("on_failure", ["refuse", "serve"])
def test_a_write_that_fails_leaves_nothing_behind(tmp_path, unsignalled, on_failure, monkeypatch):
    monkeypatch.setenv("GREENLANE_BIN", str(unsignalled))
    # Larger than everything else that the server writes: only the log meets the limit.
    settings = {"audit.segment_bytes": str(64 << 20), "audit.on_failure": on_failure}
    with following(tmp_path / "server", settings=settings) as server:
        reading = Reading(audit(server))
        with Load(server) as load:
            for _ in range(3):
                before = len(load.decisions)
                eventually(lambda: len(load.decisions) > before + 500, 30, "decisions")
                path = segments(audit(server))[-1]
                # In the middle of some group that comes: it is written up to there and no further.
                limit = max(8 << 20, Segment(path).end + 10_000)
                failed = server.log.read_text().count("cannot be written")
                resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
                eventually(lambda: server.log.read_text().count("cannot be written") > failed, 60, "a failure")
                if on_failure == "refuse":
                    refused = load.failures.total()
                    eventually(lambda: load.failures.total() > refused + 100, 60, "refusals")
                else:
                    before = len(load.decisions)
                    eventually(lambda: len(load.decisions) > before + 500, 30, "decisions all the same")
                assert verify(server)["good"]
                resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
                eventually(lambda: server.log.read_text().count("written again") > failed, 30, "the log to be written again")
        assert server.stop() == 0
        reading.read()
        missing = [key for key in load.decisions if key not in reading.decisions]
        if on_failure == "refuse":
            assert not missing and reading.unlogged == 0
        else:
            assert not load.failures
            assert 1_000 < len(missing) <= reading.unlogged <= len(missing) + 1_000
        report = verify(server)
        assert report["unlogged_decisions"] == reading.unlogged and report["torn_tail"] is None
