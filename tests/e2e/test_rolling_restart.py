"""A rolling restart of three replicas behind a round-robin client under steady load.

No application retries, and gRPC's own, the transparent ones of streams that were never processed, are off too: what must hold
is that a replica that leaves says so first, and takes what comes until its callers have heard it. `drain.propagation` has to
be longer than that takes: here, where clients watch gRPC health on each connection, a round trip.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading

import grpc
import pytest

from audit_log import Reading
from feed import code, declare, fill
from harness import CHANNEL_OPTIONS, Server, eventually, load_stubs, pb
from postgres_server import Postgres

REPLICAS, CALLERS, WATCHES, WATCHED = 3, 6, 4, 20
ENTERPRISES = [code("ADVANCED_CERTIFIED", number) for number in range(10)]
SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": "greenlane.v1.FacilitationService"},
}
# A list of addresses is no authority: the server refuses "127.0.0.1:1,127.0.0.1:2" as no well-formed HTTP.
OPTIONS = [*CHANNEL_OPTIONS, ("grpc.default_authority", "greenlane"),
           ("grpc.service_config", json.dumps(SERVICE_CONFIG)), ("grpc.enable_retries", 0)]
_, STUBS = load_stubs()


def channel(replicas) -> grpc.Channel:
    return grpc.insecure_channel("ipv4:" + ",".join(replica.grpc_addr for replica in replicas), options=OPTIONS)


class Callers:
    """Each sends a declaration, takes the answer, and sends the next; a stream of decisions beside them."""

    def __init__(self, channel):
        self.stub = STUBS["FacilitationServiceStub"](channel)
        self.given: dict[str, object] = {}
        self.failures: list[str] = []
        self.number = 1_000
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CALLERS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        for thread in self._threads:
            thread.join(10)

    def _run(self):
        # A steady load, and not all that two processors can do: what is decided is to be in the store at each stop.
        while not self._stopped.wait(0.01):
            with self._lock:
                self.number += 1
                request = declare(random.choice(ENTERPRISES), number=self.number)
            try:
                decision = self.stub.Decide(request, timeout=10).decision
            except grpc.RpcError as error:
                with self._lock:
                    self.failures.append(f"{error.code()} {error.details()}")
            else:
                with self._lock:
                    self.given[decision.decision_id] = decision


class Watcher:
    """Watches shipments, and goes on elsewhere from its token whenever the stream ends."""

    def __init__(self, channel, numbers):
        self.stub = STUBS["PriorityServiceStub"](channel)
        self.keys = [pb.ShipmentKey(declaration_number=number) for number in numbers]
        self.state: dict[str, object] = {}
        self.ends: list[tuple[grpc.StatusCode, bool]] = []
        self.wrong: list[str] = []
        self._stopped = False
        self._stream = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopped = True
        self._stream.cancel()
        self._thread.join(10)

    def _run(self):
        token = ""
        while not self._stopped:
            self._stream = self.stub.WatchPriorities(pb.WatchPrioritiesRequest(keys=self.keys, resume_token=token))
            try:
                for response in self._stream:
                    token = response.token
                    if response.HasField("shipment"):
                        self._take(response.shipment)
            except grpc.RpcError as error:
                if self._stopped:
                    return
                given = dict(error.trailing_metadata() or ()).get("greenlane-resume-token")
                self.ends.append((error.code(), given is not None))
                token = given or token

    def _take(self, shipment):
        former = self.state.get(shipment.declaration_number)
        if former and former.revision > shipment.revision:
            self.wrong.append(f"{shipment.declaration_number}: revision {shipment.revision} after {former.revision}")
        self.state[shipment.declaration_number] = shipment


@pytest.fixture(scope="module")
def replicas(tmp_path_factory):
    with Postgres() as postgres, contextlib.ExitStack() as exit_:
        folder = tmp_path_factory.mktemp("rolling")
        settings = {"drain.propagation": "500ms", "freshness.relief_max_age": "1m"}
        own = [Server(folder / str(number), settings, upstream=postgres) for number in range(REPLICAS)]
        own[0].migrate()
        with own[0].sql() as sql:
            fill(sql, "ADVANCED_CERTIFIED", 100)
        for replica in own:
            exit_.callback(replica.kill)
            replica.start(wait=False)
        for replica in own:
            replica.wait_ready(90)
        yield own


def test_nothing_fails_and_nothing_is_lost_while_every_replica_is_replaced(replicas, capsys):
    numbers = [declare(ENTERPRISES[0], number=number).declaration_number for number in range(WATCHED)]
    with contextlib.ExitStack() as exit_:
        own = exit_.enter_context(channel(replicas))
        facilitation = STUBS["FacilitationServiceStub"](own)
        given = [facilitation.Decide(declare(ENTERPRISES[0], number=number), timeout=20, wait_for_ready=True).decision
                 for number in range(WATCHED)]
        watchers = [exit_.enter_context(Watcher(own, numbers)) for _ in range(WATCHES)]
        eventually(lambda: all(len(watcher.state) == WATCHED for watcher in watchers), 20, "the first states")
        callers = exit_.enter_context(Callers(own))
        for turn, replica in enumerate(replicas):
            before = len(callers.given)
            eventually(lambda: len(callers.given) > before + 200, 30, "steady load")
            with replica.sql() as sql:
                # Everything that is watched changes while a replica is away: each time half of it.
                sql.execute("UPDATE enterprise SET suspended = ? WHERE customs_code = ?", (turn % 2 == 0, ENTERPRISES[0]))
            assert replica.stop() == 0, replica.log_tail()
            before = len(callers.given)
            eventually(lambda: len(callers.given) > before + 200, 30, "load on the others")
            replica.start(deadline=90)
        before = len(callers.given)
        eventually(lambda: len(callers.given) > before + 300, 30, "load on all of them")
        callers.__exit__()
        assert not callers.failures, (len(callers.failures), callers.failures[:5])

        # Watches: ended in order, resumed, and in the end they hold what the replicas do.
        priority = STUBS["PriorityServiceStub"](own)

        def settled():
            keys = [pb.ShipmentKey(declaration_number=number) for number in numbers]
            answered = priority.BatchGetPriority(pb.BatchGetPriorityRequest(keys=keys), timeout=10).results
            now = {each.shipment.declaration_number: each.shipment for each in answered}
            return all(watcher.state == now for watcher in watchers)

        eventually(settled, 30, "watchers that hold what the replicas hold")
        ends = [end for watcher in watchers for end in watcher.ends]
        assert len(ends) >= REPLICAS and all(end == (grpc.StatusCode.UNAVAILABLE, True) for end in ends), ends
        assert not [wrong for watcher in watchers for wrong in watcher.wrong]

    # Every decision that was received stands in the log of one replica, and each log is whole.
    received = {decision.decision_id: decision for decision in given} | callers.given
    logged: dict = {}
    for replica in replicas:
        done = replica.command("--output", "json", "audit", "verify")
        assert done.returncode == 0 and json.loads(done.stdout)["good"], done.stdout + done.stderr
        reading = Reading(replica.data / "audit")
        reading.read()
        assert len(reading.decisions) > 100, "each replica has had its share"
        logged |= reading.decisions
    assert not [key for key in received if key not in logged]
    assert all(logged[key].decision == decision for key, decision in received.items())
    # And any replica tells of any of them, wherever it was given.
    for key in random.sample(sorted(received), 20):
        found = replicas[0].audit.GetDecision(pb.GetDecisionRequest(decision_id=key), timeout=10)
        assert received[key] == found.record.decision
    with capsys.disabled():
        print(f"\n{len(received)} decisions over {REPLICAS} restarts, none failed; {len(ends)} watches ended and resumed")
