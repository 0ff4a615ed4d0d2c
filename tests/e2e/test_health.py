"""Health as an orchestrator and a client see it: every transition of /livez, /readyz, /startupz and of gRPC health, in one
life of a replica: no data, data, STALE, EXPIRED, data again, draining; then a second life that begins with its file.
"""

from __future__ import annotations

import signal
import threading
import urllib.error
import urllib.request

import grpc
import pytest
from grpc_health.v1 import health_pb2

from feed import decide, fill
from harness import Server, eventually, pb
from postgres_server import Postgres

SERVICES = ["", *(f"greenlane.v1.{name}Service" for name in ("Facilitation", "Priority", "Registry", "Audit"))]
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
CODE = "2000000000"
SETTINGS = {
    "upstream.min_enterprises": "2", "upstream.heartbeat_interval": "50ms", "upstream.timeout": "300ms",
    "freshness.relief_max_age": "1s", "freshness.decision_max_age": "3s",
    # Nobody waits that long: the second signal ends it.
    "drain.propagation": "10m",
}


def probe(server, path: str) -> int:
    """The HTTP status of a probe; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://{server.http_addr}{path}", timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def check(server, service: str) -> int | grpc.StatusCode:
    try:
        return server.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status
    except grpc.RpcError as error:
        return error.code()


def told(server) -> tuple[list[int], int, int, int]:
    """What everybody is told: each service's health, and /livez, /readyz and /startupz."""
    return [check(server, service) for service in SERVICES], *(probe(server, path) for path in ("/livez", "/readyz", "/startupz"))


LOADING = ([NOT_SERVING] * 5, 200, 503, 503)
READY = ([SERVING] * 5, 200, 200, 200)
FALLEN = ([NOT_SERVING] * 5, 200, 503, 200)


class Watching:
    """Watches the health of a service to the end of its stream."""

    def __init__(self, server, service: str):
        self.seen: list[int] = []
        self.ended: grpc.StatusCode | None = None
        self._stream = server.health.Watch(health_pb2.HealthCheckRequest(service=service))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            for answer in self._stream:
                self.seen.append(answer.status)
        except grpc.RpcError as error:
            self.ended = error.code()


@pytest.fixture(scope="module")
def postgres():
    with Postgres() as own:
        yield own


@pytest.fixture(scope="module")
def server(tmp_path_factory, postgres):
    own = Server(tmp_path_factory.mktemp("health"), SETTINGS, upstream=postgres)
    own.migrate()
    try:
        yield own.start(wait=False)
    finally:
        own.kill()


def state(server) -> int:
    return server.status().state


def test_health_follows_the_data_and_falls_before_a_replica_stops(server, postgres):
    eventually(lambda: told(server) == LOADING, 60, "a replica that lives and has no data")
    watches = [Watching(server, service) for service in SERVICES]
    eventually(lambda: all(watch.seen == [NOT_SERVING] for watch in watches), 10, "the first word of each watch")
    with pytest.raises(grpc.RpcError) as refused:
        decide(server, CODE)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE

    with server.sql() as sql:
        fill(sql, "CERTIFIED", 2)
    eventually(lambda: told(server) == READY, 20, "ready with the first snapshot")
    first = decide(server, CODE)

    postgres.freeze()
    eventually(lambda: state(server) == pb.REGISTRY_STATE_STALE, 20, "STALE")
    stale = told(server)
    # Unless it has expired meanwhile.
    assert stale == READY or state(server) != pb.REGISTRY_STATE_STALE
    eventually(lambda: told(server) == FALLEN, 20, "fallen with EXPIRED")
    assert state(server) == pb.REGISTRY_STATE_EXPIRED
    # Not ready, and still the right answer for whoever asks.
    assert decide(server, CODE, number=2).lane == pb.LANE_MANUAL != first.lane

    postgres.thaw()
    eventually(lambda: told(server) == READY, 20, "ready again")

    server.signal(signal.SIGTERM)
    eventually(lambda: told(server) == FALLEN, 10, "fallen because it drains")
    assert decide(server, CODE, number=3).lane == first.lane, "draining, it decides as ever"
    assert [watch.ended for watch in watches] == [None] * 5

    server.signal(signal.SIGTERM)
    assert server.process.wait(20) == 0, server.log_tail()
    eventually(lambda: all(watch.ended for watch in watches), 10, "the end of each watch")
    for watch in watches:
        assert watch.seen == [NOT_SERVING, SERVING, NOT_SERVING, SERVING, NOT_SERVING]
        assert watch.ended == grpc.StatusCode.UNAVAILABLE


def test_a_replica_starts_from_its_file_while_the_store_is_away(server, postgres):
    postgres.freeze()
    server.settings["freshness.decision_max_age"] = "1h"
    server.start(wait=False)
    eventually(lambda: probe(server, "/startupz") == 200, 60, "started from the file")
    eventually(lambda: told(server) == READY, 20, "ready from the file")


def test_of_a_service_that_there_is_not_nothing_is_told(server):
    assert check(server, "greenlane.v1.NoSuchService") == grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.RpcError) as refused:
        next(server.health.Watch(health_pb2.HealthCheckRequest(service="greenlane.v1.NoSuchService"), timeout=5))
    # The specification has a watch wait for a service that may come; ours are all there from the start.
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
