"""Quotas and overload: who is refused, with what, and who is not."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.error
import urllib.request

import grpc
from google.protobuf import json_format
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_status import rpc_status

import raw_http2 as raw
from harness import Server, eventually, pb
from raw_http2 import Connection, call, frame, message, request_headers, settings
from test_abuse import BYTES, REQUEST, SOON, honest, registered, shed

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


def wait_told(error: grpc.RpcError) -> float:
    """In how many seconds it is worth another try: in the details and, for clients that retry by themselves, in the trailers."""
    for detail in rpc_status.from_call(error).details:
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(retry):
            told = retry.retry_delay.ToTimedelta().total_seconds()
    pushback = dict(error.trailing_metadata())["grpc-retry-pushback-ms"]
    assert told > 0 and int(pushback) == max(1, int(told * 1000))
    return told


def refusal(ask) -> grpc.RpcError:
    """Asks until it is refused."""
    def refused():
        try:
            ask()
        except grpc.RpcError as error:
            assert error.code() == EXHAUSTED, error
            return error
        return None

    return eventually(refused, SOON, "a refusal")


def limited(tmp_path, **limits: str) -> Server:
    return registered(Server(tmp_path, {f"limits.{name}": value for name, value in limits.items()}))


def test_a_rate_is_kept_for_one_caller_and_leaves_others_alone(tmp_path):
    with limited(tmp_path, max_caller_rate="5") as server:
        error = refusal(lambda: server.facilitation.Decide(REQUEST, timeout=SOON))
        assert error.details() == "more decisions a second than this caller may ask for"
        told = wait_told(error)
        with Connection(server.grpc_addr, source="127.0.0.2") as other:
            other.send(call(1, BYTES))
            kind, flags, *_ = other.until(lambda kind, *_: kind == raw.HEADERS)
            assert not flags & raw.END_STREAM, "an answer, not a refusal"
        time.sleep(told)
        assert server.facilitation.Decide(REQUEST, timeout=SOON).decision.decision_id
        assert server.health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
        assert shed(server, "caller_rate") > 0


def test_items_of_batches_and_messages_of_streams_are_decisions_too(tmp_path):
    with limited(tmp_path, max_caller_rate="20") as server:
        batch = pb.BatchDecideRequest(requests=[REQUEST] * 40)
        answer = server.facilitation.BatchDecide(batch, timeout=SOON)
        assert all(result.decision.decision_id for result in answer.results), "what has begun is answered whole"
        assert wait_told(refusal(lambda: server.facilitation.Decide(REQUEST, timeout=SOON))) > 0.5

        def stream():
            messages = [pb.DecideStreamRequest(correlation_id=at, request=REQUEST) for at in range(60)]
            return [answer.correlation_id for answer in server.facilitation.DecideStream(iter(messages), timeout=SOON)]

        def begun():
            with contextlib.suppress(grpc.RpcError):
                return stream()

        # A stream is slowed down, not refused.
        before = time.monotonic()
        assert eventually(begun, SOON, "a stream is let in") == list(range(60))
        assert time.monotonic() - before > 1.5


def post(server: Server, path: str, message) -> tuple[int, dict, dict]:
    """What the JSON gateway answers: code, headers, body."""
    body = json_format.MessageToJson(message).encode()
    request = urllib.request.Request(f"http://{server.http_addr}{path}", data=body, headers={"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=SOON) as answer:
            return answer.status, dict(answer.headers), json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), json.load(error)


def test_a_caller_has_one_quota_on_both_ports(tmp_path):
    with limited(tmp_path, max_caller_rate="20") as server:
        # It is let in, decided whole, and owed for.
        code, _, answer = post(server, "/v1/batch-decide", pb.BatchDecideRequest(requests=[REQUEST] * 40))
        assert code == 200 and len(answer["results"]) == 40
        code, headers, answer = post(server, "/v1/decide", REQUEST)
        assert code == 429 and int(headers["retry-after"]) >= 1
        assert answer["message"] == "more decisions a second than this caller may ask for"
        told, = (float(detail["retryDelay"].removesuffix("s")) for detail in answer["details"]
                 if detail["@type"].endswith("RetryInfo"))
        assert 0 < told <= int(headers["retry-after"])
        assert wait_told(refusal(lambda: server.facilitation.Decide(REQUEST, timeout=SOON))) > 0
        assert shed(server, "caller_rate") >= 2
        time.sleep(told)
        code, _, answer = post(server, "/v1/decide", REQUEST)
        assert code == 200 and answer["decision"]["decisionId"]


def test_refusals_do_not_cost_a_connection_whose_requests_are_long_on_their_way(tmp_path):
    """As clients send many calls at once: the headers of all of them, then what they ask."""
    with limited(tmp_path, max_caller_rate="1") as server, Connection(server.grpc_addr) as client:
        for first in (1, 1201):
            streams = range(first, first + 1200, 2)
            client.send(*(frame(raw.HEADERS, raw.END_HEADERS, stream, request_headers()) for stream in streams))
            time.sleep(0.2)  # how long they are on their way is what is tested
            client.send(*(frame(raw.DATA, raw.END_STREAM, stream, message(BYTES)) for stream in streams))
            ended = set()
            while ended != set(streams):
                kind, _, stream, payload = client.until(lambda kind, flags, *_: kind in (raw.RST_STREAM, raw.GOAWAY) or (
                    kind == raw.HEADERS and flags & raw.END_STREAM))
                assert kind == raw.HEADERS, (kind, stream, payload)
                ended.add(stream)
        assert shed(server, "caller_rate") > 1100


def test_calls_at_once_are_bounded_for_one_caller(tmp_path):
    with limited(tmp_path, max_caller_calls="2") as server:
        held = [server.priority.WatchPriorities(pb.WatchPrioritiesRequest(
            keys=[pb.ShipmentKey(declaration_number="020220261000000001")])) for _ in range(2)]
        error = refusal(lambda: server.facilitation.Decide(REQUEST, timeout=SOON))
        assert error.details() == "as many calls at once as this caller may have" and wait_told(error)
        held[0].cancel()

        def answered():
            with contextlib.suppress(grpc.RpcError):
                return server.facilitation.Decide(REQUEST, timeout=SOON)

        eventually(answered, SOON, "there is room again")
        assert shed(server, "caller_calls") > 0
        held[1].cancel()


def test_a_client_that_retries_by_itself_goes_by_what_it_is_told(tmp_path):
    policy = {"methodConfig": [{"name": [{}], "retryPolicy": {
        "maxAttempts": 5, "initialBackoff": "0.001s", "maxBackoff": "0.001s", "backoffMultiplier": 1,
        "retryableStatusCodes": ["RESOURCE_EXHAUSTED"]}}]}
    options = [("grpc.enable_retries", 1), ("grpc.service_config", json.dumps(policy))]
    with limited(tmp_path, max_caller_rate="4") as server:
        with grpc.insecure_channel(server.grpc_addr, options=options) as channel:
            decide = channel.unary_unary(raw.DECIDE, pb.DecideRequest.SerializeToString, pb.DecideResponse.FromString)
            # With its own backoff of a millisecond, five tries would be over before the next decision is due.
            for _ in range(12):
                assert decide(REQUEST, timeout=SOON).decision.decision_id
        assert shed(server, "caller_rate") > 0


# Calls of one connection: on eight, more than are answered in the 100 ms in which a queue counts as a burst.
AT_ONCE = 1000


def test_under_overload_the_modest_are_answered_and_the_rest_is_refused_at_once(tmp_path):
    """One caller asks for all that it can have open on eight connections; the bound is so low that any queue is too long."""
    with limited(tmp_path, max_queue_delay="1us") as server, contextlib.ExitStack() as held:
        flood = [held.enter_context(Connection(server.grpc_addr, source="127.0.0.2",
                                               first=settings(initial_window_size=1 << 30))) for _ in range(8)]
        stream, codes = 1, set()
        with honest(server):
            deadline = time.monotonic() + SOON
            while (few := shed(server, "overload") < 100) or codes != {True, False}:
                assert time.monotonic() < deadline, (few, codes)
                for each in flood if few else ():
                    burst = [call(at, BYTES) for at in range(stream, stream + 2 * AT_ONCE, 2)]
                    each.send(raw.frame(raw.WINDOW_UPDATE, payload=b"\0\x10\0\0"), *burst)
                stream += 2 * AT_ONCE if few else 0
                for each in flood:
                    while each.readable(0.01):
                        found = each.next()
                        assert found is not None
                        if found[0] == raw.HEADERS:
                            codes.add(b"grpc-retry-pushback-ms" in found[3] or bool(found[1] & raw.END_STREAM))
                assert server._is_serving(), "health is answered"
        assert shed(server, "overload") >= 100 and codes == {True, False}
    assert "panicked" not in server.log.read_text()


def test_what_nobody_waits_for_is_not_worked_on(tmp_path):
    with limited(tmp_path, max_queue_delay="0s") as server, Connection(server.grpc_addr) as hasty:
        before = server.metric("greenlane_decisions_total")
        streams = range(1, 1001, 2)
        hasty.send(*(call(stream, BYTES, grpc_timeout="1n") for stream in streams))
        for _ in streams:
            assert hasty.until(lambda kind, flags, *_: kind == raw.HEADERS and flags & raw.END_STREAM)
        assert server.metric("greenlane_decisions_total") == before
        assert shed(server, "late") == len(streams)
