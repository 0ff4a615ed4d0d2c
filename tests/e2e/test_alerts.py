"""The alert rules: each fires on the series that it is for and on no healthier ones, as promtool judges."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

from harness import REPO

RULES = REPO / "helm/files/alerts.yaml"
ALERTS = {rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}
HERE = {"namespace": "prod", "job": "greenlane"}
REPLICA = HERE | {"instance": "a:8080"}


def series(name: str, values: str, **labels: str) -> dict:
    written = ",".join(f'{key}="{value}"' for key, value in (REPLICA | labels).items())
    return {"series": f"{name}{{{written}}}", "values": values}


def states(values: dict[str, str], **labels: str) -> list[dict]:
    """Every state's series, as a replica tells them."""
    return [series("greenlane_registry_state", values.get(state, "0x60"), state=state, **labels)
            for state in ("loading", "live", "stale", "expired")]


def decisions(lanes: dict[str, str]) -> list[dict]:
    return [series("greenlane_decisions_total", values, lane=lane, credit_tier="REGULAR") for lane, values in lanes.items()]


def buckets(slow: str) -> list[dict]:
    return [series("greenlane_upstream_propagation_seconds_bucket", values, le=le)
            for le, values in (("0.1", "0+100x60"), ("5.0", "0+100x60"), ("10.0", slow), ("+Inf", slow))]


def decided(slow: str) -> list[dict]:
    return [series("greenlane_decision_duration_seconds_bucket", values, le=le)
            for le, values in (("0.0001", "0+100x60"), ("0.05", "0+100x60"), ("0.1", slow), ("+Inf", slow))]


def calls(codes: dict[str, str], service: str = "FacilitationService") -> list[dict]:
    return [series("greenlane_grpc_requests_total", values, service=f"greenlane.v1.{service}", method="Decide", code=code)
            for code, values in codes.items()]


def policies(*digests: str) -> list[dict]:
    return [series("greenlane_policy_info", "1x60", instance=f"{place}:8080", id="CN-GACC-282", digest=digest, provisional="true")
            for place, digest in zip("abc", digests)]


# The alert; series in steps of a minute; minutes at which it is quiet, and the one at which it fires; the labels it then has
# beside its severity; and its summary. With a value of None it never fires on these series.
CASES = [
    ("GreenlaneReplicaDown", [series("up", "1x5 0x20")], [5, 7], 8, REPLICA, "a:8080 does not answer"),
    ("GreenlaneReplicaDown", [series("up", "0x20", job="other")], [20], None, None, None),
    ("GreenlaneDown", [series("up", "1x5 0x20"), series("up", "1x7 0x20", instance="b:8080")], [5, 8], 9, HERE,
     "No replica of greenlane answers"),
    ("GreenlaneNotServing", [*states({"expired": "1x30"}), *states({"live": "1x3 0x20", "loading": "0x3 1x20"}, instance="b:8080")],
     [3, 5], 6, HERE, "No replica of greenlane has a register"),
    ("GreenlaneNotServing", [*states({"loading": "1x30"}), *states({"stale": "1x30"}, instance="b:8080")], [30], None, None, None),
    ("GreenlaneManyManual", decisions({"MANUAL": "0+10x10 100+70x30", "GREEN": "0+60x40"}), [10, 20], 35, HERE,
     "53.85% of declarations go to an officer"),
    ("GreenlaneManyManual", decisions({"MANUAL": "0+10x60", "GREEN": "0+11x60"}), [60], None, None, None),
    ("GreenlaneRegistryStale", states({"live": "1x5 0x10", "stale": "0x5 1x10"}), [5, 6], 7, REPLICA | {"state": "stale"},
     "The data of a:8080 is STALE"),
    ("GreenlaneRegistryExpired", states({"stale": "1x5 0x10", "expired": "0x5 1x10"}), [5], 6, REPLICA | {"state": "expired"},
     "The data of a:8080 has EXPIRED"),
    ("GreenlaneRegistryLoading", states({"loading": "1x20"}), [9], 10, REPLICA | {"state": "loading"},
     "a:8080 has had no register for ten minutes"),
    ("GreenlaneDataRefused", [series("greenlane_upstream_refusals_total", "0x5 1x30", cause="drift")], [5, 25], 6,
     REPLICA | {"cause": "drift"}, "a:8080 refuses what the store holds (drift)"),
    ("GreenlaneRegistryDiffers", [series("greenlane_upstream_digest_mismatches_total", "0x5 1x90")], [5, 70], 6, REPLICA,
     "The register of a:8080 was not the store's"),
    ("GreenlaneStoreFails", [series("greenlane_upstream_errors_total", "0x5 0+1x40", kind="unavailable")], [5, 12], 20, REPLICA,
     "a:8080 fails to reach its store"),
    ("GreenlaneStoreFails", [series("greenlane_upstream_errors_total", "0x5 5x60", kind="unavailable")], [60], None, None, None),
    ("GreenlaneResyncs", [series("greenlane_upstream_resyncs_total", "0 1x10 2x10 3x10 4x10 5x30", cause="epoch")], [10, 30], 50,
     REPLICA, "a:8080 takes one fresh snapshot after the other"),
    ("GreenlaneResyncs", [series("greenlane_upstream_resyncs_total", "0 9x60", cause="first")], [30, 60], None, None, None),
    # What is refused is looked at again and again: GreenlaneDataRefused tells of that.
    ("GreenlaneResyncs", [series("greenlane_upstream_resyncs_total", "0+1x60", cause="refused")], [30, 60], None, None, None),
    ("GreenlaneSlowPropagation", buckets("0+110x60"), [9], 30, REPLICA,
     "Changes take 9.45s to come in force at a:8080"),
    ("GreenlaneSlowPropagation", buckets("0+100x60"), [60], None, None, None),
    ("GreenlaneRowsQuarantined", [series("greenlane_registry_quarantined_rows", "0x5 3x20")], [5, 10], 11, REPLICA,
     "3 rows of the store cannot be read"),
    ("GreenlaneSlowDecisions", decided("0+110x60"), [5], 10, REPLICA, "One decision in a hundred takes 94.5ms at a:8080"),
    ("GreenlaneSlowDecisions", decided("0+100x60"), [60], None, None, None),
    ("GreenlaneServerErrors", calls({"OK": "0+90x60", "UNAVAILABLE": "0+10x60", "INVALID_ARGUMENT": "0+100x60"}), [4], 10,
     HERE | {"code": "UNAVAILABLE"}, "5% of calls for decisions end with UNAVAILABLE"),
    ("GreenlaneServerErrors", calls({"OK": "0+1x60", "INVALID_ARGUMENT": "0+90x60", "CANCELLED": "0+90x60"}), [60], None, None, None),
    ("GreenlaneServerErrors", calls({"OK": "0+1x60", "UNAVAILABLE": "0+90x60"}, "RegistryService"), [60], None, None, None),
    ("GreenlaneSheds", [series("greenlane_requests_shed_total", "0x5 0+1x40", cause="max_connections")], [5, 10], 12,
     REPLICA | {"cause": "max_connections"}, "a:8080 turns callers away (max_connections)"),
    ("GreenlaneSheds", [series("greenlane_requests_shed_total", "0x5 0+90x40", cause="overload")], [5, 10], 12,
     REPLICA | {"cause": "overload"}, "a:8080 turns callers away (overload)"),
    ("GreenlaneSheds", [series("greenlane_requests_shed_total", "7x60", cause="max_connections")], [60], None, None, None),
    ("GreenlaneCallersNotTaken", [series("greenlane_auth_source_failing", "0x5 1x20", source="keys")], [5, 10], 11,
     REPLICA | {"source": "keys"}, "a:8080 cannot take its keys"),
    ("GreenlaneCallersNotTaken", [series("greenlane_auth_source_failing", "0x5 1x3 0x20", source="callers")], [20], None, None, None),
    ("GreenlaneCallersTurnedAway", [series("greenlane_auth_failures_total", "0x5 0+120x40", cause="expired")], [5, 15], 20,
     HERE | {"cause": "expired"}, "greenlane turns callers away (expired)"),
    ("GreenlaneCallersTurnedAway", [series("greenlane_auth_failures_total", "0+600x60", cause="missing"),
                                    series("greenlane_auth_failures_total", "0+30x60", cause="permission")], [60], None, None, None),
    ("GreenlaneCertificateExpires", [series("greenlane_tls_certificate_expiry_seconds", "604920-60x40")], [2, 12], 14, REPLICA,
     "The certificate of a:8080 expires in 6d 23h 48m 0s"),
    ("GreenlaneCertificateExpires", [series("greenlane_tls_certificate_expiry_seconds", "Inf Inf Inf Inf")], [3], None, None, None),
    ("GreenlaneTlsFilesRefused", [series("greenlane_tls_files_refused", "0x5 1x20")], [5, 7], 8, REPLICA,
     "a:8080 refuses its TLS files as they are now"),
    ("GreenlaneClientTrustExpires", [series("greenlane_tls_client_trust_expiry_seconds", "120-60x40", file="client_crl"),
                                     series("greenlane_tls_client_trust_expiry_seconds", "Inf " * 20, file="client_ca")],
     [2, 12], 13, REPLICA | {"file": "client_crl"},
     "What a:8080 trusts client certificates by is out of date (client_crl)"),
    ("GreenlaneClientTrustExpires", [series("greenlane_tls_client_trust_expiry_seconds", "604700-60x40", file="client_ca")],
     [9], 10, REPLICA | {"file": "client_ca"},
     "What a:8080 trusts client certificates by is out of date (client_ca)"),
    ("GreenlanePolicyActivates", [series("greenlane_policy_next_activation_seconds", "259260-60x20")], [0, 1], 3, HERE,
     "The next policy of greenlane takes effect in 2d 23h 58m 0s"),
    ("GreenlanePolicyActivates", [series("greenlane_policy_next_activation_seconds", "Inf Inf Inf Inf")], [3], None, None, None),
    ("GreenlanePolicyNotShared", policies("one", "one", "two"), [9], 11, HERE, "Replicas of greenlane decide by 2 policies"),
    ("GreenlanePolicyNotShared", policies("one", "one", "one"), [60], None, None, None),
    ("GreenlaneRateBreached", [series("greenlane_realized_rate_breached", values, credit_tier="CERTIFIED", instance=instance)
                               for values, instance in (("0x30", "a:8080"), ("0x5 1x20", "b:8080"))], [5], 6,
     HERE | {"credit_tier": "CERTIFIED"}, "CERTIFIED enterprises are not inspected at the rate that the policy demands"),
    ("GreenlaneRateBreachedAtOffices", [series("greenlane_realized_rate_breached_offices", "0x5 2x9", credit_tier="DISCREDITED")],
     [5], 6, HERE | {"credit_tier": "DISCREDITED"}, "At 2 offices DISCREDITED enterprises are not inspected at the rate demanded"),
    ("GreenlaneDrawDisputed", [series("greenlane_draw_commitments", "0x5 1x9", state="disputed")], [5], 6,
     REPLICA | {"state": "disputed"}, "a:8080 refuses to draw"),
    ("GreenlaneDrawDisputed", [series("greenlane_draw_commitments", "2x9", state="ahead")], [9], None, None, None),
    ("GreenlaneCommitmentUnsigned", [series("greenlane_draw_commitments", "0x5 1x9", state="unsigned")], [5], 6,
     REPLICA | {"state": "unsigned"}, "A commitment to a draw key bears no good signature"),
    ("GreenlaneCommitmentsUnreachable", [series("greenlane_draw_commitment_errors_total", "0+1x200", kind="unavailable")],
     [60], 90, REPLICA, "a:8080 cannot look at the draw commitments"),
    ("GreenlaneCommitmentsUnreachable", [series("greenlane_draw_commitment_errors_total", "0+1x20 20x200", kind="unavailable")],
     [80, 150], None, None, None),
    ("GreenlaneAuditNotShipped", [series("greenlane_audit_lag_records", "0x5 250000x30")], [5, 20], 21, REPLICA,
     "250k audit records of a:8080 are not in the store"),
    ("GreenlaneShipmentsNotShared", [series("greenlane_shipments_unsaved", "10000x5 20000x30")], [5, 15], 16, REPLICA,
     "20k shipments of a:8080 are not in the shared store"),
    ("GreenlaneDecisionsNotLogged", [*decisions({"GREEN": "0+60x40"}), series("greenlane_audit_records_total", "0+60x10 600x30")],
     [10, 18], 22, REPLICA, "a:8080 decides without a record"),
    ("GreenlaneDecisionsNotLogged", [*decisions({"GREEN": "600x40"}), series("greenlane_audit_records_total", "600x40")],
     [40], None, None, None),
]


def promtool(*arguments, folder) -> str:
    done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, timeout=60)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def description(alert: str, labels: dict[str, str]) -> str:
    """The description, with the labels put in that it names."""
    text = re.sub(r"{{ \$labels\.(\w+) }}", lambda label: labels[label[1]], ALERTS[alert]["annotations"]["description"])
    # The only value that a description tells: 10 errors in the ten minutes before, drawn out to the whole window.
    return text.replace("{{ $value | humanize }}", "10")


def test_promtool_finds_no_fault_with_the_rules(tmp_path):
    assert promtool("check", "rules", str(RULES), folder=tmp_path) == ""


def test_every_alert_tells_what_is_wrong_and_what_to_do_and_is_tried():
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in ("critical", "warning"), name
        assert len(rule["annotations"]["summary"]) < 120 and len(rule["annotations"]["description"]) > 40, name
    assert {case[0] for case in CASES if case[3] is not None} == ALERTS.keys()


@pytest.mark.parametrize("alert, given, quiet, fires, labels, summary", CASES,
                         ids=[f"{case[0]}-{at}" for at, case in enumerate(CASES)])
def test_an_alert_fires_when_it_must_and_not_before(alert, given, quiet, fires, labels, summary, tmp_path):
    expected = [{"eval_time": f"{at}m", "alertname": alert, "exp_alerts": []} for at in quiet]
    if fires is not None:
        annotations = {"summary": summary, "description": description(alert, labels)}
        expected.append({"eval_time": f"{fires}m", "alertname": alert, "exp_alerts": [
            {"exp_labels": labels | ALERTS[alert]["labels"], "exp_annotations": annotations}]})
    test = {"rule_files": [str(RULES)], "evaluation_interval": "1m",
            "tests": [{"interval": "1m", "input_series": given, "alert_rule_test": expected}]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    assert promtool("test", "rules", "test.yaml", folder=tmp_path) == ""
