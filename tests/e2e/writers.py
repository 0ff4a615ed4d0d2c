"""A program that writes a PostgreSQL store as careless systems do, whatever becomes of the server meanwhile.

    python writers.py URL SEED STATEMENTS

Transactions of 1 to 8 statements of every form there is, with savepoints, rollbacks, refused rows, rows locked before
they are written, and higher isolation. A lost connection is opened again: whether the commit that was on its way took
place, nobody knows. Prints what became of the statements.
"""

from __future__ import annotations

import collections
import contextlib
import json
import random
import subprocess
import sys
import time

import psycopg
from psycopg.errors import CardinalityViolation, DeadlockDetected, IntegrityError, SerializationFailure

TIERS = ["ADVANCED_CERTIFIED", "CERTIFIED", "REGULAR", "DISCREDITED", "SERIOUSLY_DISCREDITED"]
CUSTOMS = [f"77019{n:05d}" for n in range(500)]
SOCIAL = [f"91110000{n:010d}" for n in range(350)]
OPERATORS = [f"SG{n:06d}" for n in range(60)]
ORDERS = [f"order-{n:03d}" for n in range(80)]
ENTERPRISE = "customs_code, social_credit_code, name, credit_tier, tier_effective_from, tier_valid_until, suspended"


class Statements:
    """Random statements with readable values; the identifiers collide all the time."""

    def __init__(self, rng: random.Random):
        self.rng = rng

    def date(self, no_end: bool = False) -> str | None:
        if no_end and self.rng.random() < 0.5:
            return None
        return f"{self.rng.choice((2019, 2022, 2025, 2093))}-{self.rng.randint(1, 12):02d}-01"

    def enterprise(self) -> list:
        rng = self.rng
        return [rng.choice(CUSTOMS), rng.choice([None, *rng.choices(SOCIAL, k=3)]), f"Firm {rng.randrange(9)} 公司 '\"|\\",
                rng.choice(TIERS), self.date(), self.date(True), rng.random() < 0.2]

    def enterprises(self, most: int) -> list[list]:
        rows = {row[0]: row for row in (self.enterprise() for _ in range(self.rng.randint(1, most)))}
        return list(rows.values())

    def some(self) -> list[str]:
        return self.rng.sample(CUSTOMS, self.rng.randint(1, 4))

    def run(self, connection):
        self.rng.choice([self.insert, self.insert, self.update, self.update, self.delete, self.merge, self.copy,
                         self.two_at_once, self.swap, self.other_tables, self.other_tables])(connection)

    def values(self, rows: list[list]) -> tuple[str, list]:
        one = "(" + ", ".join(["%s"] * 4 + ["%s::date"] * 2 + ["%s::boolean"]) + ")"
        return ", ".join([one] * len(rows)), [value for row in rows for value in row]

    def insert(self, connection):
        values, parameters = self.values(self.enterprises(4))
        conflict = self.rng.choice([
            "", "ON CONFLICT DO NOTHING",
            "ON CONFLICT (customs_code) DO UPDATE SET credit_tier = excluded.credit_tier, name = excluded.name",
            "ON CONFLICT (customs_code) DO UPDATE SET social_credit_code = excluded.social_credit_code",
            "ON CONFLICT (social_credit_code) DO UPDATE SET suspended = NOT enterprise.suspended"])
        connection.execute(f"INSERT INTO enterprise ({ENTERPRISE}) VALUES {values} {conflict}", parameters)

    def update(self, connection):
        change, *parameters = self.rng.choice([
            ("credit_tier = %s", self.rng.choice(TIERS)), ("suspended = NOT suspended",), ("updated_at = now()",),
            ("social_credit_code = %s", self.rng.choice([None, *SOCIAL])), ("tier_valid_until = %s", self.date(True)),
            ("customs_code = %s", self.rng.choice(CUSTOMS)), ("name = name || 'x'",)])
        if self.rng.random() < 0.2:
            connection.execute("SELECT 1 FROM enterprise WHERE customs_code = ANY (%s) FOR UPDATE", (self.some(),))
        connection.execute(f"UPDATE enterprise SET {change} WHERE customs_code = ANY (%s)", (*parameters, self.some()))

    def delete(self, connection):
        connection.execute("DELETE FROM enterprise WHERE customs_code = ANY (%s)", (self.some(),))

    def merge(self, connection):
        values, parameters = self.values(self.enterprises(4))
        connection.execute(
            f"MERGE INTO enterprise e USING (VALUES {values}) AS n ({ENTERPRISE}) ON n.customs_code = e.customs_code"
            " WHEN MATCHED AND n.suspended THEN DELETE WHEN MATCHED THEN UPDATE SET credit_tier = n.credit_tier"
            f" WHEN NOT MATCHED THEN INSERT ({ENTERPRISE}) VALUES (n.customs_code, n.social_credit_code, n.name,"
            " n.credit_tier, n.tier_effective_from, n.tier_valid_until, n.suspended)", parameters)

    def copy(self, connection):
        with connection.cursor() as cursor, cursor.copy(f"COPY enterprise ({ENTERPRISE}) FROM STDIN") as copy:
            for row in self.enterprises(3):
                copy.write_row(row)

    def two_at_once(self, connection):
        connection.execute(
            "WITH gone AS (DELETE FROM enterprise WHERE customs_code = ANY (%s) RETURNING customs_code)"
            " UPDATE enterprise SET name = 'Firm' WHERE customs_code = ANY (%s)"
            " AND customs_code NOT IN (SELECT customs_code FROM gone)", (self.some(), self.some()))

    def swap(self, connection):
        """Two rows change places in one statement: each key and code is both gone and there again."""
        connection.execute("UPDATE enterprise SET name = name || '-', social_credit_code = NULL"
                           " WHERE customs_code = ANY (%s)", (self.some(),))
        connection.execute("UPDATE enterprise SET social_credit_code = %s WHERE customs_code = %s",
                           (self.rng.choice(SOCIAL), self.rng.choice(CUSTOMS)))

    def other_tables(self, connection):
        rng = self.rng
        table = rng.choice(["scheduled_tier", "recognised_operator", "mutual_recognition", "control_order"])
        key, keys, columns, row = {
            "scheduled_tier": ("customs_code, effective_from", CUSTOMS, "customs_code, credit_tier, effective_from",
                               [rng.choice(CUSTOMS), rng.choice(TIERS), self.date()]),
            "recognised_operator": ("aeo_code", OPERATORS, "aeo_code, country, programme, name, valid_from, valid_until",
                                    [rng.choice(OPERATORS), "SG", "STP-Plus", "Operator", self.date(), self.date(True)]),
            "mutual_recognition": ("country, programme, direction, transport_modes, effective_from", ["SG", "KR"],
                                   "country, programme, direction, transport_modes, effective_from, effective_to",
                                   [rng.choice(["SG", "KR"]), "STP-Plus", "ALL", "SEA,AIR", self.date(), self.date(True)]),
            # Only about the writers' own enterprises: the witness asks for decisions meanwhile.
            "control_order": ("id", ORDERS, "id, kind, basis, enterprise_id, valid_from, valid_to, legal_basis,"
                              " public_reason, confidential_reason",
                              [rng.choice(ORDERS), rng.choice(["HOLD", "INSPECT", "DOCUMENTS"]), "TARGETED",
                               rng.choice(CUSTOMS), "2020-01-01T00:00:00.123456+08:00",
                               rng.choice([None, "2099-01-01T00:00:00Z"]), "Customs Law Art 28", "reason",
                               rng.choice([None, "informant"])]),
        }[table]
        first = key.split(",")[0]
        if rng.random() < 0.25:
            connection.execute(f"DELETE FROM {table} WHERE {first} = ANY (%s)", (rng.sample(keys, 2),))
            return
        last = columns.split(", ")[-1]
        marks = ", ".join(["%s"] * len(row))
        connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})"
                           f" ON CONFLICT ({key}) DO UPDATE SET {last} = excluded.{last}", row)


def transact(connection, statements: Statements, counts: collections.Counter, most: int):
    """One transaction; a refused statement takes back what came since the last savepoint, or everything."""
    rng = statements.rng
    if rng.random() < 0.1:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    else:
        connection.execute("BEGIN")
    savepoint = False
    try:
        for _ in range(min(most, rng.randint(1, 8))):
            if rng.random() < 0.3:
                connection.execute("SAVEPOINT s")
                savepoint = True
            counts["statements"] += 1
            try:
                statements.run(connection)
            except (CardinalityViolation, IntegrityError):
                counts["refused"] += 1
                if not savepoint:
                    break
                connection.execute("ROLLBACK TO s")
            if savepoint and rng.random() < 0.2:
                connection.execute("ROLLBACK TO s")
                counts["rolled back to a savepoint"] += 1
        end = "ROLLBACK" if rng.random() < 0.15 else "COMMIT"
        connection.execute(end)
        counts[end] += 1
    except (DeadlockDetected, SerializationFailure) as error:
        counts[type(error).__name__] += 1
        connection.execute("ROLLBACK")


def write(url: str, seed: int, most: int):
    statements, counts, connection = Statements(random.Random(seed)), collections.Counter(), None
    while counts["statements"] < most:
        try:
            connection = connection or psycopg.connect(url, autocommit=True, connect_timeout=5)
            transact(connection, statements, counts, most - counts["statements"])
        except psycopg.OperationalError:
            counts["connections lost"] += connection is not None
            connection = None
            time.sleep(0.02)
    print(json.dumps(counts))


@contextlib.contextmanager
def writing(url: str, statements: int, writers: int = 3):
    """So many writers at work; what it gives waits until all of them are done, and sums up what they say."""
    running = [subprocess.Popen([sys.executable, __file__, url, str(seed), str(statements // writers)],
                                stdout=subprocess.PIPE, text=True) for seed in range(writers)]

    def done(deadline: float = 600.0) -> collections.Counter:
        counts = collections.Counter()
        for writer in running:
            said, _ = writer.communicate(timeout=deadline)
            assert writer.returncode == 0
            counts.update(json.loads(said))
        return counts

    try:
        yield done
    finally:
        for writer in running:
            writer.kill()
            writer.wait()


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
