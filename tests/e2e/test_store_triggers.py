"""The store's triggers alone: Python's sqlite3 writes the way other programs do, no server runs.

What must hold whatever SQL is written: replaying `change_log` from nothing gives the tables, row by
row, at every committed position. GREENLANE_TRIGGER_RUNS sets how many random histories are tried.
"""

from __future__ import annotations

import collections
import json
import os
import pathlib
import random
import sqlite3
import time

import pytest

SQL = pathlib.Path(__file__).resolve().parents[2] / "src" / "upstream" / "sqlite"
RUNS = int(os.environ.get("GREENLANE_TRIGGER_RUNS", "40"))
VERSION = sqlite3.sqlite_version_info
COLUMNS = {
    "enterprise": ["customs_code", "social_credit_code", "name", "credit_tier", "tier_effective_from",
                   "tier_valid_until", "suspended", "updated_at"],
    "scheduled_tier": ["customs_code", "credit_tier", "effective_from"],
    "recognised_operator": ["aeo_code", "country", "programme", "name", "valid_from", "valid_until", "suspended"],
    "mutual_recognition": ["country", "programme", "direction", "transport_modes", "effective_from", "effective_to"],
    "control_order": ["id", "kind", "basis", "enterprise_id", "hs_prefix", "origin_country", "customs_office",
                      "container_number", "direction", "valid_from", "valid_to", "legal_basis", "public_reason",
                      "confidential_reason"],
}
KEYS = {
    "enterprise": ["customs_code"],
    "scheduled_tier": ["customs_code", "effective_from"],
    "recognised_operator": ["aeo_code"],
    "mutual_recognition": ["country", "programme", "direction", "transport_modes", "effective_from"],
    "control_order": ["id"],
}
CONTENT = COLUMNS["enterprise"][:-1]
TIERS = ["ADVANCED_CERTIFIED", "CERTIFIED", "REGULAR", "DISCREDITED", "SERIOUSLY_DISCREDITED"]
NOW = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"

needs_upsert = pytest.mark.skipif(VERSION < (3, 24), reason="this SQLite has no ON CONFLICT DO UPDATE")


def build(path) -> sqlite3.Connection:
    """Makes a store as the server does, but without the recognition seed, and opens it in autocommit."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript((SQL / "tables.sql").read_text())
    connection.execute("INSERT INTO registry_meta SELECT lower(hex(randomblob(16))), 0, 0"
                       " WHERE NOT EXISTS (SELECT 1 FROM registry_meta)")
    connection.executescript((SQL / "triggers.sql").read_text())
    return connection


@pytest.fixture(params=[False, True], ids=["recursive_off", "recursive_on"])
def store(request, tmp_path):
    connection = build(tmp_path / "store.db")
    connection.execute(f"PRAGMA recursive_triggers = {'ON' if request.param else 'OFF'}")
    connection.execute("SELECT 1")
    yield connection
    check_replay(connection)
    connection.close()


def recursive(connection) -> bool:
    return bool(connection.execute("PRAGMA recursive_triggers").fetchone()[0])


def enterprise(connection, customs_code, social_credit_code=None, tier="REGULAR", clause="INSERT", tail=""):
    connection.execute(
        f"{clause} INTO enterprise (customs_code, social_credit_code, name, credit_tier, tier_effective_from)"
        f" VALUES (?, ?, 'firm', ?, '2020-01-01') {tail}", (customs_code, social_credit_code, tier))


def log(connection, after=0) -> list[tuple]:
    return connection.execute("SELECT entity, key, op FROM change_log WHERE sequence > ? ORDER BY sequence",
                              (after,)).fetchall()


def head(connection) -> int:
    return connection.execute("SELECT sequence FROM registry_meta").fetchone()[0]


def short(connection, after=0) -> list[tuple]:
    return [(op, key) for _, key, op in log(connection, after)]


def history(connection, columns="customs_code, credit_tier") -> list[tuple]:
    return connection.execute(f"SELECT {columns} FROM enterprise_history ORDER BY rowid").fetchall()


def tables(connection) -> dict:
    """Every registry row, by table and by the key the log gives it."""
    state = {}
    for table, columns in COLUMNS.items():
        for values in connection.execute(f"SELECT {', '.join(columns)} FROM {table}"):
            row = dict(zip(columns, values))
            state[table, "|".join(row[column] for column in KEYS[table])] = row
    return state


def apply(state: dict, entity: str, key: str, op: str, row: str | None):
    """Replays one change, holding it to what a replica relies on."""
    if op == "DELETE":
        assert row is None
        assert (entity, key) in state, f"phantom DELETE of {entity} {key}"
        del state[entity, key]
        return
    assert op == "UPSERT"
    new = json.loads(row)
    assert list(new) == COLUMNS[entity]
    assert "|".join(new[column] for column in KEYS[entity]) == key
    state[entity, key] = new
    if entity == "enterprise" and new["social_credit_code"] is not None:
        holders = [k for (e, k), r in state.items()
                   if e == "enterprise" and r["social_credit_code"] == new["social_credit_code"]]
        assert holders == [key], f"a social credit code stands twice: {holders}"


def check_replay(connection) -> dict:
    state: dict = {}
    rows = connection.execute("SELECT sequence, entity, key, op, row FROM change_log ORDER BY sequence").fetchall()
    assert [row[0] for row in rows] == list(range(1, head(connection) + 1)), "the sequence has a gap"
    for _, *change in rows:
        apply(state, *change)
    assert state == tables(connection)
    return state


def known_at(connection, instant: str) -> dict:
    """The enterprises as they were recorded at `instant`: how a reader combines history and present."""
    rows = connection.execute(
        f"SELECT {', '.join(CONTENT)} FROM enterprise_history WHERE recorded_from <= ?1 AND ?1 < recorded_to"
        f" UNION ALL SELECT {', '.join(CONTENT)} FROM enterprise WHERE"
        "  max(strftime('%Y-%m-%dT%H:%M:%fZ', updated_at), coalesce((SELECT max(recorded_to) FROM enterprise_history"
        "      WHERE customs_code = enterprise.customs_code), '')) <= ?1", (instant,)).fetchall()
    result = {row[0]: row for row in rows}
    assert len(result) == len(rows), f"two rows of one enterprise at {instant}"
    return result


def pause() -> str:
    """Steps over a millisecond, the store's resolution, and returns an instant between two writes."""
    time.sleep(0.002)
    now = time.time()
    time.sleep(0.002)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"


# --- the plain forms -------------------------------------------------------------------------------


def test_both_files_run_twice_without_harm(store):
    enterprise(store, "A", "s1")
    store.executescript((SQL / "tables.sql").read_text())
    store.executescript((SQL / "triggers.sql").read_text())
    enterprise(store, "B", "s2")
    assert short(store) == [("UPSERT", "A"), ("UPSERT", "B")]


def test_the_tables_are_those_of_the_contract():
    contract = SQL.parents[3] / "shared" / "contract" / "schema.sql"
    if not contract.exists():
        pytest.skip(f"{contract} is not on this machine")
    ours, theirs = sqlite3.connect(":memory:"), sqlite3.connect(":memory:")
    ours.executescript((SQL / "tables.sql").read_text())
    theirs.executescript(contract.read_text())
    names = [name for name, in theirs.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for name in names:
        for pragma in ("table_info", "foreign_key_list"):
            assert (ours.execute(f"PRAGMA {pragma}({name})").fetchall()
                    == theirs.execute(f"PRAGMA {pragma}({name})").fetchall())
        unique = [[row[2:] for row in c.execute(f"PRAGMA index_list({name})") if row[2]] for c in (ours, theirs)]
        assert unique[0] == unique[1]
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        ours.execute("INSERT INTO control_order VALUES ('x', 'HOLD', 'MANDATED', NULL, NULL, NULL, NULL, NULL, NULL,"
                     " '2020-01-01T00:00:00Z', NULL, 'law', 'why', NULL)")


def test_an_insert_logs_the_whole_row_with_its_defaults(store):
    enterprise(store, "A", "s1")
    row = json.loads(store.execute("SELECT row FROM change_log").fetchone()[0])
    assert row == {"customs_code": "A", "social_credit_code": "s1", "name": "firm", "credit_tier": "REGULAR",
                   "tier_effective_from": "2020-01-01", "tier_valid_until": None, "suspended": 0,
                   "updated_at": row["updated_at"]}
    assert row["updated_at"].endswith("Z") and len(row["updated_at"]) == 24


def test_committed_at_is_an_instant_with_milliseconds(store):
    before = pause()
    enterprise(store, "A")
    committed, = store.execute("SELECT committed_at FROM change_log").fetchone()
    assert before <= committed <= pause()


def test_text_comes_back_from_the_log_as_it_went_in(store):
    name = "深圳 \"é\" \\ / \n\t\x01 [1] {\"a\":1} 𝄞 'x' a\x00b"
    store.execute("INSERT INTO enterprise (customs_code, name, credit_tier, tier_effective_from)"
                  " VALUES ('A', ?, 'REGULAR', '2020-01-01')", (name,))
    assert json.loads(store.execute("SELECT row FROM change_log").fetchone()[0])["name"] == name


def test_composite_keys_are_joined_by_a_bar(store):
    store.execute("INSERT INTO scheduled_tier VALUES ('A', 'REGULAR', '2026-01-01')")
    store.execute("INSERT INTO mutual_recognition VALUES ('SG', 'STP', 'ALL', 'SEA,AIR', '2020-01-01', NULL)")
    assert log(store) == [("scheduled_tier", "A|2026-01-01", "UPSERT"),
                          ("mutual_recognition", "SG|STP|ALL|SEA,AIR|2020-01-01", "UPSERT")]


def test_a_statement_over_many_rows_logs_each(store):
    for code in "ABC":
        enterprise(store, code, code)
    mark = head(store)
    store.execute("UPDATE enterprise SET suspended = 1")
    store.execute("DELETE FROM enterprise")
    assert sorted(short(store, mark)[:3]) == [("UPSERT", c) for c in "ABC"]
    assert sorted(short(store, mark)[3:]) == [("DELETE", c) for c in "ABC"]


ONE_ROW = {
    "enterprise": "('A', 's1', 'firm', 'REGULAR', '2020-01-01', NULL, 0, '2020-01-01T00:00:00.000Z')",
    "scheduled_tier": "('A', 'REGULAR', '2026-01-01')",
    "recognised_operator": "('SGA', 'SG', 'STP', 'op', '2020-01-01', NULL, 0)",
    "mutual_recognition": "('SG', 'STP', 'ALL', 'ALL', '2020-01-01', NULL)",
    "control_order": "('o1', 'HOLD', 'MANDATED', 'A', NULL, NULL, NULL, NULL, NULL, '2020-01-01T00:00:00Z', NULL,"
                     " 'law', 'why', NULL)",
}


@pytest.mark.parametrize("table,column", [(table, column) for table, keys in KEYS.items() for column in keys])
def test_a_moved_key_logs_delete_then_upsert(store, table, column):
    store.execute(f"INSERT INTO {table} VALUES {ONE_ROW[table]}")
    (_, old, _), = log(store)
    store.execute(f"UPDATE {table} SET {column} = {column} || 'x'")
    (_, new), = tables(store)
    assert old != new
    assert log(store, 1) == [(table, old, "DELETE"), (table, new, "UPSERT")]


@pytest.mark.parametrize("table", list(ONE_ROW))
def test_a_row_replaced_under_its_own_key_ends_as_an_upsert(store, table):
    store.execute(f"INSERT INTO {table} VALUES {ONE_ROW[table]}")
    (_, key, _), = log(store)
    store.execute(f"REPLACE INTO {table} VALUES {ONE_ROW[table]}")
    deleted = [(table, key, "DELETE")] if recursive(store) else []
    assert log(store, 1) == deleted + [(table, key, "UPSERT")]


# --- who was displaced -----------------------------------------------------------------------------


@pytest.mark.parametrize("clause", ["INSERT OR REPLACE", "REPLACE"])
def test_replace_logs_the_row_that_its_social_credit_code_displaced(store, clause):
    enterprise(store, "A", "s1")
    enterprise(store, "B", "s1", clause=clause)
    assert short(store, 1) == [("DELETE", "A"), ("UPSERT", "B")]
    assert history(store, "customs_code, social_credit_code") == [("A", "s1")]


def test_replace_may_displace_two_rows_at_once(store):
    enterprise(store, "A", "s1")
    enterprise(store, "B", "s2", "CERTIFIED")
    enterprise(store, "B", "s1", "DISCREDITED", clause="REPLACE")
    expected = [("DELETE", "A"), ("UPSERT", "B")]
    got = short(store, 2)
    assert [x for x in got if x != ("DELETE", "B")] == expected
    assert recursive(store) or got == expected
    assert sorted(history(store)) == [("A", "REGULAR"), ("B", "CERTIFIED")]


def test_update_or_replace_logs_the_row_that_its_social_credit_code_displaced(store):
    enterprise(store, "A", "s1")
    enterprise(store, "B", "s2")
    store.execute("UPDATE OR REPLACE enterprise SET social_credit_code = 's1' WHERE customs_code = 'B'")
    assert short(store, 2) == [("DELETE", "A"), ("UPSERT", "B")]


def test_update_or_replace_onto_another_key_and_a_third_code(store):
    enterprise(store, "A", "s1", "CERTIFIED")
    enterprise(store, "B", "s2", "DISCREDITED")
    enterprise(store, "C", "s3")
    store.execute("UPDATE OR REPLACE enterprise SET customs_code = 'B', social_credit_code = 's1'"
                  " WHERE customs_code = 'C'")
    got = short(store, 3)
    assert got[-1] == ("UPSERT", "B") and ("DELETE", "A") in got and ("DELETE", "C") in got
    assert recursive(store) or ("DELETE", "B") not in got
    assert sorted(history(store)) == [("A", "CERTIFIED"), ("B", "DISCREDITED"), ("C", "REGULAR")]
    assert list(tables(store)) == [("enterprise", "B")]


def test_a_row_of_one_statement_displaces_an_earlier_one_of_it(store):
    store.execute("REPLACE INTO enterprise (customs_code, social_credit_code, name, credit_tier, tier_effective_from)"
                  " VALUES ('A', 's1', 'n', 'REGULAR', '2020-01-01'), ('B', 's1', 'n', 'REGULAR', '2020-01-01'),"
                  " ('C', 's1', 'n', 'REGULAR', '2020-01-01')")
    assert short(store) == [("UPSERT", "A"), ("DELETE", "A"), ("UPSERT", "B"), ("DELETE", "B"), ("UPSERT", "C")]


def test_update_or_replace_of_all_rows_to_one_code_leaves_one(store):
    for code in "ABC":
        enterprise(store, code, code.lower())
    store.execute("UPDATE OR REPLACE enterprise SET social_credit_code = 'z'")
    assert len(tables(store)) == 1


QUIET = [
    "INSERT OR IGNORE INTO enterprise {values}",
    "UPDATE OR IGNORE enterprise SET social_credit_code = 's1' WHERE customs_code = 'B'",
    "UPDATE OR IGNORE enterprise SET customs_code = 'A' WHERE customs_code = 'B'",
    "INSERT INTO enterprise {values} ON CONFLICT DO NOTHING",
    "INSERT INTO enterprise {values} ON CONFLICT (social_credit_code) DO NOTHING",
    "INSERT INTO enterprise {values} ON CONFLICT (social_credit_code) DO UPDATE SET name = 'x' WHERE 0",
    "INSERT INTO enterprise {values}",
    "INSERT OR FAIL INTO enterprise {values}",
    "INSERT OR ABORT INTO enterprise {values}",
    "INSERT OR ROLLBACK INTO enterprise {values}",
    "UPDATE enterprise SET social_credit_code = 's1' WHERE customs_code = 'B'",
    "UPDATE OR FAIL enterprise SET customs_code = 'A' WHERE customs_code = 'B'",
]
COLLIDING = ("(customs_code, social_credit_code, name, credit_tier, tier_effective_from)"
             " VALUES ('N', 's1', 'firm', 'DISCREDITED', '2020-01-01')")


@pytest.mark.parametrize("statement", QUIET)
def test_what_displaces_nothing_logs_nothing(store, statement):
    if "ON CONFLICT" in statement and VERSION < (3, 24):
        pytest.skip("this SQLite has no upsert")
    enterprise(store, "A", "s1")
    enterprise(store, "B", "s2")
    try:
        store.execute(statement.format(values=COLLIDING))
    except sqlite3.IntegrityError:
        pass
    assert head(store) == 2
    # What it left in the notes must not be taken for the doing of the statements after it.
    enterprise(store, "C", "s3")
    store.execute("DELETE FROM enterprise WHERE customs_code = 'A'")
    enterprise(store, "D", "s1", clause="REPLACE")
    assert short(store, 2) == [("UPSERT", "C"), ("DELETE", "A"), ("UPSERT", "D")]
    assert history(store) == [("A", "REGULAR")]


@needs_upsert
@pytest.mark.parametrize("target", ["customs_code", "social_credit_code"])
def test_do_update_logs_the_row_it_updates_and_no_other(store, target):
    enterprise(store, "A", "s1")
    values = {"customs_code": ("A", "s9"), "social_credit_code": ("N", "s1")}[target]
    enterprise(store, *values, tier="DISCREDITED",
               tail=f"ON CONFLICT ({target}) DO UPDATE SET credit_tier = excluded.credit_tier")
    assert short(store, 1) == [("UPSERT", "A")]
    assert history(store) == [("A", "REGULAR")]


@needs_upsert
def test_do_update_that_moves_the_key_logs_delete_then_upsert(store):
    enterprise(store, "A", "s1")
    enterprise(store, "N", "s1",
               tail="ON CONFLICT (social_credit_code) DO UPDATE SET customs_code = excluded.customs_code")
    assert short(store, 1) == [("DELETE", "A"), ("UPSERT", "N")]


@needs_upsert
def test_or_replace_beside_do_update_displaces_nothing_before_it_knows(store):
    enterprise(store, "A", "s1")
    enterprise(store, "B", "s2")
    enterprise(store, "A", "s2", "DISCREDITED", clause="INSERT OR REPLACE",
               tail="ON CONFLICT (customs_code) DO UPDATE SET credit_tier = excluded.credit_tier")
    check_replay(store)


@needs_upsert
def test_do_update_of_the_code_that_fails_leaves_no_trace(store):
    enterprise(store, "A", "s1")
    enterprise(store, "B", "s2")
    with pytest.raises(sqlite3.IntegrityError):
        enterprise(store, "A", "s2", tail="ON CONFLICT (customs_code) DO UPDATE"
                                          " SET social_credit_code = excluded.social_credit_code")
    assert head(store) == 2


def test_an_ignored_note_of_a_row_that_changed_since_is_not_used(store):
    enterprise(store, "A", "s1")
    enterprise(store, "N", "s1", clause="INSERT OR IGNORE")
    store.execute("UPDATE enterprise SET credit_tier = 'CERTIFIED', customs_code = 'Z' WHERE customs_code = 'A'")
    enterprise(store, "A", "s4")
    enterprise(store, "B", "s1", clause="REPLACE")
    assert short(store, 1) == [("DELETE", "A"), ("UPSERT", "Z"), ("UPSERT", "A"), ("DELETE", "Z"), ("UPSERT", "B")]
    assert history(store) == [("A", "REGULAR"), ("Z", "CERTIFIED")]


def test_or_fail_keeps_and_logs_the_rows_before_the_failure(store):
    enterprise(store, "A", "s1")
    with pytest.raises(sqlite3.IntegrityError):
        store.execute("INSERT OR FAIL INTO enterprise (customs_code, social_credit_code, name, credit_tier,"
                      " tier_effective_from) VALUES ('B', 's2', 'n', 'REGULAR', '2020-01-01'),"
                      " ('C', 's1', 'n', 'REGULAR', '2020-01-01'), ('D', 's4', 'n', 'REGULAR', '2020-01-01')")
    assert short(store, 1) == [("UPSERT", "B")]


@pytest.mark.parametrize("clause", ["INSERT", "INSERT OR FAIL", "INSERT OR IGNORE", "INSERT OR REPLACE"])
@pytest.mark.parametrize("bad", ["(NULL, 's2', 'n')", "(X'41', 's2', 'n')", "('C', 's2', X'00')",
                                 "('C', X'00', 'n')"])
def test_a_row_that_the_log_cannot_tell_is_refused_whole(store, clause, bad):
    with pytest.raises(sqlite3.DatabaseError):
        store.execute("WITH v (a, b, c) AS (VALUES ('B', 's1', 'n'), " + bad + ")"
                      f" {clause} INTO enterprise (customs_code, social_credit_code, name, credit_tier,"
                      " tier_effective_from) SELECT a, b, c, 'REGULAR', '2020-01-01' FROM v")
    assert (head(store), tables(store)) == (0, {})


def test_infinity_is_refused_for_it_has_no_json(store):
    with pytest.raises(sqlite3.IntegrityError):
        store.execute("INSERT INTO recognised_operator VALUES ('SGA', 'SG', 'STP', 'op', '2020-01-01', NULL, 9e999)")


@pytest.mark.parametrize("table,column", [(table, column) for table, columns in COLUMNS.items() for column in columns])
def test_a_blob_is_refused_in_any_column(store, table, column):
    store.execute(f"INSERT INTO {table} VALUES {ONE_ROW[table]}")
    with pytest.raises(sqlite3.IntegrityError, match="BLOB"):
        store.execute(f"UPDATE {table} SET {column} = X'00'")
    values = ", ".join("X'00'" if c == column else c for c in COLUMNS[table])
    with pytest.raises(sqlite3.IntegrityError, match="BLOB"):
        store.execute(f"INSERT OR REPLACE INTO {table} SELECT {values} FROM {table}")
    assert head(store) == 1


@pytest.mark.parametrize("bad", ["'A|2026', 'REGULAR', '01'", "'A', 'REGULAR', '2026|01'", "X'41', 'REGULAR', '2026'"])
def test_a_composite_key_that_would_be_ambiguous_is_refused(store, bad):
    with pytest.raises(sqlite3.IntegrityError, match="key must be text"):
        store.execute(f"INSERT INTO scheduled_tier VALUES ({bad})")


@pytest.mark.parametrize("table", list(ONE_ROW))
def test_a_rowid_cannot_be_used_to_push_out_another_row(store, table):
    store.execute(f"INSERT INTO {table} VALUES {ONE_ROW[table]}")
    other = ONE_ROW[table].replace("('", "('Z", 1).replace("'s1'", "'s2'")
    columns = ", ".join(COLUMNS[table])
    with pytest.raises(sqlite3.IntegrityError, match="rowid"):
        store.execute(f"REPLACE INTO {table} (rowid, {columns}) VALUES (1, {other[1:]}")
    store.execute(f"INSERT INTO {table} VALUES {other}")
    with pytest.raises(sqlite3.IntegrityError, match="rowid"):
        store.execute(f"UPDATE OR REPLACE {table} SET rowid = 1 WHERE rowid = 2")
    assert head(store) == 2


def test_or_replace_turns_null_into_the_default_and_logs_the_default(store):
    store.execute("INSERT OR REPLACE INTO mutual_recognition VALUES ('SG', 'STP', NULL, NULL, '2020-01-01', NULL)")
    store.execute("INSERT OR REPLACE INTO enterprise VALUES ('A', 's1', 'n', 'REGULAR', '2020-01-01', NULL, NULL,"
                  " NULL)")
    store.execute("UPDATE OR REPLACE enterprise SET suspended = NULL, updated_at = NULL")
    check_replay(store)


def test_a_missing_meta_row_refuses_writes_instead_of_losing_them(store):
    epoch, = store.execute("SELECT epoch FROM registry_meta").fetchone()
    store.execute("DELETE FROM registry_meta")
    for clause in ("INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE", "INSERT OR FAIL"):
        with pytest.raises(sqlite3.IntegrityError, match="registry_meta"):
            enterprise(store, "A", clause=clause)
    assert tables(store) == {}
    store.execute("INSERT INTO registry_meta VALUES (?, 0, 0)", (epoch,))


def test_a_distrustful_writer_writes_or_is_refused_whole(store):
    """With trusted_schema off, SQLite before 3.42 takes json_object in a trigger for unsafe."""
    if VERSION < (3, 31):
        pytest.skip("this SQLite has no trusted_schema")
    store.execute("PRAGMA trusted_schema = OFF")
    try:
        enterprise(store, "A", "s1")
        assert head(store) == 1
    except sqlite3.OperationalError as error:
        assert VERSION < (3, 42) and "unsafe use of json_object" in str(error)
        assert (head(store), tables(store)) == (0, {})


def test_the_writer_sees_its_own_row_counts(store):
    enterprise(store, "A", "s1")
    cursor = store.execute("UPDATE enterprise SET suspended = 1")
    assert cursor.rowcount == 1


# --- transactions ----------------------------------------------------------------------------------


def test_a_rollback_gives_its_numbers_back(store):
    enterprise(store, "A", "s1")
    store.execute("BEGIN")
    enterprise(store, "B", "s1", clause="REPLACE")
    store.execute("ROLLBACK")
    enterprise(store, "C", "s3")
    assert short(store) == [("UPSERT", "A"), ("UPSERT", "C")]


def test_a_savepoint_rolled_back_gives_its_numbers_back(store):
    enterprise(store, "A", "s1")
    store.execute("BEGIN")
    enterprise(store, "B", "s2")
    store.execute("SAVEPOINT s")
    enterprise(store, "C", "s1", clause="REPLACE")
    store.execute("ROLLBACK TO s")
    store.execute("RELEASE s")
    enterprise(store, "D", "s4")
    store.execute("COMMIT")
    assert short(store) == [("UPSERT", "A"), ("UPSERT", "B"), ("UPSERT", "D")]


def test_a_failing_statement_in_a_transaction_leaves_the_others(store):
    store.execute("BEGIN")
    enterprise(store, "A", "s1")
    with pytest.raises(sqlite3.IntegrityError):
        enterprise(store, "B", "s1")
    enterprise(store, "C", "s3")
    store.execute("COMMIT")
    assert short(store) == [("UPSERT", "A"), ("UPSERT", "C")]


def test_or_rollback_takes_back_the_whole_transaction(store):
    store.execute("BEGIN")
    enterprise(store, "A", "s1")
    with pytest.raises(sqlite3.IntegrityError):
        enterprise(store, "B", "s1", clause="INSERT OR ROLLBACK")
    assert not store.in_transaction and head(store) == 0


def test_two_writers_with_different_settings_share_one_sequence(store, tmp_path):
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("PRAGMA recursive_triggers = " + ("OFF" if recursive(store) else "ON"))
    for n in range(20):
        enterprise((store, other)[n % 2], f"A{n}", f"s{n % 3}", clause="REPLACE")
    other.close()


# --- history ---------------------------------------------------------------------------------------


def test_history_is_looked_up_by_index_with_either_code(store):
    for column in ("customs_code", "social_credit_code"):
        plan = " ".join(str(row) for row in store.execute(
            f"EXPLAIN QUERY PLAN SELECT * FROM enterprise_history WHERE {column} = 'A' AND recorded_to > '2026'"))
        assert f"enterprise_history_by_{column}" in plan


def test_every_former_row_is_kept_with_the_time_it_stood(store):
    enterprise(store, "A", "s1", "CERTIFIED")
    first, = store.execute("SELECT updated_at FROM enterprise").fetchone()
    pause()
    store.execute("UPDATE enterprise SET credit_tier = 'REGULAR'")  # a writer that leaves updated_at alone
    pause()
    store.execute(f"UPDATE enterprise SET credit_tier = 'DISCREDITED', updated_at = {NOW}")
    pause()
    enterprise(store, "A", "s1", "SERIOUSLY_DISCREDITED", clause="REPLACE")
    pause()
    enterprise(store, "B", "s1", clause="REPLACE")
    rows = history(store, "customs_code, credit_tier, recorded_from, recorded_to")
    assert [row[:2] for row in rows] == [("A", "CERTIFIED"), ("A", "REGULAR"), ("A", "DISCREDITED"),
                                         ("A", "SERIOUSLY_DISCREDITED")]
    assert rows[0][2] == first
    for before, after in zip(rows, rows[1:]):
        assert before[2] < before[3] == after[2]


def test_a_write_of_the_same_values_is_no_history(store):
    enterprise(store, "A", "s1")
    store.execute("UPDATE enterprise SET name = name")
    assert history(store) == []


def test_touches_leave_no_hole_and_no_pile(store):
    enterprise(store, "A", "s1")
    begun = pause()
    for _ in range(5):
        store.execute(f"UPDATE enterprise SET updated_at = {NOW}")
        pause()
    assert len(history(store)) == 1
    store.execute(f"UPDATE enterprise SET credit_tier = 'CERTIFIED', updated_at = {NOW}")
    touched = pause()
    store.execute(f"UPDATE enterprise SET updated_at = {NOW}")
    assert known_at(store, begun)["A"][3] == "REGULAR"
    assert known_at(store, touched)["A"][3] == "CERTIFIED"
    assert len(history(store)) == 3


def test_a_row_that_went_and_came_back_was_away(store):
    enterprise(store, "A", "s1")
    here = pause()
    store.execute("DELETE FROM enterprise")
    away = pause()
    enterprise(store, "A", "s1")
    pause()
    store.execute(f"UPDATE enterprise SET updated_at = {NOW}")
    back = pause()
    assert [len(known_at(store, t)) for t in (here, away, back)] == [1, 0, 1]


@pytest.mark.parametrize("written,read", [
    ("2026-01-01 08:00:00", "2026-01-01T08:00:00.000Z"), ("2026-01-01T08:00:00+08:00", "2026-01-01T00:00:00.000Z"),
    ("2026-01-01", "2026-01-01T00:00:00.000Z"), ("yesterday", "0000-01-01T00:00:00.000Z")])
def test_history_begins_where_updated_at_says_in_whatever_form(store, written, read):
    enterprise(store, "A", "s1")
    store.execute("DELETE FROM enterprise_history")
    store.execute("UPDATE enterprise SET updated_at = ?", (written,))
    store.execute("DELETE FROM enterprise_history")
    store.execute("DELETE FROM enterprise")
    assert history(store, "recorded_from") == [(read,)]


def test_an_updated_at_in_the_future_does_not_turn_time_round(store):
    store.execute("INSERT INTO enterprise VALUES ('A', 's1', 'n', 'REGULAR', '2020-01-01', NULL, 0,"
                  " '2999-01-01T00:00:00.000Z')")
    store.execute("DELETE FROM enterprise")
    (begin, end), = history(store, "recorded_from, recorded_to")
    assert begin == end


# --- anything at all -------------------------------------------------------------------------------


class Writer:
    """Makes random statements over few keys, so that most of them collide with something."""

    VALUES = {
        "customs_code": ["A", "B", "C", "D", "E"], "social_credit_code": ["s1", "s2", "s3", "s4", None],
        "credit_tier": TIERS, "name": ["n1", "n2"], "suspended": [0, 1], "tier_valid_until": [None, "2030-01-01"],
        "tier_effective_from": ["2020-01-01", "2021-01-01"], "effective_from": ["2026-01-01", "2026-02-01"],
        "aeo_code": ["SG1", "SG2", "KR1"], "country": ["SG", "KR"], "programme": ["P", "Q"],
        "valid_from": ["2020-01-01"], "valid_until": [None, "2030-01-01"], "direction": ["ALL", "IMPORT"],
        "transport_modes": ["ALL", "SEA,AIR"], "effective_to": [None, "2030-01-01"], "id": ["o1", "o2", "o3"],
        "kind": ["HOLD", "INSPECT", "DOCUMENTS"], "basis": ["MANDATED", "TARGETED", "EMERGENCY"],
        "enterprise_id": ["A", None], "hs_prefix": ["8703", None], "origin_country": [None, "SG"],
        "customs_office": [None], "container_number": [None], "valid_to": [None], "legal_basis": ["law"],
        "public_reason": ["why"], "confidential_reason": [None, "secret"],
    }

    def __init__(self, rng: random.Random):
        self.rng = rng

    def pick(self, *choices):
        return self.rng.choice(choices)

    def literal(self, column: str, wild: float = 0.01) -> str:
        if column == "updated_at":
            return NOW
        if self.rng.random() < wild:
            return self.pick("NULL", "NULL", "X'00'", "7")
        value = self.rng.choice(self.VALUES[column])
        return "NULL" if value is None else str(value) if isinstance(value, int) else f"'{value}'"

    def row(self, table: str) -> str:
        return "(" + ", ".join(self.literal(column) for column in COLUMNS[table]) + ")"

    def condition(self, table: str) -> str:
        column = self.rng.choice(KEYS[table] * 3 + COLUMNS[table])
        return self.pick(f"{column} = {self.literal(column)}", f"{column} >= {self.literal(column)}",
                         f"{column} <> {self.literal(column)}", "1", f"rowid % {self.pick(2, 3)} = 0")

    def assignments(self, table: str) -> str:
        weighted = KEYS[table] * 2 + COLUMNS[table] + (["social_credit_code"] * 2 if table == "enterprise" else [])
        columns = list(dict.fromkeys(self.rng.choices(weighted, k=self.rng.randint(1, 3))))
        if table == "enterprise" and self.rng.random() < 0.1:
            return f"updated_at = {NOW}"
        # A moved key keeps no trace of when it moved but updated_at.
        if table == "enterprise" and "updated_at" not in columns and self.rng.random() < (
                1.0 if "customs_code" in columns else 0.5):
            columns.append("updated_at")
        pairs = []
        for column in columns:
            turned = {"A": "B", "B": "C", "C": "A"} if column == "customs_code" else {"s1": "s2", "s2": "s1"}
            cases = " ".join(f"WHEN '{a}' THEN '{b}'" for a, b in turned.items())
            pairs.append(f"{column} = " + self.pick(
                self.literal(column), self.literal(column), column if column != "updated_at" else NOW,
                f"CASE {column} {cases} ELSE {column} END" if column != "updated_at" else NOW))
        return ", ".join(pairs)

    def upsert(self, table: str) -> str:
        """One or (in SQLite that has it) two ON CONFLICT clauses."""
        targets = [f"({', '.join(KEYS[table])})"] + (["(social_credit_code)"] * 2 if table == "enterprise" else [])
        clauses = []
        for _ in range(self.pick(1, 1, 2) if VERSION >= (3, 35) else 1):
            columns = self.rng.sample(COLUMNS[table], 2)
            if table == "enterprise":
                columns = list(dict.fromkeys(columns + ["updated_at"]))
            excluded = ", ".join(f"{column} = excluded.{column}" for column in columns)
            changes = self.pick(excluded, self.assignments(table))
            clauses.append(f"ON CONFLICT {self.rng.choice(targets)} DO " + self.pick(
                "NOTHING", f"UPDATE SET {changes}", f"UPDATE SET {changes}",
                f"UPDATE SET {changes} WHERE {table}.{self.rng.choice(COLUMNS[table])} > 'B'"))
        if VERSION >= (3, 35) and self.rng.random() < 0.2:
            clauses.append(f"ON CONFLICT DO UPDATE SET {self.assignments(table)}")
        return self.pick(" ".join(clauses), " ".join(clauses), "ON CONFLICT DO NOTHING")

    def statement(self) -> str:
        table = self.pick(*["enterprise"] * 8, *COLUMNS)
        conflict = self.pick("", "", " OR REPLACE", " OR REPLACE", " OR IGNORE", " OR FAIL", " OR ABORT",
                             " OR ROLLBACK")
        columns = ", ".join(COLUMNS[table])
        shape = self.rng.random()
        if shape < 0.15:
            return f"DELETE FROM {table} WHERE {self.condition(table)}"
        if shape < 0.45:
            return f"UPDATE{conflict} {table} SET {self.assignments(table)} WHERE {self.condition(table)}"
        if shape < 0.5:
            key, rest = COLUMNS[table][0], [NOW if c == "updated_at" else c for c in COLUMNS[table][1:]]
            return (f"INSERT{conflict} INTO {table} ({columns}) SELECT {self.literal(key)}, {', '.join(rest)}"
                    f" FROM {table} WHERE {self.condition(table)}")
        if shape < 0.52:
            return (f"INSERT{conflict} INTO {table} (rowid, {columns})"
                    f" VALUES ({self.pick(1, 2, 3)}, {self.row(table)[1:]}")
        rows = ", ".join(self.row(table) for _ in range(self.pick(1, 1, 1, 2, 4)))
        insert = f"INSERT{conflict} INTO {table} ({columns}) VALUES {rows}"
        if VERSION >= (3, 24) and shape < 0.8:
            return f"{insert} {self.upsert(table)}"
        return insert


def write(connection, statement: str) -> bool:
    try:
        connection.execute(statement)
        return True
    except sqlite3.DatabaseError as error:
        # Only what the writer asked for may go wrong: a refused row or one that its own clause cannot take.
        text = str(error)
        assert any(part in text for part in (
            "constraint failed", "must be text", "BLOB", "datatype mismatch")), f"{statement}: {text}"
        return False


def expected_history(changes: list[tuple]) -> tuple[collections.Counter, collections.Counter]:
    """From the log alone: the former rows there must be, and those there may be (touches, which merge)."""
    must, may, state = collections.Counter(), collections.Counter(), {}
    for entity, key, op, row in changes:
        if entity != "enterprise":
            continue
        new = json.loads(row) if row else None
        if old := state.pop(key, None):
            content = tuple(old[column] for column in CONTENT)
            if new and all(old[column] == new[column] for column in CONTENT):
                may[content] += 1
            else:
                must[content] += 1
        if new:
            state[key] = new
    return must, may


@pytest.mark.parametrize("seed", range(RUNS))
def test_replaying_any_committed_prefix_gives_the_tables_as_they_were(tmp_path, seed):
    rng = random.Random(seed)
    writer = Writer(rng)
    first = build(tmp_path / "store.db")
    connections = [first, sqlite3.connect(tmp_path / "store.db", isolation_level=None)]
    for connection in connections:
        connection.execute("PRAGMA synchronous = OFF")
    states = {0: {}}
    instants = []
    done: list[str] = []
    for _ in range(60):
        connection = rng.choice(connections)
        mode = f"PRAGMA recursive_triggers = {rng.choice(['ON', 'OFF'])}"
        connection.execute(mode)
        done.append(mode)
        if rng.random() < 0.5:
            done.append(writer.statement())
            write(connection, done[-1])
        else:
            connection.execute("BEGIN IMMEDIATE")
            depth = 0
            for _ in range(rng.randint(1, 8)):
                roll = rng.random()
                if roll < 0.15:
                    depth += 1
                    done.append(f"SAVEPOINT p{depth}")
                elif roll < 0.3 and depth:
                    done.append(f"ROLLBACK TO p{depth}")
                elif roll < 0.35 and depth:
                    done.append(f"RELEASE p{depth}")
                    depth -= 1
                else:
                    done.append(writer.statement())
                    write(connection, done[-1])
                    if not connection.in_transaction:  # OR ROLLBACK met a conflict
                        break
                    continue
                connection.execute(done[-1])
            if connection.in_transaction:
                done.append(rng.choice(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"]))
                connection.execute(done[-1])
        position, now = head(first), tables(first)
        trail = f"seed {seed}, the last statements:\n" + "\n".join(done[-12:])
        assert states.setdefault(position, now) == now, f"the tables changed without a log row; {trail}"
        replayed: dict = {}
        for change in first.execute("SELECT entity, key, op, row FROM change_log ORDER BY sequence").fetchall():
            try:
                apply(replayed, *change)
            except AssertionError as error:
                raise AssertionError(f"{error}; {trail}") from None
        assert replayed == now, trail
        instants.append((pause(), {row["customs_code"]: tuple(row[c] for c in CONTENT)
                                   for (table, _), row in now.items() if table == "enterprise"}))

    changes = first.execute("SELECT sequence, entity, key, op, row FROM change_log ORDER BY sequence").fetchall()
    assert [change[0] for change in changes] == list(range(1, head(first) + 1))
    state: dict = {}
    for sequence, *change in changes:
        apply(state, *change)
        if sequence in states:
            assert state == states[sequence], f"the prefix up to {sequence}, seed {seed}"

    must, may = expected_history([change[1:] for change in changes])
    kept = collections.Counter(first.execute(f"SELECT {', '.join(CONTENT)} FROM enterprise_history").fetchall())
    assert not must - kept, f"former rows missing, seed {seed}"
    assert not kept - must - may, f"former rows that never were, seed {seed}"
    for instant, rows in instants:
        assert known_at(first, instant) == rows, f"as known at {instant}, seed {seed}"
    for connection in connections:
        connection.close()


def test_bulk_speed(tmp_path, capsys):
    """No bound, as the machine decides: a figure to see, and the proof that the plan has no scan in it."""
    count = int(os.environ.get("GREENLANE_TRIGGER_ROWS", "20000"))
    connection = build(tmp_path / "store.db")
    rows = [(f"{n * 7919 % 10**10:010d}", f"9111{n:014d}", f"Enterprise {n}", "REGULAR", "2020-01-01", None)
            for n in range(count)]
    begun = time.perf_counter()
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT INTO enterprise (customs_code, social_credit_code, name, credit_tier,"
                           " tier_effective_from, tier_valid_until) VALUES (?, ?, ?, ?, ?, ?)", rows)
    connection.execute("COMMIT")
    elapsed = time.perf_counter() - begun
    with capsys.disabled():
        print(f"\nSQLite {sqlite3.sqlite_version}: {count} enterprises in one transaction,"
              f" {count / elapsed:,.0f} rows/s")
    assert head(connection) == count
    connection.close()
