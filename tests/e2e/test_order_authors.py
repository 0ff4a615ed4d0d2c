"""Who changed a control order: from the store, over every kind of it, into the audit log."""

from __future__ import annotations

import contextlib
import getpass

import pytest

from feed import UNGUARDED, caught_up, code, fill, is_sqlite, transaction
from harness import Server, eventually
from nats_servers import Servers
from postgres_server import Postgres
from relays import Relay
from test_draw_commitments import records

REGULAR = code("REGULAR", 0)
ORDER = ("INSERT INTO control_order (id, kind, basis, enterprise_id, valid_from, legal_basis, public_reason)"
         f" VALUES (?, 'HOLD', 'MANDATED', '{REGULAR}', '2020-01-01T00:00:00Z', 'Art 6', 'held')")


def changes(server):
    return [record.order_change for _, record in records(server) if record.HasField("order_change")]


def told(server, count: int):
    """That many changes, once the log has them."""
    return eventually(lambda: len(found := changes(server)) >= count and found, 30, f"{count} changes of orders")


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "nats"])
def test_the_log_tells_who_put_changed_and_deleted_an_order_and_when(tmp_path, kind):
    with contextlib.ExitStack() as exit_:
        upstream = None
        if kind != "sqlite":
            upstream = postgres = exit_.enter_context(Postgres())
            Server(tmp_path / "migrate", upstream=postgres).migrate()
        if kind == "nats":
            nats = exit_.enter_context(Servers(tmp_path))
            exit_.enter_context(Relay(tmp_path / "relay", postgres.url, nats.url, UNGUARDED))
            upstream = nats
        server = Server(tmp_path / "replica", upstream=upstream)
        exit_.callback(lambda: server.stop())
        database = Server(tmp_path / "database", upstream=postgres) if kind != "sqlite" else server
        database.tmp.mkdir(parents=True, exist_ok=True)
        if kind == "sqlite":
            server.start(wait=False)
            server.wait_for_store()
        with contextlib.closing(database.sql()) as sql:
            with transaction(sql):
                fill(sql, "REGULAR", 10)
            if kind != "sqlite":
                server.start(wait=False)
            server.wait_ready(60)
            added = database.command("order", "add", "--id", "O-1", "--kind", "HOLD", "--basis", "MANDATED", "--enterprise-id",
                                     REGULAR, "--legal-basis", "Art 6", "--public-reason", "held")
            assert added.returncode == 0, added.stderr
            told(server, 1)
            assert database.command("order", "end", "O-1").returncode == 0
            told(server, 2)
            # Plain SQL: SQLite does not know who writes it.
            sql.execute("DELETE FROM control_order WHERE id = 'O-1'")
            put, ended, deleted = told(server, 3)
            author = getpass.getuser() if kind == "sqlite" else "postgres"
            assert [each.author for each in (put, ended)] == [author, author]
            assert deleted.author == ("" if is_sqlite(sql) else author)
            assert put.order.kind == "HOLD" and not put.order.HasField("valid_to") and ended.order.HasField("valid_to")
            assert deleted.id == "O-1" and not deleted.HasField("order")
            rows = sql.execute("SELECT sequence, committed_at FROM change_log WHERE entity = 'control_order'"
                               " ORDER BY sequence").fetchall()
            for change, (sequence, _) in zip((put, ended, deleted), rows, strict=True):
                assert change.registry_version.sequence == sequence and change.committed_at.seconds > 1_700_000_000


def test_what_changed_while_a_replica_was_away_is_told_without_author_and_time(tmp_path):
    server = Server(tmp_path)
    server.start(wait=False)
    server.wait_for_store()
    with contextlib.closing(server.sql()) as sql:
        with transaction(sql):
            fill(sql, "REGULAR", 10)
            sql.execute(ORDER.replace("?", "'O-1'"))
        server.wait_ready()
        told(server, 1)
        # The log no longer reaches back to where the replica stands: a fresh snapshot, beside what is in force.
        with transaction(sql):
            sql.execute("UPDATE registry_meta SET epoch = 'another'")
            sql.execute(ORDER.replace("?", "'O-2'"))
            sql.execute("DELETE FROM control_order WHERE id = 'O-1'")
        caught_up(server)
        _, put, gone = told(server, 3)
        assert (put.id, put.order.id, gone.id) == ("O-2", "O-2", "O-1") and not gone.HasField("order")
        assert all(not each.author and not each.HasField("committed_at") for each in (put, gone))
        assert put.registry_version.epoch == "another"
    server.stop()


def test_a_store_of_the_first_release_gets_its_column_and_keeps_its_rows(tmp_path):
    server = Server(tmp_path)
    with server.start(wait=False):
        server.wait_for_store()
        with contextlib.closing(server.sql()) as sql:
            fill(sql, "REGULAR", 10)
            head = server.version(sql)
        server.stop()
    with contextlib.closing(server.sql()) as sql:
        sql.execute("ALTER TABLE change_log DROP COLUMN author")
    with server.start(wait=False):
        server.wait_ready()
        assert caught_up(server).registry_version == head
        assert server.command("order", "list").returncode == 0
        with contextlib.closing(server.sql()) as sql:
            columns = [row[1] for row in sql.execute("SELECT * FROM pragma_table_info('change_log')")]
        assert columns[-1] == "author"
