"""Three replicas on one store: what one decides the others answer, what an officer writes reaches every watcher, and a replica
that is killed takes nothing with it.

The times that were seen are printed (`pytest -s`); the deadlines here are for machines that have other things to do.
GREENLANE_SHARED_DECISIONS (600; 5000) and GREENLANE_SHARED_KILLS (1; 10) set the sizes.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time

import grpc
import pytest

from feed import code, declare, size
from harness import Server, eventually, pb
from test_audit_shipping import InNats, InPostgres

DECISIONS = size("SHARED_DECISIONS", 600)
KILLS = size("SHARED_KILLS", 1)
IN_FLIGHT = 100
CONTAINERS = ["CSQU3054383", "MSCU6639870"]
SOON = 10.0


@pytest.fixture(params=[InPostgres, InNats], ids=["postgres", "nats"])
def cluster(request, tmp_path):
    """A store and three replicas on it."""
    with contextlib.ExitStack() as exit_:
        store = request.param(tmp_path, exit_)
        replicas = [exit_.enter_context(Server(tmp_path / f"replica-{number}", upstream=store,
                                               settings={"shipments.heartbeat_interval": "200ms"}).start())
                    for number in range(3)]
        yield store, replicas


def key(text: str):
    return pb.ShipmentKey(container_number=text) if text[0].isalpha() else pb.ShipmentKey(declaration_number=text)


def asked(replica, text: str):
    """The shipment, or None where the replica knows of none, or does not know what it knows yet."""
    try:
        return replica.priority.GetPriority(pb.GetPriorityRequest(key=key(text)), timeout=SOON).shipment
    except grpc.RpcError as error:
        if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE):
            return None
        raise


def until(what: str, condition) -> tuple[float, object]:
    """How long the condition took to hold, and what it gave."""
    begun = time.monotonic()
    return (value := eventually(condition, SOON, what)) and (time.monotonic() - begun, value)


class Watcher:
    """Watches for ever; keeps the state that was told last."""

    def __init__(self, replica, keys):
        self.states: dict[str, object] = {}
        self.call = replica.priority.WatchPriorities(pb.WatchPrioritiesRequest(keys=[key(text) for text in keys]))
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(grpc.RpcError):
            for response in self.call:
                if response.HasField("shipment"):
                    self.states[response.shipment.declaration_number] = response.shipment


def sql(store, *statements: str):
    with contextlib.closing(store.connect()) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_decision_of_one_replica_is_answered_by_the_others(cluster):
    _, replicas = cluster
    took = []
    for number in range(12):
        decider = replicas[number % 3]
        request = declare(code("ADVANCED_CERTIFIED", 1), number=number + 1, container_numbers=[CONTAINERS[number % 2]])
        decision = decider.facilitation.Decide(request, timeout=SOON).decision
        own = asked(decider, request.declaration_number)
        assert own.decision_id == decision.decision_id, "who decided answers at once"
        for other in replicas:
            seconds, shipment = until("the decision is known", lambda: asked(other, request.declaration_number))
            took.append(seconds)
            assert shipment == own
    for container in CONTAINERS:
        answers = [asked(replica, container) for replica in replicas]
        assert answers[0] == answers[1] == answers[2]
    print(f"\nfrom a decision to its answer by another replica: {max(took) * 1000:.0f} ms at most of {len(took)}")


def test_a_declaration_decided_by_two_replicas_has_one_draw_and_one_latest_decision(cluster):
    _, replicas = cluster
    request = declare(code("REGULAR", 1), number=1)
    first = replicas[0].facilitation.Decide(request, timeout=SOON).decision
    until("it is known", lambda: asked(replicas[1], request.declaration_number))
    request.transport_document_number = "OOLU1234567890"
    second = replicas[1].facilitation.Decide(request, timeout=SOON).decision
    third = replicas[1].facilitation.Decide(request, timeout=SOON).decision
    assert first.inspection.selected == second.inspection.selected, "a document that is sent later draws nothing again"
    for replica in replicas:
        until("the latest decision is known", lambda: asked(replica, request.declaration_number).decision_id
              == third.decision_id)
    assert asked(replicas[2], request.declaration_number).revision >= 3


def test_what_an_officer_writes_reaches_a_watcher_on_each_replica(cluster):
    store, replicas = cluster
    request = declare(code("ADVANCED_CERTIFIED", 2), number=1, container_numbers=[CONTAINERS[0]])
    number = request.declaration_number
    replicas[0].facilitation.Decide(request, timeout=SOON)
    watchers = [Watcher(replica, [number, CONTAINERS[0]]) for replica in replicas]
    for watcher in watchers:
        until("the watcher has the state", lambda: watcher.states.get(number))
    enterprise = f"UPDATE enterprise SET %s WHERE customs_code = '{code('ADVANCED_CERTIFIED', 2)}'"
    took = []

    def told(what: str, statement: str, wanted):
        begun = time.monotonic()
        sql(store, statement)
        committed = time.monotonic()
        for watcher in watchers:
            until(what, lambda: wanted(watcher.states[number]))
            took.append(time.monotonic() - committed)
        states = [asked(replica, number) for replica in replicas]
        assert [state.lane for state in states] == [states[0].lane] * 3, begun

    told("the downgrade", enterprise % "credit_tier = 'REGULAR'",
         lambda state: state.hold and state.revoked and state.lane in (pb.LANE_YELLOW, pb.LANE_RED))
    told("the upgrade", enterprise % "credit_tier = 'ADVANCED_CERTIFIED'", lambda state: not state.hold)
    told("the suspension", enterprise % "suspended = true", lambda state: state.hold and state.revoked)
    told("its end", enterprise % "suspended = false", lambda state: not state.hold)
    told("the hold", "INSERT INTO control_order (id, kind, basis, container_number, valid_from, legal_basis, public_reason)"
         f" VALUES ('h', 'HOLD', 'TARGETED', '{CONTAINERS[0]}', '2026-01-01T00:00:00Z', 'x', 'y')",
         lambda state: state.lane == pb.LANE_MANUAL and state.revoked)
    told("its end", "DELETE FROM control_order", lambda state: not state.hold)
    begun = time.monotonic()
    replicas[1].audit.RecordInspection(
        pb.RecordInspectionRequest(declaration_number=number, discrepancy_found=True), timeout=SOON)
    for watcher in watchers:
        until("the inspection", lambda: watcher.states[number].hold and watcher.states[number].revoked)
    took.append(time.monotonic() - begun)
    print(f"\nfrom a commit to the last watcher: {max(took) * 1000:.0f} ms at most of {len(took)}")


def test_a_replica_that_is_killed_takes_no_acknowledged_decision_with_it(cluster):
    _, replicas = cluster
    victim, other = replicas[0], replicas[1]
    numbers = itertools.count(1)
    acknowledged: dict[str, str] = {}
    for _ in range(KILLS):
        in_flight = threading.Semaphore(IN_FLIGHT)
        stopping = threading.Event()
        pending = []

        def done(number, future):
            in_flight.release()
            with contextlib.suppress(grpc.RpcError, grpc.FutureCancelledError):
                acknowledged[number] = future.result().decision.decision_id

        wanted = len(acknowledged) + DECISIONS
        while len(acknowledged) < wanted and not stopping.is_set():
            in_flight.acquire()
            request = declare(code("ADVANCED_CERTIFIED", 3), number=next(numbers))
            future = victim.facilitation.Decide.future(request, timeout=SOON)
            future.add_done_callback(lambda future, number=request.declaration_number: done(number, future))
            pending.append(future)
        victim.kill()
        for future in pending:
            with contextlib.suppress(grpc.RpcError, grpc.FutureCancelledError):
                future.exception(timeout=SOON)
        victim.start()
        until("it answers", lambda: asked(victim, next(iter(acknowledged))))
        for replica in (victim, other):
            keys = sorted(acknowledged)

            def missing():
                found = {}
                for at in range(0, len(keys), 1000):
                    batch = pb.BatchGetPriorityRequest(keys=[key(number) for number in keys[at:at + 1000]])
                    for number, result in zip(keys[at:], replica.priority.BatchGetPriority(batch, timeout=SOON).results):
                        found[number] = result.shipment.decision_id
                return [number for number in keys if found[number] != acknowledged[number]]

            eventually(lambda: not missing(), 30.0, f"every acknowledged decision is answered: {len(keys)}")
    print(f"\n{len(acknowledged)} acknowledged decisions, {KILLS} kills under {IN_FLIGHT} calls: none is missing")
