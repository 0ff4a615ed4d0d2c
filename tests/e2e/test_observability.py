"""What a replica tells of itself: metrics in both formats and as the README lists them, calls by how they end, spans to a real OTLP
receiver, sampled requests in the log; and in none of them what is nobody's to read."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import re
import socket
import subprocess
import urllib.request

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as classic_families

from harness import REPO, Server, eventually, free_ports, pb

SOON = 20.0
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
CLASSIC = "text/plain; version=0.0.4; charset=utf-8"
IMPORTER = "9912345678"
NUMBER = "020220261987654321"
# What no log, span or metric may hold.
PLANTED = ["PLANTED-PUBLIC-REASON", "PLANTED-CONFIDENTIAL-REASON", "PLANTED-LEGAL-BASIS", "PLANTED-NAME", IMPORTER, NUMBER]
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP receiver made of OpenTelemetry's own stubs; keeps the spans, with the attributes of the process that sent them."""

    def __init__(self):
        self.spans: list = []
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def Export(self, request, context):  # noqa: N802, its name in the protocol
        for sent in request.resource_spans:
            process = attributes(sent.resource.attributes)
            self.spans += [(process, span) for scope in sent.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def named(self, method: str, **wanted) -> list:
        return [(process, span) for process, span in list(self.spans) if span.name.endswith(f"/{method}")
                and all(attributes(span.attributes).get(key) == value for key, value in wanted.items())]


def attributes(given) -> dict:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in given}


def plant(server: Server):
    with contextlib.closing(server.sql()) as sql:
        sql.execute("INSERT INTO enterprise (customs_code, name, credit_tier, tier_effective_from)"
                    " VALUES (?, 'PLANTED-NAME', 'ADVANCED_CERTIFIED', '2010-01-01')", (IMPORTER,))
        sql.execute("INSERT INTO control_order (id, kind, basis, hs_prefix, valid_from, legal_basis, public_reason,"
                    " confidential_reason) VALUES ('planted', 'INSPECT', 'TARGETED', '8703', '2020-01-01T00:00:00Z',"
                    " 'PLANTED-LEGAL-BASIS', 'PLANTED-PUBLIC-REASON', 'PLANTED-CONFIDENTIAL-REASON')")


def request(number: str = NUMBER, **fields):
    return pb.DecideRequest(
        declaration_number=number, direction=pb.DIRECTION_IMPORT, customs_office="0202",
        parties=[pb.Party(role=pb.PARTY_ROLE_CONSIGNEE, customs_code=IMPORTER)],
        goods=[pb.GoodsItem(hs_code="8703230000", origin_country="DE")], **fields)


@pytest.fixture(scope="module")
def collector():
    made = Collector()
    yield made
    made.server.stop(None)


@pytest.fixture(scope="module")
def server(tmp_path_factory, collector):
    """A replica that logs every request and sends spans often."""
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}", "OTEL_SERVICE_NAME": "clearance-test",
                   "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=e2e", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    settings = {"log.format": "json", "log.request_sample": "1", "limits.max_connections": "8"}
    server = Server(tmp_path_factory.mktemp("observability"), settings, environment=environment).start(wait=False)
    with server:
        server.wait_for_store()
        plant(server)
        server.wait_ready()
        server.wait_answering()
        yield server


def scrape(server: Server, accept: str | None = None) -> tuple[str, str]:
    """The media type and the text of /metrics."""
    asked = urllib.request.Request(f"http://{server.http_addr}/metrics", headers={"Accept": accept} if accept else {})
    with urllib.request.urlopen(asked, timeout=SOON) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


# Of a call that runs out of time the caller's own end may come first.
LATE = "DEADLINE_EXCEEDED|CANCELLED"


def calls(server: Server, method: str, codes: str) -> float:
    return sum(server.metric("greenlane_grpc_requests_total", method=method, code=code) for code in codes.split("|"))


def rises(server: Server, method: str, code: str, act):
    """`act` makes one call of the method end with the code, and it is timed."""
    def now():
        return (calls(server, method, code), server.metric("greenlane_grpc_request_duration_seconds_count", method=method))

    before = now()
    answer = act()
    eventually(lambda: now() == (before[0] + 1, before[1] + 1), SOON, f"one {method} {code} more than {before}: {now()}")
    return answer


def refused(call, *arguments, **options) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments, timeout=SOON, **options)
    return error.value


def log_lines(server: Server) -> list[dict]:
    return [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]


# --- metrics --------------------------------------------------------------------------------------


def samples(families) -> dict:
    return {(sample.name, *sorted(sample.labels.items())): sample.value for family in families for sample in family.samples}


def test_both_text_formats_are_read_by_parsers_that_are_not_ours_and_tell_the_same(server, tmp_path):
    server.facilitation.Decide(request(), timeout=SOON)
    media_type, text = scrape(server)
    assert media_type == CLASSIC
    classic = samples(classic_families(text))
    media_type, openmetrics = scrape(server, "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
    assert media_type == OPENMETRICS
    told = samples(openmetrics_families(openmetrics))
    assert told.keys() == classic.keys() and len(told) > 500
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_the_readme_lists_exactly_the_metrics_there_are_with_their_labels(server):
    server.facilitation.Decide(request(), timeout=SOON)
    readme = (REPO / "README.md").read_text().split("### Metrics\n", 1)[1].split("\n#", 1)[0]
    cells = "\n".join(line.split("|")[1] for line in readme.splitlines() if line.startswith("|"))
    listed = {name: set(filter(None, (labels or "").split(",")))
              for name, labels in re.findall(r"`(greenlane_\w+)(?:\{([\w,]*)\})?`", cells)}
    told: dict[str, set] = {}
    for family in openmetrics_families(scrape(server, OPENMETRICS)[1]):
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        told[family.name + suffix] = {label for sample in family.samples for label in sample.labels} - {"le"}
    assert told == listed


def test_calls_are_counted_by_how_they_end(server):
    decide = server.facilitation.Decide
    rises(server, "Decide", "OK", lambda: decide(request(), timeout=SOON))
    rises(server, "Decide", "INVALID_ARGUMENT", lambda: refused(decide, pb.DecideRequest()))
    unreached = pb.RegistryVersion(epoch=server.version().epoch, sequence=1 << 40)
    waiting = request(min_registry_version=unreached)
    rises(server, "Decide", LATE, lambda: pytest.raises(grpc.RpcError, decide, waiting, timeout=0.2))
    left = decide.future(waiting, timeout=SOON)
    rises(server, "Decide", "CANCELLED", left.cancel)
    before = server.metric("greenlane_decision_duration_seconds_count")
    items = [request(f"020220261{number:09d}") for number in range(5)]
    batch = pb.BatchDecideRequest(requests=[*items, pb.DecideRequest()])
    rises(server, "BatchDecide", "OK", lambda: server.facilitation.BatchDecide(batch, timeout=SOON))
    assert server.metric("greenlane_decision_duration_seconds_count") == before + 5
    stream = (pb.DecideStreamRequest(correlation_id=at, request=each) for at, each in enumerate(items))
    rises(server, "DecideStream", "OK", lambda: list(server.facilitation.DecideStream(stream, timeout=SOON)))
    assert server.metric("greenlane_decision_duration_seconds_count") == before + 10
    assert 0 < server.metric("greenlane_decision_duration_seconds_sum") < 10


def test_a_stream_counts_when_it_ends_and_as_its_trailers_tell(server):
    key = pb.ShipmentKey(declaration_number=NUMBER)
    watching = pb.WatchPrioritiesRequest(keys=[key])
    spent = server.metric("greenlane_grpc_request_duration_seconds_sum", method="WatchPriorities")

    def watch():
        with pytest.raises(grpc.RpcError):
            list(server.priority.WatchPriorities(watching, timeout=0.5))

    rises(server, "WatchPriorities", LATE, watch)
    assert server.metric("greenlane_grpc_request_duration_seconds_sum", method="WatchPriorities") > spent + 0.3
    open_watch = server.priority.WatchPriorities(watching)
    next(iter(open_watch))
    rises(server, "WatchPriorities", "CANCELLED", open_watch.cancel)


def test_a_path_that_a_caller_makes_up_becomes_no_label(server):
    for path in ("/made.up.Service/Method", "/greenlane.v1.FacilitationService/MadeUp", "/"):
        made_up = server.channel.unary_unary(path)
        rises(server, "unknown", "UNIMPLEMENTED", lambda: refused(made_up, b""))
    text = scrape(server)[1]
    assert "made" not in text.lower() and 'service="unknown"' in text


def test_connections_beyond_the_limit_are_counted_as_shed(server):
    before = server.metric("greenlane_requests_shed_total", cause="max_connections")
    host, port = server.grpc_addr.split(":")
    with contextlib.ExitStack() as held:
        def full() -> bool:
            held.enter_context(socket.create_connection((host, int(port)), timeout=SOON))
            return server.metric("greenlane_requests_shed_total", cause="max_connections") > before

        eventually(full, SOON, "one is refused")
    eventually(lambda: server._is_serving(), SOON, "those that closed make room")


def test_the_policy_in_force_is_told_and_another_digest_leaves_nothing_behind(server, tmp_path):
    told = json.loads(server.command("policy", "list", "--output", "json").stdout)
    series = [sample for family in openmetrics_families(scrape(server, OPENMETRICS)[1]) for sample in family.samples
              if sample.name == "greenlane_policy_info"]
    assert [sample.value for sample in series] == [1.0]
    assert series[0].labels["digest"] in json.dumps(told) and series[0].labels["id"] in json.dumps(told)
    assert server.metric("greenlane_policy_next_activation_seconds") == float("inf")


# --- traces ---------------------------------------------------------------------------------------


def test_a_call_is_a_span_below_its_callers_with_the_decision(server, collector):
    sampled = [("traceparent", f"00-{TRACE}-{PARENT}-01")]
    decision = server.facilitation.Decide(request(), timeout=SOON, metadata=sampled).decision
    process, span = eventually(lambda: collector.named("Decide", **{"greenlane.decision_id": decision.decision_id}), SOON, "the span")[0]
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert span.name == "greenlane.v1.FacilitationService/Decide" and span.kind == span.SPAN_KIND_SERVER
    lane = pb.Lane.Name(decision.lane).removeprefix("LANE_")
    assert attributes(span.attributes) == {
        "rpc.system": "grpc", "rpc.service": "greenlane.v1.FacilitationService", "rpc.method": "Decide",
        "rpc.grpc.status_code": 0, "greenlane.decision_id": decision.decision_id, "greenlane.lane": lane,
        "greenlane.caller": "anonymous"}
    assert process["service.name"] == "clearance-test" and process["deployment.environment"] == "e2e"
    assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < SOON * 1e9


def test_what_a_caller_does_not_sample_is_no_span_and_a_refusal_is_one(server, collector):
    unsampled, trace = [("traceparent", f"00-{'ab' * 16}-{PARENT}-00")], "cd" * 16
    server.facilitation.Decide(request(), timeout=SOON, metadata=unsampled)
    refused(server.facilitation.Decide, pb.DecideRequest(), metadata=[("traceparent", f"00-{trace}-{PARENT}-01")])
    found = eventually(lambda: [span for _, span in collector.spans if span.trace_id.hex() == trace], SOON, "the span")
    assert attributes(found[0].attributes)["rpc.grpc.status_code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert found[0].status.code == found[0].status.STATUS_CODE_UNSET
    assert not [span for _, span in collector.spans if span.trace_id.hex() == "ab" * 16]


def test_a_collector_that_does_not_answer_costs_one_warning_and_the_last_spans_are_sent_at_the_stop(tmp_path):
    late, (port,) = Collector(), free_ports(1)
    for name, endpoint, delay in (("silent", port, "50"), ("late", late.port, "600000")):
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{endpoint}", "OTEL_BSP_SCHEDULE_DELAY": delay}
        with Server(tmp_path / name, environment=environment).start(wait=False) as server:
            server.wait_for_store()
            plant(server)
            server.wait_ready()
            for number in range(20):
                server.facilitation.Decide(request(f"020220261{number:09d}"), timeout=SOON)
            if name == "silent":
                eventually(lambda: "traces cannot be sent" in server.log.read_text(), SOON, "the warning")
            assert server.stop(SOON) == 0, server.log_tail()
            assert server.log.read_text().count("traces cannot be sent") == (name == "silent")
    assert len(late.named("Decide")) == 20 and late.named("Decide")[0][0]["service.name"] == "greenlane"
    late.server.stop(None)


def test_without_a_collector_or_where_it_is_disabled_nothing_is_built(tmp_path):
    made = Collector()
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{made.port}", "OTEL_SDK_DISABLED": "true"}
    with Server(tmp_path, environment=environment).start(wait=False) as server:
        server.wait_for_store()
        plant(server)
        server.wait_ready()
        server.facilitation.Decide(request(), timeout=SOON)
        assert server.stop(SOON) == 0
        assert "traces" not in server.log.read_text() and "decision_id" not in server.log.read_text()
        assert not [line for line in server.log.read_text().splitlines() if "Decide" in line]  # 0 of request_sample
    made.server.stop(None)
    assert made.spans == []


# --- logs -----------------------------------------------------------------------------------------


def test_a_sampled_request_is_one_line_with_its_decision(server):
    decision = server.facilitation.Decide(request(), timeout=SOON).decision
    line, = eventually(lambda: [line for line in log_lines(server) if line.get("decision") == decision.decision_id], SOON, "its line")
    assert (line["level"], line["message"], line["code"]) == ("INFO", "call", "OK")
    assert (line["service"], line["method"]) == ("greenlane.v1.FacilitationService", "Decide") and 0 < line["seconds"] < SOON
    assert line.keys() == {"timestamp", "level", "target", "message", "service", "method", "code", "seconds", "decision",
                           "caller"}


def test_neither_log_nor_spans_nor_metrics_hold_what_was_asked_or_why(server, collector):
    decision = server.facilitation.Decide(request(), timeout=SOON, metadata=[("traceparent", f"00-{TRACE}-{PARENT}-01")]).decision
    # The order is in force: what must not be told was at hand.
    assert any(reason.confidential_text == "PLANTED-CONFIDENTIAL-REASON" for reason in decision.reasons)
    refused(server.facilitation.Decide, request(accepted_at=pb.Timestamp(seconds=1)))
    eventually(lambda: collector.named("Decide", **{"greenlane.decision_id": decision.decision_id}), SOON, "the span")
    told = server.log.read_text() + "\n".join(map(str, collector.spans)) + scrape(server)[1] + scrape(server, OPENMETRICS)[1]
    for planted in PLANTED:
        assert planted not in told, planted
