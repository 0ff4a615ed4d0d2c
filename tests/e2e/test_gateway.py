"""JSON over HTTP: protobuf's own reader of JSON finds in it what gRPC answers."""

from __future__ import annotations

import json
import random
import re
import subprocess
import urllib.error
import urllib.request

import grpc
import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

import generate
from harness import REPO, Server, decide_request, pb, simulate_request
from test_demo import running_demo

SOON = 20
REGULAR = "1101919107"


@pytest.fixture(scope="module")
def world():
    return generate.make_world(20260401)


@pytest.fixture(scope="module")
def server(tmp_path_factory, world):
    running = Server(tmp_path_factory.mktemp("gateway"))
    running.start(wait=False)
    with running:
        running.wait_for_store()
        connection = running.sql()
        world.insert(connection)
        connection.execute("INSERT INTO enterprise (customs_code, name, credit_tier, tier_effective_from) "
                           "VALUES (?, 'R', 'REGULAR', '2020-01-01')", [REGULAR])
        running.wait_answering(running.version())
        yield running


def ask(server: Server, path: str, body=None, **headers):
    """Code and parsed body of an answer; posts a body that is given."""
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    if body is not None:
        headers.setdefault("content_type", "application/json")
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"http://{server.http_addr}{path}", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=SOON) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def post(server: Server, path: str, message, answer):
    """The answer to a message, as protobuf's own reader finds it; the names of fields are chosen at random."""
    proto_names = random.random() < 0.5
    body = json_format.MessageToJson(message, preserving_proto_field_name=proto_names, use_integers_for_enums=proto_names)
    code, text = ask(server, path, body.encode())
    assert code == 200, text
    return json_format.Parse(text, answer)


def lasting(message):
    """An answer without what is of its own moment."""
    kept = type(message)()
    kept.CopyFrom(message)
    decisions = [kept] if isinstance(kept, pb.Decision) else [
        result.decision for result in kept.results if result.HasField("decision")]
    for decision in decisions:
        for field in ("decision_id", "decided_at", "valid_until", "data_age"):
            decision.ClearField(field)
    return kept


# --- the same answers ---------------------------------------------------------------------------


def test_generated_requests_are_decided_as_over_grpc(server, world):
    requests = [decide_request(generate.make_decide(world)) for _ in range(150)]
    for request in requests:
        try:
            over_grpc = server.facilitation.Decide(request, timeout=SOON).decision
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert refusal(server, "/v1/decide", request) == told(error)
            continue
        over_http = post(server, "/v1/decide", request, pb.DecideResponse()).decision
        assert lasting(over_http) == lasting(over_grpc)
        assert over_http.decision_id != over_grpc.decision_id
    batch = pb.BatchDecideRequest(requests=requests + [pb.DecideRequest()])
    over_http = post(server, "/v1/batch-decide", batch, pb.BatchDecideResponse())
    assert lasting(over_http) == lasting(server.facilitation.BatchDecide(batch, timeout=SOON))


def test_generated_simulations_are_answered_as_over_grpc(server, world):
    answered = 0
    for _ in range(150):
        simulation = simulate_request(generate.make_simulation(world))
        try:
            over_grpc = server.facilitation.Simulate(simulation, timeout=SOON).decision
        except grpc.RpcError as error:
            assert refusal(server, "/v1/simulate", simulation) == told(error)
            continue
        over_http = post(server, "/v1/simulate", simulation, pb.SimulateResponse()).decision
        assert lasting(over_http) == lasting(over_grpc)
        answered += 1
    assert answered > 50, "most are valid"


def test_every_enterprise_and_the_status_are_told_as_over_grpc(server, world):
    for code in world.customs[:20] + world.social[:20] + ["AEO" + code for code in world.foreign[:20]]:
        kind = {10: "customs_code", 18: "social_credit_code"}.get(len(code), "aeo_code")
        code_over_http, text = ask(server, f"/v1/enterprises/{code}")
        try:
            over_grpc = server.registry.GetEnterprise(pb.GetEnterpriseRequest(**{kind: code}), timeout=SOON)
        except grpc.RpcError as error:
            assert (code_over_http, status(text)) == (404, told(error))
            continue
        assert json_format.Parse(text, pb.GetEnterpriseResponse()) == over_grpc
    _, text = ask(server, "/v1/status")
    over_http = json_format.Parse(text, pb.GetRegistryStatusResponse())
    over_grpc = server.status()
    for each in (over_http, over_grpc):
        each.ClearField("data_age")
    assert over_http == over_grpc


# --- the same refusals --------------------------------------------------------------------------


def status(text: bytes):
    """Code, message and violations of a `google.rpc.Status` in JSON."""
    return _parts(json_format.Parse(text, status_pb2.Status()))


def told(error: grpc.RpcError):
    """The same of an error over gRPC, which has a Status only with details."""
    rich = rpc_status.from_call(error)
    return _parts(rich) if rich else (error.code().value[0], error.details(), [])


def _parts(rich):
    violations = []
    for detail in rich.details:
        bad_request = error_details_pb2.BadRequest()
        if detail.Unpack(bad_request):
            violations += [(violation.field, violation.description) for violation in bad_request.field_violations]
    return rich.code, rich.message, violations


def refusal(server: Server, path: str, message):
    code, text = ask(server, path, json_format.MessageToJson(message).encode())
    assert code >= 400, text
    return status(text)


def right(**changes):
    request = pb.DecideRequest(
        declaration_number="222520261000000001", direction=pb.DIRECTION_IMPORT, customs_office="2225",
        parties=[pb.Party(role=pb.PARTY_ROLE_CONSIGNEE, customs_code=REGULAR)])
    request.MergeFrom(pb.DecideRequest(**changes))
    return request


BAD = [
    pb.DecideRequest(),
    right(declaration_number="2225"),
    right(direction=pb.DIRECTION_EXPORT),
    right(direction=99),
    right(customs_office="22255"),
    right(parties=[pb.Party()]),
    right(parties=[pb.Party(role=pb.PARTY_ROLE_DECLARANT, aeo_code="SG1234567")]),
    right(parties=[pb.Party(role=77, social_credit_code="é")]),
    right(parties=[pb.Party(role=pb.PARTY_ROLE_DECLARANT, customs_code=REGULAR)] * 16),
    right(goods=[pb.GoodsItem(hs_code="1"), pb.GoodsItem(origin_country="kr")]),
    right(goods=[pb.GoodsItem(hs_code="847130", origin_country="KR")] * 101),
    right(transport_mode=50, trade_mode=-1),
    right(transport_document_number="x" * 65),
    right(container_numbers=["CSQU3054384", ""]),
    right(accepted_at=pb.Timestamp(seconds=0)),
    right(accepted_at=pb.Timestamp(seconds=253402300799)),
    right(min_registry_version=pb.RegistryVersion(epoch="another", sequence=1)),
]


@pytest.mark.parametrize("request_", BAD)
def test_a_bad_request_is_refused_as_over_grpc(server, request_):
    with pytest.raises(grpc.RpcError) as raised:
        server.facilitation.Decide(request_, timeout=SOON)
    assert refusal(server, "/v1/decide", request_) == told(raised.value)
    simulation = pb.SimulateRequest(request=request_, policy_id="NO-SUCH")
    with pytest.raises(grpc.RpcError) as raised:
        server.facilitation.Simulate(simulation, timeout=SOON)
    assert refusal(server, "/v1/simulate", simulation) == told(raised.value)


def test_what_protobuf_does_not_read_is_refused_too(server):
    """The other way round ours is stricter: protobuf's reader stops at the first problem, and lets more than one through."""
    base = json.loads(json_format.MessageToJson(right()))
    for changes in ({"office": "2225"}, {"direction": "IMPORT"}, {"parties": {}}, {"goods": [None]},
                    {"customsOffice": 2225}, {"acceptedAt": "2026-11-24"}, {"acceptedAt": "2026-11-24T08:00:00"},
                    {"minRegistryVersion": {"sequence": "x"}}, {"minRegistryVersion": {"sequence": -1}}):
        body = json.dumps(base | changes)
        with pytest.raises(json_format.ParseError):
            json_format.Parse(body, pb.DecideRequest())
        code, text = ask(server, "/v1/decide", body.encode())
        number, _, violations = status(text)
        assert (code, number, len(violations)) == (400, 3, 1), (changes, text)
        field = re.sub(r"([A-Z])", lambda found: "_" + found[1].lower(), next(iter(changes)))
        assert violations[0][0].startswith(field)


# --- the README ---------------------------------------------------------------------------------


def test_the_lines_of_the_readme_are_answered(tmp_path):
    section = (REPO / "README.md").read_text().split("## JSON over HTTP")[1]
    lines = section.split("```sh\n")[1].split("```")[0].replace("\\\n", " ")
    commands = re.findall(r"^curl (?:[^\n']|'[^']*')*", lines, re.MULTILINE)
    assert len(commands) == 6
    answers = []
    with running_demo(tmp_path) as demo:
        for command in commands:
            command = command.replace("127.0.0.1:8080", demo.http_addr)
            done = subprocess.run(["bash", "-c", f"{command} -sS --noproxy '*' --fail-with-body"], capture_output=True,
                                  text=True, timeout=SOON)
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            answers.append(json.loads(done.stdout))
    status_, enterprise, decided, batch, simulated, priority = answers
    assert status_["state"] == "REGISTRY_STATE_LIVE"
    assert enterprise["enterprise"]["customsCode"] == "1101910001"
    assert decided["decision"]["declarationNumber"] == "222520261000000097"
    assert "decision" in batch["results"][0] and batch["results"][1]["error"]["violations"]
    assert simulated["decision"]["decisionId"] == ""
    assert priority["shipment"]["decisionId"] == decided["decision"]["decisionId"]
