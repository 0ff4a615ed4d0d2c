"""Other programs write the store with plain SQL while the server runs: it must end with the same rows, answer a
change within 200 ms, and exactly so for whoever sends `min_registry_version`.

GREENLANE_WRITES sets how many writes the two writer processes make together (20000; 100000 in the long run).
This file run as a program is such a writer: `write` at random, or `obey` what its standard input says.
"""

from __future__ import annotations

import collections
import contextlib
import datetime
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import time

WRITES = int(os.environ.get("GREENLANE_WRITES", "20000"))
TIERS = ["ADVANCED_CERTIFIED", "CERTIFIED", "REGULAR", "DISCREDITED", "SERIOUSLY_DISCREDITED"]
NOW = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
OFFICE, OTHER_OFFICE = "0202", "5301"
HS, OTHER_HS = "8703230000", "0102290000"
CONTAINER = "CSQU3054383"


class Pools:
    """The identifiers that the writers draw from: few enough to collide with each other all the time."""

    def __init__(self, writes: int):
        count = 400 + writes // 50
        self.customs = [f"11019{n:05d}" for n in range(count)]
        self.social = [f"91110000{n:010d}" for n in range(count * 3 // 4)]
        self.aeo = [f"SG{n:06d}" for n in range(60)] + [f"KR{n:06d}" for n in range(60)]
        self.orders = [f"order-{n:03d}" for n in range(150)]


class Writer:
    """Makes random statements with valid values, of every form that SQLite has for changing a row."""

    KEYS = {
        "enterprise": ["customs_code"], "scheduled_tier": ["customs_code", "effective_from"],
        "recognised_operator": ["aeo_code"],
        "mutual_recognition": ["country", "programme", "direction", "transport_modes", "effective_from"],
        "control_order": ["id"],
    }

    def __init__(self, rng: random.Random, pools: Pools):
        self.rng = rng
        self.pools = pools

    def pick(self, *choices):
        return self.rng.choice(choices)

    def date(self) -> str:
        return f"{self.pick(2019, 2021, 2023, 2025, 2093, 2095)}-{self.rng.randint(1, 12):02d}-01"

    def row(self, table: str) -> dict:
        pick, pools = self.pick, self.pools
        if table == "enterprise":
            social = self.rng.choice(pools.social)
            return {"customs_code": self.rng.choice(pools.customs), "social_credit_code": pick(None, *[social] * 9),
                    "name": f"Firm {pick(1, 2, 3)} 公司", "credit_tier": pick(*TIERS),
                    "tier_effective_from": self.date(), "tier_valid_until": pick(None, None, self.date()),
                    "suspended": pick(0, 0, 0, 1)}
        if table == "scheduled_tier":
            return {"customs_code": self.rng.choice(pools.customs), "credit_tier": pick(*TIERS),
                    "effective_from": self.date()}
        if table == "recognised_operator":
            code = self.rng.choice(pools.aeo)
            return {"aeo_code": code, "country": code[:2], "programme": pick("STP-Plus", "AEO"), "name": "Operator",
                    "valid_from": self.date(), "valid_until": pick(None, self.date()), "suspended": pick(0, 0, 1)}
        if table == "mutual_recognition":
            return {"country": pick("SG", "KR", "NZ"), "programme": pick("STP-Plus", "AEO"),
                    "direction": pick("ALL", "IMPORT", "EXPORT"), "transport_modes": pick("ALL", "SEA,AIR"),
                    "effective_from": self.date(), "effective_to": pick(None, self.date())}
        # Half of the orders are about an enterprise alone: an office or a direction would catch every declaration.
        order = {"id": self.rng.choice(pools.orders), "kind": pick("HOLD", "INSPECT", "DOCUMENTS"),
                 "basis": pick("MANDATED", "TARGETED", "EMERGENCY"),
                 "enterprise_id": self.rng.choice(pick(pools.customs, pools.social)),
                 "hs_prefix": None, "origin_country": None, "customs_office": None,
                 "container_number": None, "direction": None,
                 "valid_from": pick("2020-01-01T00:00:00Z", "2020-01-01T00:00:00.000Z", "2099-01-01T00:00:00Z"),
                 "valid_to": pick(None, None, "2021-01-01T00:00:00Z", "2099-01-01T00:00:00Z"),
                 "legal_basis": "Customs Law Art 28", "public_reason": f"reason {self.rng.randrange(10**9)}",
                 "confidential_reason": pick(None, "informant")}
        if self.rng.random() < 0.5:
            order |= pick({"hs_prefix": "8703", "origin_country": pick(None, "DE", "JP")}, {"hs_prefix": "01"},
                          {"customs_office": pick(OFFICE, OTHER_OFFICE)}, {"container_number": CONTAINER},
                          {"direction": pick("IMPORT", "EXPORT")})
            if self.rng.random() < 0.1:
                order["enterprise_id"] = None
        return order

    def some_rows(self, table: str) -> tuple[str, list]:
        """A WHERE that means few rows."""
        keys = self.KEYS[table]
        column = self.pick(*keys, "social_credit_code") if table == "enterprise" else keys[0]
        values = [self.row(table)[column] for _ in range(self.pick(1, 1, 1, 3))]
        where, values = f"{column} IN ({', '.join('?' * len(values))})", values
        if len(keys) > 1:
            where, values = f"{where} AND effective_from > ?", [*values, self.date()]
        return where, values

    def changes(self, table: str) -> tuple[str, list]:
        row = self.row(table)
        columns = self.rng.sample(list(row), self.pick(1, 1, 2))
        if table == "enterprise" and self.rng.random() < 0.3:
            columns = list({*columns, self.pick("social_credit_code", "customs_code")})
        if table == "control_order":
            # A selector set alone to NULL would break the CHECK more often than not; that happens often enough.
            columns = [column for column in columns if row[column] is not None] or ["kind"]
        if table == "recognised_operator":
            columns = [column for column in columns if column != "country"] or ["name"]
        sets = [f"{column} = ?" for column in columns]
        if table == "enterprise" and self.rng.random() < 0.5:
            sets.append(f"updated_at = {NOW}")
        return ", ".join(sets), [row[column] for column in columns]

    def statement(self) -> tuple[str, list]:
        table = self.pick(*["enterprise"] * 6, "scheduled_tier", "recognised_operator", "mutual_recognition",
                          "control_order")
        conflict = self.pick("", " OR REPLACE", " OR REPLACE", " OR IGNORE", " OR FAIL", " OR ABORT", " OR ROLLBACK")
        form = self.rng.random()
        if form < 0.15:
            where, values = self.some_rows(table)
            return f"DELETE FROM {table} WHERE {where}", values
        if form < 0.5:
            sets, values = self.changes(table)
            where, more = self.some_rows(table)
            return f"UPDATE{conflict} {table} SET {sets} WHERE {where}", values + more
        rows = [self.row(table) for _ in range(self.pick(1, 1, 1, 3))]
        columns = list(rows[0])
        sql = (f"{self.pick('REPLACE') if form > 0.95 else 'INSERT' + conflict} INTO {table} ({', '.join(columns)})"
               f" VALUES {', '.join('(' + ', '.join('?' * len(columns)) + ')' for _ in rows)}")
        if form < 0.75:
            target = ", ".join(self.KEYS[table])
            if table == "enterprise":
                target = self.pick("customs_code", "social_credit_code")
            changed = ", ".join(f"{column} = excluded.{column}" for column in self.rng.sample(columns, 2))
            sql += self.pick(f" ON CONFLICT ({target}) DO UPDATE SET {changed}", f" ON CONFLICT ({target}) DO NOTHING",
                             " ON CONFLICT DO NOTHING", f" ON CONFLICT ({target}) DO UPDATE SET {changed} WHERE 0")
        return sql, [value for row in rows for value in row.values()]


def write(path: str, seed: int, writes: int, all_writes: int):
    """Makes `writes` statements in transactions of 1 to 20, and prints what became of them."""
    rng = random.Random(seed)
    writer = Writer(rng, Pools(all_writes))
    connection = sqlite3.connect(path, timeout=60, isolation_level=None)
    connection.execute("PRAGMA busy_timeout = 60000")
    counts = collections.Counter()
    while counts["writes"] < writes:
        connection.execute(f"PRAGMA recursive_triggers = {rng.choice(['ON', 'OFF'])}")
        length = min(rng.randint(1, 20), writes - counts["writes"])
        if length > 1 or rng.random() < 0.5:
            connection.execute("BEGIN IMMEDIATE")
        savepoint = False
        for _ in range(length):
            counts["writes"] += 1
            if connection.in_transaction and rng.random() < 0.05:
                connection.execute("ROLLBACK TO s" if savepoint else "SAVEPOINT s")
                savepoint = True
            try:
                connection.execute(*writer.statement())
            except sqlite3.IntegrityError:
                counts["refused"] += 1
                if length > 1 and not connection.in_transaction:  # OR ROLLBACK ended it
                    break
        if connection.in_transaction:
            end = rng.choice(["COMMIT"] * 19 + ["ROLLBACK"])
            connection.execute(end)
            counts[end] += 1
        if rng.random() < 0.02:
            time.sleep(0.01)  # lets the reader catch up now and then, so that both ways of reading are used
    connection.close()
    print(json.dumps(counts))


def obey(path: str):
    """Runs each line of standard input as SQL, and answers with the monotonic time just after its commit."""
    connection = sqlite3.connect(path, timeout=60, isolation_level=None)
    for line in sys.stdin:
        connection.execute(line)
        print(time.monotonic(), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], *map(int, sys.argv[3:]))
    else:
        obey(sys.argv[2])
    sys.exit()

import grpc  # noqa: E402  (a writer needs none of these)
import pytest  # noqa: E402

from harness import Server, eventually, pb  # noqa: E402
from test_store_triggers import apply, tables  # noqa: E402


@contextlib.contextmanager
def running(folder, rows: list[tuple[str, str | None, str]]):
    """A server whose store has these enterprises."""
    server = Server(folder)
    try:
        server.start(wait=False)
        server.wait_for_store()
        with contextlib.closing(server.sql()) as sql:
            sql.execute("BEGIN IMMEDIATE")
            sql.executemany("INSERT INTO enterprise (customs_code, social_credit_code, name, credit_tier,"
                            " tier_effective_from) VALUES (?, ?, 'firm', ?, '2020-01-01')", rows)
            sql.execute("COMMIT")
        server.wait_ready()
        yield server
        assert server.process.poll() is None, server.log_tail()
    finally:
        server.stop()


CODES = [f"33019{n:05d}" for n in range(100)]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    rows = [(code, None, "ADVANCED_CERTIFIED") for code in CODES]
    with running(tmp_path_factory.mktemp("writers"), rows) as server:
        yield server


def declare(code: str = "", social: str = "", version=None, number: int = 1):
    party = pb.Party(role=pb.PARTY_ROLE_CONSIGNEE, customs_code=code)
    if social:
        party = pb.Party(role=pb.PARTY_ROLE_CONSIGNEE, social_credit_code=social)
    return pb.DecideRequest(
        declaration_number=f"{OFFICE}20261{number:09d}", direction=pb.DIRECTION_IMPORT, customs_office=OFFICE,
        parties=[party], goods=[pb.GoodsItem(hs_code=HS, origin_country="DE")], container_numbers=[CONTAINER],
        min_registry_version=version)


def failure(call) -> tuple[grpc.StatusCode, float]:
    """The status with which a call fails, and after how long."""
    begun = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), time.monotonic() - begun


# --- in force at once ------------------------------------------------------------------------------


def test_a_downgrade_by_sql_is_in_force_within_200_ms(server, capsys):
    writer = subprocess.Popen([sys.executable, __file__, "obey", str(server.db)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True, bufsize=1)
    elapsed = []
    try:
        for number, code in enumerate(CODES[:20]):
            before = server.facilitation.Decide(declare(code, number=number), timeout=5).decision
            assert before.credit_tier == pb.CREDIT_TIER_ADVANCED_CERTIFIED
            writer.stdin.write(f"UPDATE enterprise SET credit_tier = 'DISCREDITED' WHERE customs_code = '{code}'\n")
            committed = float(writer.stdout.readline())
            while True:
                decision = server.facilitation.Decide(declare(code, number=number), timeout=5).decision
                answered = time.monotonic() - committed
                if decision.credit_tier == pb.CREDIT_TIER_DISCREDITED:
                    break
                assert answered < 1.0, f"{code} is still {decision.credit_tier} after {answered:.3f} s"
            elapsed.append(answered)
            assert decision.parties[0].registered_tier == pb.CREDIT_TIER_DISCREDITED
            time.sleep(0.003 * number)  # not always at the same point of the server's rhythm
    finally:
        writer.stdin.close()
        writer.wait(10)
    median = statistics.median(elapsed)
    with capsys.disabled():
        print(f"\na downgrade by SQL was in force after {median * 1000:.1f} ms (median of {len(elapsed)}),"
              f" {max(elapsed) * 1000:.1f} ms at most; asked for: 200 ms")
    assert median < 0.2


def test_min_registry_version_makes_it_exact(server):
    tiers = ["DISCREDITED", "ADVANCED_CERTIFIED", "REGULAR"]
    with contextlib.closing(server.sql()) as sql:
        for number in range(50):
            code, tier = CODES[20 + number % 7], tiers[number % 3]
            sql.execute("UPDATE enterprise SET credit_tier = ? WHERE customs_code = ?", (tier, code))
            version = server.version(sql)
            decision = server.facilitation.Decide(declare(code, version=version, number=number), timeout=5).decision
            assert pb.CreditTier.Name(decision.credit_tier) == f"CREDIT_TIER_{tier}"
            assert decision.registry_version.epoch == version.epoch
            assert decision.registry_version.sequence >= version.sequence


def test_min_registry_version_holds_in_a_simulation(server):
    with contextlib.closing(server.sql()) as sql:
        for tier in ("DISCREDITED", "REGULAR") * 5:
            sql.execute("UPDATE enterprise SET credit_tier = ? WHERE customs_code = ?", (tier, CODES[30]))
            request = pb.SimulateRequest(request=declare(CODES[30], version=server.version(sql)))
            decision = server.facilitation.Simulate(request, timeout=5).decision
            assert pb.CreditTier.Name(decision.credit_tier) == f"CREDIT_TIER_{tier}"


@pytest.mark.parametrize("deadline", [None, 10.0])
def test_a_version_that_does_not_come_is_unavailable_after_a_second(server, deadline):
    version = server.version()
    version.sequence += 1_000_000
    code, waited = failure(lambda: server.facilitation.Decide(declare(CODES[40], version=version), timeout=deadline))
    assert code == grpc.StatusCode.UNAVAILABLE
    assert 0.9 < waited < 3


def test_a_shorter_deadline_is_kept_while_waiting_for_a_version(server):
    version = server.version()
    version.sequence += 1_000_000
    code, waited = failure(lambda: server.facilitation.Decide(declare(CODES[40], version=version), timeout=0.3))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert 0.2 < waited < 0.9


@pytest.mark.parametrize("epoch", ["00000000000000000000000000000000", ""])
def test_another_epoch_or_none_is_a_failed_precondition_after_a_second(server, epoch):
    version = pb.RegistryVersion(epoch=epoch, sequence=1)
    code, waited = failure(lambda: server.facilitation.Decide(declare(CODES[40], version=version)))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert 0.9 < waited < 3


def test_a_version_that_comes_while_it_is_waited_for_is_answered(server):
    with contextlib.closing(server.sql()) as sql:
        sql.execute("BEGIN IMMEDIATE")
        sql.execute("UPDATE enterprise SET credit_tier = 'DISCREDITED' WHERE customs_code = ?", (CODES[50],))
        waiting = server.facilitation.Decide.future(declare(CODES[50], version=server.version(sql)), timeout=10)
        time.sleep(0.3)
        assert not waiting.done()
        sql.execute("COMMIT")
        assert waiting.result(timeout=2).decision.credit_tier == pb.CREDIT_TIER_DISCREDITED


# --- the same rows in the end ----------------------------------------------------------------------


def status(server):
    return server.registry.GetRegistryStatus(pb.GetRegistryStatusRequest(), timeout=5)


def tier_on(row: dict, scheduled: list[dict], day: str) -> str:
    """The registered tier on a day, as the rule reads: the latest that is due, of equal dates the scheduled one."""
    due = [(row["tier_effective_from"], 0, row["credit_tier"])]
    due += [(each["effective_from"], 1, each["credit_tier"]) for each in scheduled]
    due = [each for each in due if each[0] <= day]
    return max(due)[2] if due else row["credit_tier"]


def compare_enterprises(server, rows: dict, pools: Pools):
    enterprises = {row["customs_code"]: row for (table, _), row in rows.items() if table == "enterprise"}
    scheduled = collections.defaultdict(list)
    for (table, _), row in rows.items():
        if table == "scheduled_tier":
            scheduled[row["customs_code"]].append(row)
    for each in scheduled.values():
        each.sort(key=lambda row: row["effective_from"])

    def same(got, row):
        assert got.customs_code == row["customs_code"]
        assert got.social_credit_code == (row["social_credit_code"] or "")
        assert got.name == row["name"]
        assert pb.CreditTier.Name(got.credit_tier) == "CREDIT_TIER_" + row["credit_tier"]
        assert got.tier_effective_from == row["tier_effective_from"]
        assert got.tier_valid_until == (row["tier_valid_until"] or "")
        assert got.suspended == bool(row["suspended"])
        assert [(pb.CreditTier.Name(each.credit_tier), each.effective_from) for each in got.scheduled] == [
            ("CREDIT_TIER_" + each["credit_tier"], each["effective_from"]) for each in scheduled[row["customs_code"]]]

    holders = {row["social_credit_code"]: row for row in enterprises.values() if row["social_credit_code"]}
    for column, codes, expected in (("customs_code", pools.customs, enterprises),
                                    ("social_credit_code", pools.social, holders)):
        for code in sorted({*codes, *expected}):
            request = pb.GetEnterpriseRequest(**{column: code})
            if code in expected:
                same(server.registry.GetEnterprise(request, timeout=5).enterprise, expected[code])
            else:
                with pytest.raises(grpc.RpcError) as caught:
                    server.registry.GetEnterprise(request, timeout=5)
                assert caught.value.code() == grpc.StatusCode.NOT_FOUND, code
    return enterprises, scheduled


def matches(order: dict, code: str, social: str | None, now: str) -> bool:
    """Whether an order matches what `declare` sends: written again from the rule, not from the engine."""
    return (order["valid_from"] <= now and (order["valid_to"] is None or now < order["valid_to"])
            and order["enterprise_id"] in (None, code, social)
            and HS.startswith(order["hs_prefix"] or "") and order["origin_country"] in (None, "DE")
            and order["customs_office"] in (None, OFFICE) and order["container_number"] in (None, CONTAINER)
            and order["direction"] in (None, "IMPORT"))


def order_reason(order: dict) -> str:
    """The reason code that a matching order leaves."""
    if order["kind"] == "INSPECT":
        return "MANDATED_INSPECTION" if order["basis"] == "MANDATED" else "TARGETED_INSPECTION"
    return {"HOLD": "HOLD_ORDER", "DOCUMENTS": "DOCUMENT_ORDER"}[order["kind"]]


def compare_decisions(server, rows: dict, enterprises: dict, scheduled: dict, sample: list[str]):
    orders = [row for (table, _), row in rows.items() if table == "control_order"]
    seen = collections.Counter()
    for code in sample:
        row = enterprises.get(code)
        # Asked by either identifier: an order on one of them catches the enterprise under the other too.
        by_social = row is not None and row["social_credit_code"] and int(code[-1]) % 2
        request = declare(code, row["social_credit_code"] if by_social else "")
        decision = server.facilitation.Simulate(pb.SimulateRequest(request=request), timeout=5).decision
        instant = decision.decided_at.ToDatetime().replace(tzinfo=datetime.timezone.utc)
        day = instant.astimezone(datetime.timezone(datetime.timedelta(hours=8))).date().isoformat()
        party = decision.parties[0]
        assert party.known == (row is not None)
        if row:
            assert party.suspended == bool(row["suspended"])
            assert (pb.CreditTier.Name(party.registered_tier)
                    == "CREDIT_TIER_" + tier_on(row, scheduled[code], day)), (row, scheduled[code])
        expected = sorted((order_reason(order), order["public_reason"]) for order in orders if matches(
            order, code, row and row["social_credit_code"], instant.strftime("%Y-%m-%dT%H:%M:%SZ")))
        got = sorted((pb.ReasonCode.Name(reason.code).removeprefix("REASON_CODE_"), reason.text)
                     for reason in decision.reasons if reason.code <= pb.REASON_CODE_DOCUMENT_ORDER)
        assert got == expected, code
        names = {name for name, _ in expected}
        blocked = [pb.ReasonCode.Name(each).removeprefix("REASON_CODE_") for each in decision.green_channel.blocked_by]
        assert {order_reason(order) for order in orders}.intersection(blocked) == names
        assert (decision.lane == pb.LANE_MANUAL) == ("HOLD_ORDER" in names)
        if names & {"MANDATED_INSPECTION", "TARGETED_INSPECTION"}:
            assert decision.inspection.rate_ppm == 1_000_000
        if "DOCUMENT_ORDER" in names:
            assert decision.document_review == pb.DOCUMENT_REVIEW_INTENSIFIED
        seen.update(names or {"none"})
    return seen


def test_two_writers_end_with_replica_and_store_equal_row_by_row(tmp_path, capsys):
    pools = Pools(WRITES)
    rows = [(code, None, "REGULAR") for code in pools.customs[::2]]
    with running(tmp_path, rows) as server, contextlib.closing(server.sql()) as sql:
        state = tables(sql)
        start, = sql.execute("SELECT sequence FROM registry_meta").fetchone()
        begun = time.monotonic()
        writers = [subprocess.Popen([sys.executable, __file__, "write", str(server.db), str(seed),
                                     str(WRITES // 2), str(WRITES)], stdout=subprocess.PIPE, text=True)
                   for seed in (1, 2)]
        position, answers = 0, 0
        try:
            while any(writer.poll() is None for writer in writers):
                now = status(server)
                assert now.registry_version.sequence >= position, "the registry went back"
                position, answers = now.registry_version.sequence, answers + 1
                time.sleep(0.02)
            counts = collections.Counter()
            for writer in writers:
                assert writer.wait() == 0
                counts.update(json.loads(writer.stdout.read()))
        finally:
            for writer in writers:
                writer.kill()
                writer.wait()
        wrote = time.monotonic() - begun
        assert counts["writes"] == WRITES // 2 * 2
        epoch, last = sql.execute("SELECT epoch, sequence FROM registry_meta").fetchone()
        eventually(lambda: status(server).registry_version == pb.RegistryVersion(epoch=epoch, sequence=last), 30,
                   f"the replica at {last}")
        caught_up = time.monotonic() - begun - wrote

        # The log first: if it is wrong, the replica has no chance.
        changes = sql.execute("SELECT sequence, entity, key, op, row FROM change_log WHERE sequence > ?"
                              " ORDER BY sequence", (start,)).fetchall()
        assert [change[0] for change in changes] == list(range(start + 1, last + 1))
        for _, *change in changes:
            apply(state, *change)
        store = tables(sql)
        assert state == store

        enterprises, scheduled = compare_enterprises(server, store, pools)
        final = status(server)
        own = collections.Counter("CREDIT_TIER_" + row["credit_tier"] for row in enterprises.values())
        assert {pb.CreditTier.Name(each.credit_tier): each.enterprises for each in final.tiers
                if each.enterprises} == dict(own)
        count = collections.Counter(table for table, _ in store)
        assert final.control_orders == count["control_order"]
        assert final.recognised_operators == count["recognised_operator"]
        assert final.quarantined_rows == 0
        sample = random.Random(3).sample(pools.customs, 300)
        named = [row["enterprise_id"] for row in store.values() if row.get("enterprise_id") in pools.customs]
        seen = compare_decisions(server, store, enterprises, scheduled, sample + named)
    with capsys.disabled():
        print(f"\n{counts['writes']} writes ({counts['refused']} refused, {counts['ROLLBACK']} rollbacks) by two"
              f" processes in {wrote:.1f} s made {last - start} changes; the replica was level"
              f" {caught_up * 1000:.0f} ms after the last and answered {answers} times meanwhile; compared"
              f" {len(enterprises)} enterprises, {count['scheduled_tier']} scheduled tiers,"
              f" {count['control_order']} orders, {len(sample) + len(named)} decisions {dict(seen)}")
