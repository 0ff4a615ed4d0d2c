"""What must not come in force: a register emptied or upgraded by mistake, unreadable rows, rows changed past the log.

Each over both stores. Data that is refused leaves the last good in force, which then grows old, and says so.
"""

from __future__ import annotations

import contextlib
import json
import signal
import time

import pytest

from feed import (UNGUARDED, assert_same, caught_up, code, decide, digest, fill, following, is_sqlite, size,
                  tier_name, transaction)
from harness import eventually, pb
from postgres_server import Postgres
from witness import ADVANCED, Witness
from writers import writing

RELIEF = 1.0
# So many regular ones that to change them all is more than a commit that is applied in place.
REGISTER = (("ADVANCED_CERTIFIED", 600), ("REGULAR", 11_000), ("DISCREDITED", 400))
SETTINGS = {"freshness.relief_max_age": "1s", "upstream.heartbeat_interval": "100ms", "upstream.timeout": "1s",
            "upstream.max_drift_rows": "25"}


@pytest.fixture(params=["sqlite", "postgres"])
def upstream(request):
    """None for the embedded store."""
    if request.param == "sqlite":
        yield None
    else:
        with Postgres() as postgres:
            yield postgres


@pytest.fixture
def server(tmp_path, upstream):
    with following(tmp_path, upstream, REGISTER, SETTINGS) as server:
        yield server


def is_refused(server, before: int):
    """Waits until something was refused as drift; what was in force before stays so."""
    eventually(lambda: server.metric("greenlane_upstream_refusals_total", cause="drift") > 0, 10, "a refusal")
    error = eventually(lambda: server.status().last_error, 10, "the error")
    assert "drift" in error and "ADVANCED_CERTIFIED would go from 600 to" in error
    assert server.status().registry_version.sequence == before


# --- drift -----------------------------------------------------------------------------------------

LAST = code("ADVANCED_CERTIFIED", 599)
MISTAKES = {
    "a mass deletion": f"DELETE FROM enterprise WHERE credit_tier = 'ADVANCED_CERTIFIED' AND customs_code > '{ADVANCED}'",
    "a mass upgrade": "UPDATE enterprise SET credit_tier = 'ADVANCED_CERTIFIED' WHERE credit_tier = 'REGULAR'",
}
REPAIRS = {
    "a mass deletion": lambda sql: fill(sql, "ADVANCED_CERTIFIED", 599, first=1),
    "a mass upgrade": lambda sql: sql.execute(
        "UPDATE enterprise SET credit_tier = 'REGULAR' WHERE customs_code >= ? AND customs_code < ?",
        (code("REGULAR", 0), code("DISCREDITED", 0))),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mass_change_is_refused_until_the_store_is_repaired(server, mistake):
    before = server.version().sequence
    with Witness(server, RELIEF) as witness, contextlib.closing(server.sql()) as sql:
        sql.execute(MISTAKES[mistake])
        is_refused(server, before)
        witness.away()  # for what is in force: the store confirms it no more
        # The last good data stays, and is held older and older: what nobody confirms is no ground for relief.
        eventually(lambda: server.status().state == pb.REGISTRY_STATE_STALE, 10, "STALE")
        assert tier_name(decide(server, LAST).parties[0].registered_tier) == "ADVANCED_CERTIFIED"
        assert tier_name(decide(server, LAST).credit_tier) == "REGULAR"
        assert decide(server, code("REGULAR", 5)).parties[0].registered_tier == pb.CREDIT_TIER_REGULAR
        # An ordinary change that follows does not carry the refused ones in with it.
        sql.execute("UPDATE enterprise SET name = 'other' WHERE customs_code = ?", (ADVANCED,))
        time.sleep(0.3)
        assert server.status().registry_version.sequence == before

        witness.back()
        with transaction(sql):
            REPAIRS[mistake](sql)
        assert_same(server)
        assert server.status().last_error == ""
        eventually(lambda: decide(server, LAST).credit_tier == pb.CREDIT_TIER_ADVANCED_CERTIFIED, 5, "relief again")
        witness.check()
    assert witness.seen["STALE"] and witness.seen["FRESH"], str(witness)


def test_a_mass_change_is_refused_over_a_restart_and_taken_with_accept_drift(server):
    before = server.version().sequence
    with contextlib.closing(server.sql()) as sql:
        sql.execute(MISTAKES["a mass deletion"])
    is_refused(server, before)
    # Restarting is the first thing that people try: the file remembers what was accepted.
    server.stop()
    server.start()
    is_refused(server, before)
    assert tier_name(decide(server, LAST).parties[0].registered_tier) == "ADVANCED_CERTIFIED"
    server.stop()
    server.start(flags=("--accept-drift",))
    assert_same(server)
    assert not decide(server, LAST).parties[0].known
    # Accepted once is not accepted always.
    with contextlib.closing(server.sql()) as sql:
        sql.execute("DELETE FROM enterprise WHERE credit_tier = 'REGULAR'")
    eventually(lambda: server.metric("greenlane_upstream_refusals_total", cause="drift") > 0, 10, "a refusal")


def test_small_steps_in_one_direction_add_up_to_drift(server):
    """A sixth of the advanced enterprises in one step is no drift; the same again is."""
    deletion = "DELETE FROM enterprise WHERE customs_code >= ? AND customs_code < ?"
    with contextlib.closing(server.sql()) as sql:
        sql.execute(deletion, (code("ADVANCED_CERTIFIED", 500), code("ADVANCED_CERTIFIED", 600)))
        before = assert_same(server)
        sql.execute(deletion, (code("ADVANCED_CERTIFIED", 400), code("ADVANCED_CERTIFIED", 500)))
        is_refused(server, before)


def test_a_register_that_is_filled_in_several_commits_does_not_drift(tmp_path, upstream):
    with following(tmp_path, upstream, (("REGULAR", 300),)) as server, contextlib.closing(server.sql()) as sql:
        for tier, first, count in (("ADVANCED_CERTIFIED", 0, 50), ("REGULAR", 300, 3_000), ("DISCREDITED", 0, 2_000),
                                   ("ADVANCED_CERTIFIED", 50, 4_000), ("CERTIFIED", 0, 1_500)):
            fill(sql, tier, count, first)
            assert_same(server)
        assert server.metric("greenlane_upstream_refusals_total") == 0


# --- quarantine ------------------------------------------------------------------------------------


def compared(server) -> float:
    return server.metric("greenlane_upstream_digest_comparisons_total")


def quarantine(server) -> dict[tuple[str, str], str]:
    return {(row.entity, row.key): row.reason for row in server.status().quarantine}


def test_unreadable_rows_stand_on_the_strict_side_and_are_listed_until_they_are_repaired(server):
    date = "0001-13-99" if server.upstream is None else "infinity"
    with contextlib.closing(server.sql()) as sql:
        with transaction(sql):
            sql.execute("UPDATE enterprise SET credit_tier = 'GOLD' WHERE customs_code = ?", (ADVANCED,))
            sql.execute("UPDATE enterprise SET tier_valid_until = ? WHERE customs_code = ?", (date, LAST))
            sql.execute("INSERT INTO scheduled_tier VALUES (?, 'PLATINUM', '2020-01-01')",
                        (code("ADVANCED_CERTIFIED", 7),))
            sql.execute("INSERT INTO control_order (id, kind, basis, enterprise_id, valid_from, legal_basis,"
                        " public_reason) VALUES ('o-1', 'STOP', 'TARGETED', ?, '2020-01-01T00:00:00Z', 'law', 'why')",
                        (code("REGULAR", 3),))
            sql.execute("INSERT INTO enterprise (customs_code, name, credit_tier, tier_effective_from)"
                        " VALUES ('no code', 'Firm', 'ADVANCED_CERTIFIED', '2020-01-01')")
        caught_up(server)
        listed = quarantine(server)
        schedule = f"{code('ADVANCED_CERTIFIED', 7)}|2020-01-01"
        words = {("enterprise", ADVANCED): "credit_tier", ("enterprise", LAST): "tier_valid_until",
                 ("scheduled_tier", schedule): "credit_tier", ("control_order", "o-1"): "kind",
                 ("enterprise", "no code"): "customs_code"}
        assert {place: word for place, word in words.items() if word in listed.get(place, "")} == words
        assert len(listed) == server.status().quarantined_rows == len(words)
        assert server.metric("greenlane_registry_quarantined_rows") == len(words)
        server.signal(signal.SIGUSR1)
        eventually(lambda: compared(server) > 0, 20, "a comparison")
        assert server.metric("greenlane_upstream_digest_mismatches_total") == 0, "unreadable rows raise a false alarm"
        for enterprise in (ADVANCED, LAST, code("ADVANCED_CERTIFIED", 7)):
            assert tier_name(decide(server, enterprise).credit_tier) == "REGULAR"
        assert decide(server, code("REGULAR", 3)).lane == pb.LANE_MANUAL
        assert decide(server, code("ADVANCED_CERTIFIED", 8)).credit_tier == pb.CREDIT_TIER_ADVANCED_CERTIFIED

        text = server.command("status")
        assert text.returncode == 0, text.stdout + text.stderr
        document = json.loads(server.command("--output", "json", "status").stdout)
        for entity, key in words:
            line = next((line for line in text.stdout.splitlines() if key in line), "")
            assert entity in line and words[entity, key] in line, text.stdout
            assert any(row["entity"] == entity and row["key"] == key and row["reason"] == listed[entity, key]
                       for row in document["registry"]["quarantine"])

        with transaction(sql):
            sql.execute("UPDATE enterprise SET credit_tier = 'ADVANCED_CERTIFIED' WHERE customs_code = ?", (ADVANCED,))
            sql.execute("UPDATE enterprise SET tier_valid_until = NULL WHERE customs_code = ?", (LAST,))
            sql.execute("UPDATE scheduled_tier SET credit_tier = 'ADVANCED_CERTIFIED' WHERE credit_tier = 'PLATINUM'")
            sql.execute("UPDATE control_order SET kind = 'DOCUMENTS'")
            sql.execute("DELETE FROM enterprise WHERE customs_code = 'no code'")
        assert_same(server)
        assert quarantine(server) == {}
        assert decide(server, ADVANCED).credit_tier == pb.CREDIT_TIER_ADVANCED_CERTIFIED


# --- anti-entropy ----------------------------------------------------------------------------------


@contextlib.contextmanager
def behind_the_triggers(sql):
    """Statements that no trigger sees."""
    with transaction(sql):
        if is_sqlite(sql):
            triggers = sql.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
            for name, _ in triggers:
                sql.execute(f"DROP TRIGGER {name}")
            yield
            for _, statement in triggers:
                sql.execute(statement)
        else:
            triggers = sql.execute("SELECT tgname FROM pg_trigger WHERE tgrelid = 'enterprise'::regclass"
                                   " AND NOT tgisinternal").fetchall()
            sql.execute("ALTER TABLE enterprise DISABLE TRIGGER USER")
            yield
            for name, in triggers:
                sql.execute(f"ALTER TABLE enterprise ENABLE ALWAYS TRIGGER {name}")


def smuggle(server):
    """Promotes a discredited enterprise past the log: the replica cannot know."""
    before = server.version()
    with contextlib.closing(server.sql()) as sql:
        with behind_the_triggers(sql):
            sql.execute("UPDATE enterprise SET credit_tier = 'REGULAR' WHERE customs_code = ?",
                        (code("DISCREDITED", 1),))
        assert server.version(sql) == before
        assert server.status().digest != digest(sql)


def is_found_and_repaired(server):
    eventually(lambda: server.metric("greenlane_upstream_digest_mismatches_total") > 0, 20, "a mismatch")
    eventually(lambda: decide(server, code("DISCREDITED", 1)).credit_tier == pb.CREDIT_TIER_REGULAR, 20, "a repair")
    assert server.metric("greenlane_upstream_resyncs_total", cause="mismatch") == 1
    assert "digest mismatch" in server.log.read_text().lower()
    assert_same(server)


def test_a_row_changed_past_the_log_is_found_when_asked_to_compare(server):
    smuggle(server)
    assert decide(server, code("DISCREDITED", 1)).credit_tier == pb.CREDIT_TIER_DISCREDITED
    server.signal(signal.SIGUSR1)
    is_found_and_repaired(server)
    before = compared(server)
    server.signal(signal.SIGUSR1)
    eventually(lambda: compared(server) > before, 20, "another comparison")
    assert server.metric("greenlane_upstream_digest_mismatches_total") == 1


def test_a_row_changed_past_the_log_is_found_by_the_regular_comparison(tmp_path, upstream):
    settings = SETTINGS | {"upstream.compare_interval": "1s"}
    with following(tmp_path, upstream, REGISTER, settings) as server:
        eventually(lambda: compared(server) > 0, 20, "a comparison")
        smuggle(server)
        is_found_and_repaired(server)


def test_comparisons_in_the_midst_of_writes_raise_no_false_alarm(tmp_path):
    with Postgres() as postgres, following(tmp_path, postgres, settings=SETTINGS | UNGUARDED) as server:
        with writing(postgres.url, size("COMPARED_WRITES", 600)) as done:
            asked, writers = 0, None
            while writers is None:
                server.signal(signal.SIGUSR1)
                asked += 1
                with contextlib.suppress(Exception):
                    writers = done(0.2)
        assert_same(server)
        assert compared(server) > 0
        assert server.metric("greenlane_upstream_digest_mismatches_total") == 0
