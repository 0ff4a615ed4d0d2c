"""What every store owes a replica, over each kind of store: the same statements, the same expectations.

NATS is fed by a relay from PostgreSQL; rows are written to the database, and the replica has only NATS.
"""

from __future__ import annotations

import contextlib

import grpc
import pytest

from feed import (UNGUARDED, assert_same, caught_up, code, decide, fill, is_sqlite, tier_name, transaction)
from harness import Server, eventually, pb, violations
from nats_servers import Servers
from postgres_server import Postgres
from relays import Relay

ADVANCED, REGULAR = code("ADVANCED_CERTIFIED", 0), code("REGULAR", 0)
SETTINGS = {"upstream.heartbeat_interval": "100ms", "upstream.max_drift_rows": "50"}


class OverNats:
    """A database whose replicas reach it over NATS alone."""

    def __init__(self, url: str, postgres: Postgres):
        self.url, self.connect = url, postgres.connect


@pytest.fixture(params=["sqlite", "postgres", "nats"])
def kind(request):
    return request.param


@pytest.fixture
def server(tmp_path, kind):
    """A replica of a store with 200 enterprises of a few tiers."""
    with contextlib.ExitStack() as exit_:
        upstream = None
        if kind != "sqlite":
            upstream = postgres = exit_.enter_context(Postgres())
            Server(tmp_path / "migrate", upstream=postgres).migrate()
        if kind == "nats":
            nats = exit_.enter_context(Servers(tmp_path))
            exit_.enter_context(Relay(tmp_path / "relay", postgres.url, nats.url, UNGUARDED))
            upstream = OverNats(nats.url, postgres)
        server = Server(tmp_path / "replica", SETTINGS, upstream=upstream)
        exit_.callback(lambda: server.stop())
        if kind == "sqlite":
            server.start(wait=False)
            server.wait_for_store()
        with contextlib.closing(server.sql()) as sql, transaction(sql):
            for tier, count in (("ADVANCED_CERTIFIED", 60), ("REGULAR", 100), ("DISCREDITED", 40)):
                fill(sql, tier, count)
        if kind != "sqlite":
            server.start(wait=False)
        server.wait_ready(60)
        yield server


@pytest.fixture
def sql(server):
    with contextlib.closing(server.sql()) as connection:
        yield connection


def test_a_row_of_every_table_arrives_changes_and_goes(server, sql, kind):
    yes, no = (1, 0) if is_sqlite(sql) else (True, False)
    sql.execute("INSERT INTO scheduled_tier VALUES (?, 'DISCREDITED', '2099-01-01')", (REGULAR,))
    sql.execute("INSERT INTO recognised_operator VALUES ('SG201200000001', 'SG', 'STP-Plus', 'Op', '2020-01-01', NULL, ?)",
                (no,))
    sql.execute("INSERT INTO mutual_recognition VALUES ('XX', 'AEO', 'IMPORT', 'SEA,AIR', '2020-01-01', NULL)")
    sql.execute("INSERT INTO control_order (id, kind, basis, enterprise_id, valid_from, legal_basis, public_reason)"
                " VALUES ('O-1', 'HOLD', 'MANDATED', ?, '2020-01-01T00:00:00Z', 'Art 6', 'held')", (REGULAR,))
    sql.execute("UPDATE enterprise SET suspended = ?, social_credit_code = '91110000600037341L' WHERE customs_code = ?",
                (yes, ADVANCED))
    assert_same(server)
    status = server.status()
    assert (status.source, status.control_orders, status.recognised_operators) == (kind, 1, 1)
    assert decide(server, REGULAR).lane == pb.LANE_MANUAL
    found = server.registry.GetEnterprise(pb.GetEnterpriseRequest(social_credit_code="91110000600037341L")).enterprise
    assert (found.customs_code, found.suspended) == (ADVANCED, True)

    sql.execute("DELETE FROM control_order")
    sql.execute("UPDATE scheduled_tier SET effective_from = '2098-01-01'")
    sql.execute("UPDATE enterprise SET customs_code = '9999999999' WHERE customs_code = ?", (ADVANCED,))
    sql.execute("DELETE FROM recognised_operator")
    sql.execute("DELETE FROM mutual_recognition WHERE country = 'XX'")
    assert_same(server)
    assert decide(server, REGULAR).lane != pb.LANE_MANUAL
    found = server.registry.GetEnterprise(pb.GetEnterpriseRequest(social_credit_code="91110000600037341L")).enterprise
    assert found.customs_code == "9999999999"


def test_a_version_that_was_written_is_waited_for_and_answered(server, sql):
    for tier in ("DISCREDITED", "CERTIFIED", "REGULAR"):
        sql.execute("UPDATE enterprise SET credit_tier = ? WHERE customs_code = ?", (tier, REGULAR))
        decision = decide(server, REGULAR, server.version(sql))
        assert tier_name(decision.parties[0].registered_tier) == tier
    version = server.version(sql)
    version.sequence += 1
    with pytest.raises(grpc.RpcError) as refused:
        decide(server, REGULAR, version)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


def test_two_rows_that_change_places_in_one_commit_are_never_seen_alike(server, sql):
    other = code("REGULAR", 1)
    with transaction(sql):
        sql.execute("UPDATE enterprise SET credit_tier = 'DISCREDITED' WHERE customs_code = ?", (other,))
    caught_up(server)
    for commit in range(60):
        tiers = ("DISCREDITED", "REGULAR") if commit % 2 == 0 else ("REGULAR", "DISCREDITED")
        with transaction(sql):
            for customs_code, tier in zip((REGULAR, other), tiers):
                sql.execute("UPDATE enterprise SET credit_tier = ? WHERE customs_code = ?", (tier, customs_code))
        request = pb.DecideRequest(
            declaration_number="020220261000000001", direction=pb.DIRECTION_IMPORT, customs_office="0202",
            parties=[pb.Party(role=pb.PARTY_ROLE_CONSIGNEE, customs_code=REGULAR),
                     pb.Party(role=pb.PARTY_ROLE_DECLARANT, customs_code=other)])
        parties = server.facilitation.Decide(request, timeout=5).decision.parties
        assert {tier_name(party.registered_tier) for party in parties} == {"REGULAR", "DISCREDITED"}
    assert_same(server)


def test_what_is_rolled_back_never_arrives_and_leaves_no_hole(server, sql):
    before = server.version(sql).sequence
    sql.execute("BEGIN")
    sql.execute("UPDATE enterprise SET credit_tier = 'DISCREDITED' WHERE customs_code = ?", (ADVANCED,))
    sql.execute("ROLLBACK")
    sql.execute("UPDATE enterprise SET name = 'Other' WHERE customs_code = ?", (REGULAR,))
    assert assert_same(server) == before + 1
    assert server.metric("greenlane_upstream_resyncs_total") == 1
    assert decide(server, ADVANCED).credit_tier == pb.CREDIT_TIER_ADVANCED_CERTIFIED


def test_more_rows_than_are_applied_in_place_arrive_as_a_snapshot(server, sql):
    with transaction(sql):
        fill(sql, "REGULAR", 10_500, first=1_000)
    eventually(lambda: server.metric("greenlane_upstream_resyncs_total", cause="bulk") == 1, 60, "a fresh snapshot")
    assert_same(server, 60)


def test_an_unreadable_row_stands_on_the_strict_side_and_is_listed(server, sql):
    sql.execute("UPDATE enterprise SET credit_tier = 'GOLD' WHERE customs_code = ?", (ADVANCED,))
    sql.execute("INSERT INTO control_order (id, kind, basis, enterprise_id, valid_from, legal_basis, public_reason)"
                " VALUES ('O-2', 'SEIZE', 'MANDATED', ?, '2020-01-01T00:00:00Z', 'Art 6', 'held')", (REGULAR,))
    status = caught_up(server)
    assert {(row.entity, row.key) for row in status.quarantine} == {("enterprise", ADVANCED), ("control_order", "O-2")}
    assert decide(server, ADVANCED).parties[0].suspended
    assert decide(server, REGULAR).lane == pb.LANE_MANUAL


def test_a_mass_deletion_is_refused_and_the_last_good_data_stays(server, sql):
    before = caught_up(server)
    sql.execute("DELETE FROM enterprise WHERE credit_tier = 'REGULAR' AND customs_code > ?", (REGULAR,))
    eventually(lambda: server.metric("greenlane_upstream_refusals_total", cause="drift") > 0, 30, "a refusal")
    status = eventually(lambda: "drift" in server.status().last_error and server.status(), 30, "the error")
    assert status.registry_version == before.registry_version
    assert decide(server, code("REGULAR", 50)).credit_tier == pb.CREDIT_TIER_REGULAR
    fill(sql, "REGULAR", 99, first=1)
    assert_same(server, 60)


def test_another_epoch_is_another_store(server, sql):
    sql.execute("UPDATE registry_meta SET epoch = '0123456789abcdef0123456789abcdef'")
    eventually(lambda: server.status().registry_version.epoch.startswith("0123"), 60, "the other epoch is in force")
    assert_same(server)
    assert server.metric("greenlane_upstream_resyncs_total", cause="epoch") == 1


def test_history_is_answered_by_stores_that_keep_it(server, sql, kind):
    known_at = pb.Timestamp()
    known_at.GetCurrentTime()
    sql.execute("UPDATE enterprise SET credit_tier = 'DISCREDITED' WHERE customs_code = ?", (REGULAR,))
    caught_up(server)
    request = pb.DecideRequest(
        declaration_number="020220261000000001", direction=pb.DIRECTION_IMPORT, customs_office="0202",
        parties=[pb.Party(role=pb.PARTY_ROLE_CONSIGNEE, customs_code=REGULAR)])
    simulation = pb.SimulateRequest(request=request, known_at=known_at)
    if kind == "nats":
        with pytest.raises(grpc.RpcError) as refused:
            server.facilitation.Simulate(simulation, timeout=5)
        assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert violations(refused.value) == []
    else:
        decision = server.facilitation.Simulate(simulation, timeout=5).decision
        assert tier_name(decision.parties[0].registered_tier) == "REGULAR"
        assert decide(server, REGULAR).credit_tier == pb.CREDIT_TIER_DISCREDITED
