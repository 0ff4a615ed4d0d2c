"""The first minutes with Greenlane: `greenlane demo` in an empty folder, asked by two independent clients.

Both learn the contract from the server alone, by reflection: grpcio without generated stubs, and `buf curl`.
"""

from __future__ import annotations

import base64
import collections
import contextlib
import json
import os
import pathlib
import signal
import sqlite3
import subprocess
import urllib.request
from datetime import datetime, timedelta, timezone

import grpc
import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from harness import REPO, eventually, free_ports, violations

BUF = os.environ.get("BUF") or str(REPO / "target/tests-node/node_modules/.bin/buf")
SERVICE = "greenlane.v1.FacilitationService"
LANES = ("MANUAL", "RED", "GREEN", "BLUE", "YELLOW")
# What two answers to one declaration may differ in.
VOLATILE = ("decisionId", "decidedAt", "validUntil", "dataAge")


def bare_environment() -> dict[str, str]:
    """The environment without our own settings and without proxies, which loopback calls must not meet."""
    return {k: v for k, v in os.environ.items()
            if not k.startswith("GREENLANE_") and not k.lower().endswith("_proxy")}


class Demo:
    """A running `greenlane demo`."""

    def __init__(self, folder: pathlib.Path):
        self.log = folder / "demo.log"
        self.data = folder / "data"
        grpc_port, http_port = free_ports(2)
        self.grpc_addr, self.http_addr = f"127.0.0.1:{grpc_port}", f"127.0.0.1:{http_port}"
        environment = bare_environment() | {
            "GREENLANE_SERVER__GRPC_ADDR": self.grpc_addr,
            "GREENLANE_SERVER__HTTP_ADDR": self.http_addr,
            "GREENLANE_SERVER__DATA_DIR": str(self.data),
            "GREENLANE_DRAIN__PROPAGATION": "50ms",
        }
        binary = os.environ.get("GREENLANE_BIN") or str(REPO / "target/debug/greenlane")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([binary, "demo"], env=environment, cwd=folder,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def printed(self) -> str:
        return self.log.read_text(errors="replace")

    def has_introduced_itself(self) -> bool:
        """The table of decisions is there, and the address to try."""
        assert self.process.poll() is None, f"the demo ended by itself:\n{self.printed()}"
        text = self.printed()
        return self.grpc_addr in text and sum(lane in text for lane in LANES) >= 3

    def enterprises(self) -> dict[str, str]:
        """One customs code of each tier in the sample registry."""
        with contextlib.closing(sqlite3.connect(f"file:{self.data / 'greenlane.db'}?mode=ro", uri=True)) as store:
            rows = store.execute("SELECT credit_tier, min(customs_code) FROM enterprise GROUP BY credit_tier")
            return dict(rows.fetchall())


@contextlib.contextmanager
def running_demo(folder: pathlib.Path):
    demo = Demo(folder)
    try:
        eventually(demo.has_introduced_itself, 60, "the table of decisions and the address")
        yield demo
    except TimeoutError as error:
        raise AssertionError(f"{error}\n{demo.printed()}") from None
    finally:
        demo.process.kill()
        demo.process.wait()


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    with running_demo(tmp_path_factory.mktemp("demo")) as running:
        yield running


CallDetails = collections.namedtuple(
    "CallDetails", ("method", "timeout", "metadata", "credentials", "wait_for_ready", "compression"))


class AskV1(grpc.StreamStreamClientInterceptor):
    """Sends grpcio's v1alpha reflection calls to grpc.reflection.v1, whose messages are the same on the wire."""

    def intercept_stream_stream(self, continuation, details, requests):
        method = details.method.replace("grpc.reflection.v1alpha.", "grpc.reflection.v1.")
        return continuation(CallDetails(method, details.timeout, details.metadata, details.credentials,
                                        details.wait_for_ready, details.compression), requests)


class ReflectionClient:
    """A grpcio client that knows nothing but the address."""

    def __init__(self, address: str, reflection: str = "v1"):
        self.channel = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])
        asked = grpc.intercept_channel(self.channel, AskV1()) if reflection == "v1" else self.channel
        self.database = ProtoReflectionDescriptorDatabase(asked)
        self.pool = DescriptorPool(self.database)

    def call(self, method: str, request: dict) -> dict:
        descriptor = self.pool.FindServiceByName(SERVICE).FindMethodByName(method)
        request_class = message_factory.GetMessageClass(descriptor.input_type)
        answer_class = message_factory.GetMessageClass(descriptor.output_type)
        call = self.channel.unary_unary(f"/{SERVICE}/{method}", request_serializer=request_class.SerializeToString,
                                        response_deserializer=answer_class.FromString)
        message = json_format.ParseDict(request, request_class(), descriptor_pool=self.pool)
        return json_format.MessageToDict(call(message, timeout=10), descriptor_pool=self.pool)


def buf_curl(address: str, method: str, request: dict) -> subprocess.CompletedProcess:
    assert pathlib.Path(BUF).exists(), f"{BUF} is missing: tests/run.sh installs it"
    return subprocess.run([BUF, "curl", "--protocol", "grpc", "--http2-prior-knowledge", "--data", "@-",
                           f"http://{address}/{SERVICE}/{method}"], input=json.dumps(request),
                          env=bare_environment(), capture_output=True, text=True, timeout=60)


def declaration(customs_code: str, serial: int = 1) -> dict:
    return {
        "declarationNumber": f"222520261{serial:09}",
        "direction": "DIRECTION_IMPORT",
        "parties": [{"role": "PARTY_ROLE_CONSIGNEE", "customsCode": customs_code},
                    {"role": "PARTY_ROLE_FOREIGN_PARTY", "aeoCode": "SGAEO1234567"}],
        "goods": [{"hsCode": "8471300000", "originCountry": "SG"}],
        "customsOffice": "2225",
        "transportMode": "TRANSPORT_MODE_SEA",
        "tradeMode": "TRADE_MODE_GENERAL",
        "containerNumbers": ["CSQU3054383"],
    }


def stable(answer: dict) -> dict:
    return {key: value for key, value in answer["decision"].items() if key not in VOLATILE}


@pytest.mark.parametrize("reflection", ["v1", "v1alpha"])
def test_the_contract_is_told_by_reflection(demo, reflection):
    client = ReflectionClient(demo.grpc_addr, reflection)
    services = set(client.database.get_services())
    assert {SERVICE, "greenlane.v1.RegistryService", "grpc.health.v1.Health"} <= services
    assert client.call("Decide", declaration(demo.enterprises()["REGULAR"]))["decision"]["lane"].startswith("LANE_")


def test_two_independent_clients_get_the_same_answers(demo):
    client = ReflectionClient(demo.grpc_addr)
    enterprises = demo.enterprises()
    assert len(enterprises) >= 4, f"the sample registry has few tiers: {enterprises}"
    tiers = set()
    for serial, (tier, customs_code) in enumerate(sorted(enterprises.items())):
        request = declaration(customs_code, serial)
        by_grpcio = client.call("Decide", request)
        curl = buf_curl(demo.grpc_addr, "Decide", request)
        assert curl.returncode == 0, curl.stderr
        by_buf = json.loads(curl.stdout)
        assert stable(by_grpcio) == stable(by_buf), f"{tier} {customs_code}"
        assert by_grpcio["decision"]["decisionId"] != by_buf["decision"]["decisionId"], "a retry is a new decision"
        assert by_grpcio["decision"]["parties"][0]["registeredTier"].startswith("CREDIT_TIER_")
        assert by_grpcio["decision"]["reasons"], "every decision says why"
        tiers.add(by_grpcio["decision"]["creditTier"])
    assert len(tiers) >= 3, f"the sample registry shows little: {tiers}"


GOOD = declaration("0000000000")
MALFORMED = {
    "empty": ("Decide", {}, {"declaration_number", "direction", "parties", "customs_office"}),
    "number": ("Decide", GOOD | {"declarationNumber": "22252026100000000"}, {"declaration_number"}),
    "direction": ("Decide", GOOD | {"direction": "DIRECTION_EXPORT"}, {"direction"}),
    "office": ("Decide", GOOD | {"customsOffice": "22a5"}, {"customs_office"}),
    "enum": ("Decide", GOOD | {"transportMode": 99}, {"transport_mode"}),
    "identifier": ("Decide", GOOD | {"parties": [{"role": "PARTY_ROLE_CONSIGNEE"}]}, {"parties[0].identifier"}),
    "container": ("Decide", GOOD | {"containerNumbers": ["CSQU3054384"]}, {"container_numbers[0]"}),
    "accepted": ("Decide", GOOD | {"acceptedAt": (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat()},
                 {"accepted_at"}),
    "batch": ("BatchDecide", {"requests": [GOOD] * 1001}, {"requests"}),
    "simulation": ("Simulate", {"request": GOOD | {"customsOffice": ""}, "policyId": "CN-GACC-000"},
                   {"request.customs_office", "policy_id"}),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_request_is_refused_and_its_fields_named(demo, case):
    method, request, fields = MALFORMED[case]
    with pytest.raises(grpc.RpcError) as raised:
        ReflectionClient(demo.grpc_addr).call(method, request)
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert set(violations(raised.value)) == fields
    curl = buf_curl(demo.grpc_addr, method, request)
    assert curl.returncode == 8 * grpc.StatusCode.INVALID_ARGUMENT.value[0], curl.stdout + curl.stderr
    problem = json.loads(curl.stderr)
    assert problem["code"] == "invalid_argument"
    refusal = error_details_pb2.BadRequest.FromString(base64.b64decode(problem["details"][0]["value"] + "=="))
    assert {violation.field for violation in refusal.field_violations} == fields


def test_the_http_side_is_alive(demo):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    assert opener.open(f"http://{demo.http_addr}/livez", timeout=10).status == 200


def test_sigterm_ends_the_demo_cleanly(tmp_path):
    with running_demo(tmp_path) as demo:
        demo.process.send_signal(signal.SIGTERM)
        assert demo.process.wait(30) == 0, demo.printed()
