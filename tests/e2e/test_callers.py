"""Who may do what: every method and path, every role, every credential. What may be is written here by hand, from the design."""

from __future__ import annotations

import json
import re
import time

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_status import rpc_status

from guarded import ROLES, Guarded, bearer
from harness import CHANNEL_OPTIONS, REPO, eventually, pb
from issuer import AUDIENCE, Issuer

ANYBODY = {*ROLES, None}

# The design, section 7.
METHODS = {
    "greenlane.v1.FacilitationService": {
        "Decide": {"clearance"}, "BatchDecide": {"clearance"}, "DecideStream": {"clearance"},
        "Simulate": {"clearance", "officer"}},
    "greenlane.v1.PriorityService": {
        "GetPriority": {"terminal"}, "BatchGetPriority": {"terminal"}, "WatchPriorities": {"terminal"}},
    "greenlane.v1.RegistryService": {
        "GetEnterprise": {"officer", "operator"}, "GetRegistryStatus": {"officer", "operator"},
        "ListPolicies": {"officer", "operator"}},
    "greenlane.v1.AuditService": {
        "GetDecision": {"auditor"}, "ListDecisions": {"auditor"}, "ReplayDecision": {"auditor"},
        "ListDrawCommitments": {"auditor"}, "VerifyDraw": {"auditor"}, "ListRealizedRates": {"auditor"},
        "RecordInspection": {"officer"}},
    "grpc.health.v1.Health": {"Check": ANYBODY, "Watch": ANYBODY},
    "grpc.reflection.v1.ServerReflection": {"ServerReflectionInfo": {"operator"}},
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": {"operator"}},
}
PATHS = {
    ("POST", "/v1/decide"): {"clearance"}, ("POST", "/v1/batch-decide"): {"clearance"},
    ("POST", "/v1/simulate"): {"clearance", "officer"},
    ("GET", "/v1/priority/CSQU3054383"): {"terminal"},
    ("GET", "/v1/enterprises/1101919107"): {"officer", "operator"}, ("GET", "/v1/status"): {"officer", "operator"},
    ("GET", "/"): {"operator"}, ("GET", "/console/figures"): {"operator"}, ("GET", "/console/console.js"): {"operator"},
    ("GET", "/favicon.ico"): {"operator"}, ("GET", "/metrics"): {"operator"},
    ("GET", "/livez"): ANYBODY, ("GET", "/readyz"): ANYBODY, ("GET", "/startupz"): ANYBODY,
}
# Of grpcio, and not of the server.
NOT_SERVED = {"grpc.health.v1.Health.List"}
REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
def descriptors():
    """Every service that is in the contract's descriptors, and those that come with gRPC."""
    pool = pb.DecideRequest.DESCRIPTOR.file.pool
    files = [pool.FindFileByName(f"greenlane/v1/{path.name}") for path in (REPO / "proto/greenlane/v1").glob("*.proto")]
    files += [health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR]
    for file in files:
        yield from file.services_by_name.values()


def methods_of(service):
    return [method for method in service.methods if method.full_name not in NOT_SERVED]


def call(channel: grpc.Channel, service: str, method, token: str | None, wait: bool = True) -> grpc.RpcError | None:
    """Calls a method with an empty message; the error it ends with, or `None`. `wait`: until there is a connection."""
    kind = {(False, False): channel.unary_unary, (False, True): channel.unary_stream,
            (True, True): channel.stream_stream}[method.client_streaming, method.server_streaming]
    stub = kind(f"/{service}/{method.name}", request_serializer=bytes, response_deserializer=bytes)
    try:
        if not method.server_streaming:
            stub(b"", metadata=bearer(token), timeout=30, wait_for_ready=wait)
            return None
        stream = stub(iter([b""]) if method.client_streaming else b"", metadata=bearer(token), timeout=30,
                      wait_for_ready=wait)
        next(stream, None)
        stream.cancel()
        return None
    except grpc.RpcError as error:
        return error


def reason(error: grpc.RpcError) -> str | None:
    """The reason of the `google.rpc.ErrorInfo` in an error."""
    for detail in rpc_status.from_call(error).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            assert info.domain == "greenlane"
            return info.reason
    return None


@pytest.fixture(scope="module")
def issuer():
    return Issuer("RS256", "RS384", "RS512", "ES256", "ES384", "EdDSA")


@pytest.fixture(scope="module")
def server(tmp_path_factory, issuer):
    with Guarded(tmp_path_factory.mktemp("callers"), issuer).store_filled() as running:
        yield running


@pytest.fixture(scope="module")
def credentials(issuer, server):
    """By name: the token of a role, and the reason that it is refused for; `None` where it is good."""
    others = Issuer(*(algorithm for algorithm, _ in issuer.keys.values()))
    revoked = {role: issuer.token(role, "rs512") for role in ROLES}
    operator = revoked["operator"]
    assert server.http("GET", "/metrics", operator)[0] == 200, "good until its key has gone"
    server.jwks.write_text(issuer.jwks("rs512"))
    eventually(lambda: server.http("GET", "/metrics", operator)[0] == 401, 30, "the key has gone")
    now = int(time.time())
    made = {f"good {kid}": (lambda role, kid=kid: issuer.token(role, kid), None) for kid in issuer.keys if kid != "rs512"}
    made |= {
        "good, of several audiences": (lambda role: issuer.token(role, "es256", aud=["other", AUDIENCE]), None),
        "expired": (lambda role: issuer.token(role, "rs256", expires_in=-31), "TOKEN_EXPIRED"),
        "not yet valid": (lambda role: issuer.token(role, "es256", nbf=now + 600), "TOKEN_NOT_YET_VALID"),
        "of the future": (lambda role: issuer.token(role, "eddsa", iat=now + 600), "TOKEN_NOT_YET_VALID"),
        "wrong issuer": (lambda role: issuer.token(role, "rs256", iss="https://id.elsewhere.example"), "TOKEN_ISSUER"),
        "no issuer": (lambda role: issuer.token(role, "rs256", iss=None), "TOKEN_ISSUER"),
        "wrong audience": (lambda role: issuer.token(role, "es384", aud="another-service"), "TOKEN_AUDIENCE"),
        "no audience": (lambda role: issuer.token(role, "es384", aud=None), "TOKEN_AUDIENCE"),
        "no expiry": (lambda role: issuer.token(role, "es384", exp=None), "CREDENTIAL_MALFORMED"),
        "revoked by rotation": (lambda role: revoked[role], "TOKEN_KEY_UNKNOWN"),
        "unknown key": (lambda role: issuer.token(role, "es256", headers={"kid": "another"}), "TOKEN_KEY_UNKNOWN"),
        "no algorithm": (lambda role: issuer.by_hand(role, "rs256", {"alg": "none"}, lambda _: b""), "TOKEN_ALGORITHM"),
        "public key as secret": (lambda role: issuer.confused(role, "rs256"), "TOKEN_ALGORITHM"),
        "must be understood": (lambda role: issuer.token(role, "es256", headers={"crit": ["exp"]}), "TOKEN_ALGORITHM"),
        "altered": (lambda role: altered(issuer.token("nobody", "es256"), issuer.token(role, "es256")), "TOKEN_SIGNATURE"),
        "unknown subject": (lambda role: issuer.token(f"{role}2", "es256"), "CALLER_UNKNOWN"),
        "no token": (lambda role: "x" * 40, "CREDENTIAL_MALFORMED"),
        "too long": (lambda role: issuer.token(role, "es256", more="x" * 8192), "CREDENTIAL_MALFORMED"),
    }
    made |= {f"wrong key {kid}": (lambda role, kid=kid: others.token(role, kid), "TOKEN_SIGNATURE")
             for kid in issuer.keys if kid != "rs512"}
    return made


def altered(signed: str, claims: str) -> str:
    """One token's signature under another's claims."""
    header, _, signature = signed.split(".")
    return ".".join((header, claims.split(".")[1], signature))


# --- the matrix -------------------------------------------------------------------------------------


def test_every_method_of_the_descriptors_stands_in_the_table():
    found = {service.full_name: {method.name for method in methods_of(service)} for service in descriptors()}
    # The same service under its later name, which grpcio's package does not have.
    found["grpc.reflection.v1.ServerReflection"] = found["grpc.reflection.v1alpha.ServerReflection"]
    assert found == {service: set(methods) for service, methods in METHODS.items()}


def test_the_server_reflects_the_services_of_the_table_and_no_others(server, issuer):
    stub = server.channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString)
    asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    answer = next(stub(asked, metadata=bearer(issuer.token("operator", "es256")), timeout=30))
    assert {each.name for each in answer.list_services_response.service} >= {
        name for name in METHODS if name.startswith("greenlane.")}


def test_exactly_the_intended_calls_pass(server, credentials):
    methods = {service.full_name: methods_of(service) for service in descriptors()}
    methods["grpc.reflection.v1.ServerReflection"] = methods["grpc.reflection.v1alpha.ServerReflection"]
    tokens = {(name, role): make(role) for name, (make, _) in credentials.items() for role in ROLES}
    tokens["none", None] = None
    wrong, cells = [], 0
    with grpc.insecure_channel(server.grpc_addr, options=CHANNEL_OPTIONS) as channel:
        for (credential, role), token in tokens.items():
            refusal = credentials[credential][1] if role else "CREDENTIAL_MISSING"
            for service, own in methods.items():
                for method in own:
                    allowed = METHODS[service][method.name]
                    error = call(channel, service, method, token)
                    told = (error.code(), reason(error)) if error and error.code() in REFUSED else None
                    if allowed is ANYBODY or (refusal is None and role in allowed):
                        expected = None
                    elif refusal:
                        expected = (grpc.StatusCode.UNAUTHENTICATED, refusal)
                    else:
                        expected = (grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING")
                    cells += 1
                    if told != expected:
                        wrong.append((service, method.name, role, credential, told, expected))
    assert not wrong, wrong
    assert cells == (len(credentials) * len(ROLES) + 1) * sum(len(own) for own in METHODS.values())


def test_exactly_the_intended_paths_pass(server, credentials):
    wrong = []
    for (credential, role) in [(name, role) for name in credentials for role in ROLES] + [("none", None)]:
        token = credentials[credential][0](role) if role else None
        refused = credentials[credential][1] if role else "CREDENTIAL_MISSING"
        for (method, path), allowed in PATHS.items():
            answered, headers, body = server.http(method, path, token)
            if allowed is ANYBODY or (refused is None and role in allowed):
                right = answered not in (401, 403)
            elif refused:
                info = json.loads(body)["details"][0]
                challenge = 'Bearer realm="greenlane"' + ("" if role is None else ', error="invalid_token"')
                right = (answered, info["reason"], headers["www-authenticate"]) == (401, refused, challenge)
            else:
                info = json.loads(body)["details"][0]
                right = (answered, info["reason"], info["metadata"]["roles"]) == (403, "ROLE_MISSING", in_order(allowed))
            if not right:
                wrong.append((method, path, role, credential, answered, body))
    assert not wrong, wrong


def in_order(roles: set[str]) -> str:
    return ", ".join(role for role in ROLES if role in roles)


def test_every_path_stands_in_the_table_and_others_are_nobodys(server, issuer):
    told = json.loads(server.http("GET", "/v1/nothing", issuer.token("operator", "es256"))[2])["message"]
    assert set(re.findall(r"/v1/[a-z-]+", told)) == {re.match(r"/v1/[a-z-]+", path)[0] for _, path in PATHS if "/v1/" in path}
    told = server.http("GET", "/nothing", issuer.token("operator", "es256"))[2].decode()
    assert set(re.findall(r"/[a-z0-9]+z?\b", told)) == {"/livez", "/readyz", "/startupz", "/metrics", "/v1"}
    for path in ("/nothing", "/v1/nothing", "/console/nothing"):
        assert server.http("GET", path)[0] == 401, "who is not known does not learn what is there"
    with grpc.insecure_channel(server.grpc_addr, options=CHANNEL_OPTIONS) as channel:
        for path in ("/grpc.health.v1.Health/List", "/greenlane.v1.FacilitationService/Forget", "/greenlane.v1.Nothing/Decide", "/nothing"):
            stub = channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
            for token, expected in ((None, grpc.StatusCode.UNAUTHENTICATED),
                                    (issuer.token("clearance", "es256"), grpc.StatusCode.UNIMPLEMENTED)):
                with pytest.raises(grpc.RpcError) as refused:
                    stub(b"", metadata=bearer(token), timeout=30)
                assert refused.value.code() == expected, path


def test_who_is_not_known_learns_nothing_of_the_state(tmp_path, issuer):
    server = Guarded(tmp_path, issuer)
    # Its store is empty: it has no data to decide on.
    server.start(wait=False)
    with server:
        server.wait_for_store()
        decide, = (method for service in descriptors() for method in service.methods if method.name == "Decide")

        def refused(token: str | None) -> grpc.RpcError:
            return call(server.channel, "greenlane.v1.FacilitationService", decide, token)

        known = refused(issuer.token("clearance", "es256"))
        assert (known.code(), "loaded" in known.details()) == (grpc.StatusCode.UNAVAILABLE, True)
        unknown = refused(None)
        assert (unknown.code(), "loaded" in unknown.details()) == (grpc.StatusCode.UNAUTHENTICATED, False)
        assert server.http("POST", "/v1/decide")[0] == 401
        assert server.http("POST", "/v1/decide", issuer.token("clearance", "es256"))[0] == 503
