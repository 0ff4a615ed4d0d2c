"""PostgreSQL as the store, and what befalls it: killed, crashed, frozen, its notifications lost, a cold fleet.

After each fault the replica equals the store by digest and has missed nothing; while it lasts every answer is right
about its freshness. GREENLANE_POSTGRES_WRITES (5000; 50000 in the long run), GREENLANE_CUT_SECONDS (8; 60),
GREENLANE_PROPAGATION_SECONDS (3; 30) and GREENLANE_FLEET_ENTERPRISES (60000; 1000000) set the sizes.
"""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
import types

import grpc
import pytest

from feed import (UNGUARDED, assert_same, code, decide, declare, fill, following, size, tier_name, transaction)
from harness import Server, eventually, pb
from postgres_server import Pooler, Postgres
from test_store_triggers import KEYS
from test_two_writers import compare_enterprises
from witness import ADVANCED, Witness
from writers import CUSTOMS, SOCIAL, writing

WRITES = size("POSTGRES_WRITES", 5_000)
CUT_SECONDS = size("CUT_SECONDS", 8)
PROPAGATION_SECONDS = size("PROPAGATION_SECONDS", 3)
FLEET_ENTERPRISES = size("FLEET_ENTERPRISES", 60_000)
SETTINGS = {"upstream.heartbeat_interval": "100ms", "upstream.timeout": "1s"}
LOGGED = "SELECT entity, count(*) FROM change_log WHERE sequence > ? GROUP BY entity"


@pytest.fixture
def postgres():
    with Postgres() as postgres:
        yield postgres


def head(postgres) -> int:
    with contextlib.closing(postgres.connect()) as sql:
        return sql.execute("SELECT sequence FROM registry_meta").fetchone()[0]


def answered(server) -> bool:
    with contextlib.suppress(grpc.RpcError):
        return bool(server.status())
    return False


def nothing_was_missed_or_doubled(server, first: int):
    """Every change since the replica's snapshot was applied once: its counters are the log's."""
    with contextlib.closing(server.sql()) as sql:
        last = server.version(sql).sequence
        logged = dict(sql.execute(LOGGED, (first,)).fetchall())
    assert sum(logged.values()) == last - first, "the log has a hole"
    applied = {entity: server.metric("greenlane_upstream_changes_total", entity=entity) for entity in logged}
    assert applied == logged
    assert server.metric("greenlane_upstream_resyncs_total") == 1, "it began anew instead of going on"


def rows(sql) -> dict[tuple[str, str], dict]:
    """Every row of the registry tables by table and key, in the form of the log."""
    sql.execute("SET timezone = 'UTC'")
    return {(table, "|".join(row[column] for column in KEYS[table])): row for table in KEYS
            for row, in sql.execute(f"SELECT to_jsonb(t) FROM {table} t").fetchall()}


def replayed(sql, state: dict, first: int) -> dict:
    """What the log makes of that state."""
    state = dict(state)
    for entity, key, op, row in sql.execute(
            'SELECT entity, key, op, "row" FROM change_log WHERE sequence > ? ORDER BY sequence', (first,)).fetchall():
        if op == "DELETE":
            state.pop((entity, key), None)
        else:
            state[entity, key] = row
    return state


def test_every_write_arrives_once_though_postgresql_is_killed_and_crashes_meanwhile(tmp_path, postgres, capsys):
    with following(tmp_path, postgres, settings=SETTINGS | UNGUARDED) as server:
        first = server.status().registry_version.sequence
        with contextlib.closing(postgres.connect()) as sql:
            before = rows(sql)
        with Witness(server, relief=300.0) as witness, writing(postgres.url, WRITES) as done:
            for share, fault in ((0.25, postgres.kill9), (0.5, postgres.crash), (0.75, postgres.kill9)):
                eventually(lambda: head(postgres) > first + WRITES * share / 2, 300, "the writers get on")
                with witness.outage(fault, postgres.start):
                    time.sleep(0.3)
                assert_same(server)
                witness.check()
            counts = done()
            last = assert_same(server)
        nothing_was_missed_or_doubled(server, first)
        with contextlib.closing(postgres.connect()) as sql:
            held = rows(sql)
            assert held == replayed(sql, before, first), "the log does not lead to what the tables hold"
        compare_enterprises(server, held, types.SimpleNamespace(customs=CUSTOMS, social=SOCIAL))
        assert counts["connections lost"] >= 3 and counts["ROLLBACK"] and counts["rolled back to a savepoint"]
        assert server.metric("greenlane_upstream_errors_total") > 0
    with capsys.disabled():
        print(f"\n{dict(counts)} by three writers made {last - first} changes over two kills and a crash; {witness}")


def test_two_interleaved_transactions_arrive_whole_and_what_is_rolled_back_never_does(tmp_path, postgres):
    """Two enterprises change places all the time, one statement each: no answer may see both of one tier."""
    update = "UPDATE enterprise SET credit_tier = ? WHERE customs_code = ?"
    pair = code("ADVANCED_CERTIFIED", 1), code("DISCREDITED", 1)
    tiers = ["ADVANCED_CERTIFIED", "DISCREDITED"]
    ended, rolled_back = threading.Event(), 0

    def interleave():
        """Writes what would break the rule, partly to a savepoint, and takes all of it back."""
        nonlocal rolled_back
        with contextlib.closing(postgres.connect()) as sql:
            while not ended.is_set():
                sql.execute("BEGIN")
                sql.execute(update, ("REGULAR", pair[0]))
                sql.execute("SAVEPOINT s")
                sql.execute(update, ("REGULAR", pair[1]))
                sql.execute("ROLLBACK TO s")
                sql.execute("DELETE FROM enterprise WHERE customs_code = ?", (pair[1],))
                sql.execute("ROLLBACK")
                rolled_back += 1

    with following(tmp_path, postgres, settings=SETTINGS) as server:
        first = server.status().registry_version.sequence
        request = declare(pair[0])
        request.parties.add(role=pb.PARTY_ROLE_CONSIGNOR, customs_code=pair[1])
        other = threading.Thread(target=interleave)
        other.start()
        try:
            with contextlib.closing(postgres.connect()) as sql:
                for _ in range(60):
                    tiers.reverse()
                    with transaction(sql):
                        sql.execute(update, (tiers[0], pair[0]))
                        sql.execute("SAVEPOINT s")
                        sql.execute(update, ("REGULAR", pair[1]))
                        sql.execute("ROLLBACK TO s")
                        sql.execute(update, (tiers[1], pair[1]))
                    request.min_registry_version.CopyFrom(server.version(sql))
                    for _ in range(5):
                        decision = server.facilitation.Decide(request, timeout=5).decision
                        assert [tier_name(party.registered_tier) for party in decision.parties] == tiers
        finally:
            ended.set()
            other.join()
        assert_same(server)
        nothing_was_missed_or_doubled(server, first)
        assert server.metric("greenlane_upstream_changes_total") == 120
    assert rolled_back > 10


def test_a_cut_without_a_fin_makes_answers_stale_on_time_and_fresh_again(tmp_path, postgres, capsys):
    relief, expiry = (5.0, 30.0) if CUT_SECONDS >= 60 else (2.0, 5.0)
    limits = {"freshness.relief_max_age": f"{relief:.0f}s", "freshness.decision_max_age": f"{expiry:.0f}s"}
    with following(tmp_path, postgres, settings=SETTINGS | UNGUARDED | limits) as server:
        first = server.status().registry_version.sequence
        with Witness(server, relief, expiry) as witness, writing(postgres.url, 300) as done:
            with witness.outage(postgres.freeze, postgres.thaw):
                frozen = time.monotonic()
                for state, after in ((pb.REGISTRY_STATE_STALE, relief), (pb.REGISTRY_STATE_EXPIRED, expiry)):
                    eventually(lambda: server.status().state == state, after + 2, f"{state} after {after} s")
                    witness.check()
                time.sleep(max(0.0, CUT_SECONDS - (time.monotonic() - frozen)))
                assert server.status().last_error
            thawed = time.monotonic()
            eventually(lambda: server.status().state == pb.REGISTRY_STATE_LIVE, 10, "LIVE")
            recovered = time.monotonic() - thawed
            done()
            assert_same(server)
        nothing_was_missed_or_doubled(server, first)
        assert {"FRESH", "STALE", "EXPIRED"} == set(witness.seen)
    with capsys.disabled():
        print(f"\na cut of {CUT_SECONDS} s; LIVE {recovered:.2f} s after its end; {witness}")


def test_a_dropped_listen_loses_nothing(tmp_path, postgres):
    with following(tmp_path, postgres, settings=SETTINGS) as server:
        first = server.status().registry_version.sequence
        with contextlib.closing(postgres.connect()) as sql:
            for number in range(6):
                eventually(postgres.listeners, 20, "somebody listens")
                assert postgres.terminate_listeners() >= 1
                tier = ("CERTIFIED", "REGULAR")[number % 2]
                sql.execute("UPDATE enterprise SET credit_tier = ? WHERE customs_code = ?", (tier, code("REGULAR", 1)))
                version = server.version(sql)
                eventually(lambda: server.status().registry_version == version, 5, "the change")
        assert_same(server)
        nothing_was_missed_or_doubled(server, first)
        eventually(postgres.listeners, 20, "somebody listens again")


def test_commits_that_a_crash_forgot_are_forgotten_here_too(tmp_path):
    """A writer that does not wait for the disk: its commits are seen, followed, and lost with the server."""
    update = "UPDATE enterprise SET credit_tier = ? WHERE customs_code = ?"
    # The replica's own commits, such as the head of its log each second, would take the others along to the disk.
    settings = SETTINGS | {"audit.durability": "off"}
    with Postgres(wal_writer_delay="10s") as postgres, following(tmp_path, postgres, settings=settings) as server:
        with contextlib.closing(postgres.connect()) as sql:
            sql.execute("SET synchronous_commit = off")
            for number in range(10):
                sql.execute(update, ("DISCREDITED", code("REGULAR", number)))
        seen = assert_same(server)
        postgres.kill9()
        postgres.start(hidden=True)
        kept = head(postgres)
        assert kept < seen, "nothing was lost: this proves nothing"
        with contextlib.closing(postgres.connect()) as sql:
            for number in range(seen - kept):
                sql.execute(update, ("CERTIFIED", code("REGULAR", number)))
        postgres.stop()
        postgres.start()
        eventually(lambda: server.metric("greenlane_upstream_resyncs_total", cause="fork") == 1, 20, "a fork")
        assert assert_same(server) == seen
        assert decide(server, code("REGULAR", 0)).parties[0].registered_tier == pb.CREDIT_TIER_CERTIFIED


def test_a_writer_that_sits_on_its_lock_makes_no_data_old(tmp_path, postgres):
    """Nothing can be committed meanwhile, and that the head has not moved is told all the time."""
    with following(tmp_path, postgres, settings=SETTINGS | {"freshness.relief_max_age": "1s"}) as server:
        with Witness(server, relief=1.0) as witness, contextlib.closing(postgres.connect()) as sql:
            sql.execute("BEGIN")
            sql.execute("UPDATE enterprise SET credit_tier = 'DISCREDITED'")
            time.sleep(2.5)
            witness.check()
            sql.execute("ROLLBACK")
        assert set(witness.seen) == {"FRESH"}, str(witness)
        assert_same(server)


def test_a_database_without_the_tables_is_waited_for(tmp_path, postgres):
    with Server(tmp_path, SETTINGS, upstream=postgres).start(wait=False) as server:
        error = eventually(lambda: answered(server) and server.status().last_error, 20, "an error")
        assert "migrate" in error
        assert server.status().state == pb.REGISTRY_STATE_LOADING
        server.migrate()
        with contextlib.closing(postgres.connect()) as sql:
            assert server.status().state == pb.REGISTRY_STATE_LOADING, "a register without an enterprise is no data"
            fill(sql, "REGULAR", 5)
        server.wait_ready()
        assert_same(server)


def test_a_migration_while_replicas_read_disturbs_none(tmp_path, postgres):
    with following(tmp_path, postgres, settings=SETTINGS) as server:
        first = server.status().registry_version.sequence
        with contextlib.closing(postgres.connect()) as sql:
            for number in range(5):
                sql.execute("UPDATE enterprise SET name = ? WHERE customs_code = ?", (f"F{number}", code("REGULAR", 1)))
                server.migrate()
        assert_same(server)
        nothing_was_missed_or_doubled(server, first)


def test_a_stop_is_not_held_up_by_a_silent_database(tmp_path, postgres):
    server = Server(tmp_path, SETTINGS | {"upstream.timeout": "60s"}, upstream=postgres)
    server.migrate()
    postgres.freeze()
    with server.start(wait=False):
        eventually(lambda: answered(server), 20, "an answer")
        begun = time.monotonic()
        # What the log holds is not in the store.
        assert server.stop() == 4
        assert time.monotonic() - begun < 5


def test_changes_arrive_where_no_notification_passes(tmp_path, postgres, capsys):
    with Pooler(postgres) as pooler:
        # What writes and looks from outside goes to the server itself.
        settings = SETTINGS | {"upstream.url": pooler.url, "upstream.heartbeat_interval": "10s"}
        with following(tmp_path, postgres, settings=settings) as server:
            waits = []
            with contextlib.closing(postgres.connect()) as sql:
                for number in range(20):
                    sql.execute("UPDATE enterprise SET name = ? WHERE customs_code = ?",
                                (f"Firm {number}", code("REGULAR", 1)))
                    committed, version = time.monotonic(), server.version(sql)
                    eventually(lambda: server.status().registry_version == version, 5, "the change")
                    waits.append(time.monotonic() - committed)
            assert_same(server)
            # Others share the pooler's connections to the server, and whatever is left behind on them.
            for number in range(3):
                with Server(tmp_path / str(number), settings, upstream=postgres) as another:
                    assert_same(another)
    with capsys.disabled():
        print(f"\nbehind a transaction pooler changes took {statistics.median(waits) * 1000:.0f} ms (median)")


def quantile(server, name: str, share: float) -> float:
    """The upper bound of the bucket in which that share of a histogram's samples lies."""
    buckets = sorted((float(sample.split('le="')[1].split('"')[0].replace("+Inf", "inf")), count)
                     for sample, count in server.metrics().items() if sample.startswith(f"{name}_bucket"))
    return next(bound for bound, count in buckets if count >= share * buckets[-1][1])


def test_changes_are_in_force_soon_at_a_thousand_rows_a_second(tmp_path, postgres, capsys):
    register = (("ADVANCED_CERTIFIED", 10), ("REGULAR", 2_000), ("DISCREDITED", 10))
    with following(tmp_path, postgres, register, {"upstream.heartbeat_interval": "100ms"}) as server:
        waits, late, rows = [], 0.0, 0
        with contextlib.closing(postgres.connect()) as sql:
            begun = time.monotonic()
            for commit in range(PROPAGATION_SECONDS * 50):
                due = begun + commit / 50
                time.sleep(max(0.0, due - time.monotonic()))
                late = max(late, time.monotonic() - due)
                low = commit * 20 % 2_000
                rows += sql.execute("UPDATE enterprise SET name = ? WHERE customs_code BETWEEN ? AND ?",
                                    (f"Firm {commit}", code("REGULAR", low), code("REGULAR", low + 19))).rowcount
                committed, version = time.monotonic(), server.version(sql)
                decide(server, ADVANCED, version)
                waits.append(time.monotonic() - committed)
            took = time.monotonic() - begun
        assert_same(server)
        inside = [quantile(server, "greenlane_upstream_propagation_seconds", share) for share in (0.5, 0.99)]
    outside = [sorted(waits)[int(len(waits) * share)] for share in (0.5, 0.99)]
    with capsys.disabled():
        print(f"\nat {rows / took:.0f} rows/s (at most {late * 1000:.0f} ms late) p50/p99: in the server's histogram up to"
              f" {inside[0] * 1000:.0f}/{inside[1] * 1000:.0f} ms, from outside, with an answer by min_registry_version"
              f" {outside[0] * 1000:.1f}/{outside[1] * 1000:.1f} ms")
    assert outside[1] < 5


def test_a_fleet_that_starts_cold_takes_at_most_four_snapshots_at_once(tmp_path, postgres, capsys):
    loading = ("SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
               " AND xact_start IS NOT NULL AND query ILIKE 'copy%'")
    fleet = [Server(tmp_path / str(number), SETTINGS, upstream=postgres) for number in range(8)]
    fleet[0].migrate()
    most, ended = 0, threading.Event()

    def watch():
        nonlocal most
        with contextlib.closing(postgres.connect()) as sql:
            while not ended.is_set():
                most = max(most, sql.execute(loading).fetchone()[0])

    with contextlib.closing(postgres.connect()) as sql:
        fill(sql, "REGULAR", FLEET_ENTERPRISES)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        begun = time.monotonic()
        for server in fleet:
            server.start(wait=False)
        for server in fleet:
            server.wait_ready(300)
        took = time.monotonic() - begun
        digests = {server.status().digest for server in fleet}
        assert len(digests) == 1
        assert_same(fleet[-1])
        # Each has its file now: the next start asks the database for nothing but what is new.
        for server in fleet:
            server.stop()
        for server in fleet:
            server.start(wait=False)
        for server in fleet:
            server.wait_ready(300)
            assert server.metric("greenlane_upstream_resyncs_total") == 0
    finally:
        ended.set()
        watcher.join()
        for server in fleet:
            server.kill()
    with capsys.disabled():
        print(f"\n8 cold replicas of {FLEET_ENTERPRISES} enterprises were ready in {took:.1f} s; at most {most}"
              " snapshots at once")
    assert 1 <= most <= 4
