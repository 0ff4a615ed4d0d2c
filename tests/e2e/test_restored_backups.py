"""A store that is put back to an older state, as after a disk was lost: the replica must not go on as if nothing was.

The backup brings its epoch back. Worst is one that has been written to, up to the replica's own position or past it,
before the replica saw it: every number is right then, and the rows are others.
"""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from feed import assert_same, code, decide, following, transaction
from harness import eventually, pb
from postgres_server import Postgres
from witness import Witness

SETTINGS = {"upstream.heartbeat_interval": "100ms", "upstream.timeout": "1s"}
LOST = 20


class Sqlite:
    """The embedded store's side: copied and put back page by page, so that the file stays the same one."""

    def __init__(self, server):
        self.server = server

    def back_up(self):
        with contextlib.closing(self.server.sql()) as sql, \
                contextlib.closing(sqlite3.connect(self.server.tmp / "older.db")) as older:
            sql.backup(older)

    def put_back(self, write, witness=None):
        with contextlib.closing(sqlite3.connect(self.server.tmp / "older.db", isolation_level=None)) as older:
            write(older)
            with contextlib.closing(self.server.sql()) as sql:
                older.backup(sql)


class OfPostgres:
    """A data folder copied while the server is stopped; what it is put back to is written before others can reach it."""

    def __init__(self, postgres):
        self.postgres = postgres

    def back_up(self):
        self.postgres.back_up("older")

    def put_back(self, write, witness=None):
        outage = witness.outage if witness else unwitnessed
        with outage(self.postgres.stop, self.postgres.start):
            self.postgres.put_back("older")
            self.postgres.start(hidden=True)
            with contextlib.closing(self.postgres.connect()) as sql:
                write(sql)
            self.postgres.stop()


@contextlib.contextmanager
def unwitnessed(begins, ends):
    begins()
    yield
    ends()


@pytest.fixture(params=["sqlite", "postgres"])
def upstream(request):
    """None for the embedded store."""
    if request.param == "sqlite":
        yield None
    else:
        with Postgres() as postgres:
            yield postgres


def change(sql, number: int, tier: str):
    sql.execute("UPDATE enterprise SET credit_tier = ? WHERE customs_code = ?", (tier, code("REGULAR", number)))


def write_nothing(sql):
    pass


def write_up_to_the_old_head(sql):
    for number in range(LOST):
        change(sql, number, "DISCREDITED")


def write_past_the_old_head(sql):
    write_up_to_the_old_head(sql)
    for number in range(5):
        change(sql, number, "CERTIFIED")


def begin_a_new_epoch(sql):
    write_past_the_old_head(sql)
    sql.execute("UPDATE registry_meta SET epoch = '0123456789abcdef0123456789abcdef'")


RESTORES = pytest.mark.parametrize("write, cause", [
    (write_nothing, "fork"), (write_up_to_the_old_head, "fork"), (write_past_the_old_head, "fork"),
    (begin_a_new_epoch, "epoch")], ids=["older", "up to the old head", "past the old head", "a new epoch"])
REGISTER = (("ADVANCED_CERTIFIED", 10), ("REGULAR", 100), ("DISCREDITED", 10))


@RESTORES
def test_a_restored_backup_is_noticed_and_the_lost_changes_are_forgotten(tmp_path, upstream, write, cause):
    with following(tmp_path, upstream, REGISTER, SETTINGS) as server:
        store = OfPostgres(upstream) if upstream else Sqlite(server)
        with Witness(server, relief=300.0, forward=False) as witness:
            store.back_up()
            with contextlib.closing(server.sql()) as sql:
                for number in range(LOST):
                    change(sql, number, "CERTIFIED")
            before = assert_same(server)
            lost = decide(server, code("REGULAR", LOST - 1))
            assert lost.parties[0].registered_tier == pb.CREDIT_TIER_CERTIFIED

            store.put_back(write, witness)
            eventually(lambda: server.metric("greenlane_upstream_resyncs_total", cause=cause) == 1, 20, cause)
            after = assert_same(server)
            assert after - before == {write_nothing: -LOST, write_up_to_the_old_head: 0}.get(write, 5)
            held = decide(server, code("REGULAR", LOST - 1)).parties[0].registered_tier
            assert held == (pb.CREDIT_TIER_REGULAR if write is write_nothing else pb.CREDIT_TIER_DISCREDITED)

            with contextlib.closing(server.sql()) as sql, transaction(sql):
                change(sql, 50, "CERTIFIED")
            assert_same(server)
        assert server.metric("greenlane_upstream_resyncs_total") == 2


# A database's turn takes seconds: it has the worst one only.
@pytest.mark.parametrize("upstream, write, cause", [
    ("sqlite", write_nothing, "fork"), ("sqlite", write_up_to_the_old_head, "fork"),
    ("sqlite", write_past_the_old_head, "fork"), ("sqlite", begin_a_new_epoch, "epoch"),
    ("postgres", write_past_the_old_head, "fork")], indirect=["upstream"],
    ids=["sqlite-older", "sqlite-up to the old head", "sqlite-past the old head", "sqlite-a new epoch",
         "postgres-past the old head"])
def test_a_backup_restored_while_the_replica_was_down_makes_its_file_worthless(tmp_path, upstream, write, cause):
    with following(tmp_path, upstream, REGISTER, SETTINGS) as server:
        store = OfPostgres(upstream) if upstream else Sqlite(server)
        store.back_up()
        with contextlib.closing(server.sql()) as sql:
            for number in range(LOST):
                change(sql, number, "CERTIFIED")
        assert_same(server)
        server.stop()
        store.put_back(write)
        server.start()
        assert_same(server)
        held = decide(server, code("REGULAR", LOST - 1)).parties[0].registered_tier
        assert held == (pb.CREDIT_TIER_REGULAR if write is write_nothing else pb.CREDIT_TIER_DISCREDITED)
        assert server.metric("greenlane_upstream_refusals_total", cause="foreign") == 1
        assert server.metric("greenlane_upstream_resyncs_total", cause=cause) == 1
