"""Audit logs on their way to PostgreSQL and to NATS, whatever is killed on it, and decisions looked up there.

What was shipped is read by a reader of the tests' own (audit_copy.py) and compared with the files, byte by byte.
GREENLANE_SHIP_KILLS (3; 40 in the long run) and GREENLANE_SHIP_DECISIONS (3000; 200000) set the sizes.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import pathlib
import random
import shutil
import subprocess
import threading

import grpc
import pytest

import audit_copy
from feed import OFFICE, code, declare, fill, size, transaction
from harness import Server, eventually, pb
from nats_servers import Servers
from postgres_server import Postgres
from relays import Relay

KILLS = size("SHIP_KILLS", 3)
DECISIONS = size("SHIP_DECISIONS", 3_000)
SETTINGS = {"audit.segment_bytes": "262144", "audit.head_interval": "50ms", "upstream.timeout": "2s"}


class InPostgres:
    """A store that is PostgreSQL, and what replicas shipped to it."""

    def __init__(self, folder, exit_: contextlib.ExitStack):
        self.store = exit_.enter_context(Postgres())
        self.url, self.connect = self.store.url, self.store.connect
        Server(folder / "migrate", upstream=self).migrate()
        self.fill()

    def fill(self):
        with contextlib.closing(self.connect()) as sql, transaction(sql):
            for tier in ("ADVANCED_CERTIFIED", "REGULAR", "DISCREDITED"):
                fill(sql, tier, 10)

    def kill(self):
        self.store.crash()

    def start_again(self):
        self.store.start()

    def groups(self, replica: str) -> list[bytes]:
        with contextlib.closing(self.connect()) as sql:
            return [bytes(frame) for frame, in sql.execute(
                "SELECT frame FROM audit_group WHERE replica = ? ORDER BY first_sequence", (replica,)).fetchall()]

    def sequence(self, replica: str) -> int:
        with contextlib.closing(self.connect()) as sql:
            row = sql.execute("SELECT next_sequence - 1 FROM audit_progress WHERE replica = ?", (replica,)).fetchone()
            return row[0] if row else 0

    def seals(self, replica: str) -> dict[int, tuple[str, bytes]]:
        with contextlib.closing(self.connect()) as sql:
            return {first: (seal, bytes(signature)) for first, seal, signature in sql.execute(
                "SELECT first_sequence, seal, signature FROM audit_seal WHERE replica = ?", (replica,)).fetchall()}

    def head(self, replica: str) -> tuple[str, bytes]:
        with contextlib.closing(self.connect()) as sql:
            head, signature = sql.execute(
                "SELECT head, signature FROM audit_head WHERE replica = ?", (replica,)).fetchone()
            return head, bytes(signature)


class InNats:
    """A store that is NATS, fed by a relay from an embedded one."""

    def __init__(self, folder, exit_: contextlib.ExitStack):
        self.servers = exit_.enter_context(Servers(folder))
        self.url = self.servers.url
        origin = Server(folder / "origin")
        origin.start(wait=False)
        origin.wait_for_store()
        origin.stop()
        self.connect = origin.sql
        InPostgres.fill(self)
        self.relay = exit_.enter_context(Relay(folder / "relay", f"sqlite://{origin.db}", self.url))

    def kill(self):
        self.servers.nodes[0].kill()

    def start_again(self):
        self.servers.nodes[0].start()
        eventually(self.servers.nodes[0].listens, 30, "NATS listens")

    def messages(self, stream: str, subject: str) -> list:
        async def ask(js):
            found, sequence = [], 1
            while True:
                try:
                    message = await js.get_msg(stream, sequence, subject=subject, next=True)
                except Exception as error:  # noqa: BLE001 -- the client's kinds differ by version
                    assert "no message found" in str(error).lower() or "not found" in str(error).lower(), error
                    return found
                found.append(message)
                sequence = message.seq + 1
        return self.servers.ask(ask, timeout=60.0)

    def groups(self, replica: str) -> list[bytes]:
        messages = self.messages("greenlane_audit", f"greenlane.audit.{replica.replace('.', '_')}")
        ids = [message.headers["Nats-Msg-Id"] for message in messages]
        assert len(set(ids)) == len(ids)
        return audit_copy.frames(b"".join(message.data for message in messages))

    def sequence(self, replica: str) -> int:
        messages = self.messages("greenlane_audit", f"greenlane.audit.{replica.replace('.', '_')}")
        return int(messages[-1].headers["Greenlane-Next-Sequence"]) - 1 if messages else 0

    def seals(self, replica: str) -> dict[int, tuple[str, bytes]]:
        messages = self.messages("greenlane_audit", f"greenlane.audit_seal.{replica.replace('.', '_')}")
        return {int(message.headers["Greenlane-Sequence"]):
                (message.data.decode(), bytes.fromhex(message.headers["Greenlane-Signature"])) for message in messages}

    def head(self, replica: str) -> tuple[str, bytes]:
        # While one takes the place of the other, both may be read.
        *_, message = self.messages("greenlane_audit_head", f"greenlane.audit_head.{replica.replace('.', '_')}")
        return message.data.decode(), bytes.fromhex(message.headers["Greenlane-Signature"])


@pytest.fixture(params=[InPostgres, InNats], ids=["postgres", "nats"])
def store(request, tmp_path):
    with contextlib.ExitStack() as exit_:
        yield request.param(tmp_path, exit_)


@pytest.fixture
def postgres(tmp_path):
    with contextlib.ExitStack() as exit_:
        yield InPostgres(tmp_path, exit_)


def replica_name(server) -> str:
    """As the log's own first segment says."""
    first = min((server.data / "audit").glob("*.segment")).read_bytes()[:audit_copy.SEGMENT]
    return first[58:58 + int.from_bytes(first[56:58], "little")].decode()


@contextlib.contextmanager
def serving(folder, store, **settings: str):
    server = Server(folder, SETTINGS | settings, upstream=store)
    try:
        server.start()
        yield server
    finally:
        server.kill()


class Deciding:
    """Asks a server for decisions until told to end, whatever becomes of it; keeps the ids of those it received."""

    def __init__(self, server, first: int = 0):
        self.server, self.received = server, []
        self.numbers = itertools.count(first + 1)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def batch(self, count: int = 50):
        tiers = ("ADVANCED_CERTIFIED", "REGULAR", "DISCREDITED")
        requests = [declare(code(tiers[number % 3], number % 10), number=number)
                    for number in itertools.islice(self.numbers, count)]
        answer = self.server.facilitation.BatchDecide(pb.BatchDecideRequest(requests=requests), timeout=5)
        self.received += [result.decision.decision_id for result in answer.results]

    def _run(self):
        while not self.ended.is_set():
            with contextlib.suppress(grpc.RpcError, ValueError):
                self.batch()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def shipped_to_its_end(server, store, deadline: float = 60.0) -> list[bytes]:
    """Waits until the store has the whole log, and that it is the very same; gives the groups."""
    replica = replica_name(server)

    def level():
        groups = audit_copy.local(server.data / "audit")
        last = audit_copy.first_sequence(groups[-1]) + len(audit_copy.records(groups[-1])) - 1
        return store.sequence(replica) == last
    try:
        eventually(level, deadline, "the store has the log to its end")
    except TimeoutError as error:
        raise TimeoutError(f"{error}\n{server.log_tail()}") from None
    copy = store.groups(replica)
    assert copy == audit_copy.local(server.data / "audit")
    audit_copy.verified(copy)
    return copy


def test_every_decision_received_is_in_the_store_once_though_the_service_and_the_store_are_killed(tmp_path, store):
    server = Server(tmp_path / "replica", SETTINGS, upstream=store)
    server.start()
    try:
        dice = random.Random(5)
        with Deciding(server) as deciding:
            for _ in range(KILLS):
                known = len(deciding.received)
                eventually(lambda: len(deciding.received) >= known + DECISIONS // KILLS / 2, 60, "decisions")
                threading.Event().wait(dice.uniform(0, 0.2))
                server.kill()
                server.start(wait=False)
                server.wait_ready(60)
                known = len(deciding.received)
                eventually(lambda: len(deciding.received) >= known + DECISIONS // KILLS / 4, 60, "decisions")
                store.kill()
                # Answers go on without the store.
                known = len(deciding.received)
                eventually(lambda: len(deciding.received) >= known + DECISIONS // KILLS / 4, 60, "decisions without it")
                store.start_again()
        copy = shipped_to_its_end(server, store)
        logged = audit_copy.decisions(copy)
        missing = [identity for identity in deciding.received if identity not in logged]
        assert not missing, f"{len(missing)} of {len(deciding.received)} answered decisions are not in the store"
        assert len(deciding.received) >= DECISIONS / 2
        # What is sealed is shipped too, as it lies beside the segments.
        sealed = {int(path.stem): (path.read_text(), path.with_suffix(".sig").read_bytes())
                  for path in (server.data / "audit").glob("*.seal")}
        eventually(lambda: store.seals(replica_name(server)) == sealed, 30, "the seals are in the store")
        assert server.metric("greenlane_audit_lag_records") == 0
    finally:
        server.kill()


def test_a_store_that_is_away_is_caught_up_with_and_the_wait_shows(tmp_path, store):
    with serving(tmp_path / "replica", store) as server:
        deciding = Deciding(server)
        deciding.batch()
        shipped_to_its_end(server, store)
        store.kill()
        before = resident(server)
        for _ in range(DECISIONS // 50):
            deciding.batch()
        eventually(lambda: server.metric("greenlane_audit_lag_records") >= DECISIONS // 50 * 50, 10, "the lag shows")
        assert resident(server) - before < 64 << 20, "what waits for the store is kept in memory"
        store.start_again()
        copy = shipped_to_its_end(server, store)
        assert set(deciding.received) <= set(audit_copy.decisions(copy))
        eventually(lambda: server.metric("greenlane_audit_lag_records") == 0, 10, "nothing waits any more")
        assert server.metric("greenlane_audit_records_total") >= len(deciding.received)


def resident(server) -> int:
    """Bytes of memory of the server's process."""
    pages = pathlib.Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


def test_what_was_written_last_is_shipped_when_the_service_stops(tmp_path, store):
    with serving(tmp_path / "replica", store, **{"drain.propagation": "0ms"}) as server:
        deciding = Deciding(server)
        deciding.batch(1000)
        deciding.batch(1000)
        assert server.stop() == 0
        replica = replica_name(server)
        copy = store.groups(replica)
        assert copy == audit_copy.local(server.data / "audit")
        assert set(deciding.received) <= set(audit_copy.decisions(copy))
        head, _ = store.head(replica)
        assert f"\nsequence: {audit_copy.verified(copy)}\n" in head


def test_the_signed_head_in_the_store_is_one_that_openssl_verifies(tmp_path, store):
    with serving(tmp_path / "replica", store) as server:
        Deciding(server).batch()
        shipped_to_its_end(server, store)
        last = audit_copy.verified(audit_copy.local(server.data / "audit"))
        head, signature = eventually(
            lambda: (found := store.head(replica_name(server))) and f"\nsequence: {last}\n" in found[0] and found, 10,
            "the head is in the store")
        (tmp_path / "head").write_text(head)
        (tmp_path / "head.sig").write_bytes(signature)
        subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", server.data / "audit/signing.pub", "-rawin",
                        "-in", tmp_path / "head", "-sigfile", tmp_path / "head.sig"], check=True, capture_output=True)


def test_a_log_that_was_put_back_to_an_older_state_is_not_shipped_over_what_the_store_has(tmp_path, store):
    with serving(tmp_path / "replica", store) as server:
        Deciding(server).batch()
        shipped_to_its_end(server, store)
        server.kill()
        shutil.copytree(server.data / "audit", tmp_path / "older")
        server.start()
        Deciding(server, 1000).batch()
        copy = shipped_to_its_end(server, store)
        server.kill()
        shutil.rmtree(server.data / "audit")
        shutil.copytree(tmp_path / "older", server.data / "audit")
        server.start()
        replica = replica_name(server)
        # At its start: a log that has as many records again is told of with the next one.
        eventually(lambda: "put back to an older state" in server.log.read_text(), 30, "it is told")
        Deciding(server, 2000).batch()
        assert store.groups(replica) == copy
        assert server.metric("greenlane_upstream_errors_total", kind="audit") >= 1


def listed(server, **filters) -> list:
    """Every page of a list."""
    found, token = [], ""
    while True:
        page = server.audit.ListDecisions(
            pb.ListDecisionsRequest(page_size=filters.pop("page_size", 7), page_token=token, **filters), timeout=10)
        found += page.records
        token = page.next_page_token
        if not token:
            return found


def place(record) -> tuple:
    at = record.decision.decided_at
    return at.seconds, at.nanos, record.replica, record.sequence


def test_two_replicas_ship_to_one_database_and_each_answers_for_both(tmp_path, postgres):
    with serving(tmp_path / "a", postgres) as first, serving(tmp_path / "b", postgres) as second:
        deciding = [Deciding(first), Deciding(second, 500)]
        for _ in range(3):
            for each in deciding:
                each.batch(20)
        for server in (first, second):
            shipped_to_its_end(server, postgres)
        received = {identity for each in deciding for identity in each.received}
        # What is not shipped yet is its own replica's to tell.
        deciding[0].batch(5)
        for server, known in ((first, received | set(deciding[0].received)), (second, received)):
            records = listed(server)
            assert [place(record) for record in records] == sorted(place(record) for record in records)
            identities = [record.decision.decision_id for record in records]
            assert len(set(identities)) == len(identities)
            assert known <= set(identities)
        assert len({record.replica for record in listed(first)}) == 2
        for identity in deciding[1].received[:3]:
            answer = first.audit.GetDecision(pb.GetDecisionRequest(decision_id=identity), timeout=5)
            assert answer.record.decision.decision_id == identity
            assert answer.record.replica == replica_name(second)


def test_pages_are_stable_while_decisions_come_and_a_token_is_of_its_own_list(tmp_path, postgres):
    with serving(tmp_path / "replica", postgres) as server:
        with Deciding(server) as deciding:
            eventually(lambda: len(deciding.received) >= 400, 30, "decisions")
            before = set(deciding.received)
            until = server.audit.ListDecisions(pb.ListDecisionsRequest(page_size=1), timeout=10).records[0]
            assert until.replica == replica_name(server)
            seen, token = [], ""
            while len(seen) < 400:
                page = server.audit.ListDecisions(pb.ListDecisionsRequest(page_size=37, page_token=token), timeout=10)
                seen += page.records
                token = page.next_page_token
                if not token:
                    break
        places = [place(record) for record in seen]
        assert places == sorted(set(places))
        assert len({record.decision.decision_id for record in seen} & before) >= min(len(seen), 400) - 37
        with pytest.raises(grpc.RpcError) as refused:
            server.audit.ListDecisions(pb.ListDecisionsRequest(customs_office=OFFICE, page_token=token or "00"), timeout=5)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_the_command_reads_the_server_the_files_and_the_store_alike(tmp_path, store):
    with serving(tmp_path / "replica", store) as server:
        deciding = Deciding(server)
        deciding.batch(120)
        shipped_to_its_end(server, store)

        def query(*arguments: str) -> list[dict]:
            done = server.command("audit", "query", "--output", "json", "--limit", "0", *arguments)
            assert done.returncode in (0, 1), done.stderr
            return [json.loads(line) for line in done.stdout.splitlines()]

        files = query("--log", str(server.data / "audit"), "--all-kinds")
        assert files == query("--store", store.url, "--all-kinds")
        assert [int(line["sequence"]) for line in files] == list(range(1, len(files) + 1))
        assert "opened" in files[0]["record"]
        decided = [line for line in files if "decision" in line["record"]]
        identities = [line["record"]["decision"]["decision"]["decisionId"] for line in decided]
        assert sorted(identities) == sorted(deciding.received)
        told = query()
        assert {line["record"]["decision"]["decision"]["decisionId"] for line in told} == set(identities)
        one = query("--decision", identities[7])
        assert [line["sequence"] for line in one] == [decided[7]["sequence"]]
        lane = decided[0]["record"]["decision"]["decision"]["lane"].removeprefix("LANE_")
        of_lane = [line for line in decided
                   if line["record"]["decision"]["decision"]["lane"] == f"LANE_{lane}"]
        assert query("--lane", lane, "--store", store.url) == of_lane
        enterprise = code("REGULAR", 1)
        of_enterprise = {line["sequence"] for line in decided
                         if line["record"]["decision"]["request"]["parties"][0]["customsCode"] == enterprise}
        assert {line["sequence"] for line in query("--enterprise", enterprise)} == of_enterprise
        table = server.command("audit", "query", "--limit", "3").stdout
        assert "declaration" in table and len(table.splitlines()) >= 6
