"""Realized rates as an auditor meets them: what they count of the answers given, after a crash too."""

from __future__ import annotations

import collections
import json

import pytest

from harness import Server, pb

ADVANCED, REGULAR, DISCREDITED = "1100000001", "1100000002", "1100000003"
TIERS = ((ADVANCED, "ADVANCED_CERTIFIED"), (REGULAR, "REGULAR"), (DISCREDITED, "DISCREDITED"))


@pytest.fixture
def server(tmp_path):
    with Server(tmp_path, {"audit.segment_bytes": "65536"}).start(wait=False) as server:
        server.wait_for_store()
        with server.sql() as connection:
            for code, tier in TIERS:
                connection.execute(
                    "INSERT INTO enterprise (customs_code, name, credit_tier, tier_effective_from)"
                    " VALUES (?, ?, ?, '2010-01-01')", (code, f"Enterprise {code}", tier))
        server.wait_ready()
        yield server


def decide(server, serial: int, code: str):
    request = pb.DecideRequest(declaration_number=f"222520261{serial:09}", direction=pb.DIRECTION_IMPORT,
                               parties=[pb.Party(role=pb.PARTY_ROLE_CONSIGNEE, customs_code=code)],
                               customs_office="2225")
    return server.facilitation.Decide(request, timeout=5).decision


def counted(server) -> dict[int, tuple[int, int]]:
    """Declarations decided and selected by the draw, by tier."""
    rates = server.audit.ListRealizedRates(pb.ListRealizedRatesRequest(), timeout=5).all_offices
    assert all(rate.lower_bound_ppm <= rate.realized_ppm <= rate.upper_bound_ppm for rate in rates)
    assert not any(rate.breached for rate in rates)
    counts = collections.defaultdict(lambda: (0, 0))
    for rate in rates:  # two rows a tier, where a month ends while this runs
        decided, selected = counts[rate.credit_tier]
        counts[rate.credit_tier] = (decided + rate.decided, selected + rate.selected_random)
    return dict(counts)


def test_a_crash_takes_nothing_from_the_realized_rates(server):
    expected = collections.defaultdict(lambda: (0, 0))

    def traffic(first: int, count: int):
        for serial in range(first, first + count):
            decision = decide(server, serial, TIERS[serial % 3][0])
            assert decide(server, serial, TIERS[serial % 3][0]).inspection == decision.inspection, "drawn again"
            decided, selected = expected[decision.credit_tier]
            expected[decision.credit_tier] = (decided + 1, selected + decision.inspection.selected)

    def inspected() -> int:
        rates = server.audit.ListRealizedRates(pb.ListRealizedRatesRequest(), timeout=5).rates
        return sum(rate.inspected for rate in rates)

    traffic(0, 300)
    assert counted(server) == expected
    for serial in (5, 290, 290):
        inspection = pb.RecordInspectionRequest(declaration_number=f"222520261{serial:09}")
        server.audit.RecordInspection(inspection, timeout=5)
    assert inspected() == 2
    for run in range(1, 3):
        server.kill()
        server.start()
        assert counted(server) == expected, "after a crash"
        assert inspected() == 2
        traffic(1_000 * run, 60)
        assert counted(server) == expected
    assert list((server.data / "audit").glob("*.rates")), "full segments are not read again"


def test_status_shows_each_tier_with_its_limit_and_verdict(server):
    for serial, (code, _) in enumerate(TIERS * 2):
        decide(server, serial, code)
    shown = server.command("status").stdout
    for words in (("ADVANCED_CERTIFIED", "<= 0.4879 %", "compliant"), ("DISCREDITED", ">= 80.0000 %", "compliant")):
        assert any(all(word in line for word in words) for line in shown.splitlines()), shown
    rates = json.loads(server.command("--output", "json", "status").stdout)["rates"]
    assert {rate["creditTier"]: rate["decided"] for rate in rates} == {
        f"CREDIT_TIER_{tier}": "2" for _, tier in TIERS}
    assert server.metric("greenlane_realized_rate_limit_ppm", credit_tier="DISCREDITED") == 800_000
    assert server.metric("greenlane_realized_rate_breached", credit_tier="ADVANCED_CERTIFIED") == 0
