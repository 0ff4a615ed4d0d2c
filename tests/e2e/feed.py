"""What the tests of the feed share: a server on a filled store of either kind, and the proof that both are equal.

Enterprises are numbered within their tier: `code("REGULAR", 7)` is the eighth of the regular ones.
"""

from __future__ import annotations

import contextlib
import os

from harness import Server, eventually, pb
from oracle.digest import COLUMNS, TIERS, digest

OFFICE = "0202"


def size(name: str, default: int) -> int:
    """How much a test does: the variable GREENLANE_<NAME>, as tests/long.sh sets it, or a size for every day."""
    return int(os.environ.get(f"GREENLANE_{name}", default))


def code(tier: str, number: int) -> str:
    return str((TIERS.index(tier) + 1) * 1_000_000_000 + number)


def fill(sql, tier: str, count: int, first: int = 0):
    """Registers that many enterprises of a tier in one statement."""
    low = int(code(tier, first))
    sql.execute(
        f"INSERT INTO enterprise (customs_code, name, credit_tier, tier_effective_from)"
        f" WITH RECURSIVE n(i) AS (SELECT {low} UNION ALL SELECT i + 1 FROM n WHERE i < {low + count - 1})"
        f" SELECT CAST(i AS TEXT), 'Firm ' || i, '{tier}', '2020-01-01' FROM n")


@contextlib.contextmanager
def transaction(sql):
    """One commit, which takes the writers' lock at once."""
    sql.execute("BEGIN IMMEDIATE" if is_sqlite(sql) else "BEGIN")
    try:
        yield sql
    except BaseException:
        sql.execute("ROLLBACK")
        raise
    sql.execute("COMMIT")


# For tests whose writers move more enterprises between tiers than the drift guard would let pass.
UNGUARDED = {"upstream.max_drift_rows": "1000000"}


def is_sqlite(sql) -> bool:
    return type(sql).__module__.startswith("sqlite3")


@contextlib.contextmanager
def following(folder, upstream=None, register=(("ADVANCED_CERTIFIED", 10), ("REGULAR", 10), ("DISCREDITED", 10)),
              settings=None, environment=None, flags=()):
    """A server that has caught up with a store which holds so many enterprises of each tier."""
    server = Server(folder, settings, upstream=upstream, environment=environment)
    try:
        if upstream:
            server.migrate()
        else:
            server.start(wait=False, flags=flags)
            server.wait_for_store()
        with contextlib.closing(server.sql()) as sql, transaction(sql):
            for tier, count in register:
                fill(sql, tier, count)
        if upstream:
            server.start(wait=False, flags=flags)
        server.wait_ready()
        yield server
        assert server.process.poll() in (None, 0), server.log_tail()  # 0: the test itself stopped it
    finally:
        server.stop()


@contextlib.contextmanager
def still(server):
    """Holds every writer of the store where it is, at the end of a commit; gives a connection that sees it."""
    with contextlib.closing(server.sql()) as sql:
        if is_sqlite(sql):
            sql.execute("BEGIN IMMEDIATE")
        else:
            sql.execute("BEGIN")
            sql.execute("SELECT sequence FROM registry_meta FOR UPDATE")
        yield sql
        sql.execute("ROLLBACK")


def caught_up(server, deadline: float = 30.0, sql=None):
    """Waits until the replica is at the store's head and FRESH."""
    version = server.version(sql)

    def level():
        status = server.status()
        return status.registry_version == version and status.state == pb.REGISTRY_STATE_LIVE and status

    try:
        return eventually(level, deadline, f"level with {version.sequence}")
    except TimeoutError as error:
        raise TimeoutError(f"{error}\n{server.status()}\n{server.log_tail()}") from None


def assert_same(server, deadline: float = 30.0) -> int:
    """The replica holds exactly what the store does, by the digest that is computed from the store's rows here."""
    with still(server) as sql:
        status = caught_up(server, deadline, sql)
        assert status.digest == digest(sql)
        counts = dict(sql.execute("SELECT credit_tier, count(*) FROM enterprise GROUP BY credit_tier").fetchall())
        held = {pb.CreditTier.Name(each.credit_tier).removeprefix("CREDIT_TIER_"): each.enterprises
                for each in status.tiers if each.enterprises}
        assert held == counts
        return status.registry_version.sequence


def declare(customs_code: str, version=None, number: int = 1, **fields):
    """A request about one importer."""
    return pb.DecideRequest(
        declaration_number=f"{OFFICE}20261{number:09d}", direction=pb.DIRECTION_IMPORT, customs_office=OFFICE,
        parties=[pb.Party(role=pb.PARTY_ROLE_CONSIGNEE, customs_code=customs_code)],
        goods=[pb.GoodsItem(hs_code="8703230000", origin_country="DE")], min_registry_version=version, **fields)


def decide(server, customs_code: str, version=None, number: int = 1, timeout: float = 5.0):
    request = declare(customs_code, version, number)
    return server.facilitation.Decide(request, timeout=timeout).decision


def seconds(duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def tier_name(number: int) -> str:
    return pb.CreditTier.Name(number).removeprefix("CREDIT_TIER_")


__all__ = ["COLUMNS", "TIERS", "UNGUARDED", "assert_same", "caught_up", "code", "decide", "declare", "digest", "fill",
           "following", "is_sqlite", "seconds", "size", "still", "tier_name", "transaction"]
