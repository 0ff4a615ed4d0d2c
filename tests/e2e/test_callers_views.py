"""What callers see, how long they are believed, and where their keys come from."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import queue
import shutil
import ssl
import subprocess
import threading
import time

import grpc
import pytest
from google.protobuf import json_format

from feed import code, declare, fill, transaction
from guarded import ENTERPRISE, MARKER, Guarded, bearer, callers_file
from harness import eventually, pb
from issuer import Issuer
from test_draw_commitments import records

OTHER = code("REGULAR", 1)
SOON = 30


@pytest.fixture(scope="module")
def issuer():
    return Issuer("ES256", "EdDSA", "RS256")


@pytest.fixture(scope="module")
def server(tmp_path_factory, issuer):
    with Guarded(tmp_path_factory.mktemp("views"), issuer).store_filled() as running:
        yield running


def of(issuer: Issuer, caller: str, **claims) -> dict:
    """How a call is of a caller."""
    return {"metadata": bearer(issuer.token(caller, "es256", **claims)), "timeout": SOON}


def refused(call, code_=grpc.StatusCode.UNAUTHENTICATED) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as error:
        call()
    assert error.value.code() == code_, error.value
    return error.value


# --- views ------------------------------------------------------------------------------------------


def decided(server, issuer, caller: str, number: int) -> dict[str, pb.Decision]:
    """The decision on one declaration by every way of asking for it."""
    request = declare(ENTERPRISE, number=number)
    body = json_format.MessageToJson(request).encode()
    who = of(issuer, caller)
    stream = server.facilitation.DecideStream(iter([pb.DecideStreamRequest(request=request)]), **who)
    token = issuer.token(caller, "es256")
    batch = server.http("POST", "/v1/batch-decide", token, b'{"requests": [' + body + b"]}")
    single = server.http("POST", "/v1/decide", token, body)
    simulated = server.http("POST", "/v1/simulate", token, b'{"request": ' + body + b"}")
    assert (batch[0], single[0], simulated[0]) == (200, 200, 200)
    return {
        "Decide": server.facilitation.Decide(request, **who).decision,
        "BatchDecide": server.facilitation.BatchDecide(pb.BatchDecideRequest(requests=[request]), **who).results[0].decision,
        "DecideStream": next(iter(stream)).decision,
        "Simulate": server.facilitation.Simulate(pb.SimulateRequest(request=request), **who).decision,
        "/v1/decide": json_format.Parse(single[2], pb.DecideResponse()).decision,
        "/v1/batch-decide": json_format.Parse(batch[2], pb.BatchDecideResponse()).results[0].decision,
        "/v1/simulate": json_format.Parse(simulated[2], pb.SimulateResponse()).decision,
    }


def test_confidential_reasons_are_for_officers_and_auditors_alone(server, issuer):
    for caller, sees in (("clearance", False), ("chief", True)):
        for way, decision in decided(server, issuer, caller, 1).items():
            held, = (reason for reason in decision.reasons if reason.code == pb.REASON_CODE_HOLD_ORDER)
            assert held.text == "held" and held.confidential_text == (MARKER if sees else ""), (caller, way)
            assert (MARKER.encode() in decision.SerializeToString()) == sees, (caller, way)
    simulated = server.facilitation.Simulate(pb.SimulateRequest(request=declare(ENTERPRISE)), **of(issuer, "officer"))
    assert MARKER.encode() in simulated.SerializeToString()


def test_but_for_those_reasons_both_see_the_same(server, issuer):
    def public(decision: pb.Decision) -> pb.Decision:
        for field in ("decision_id", "decided_at", "valid_until", "data_age"):
            decision.ClearField(field)
        for reason in decision.reasons:
            reason.ClearField("confidential_text")
        return decision

    plain, whole = decided(server, issuer, "clearance", 2), decided(server, issuer, "chief", 2)
    assert {way: public(decision) for way, decision in plain.items()} == {
        way: public(decision) for way, decision in whole.items()}


def test_the_log_keeps_everything_names_the_caller_and_replays(server, issuer):
    request = declare(ENTERPRISE, number=3)
    told = server.facilitation.Decide(request, **of(issuer, "clearance")).decision
    auditor = of(issuer, "auditor")
    record = server.audit.GetDecision(pb.GetDecisionRequest(decision_id=told.decision_id), **auditor).record
    assert record.caller == "the-clearance"
    assert MARKER.encode() in record.SerializeToString() and MARKER.encode() not in told.SerializeToString()
    replayed = server.audit.ReplayDecision(pb.ReplayDecisionRequest(decision_id=told.decision_id), **auditor)
    assert replayed.outcome == pb.REPLAY_OUTCOME_EQUAL, replayed
    listed = server.audit.ListDecisions(pb.ListDecisionsRequest(declaration_number=request.declaration_number), **auditor)
    assert [each.caller for each in listed.records] == ["the-clearance"]
    inspection = pb.RecordInspectionRequest(declaration_number=request.declaration_number, discrepancy_found=True)
    server.audit.RecordInspection(inspection, **of(issuer, "officer"))
    recorded = [record.inspection.caller for _, record in records(server) if record.HasField("inspection")]
    assert recorded == ["the-officer"]


def test_nothing_confidential_reaches_a_terminal_an_operator_a_log_or_a_metric(server, issuer):
    request = declare(ENTERPRISE, number=4, container_numbers=["CSQU3054383"])
    server.facilitation.Decide(request, **of(issuer, "chief"))
    key = pb.ShipmentKey(declaration_number=request.declaration_number)
    terminal, operator = of(issuer, "terminal"), of(issuer, "operator")
    shipment = server.priority.GetPriority(pb.GetPriorityRequest(key=key), **terminal)
    assert shipment.shipment.hold
    watch = server.priority.WatchPriorities(pb.WatchPrioritiesRequest(keys=[key]), **terminal)
    first = next(watch)
    watch.cancel()
    token, terminals = issuer.token("operator", "es256"), issuer.token("terminal", "es256")
    seen = [
        shipment.SerializeToString(), first.SerializeToString(),
        server.registry.GetRegistryStatus(pb.GetRegistryStatusRequest(), **operator).SerializeToString(),
        server.registry.GetEnterprise(pb.GetEnterpriseRequest(customs_code=ENTERPRISE), **operator).SerializeToString(),
        server.registry.ListPolicies(pb.ListPoliciesRequest(), **operator).SerializeToString(),
        *(server.http("GET", path, token)[2] for path in ("/metrics", "/console/figures", "/v1/status")),
        server.http("GET", f"/v1/priority/{request.declaration_number}", terminals)[2],
    ]
    assert all(seen) and not any(MARKER.encode() in each for each in seen)
    log = server.log.read_bytes()
    assert b"the-chief" in log, "requests are logged with their caller"
    assert MARKER.encode() not in log
    # No token either, nor the half of one that is secret.
    assert token.encode() not in log and token.rsplit(".")[-1].encode() not in log


def test_refusals_are_counted_by_their_cause(server, issuer):
    before = server.metrics()
    refused(lambda: server.status())
    refused(lambda: server.registry.GetRegistryStatus(pb.GetRegistryStatusRequest(), **of(issuer, "officer", expires_in=-60)))
    for _ in range(2):
        refused(lambda: server.registry.GetRegistryStatus(pb.GetRegistryStatusRequest(), **of(issuer, "terminal")),
                grpc.StatusCode.PERMISSION_DENIED)
    after = server.metrics()
    for cause, times in (("missing", 1), ("expired", 1), ("permission", 2), ("signature", 0)):
        name = f'greenlane_auth_failures_total{{cause="{cause}"}}'
        assert after[name] - before[name] == times, cause


def test_commands_show_the_token_of_a_file(server, issuer, tmp_path):
    file = tmp_path / "token"

    def status(token: str | None, *flags: str):
        if token is not None:
            file.write_text(token + "\n")
        return server.command("--output", "json", *flags, "status")

    by_flag = ("--token-file", str(file))
    told = status(issuer.token("operator", "es256"), *by_flag)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["registry"]["state"] == "REGISTRY_STATE_LIVE"
    assert json.loads(told.stdout)["rates"] == [], "rates are the auditor's"
    server.settings["client.token_file"] = str(file)
    try:
        assert status(None).returncode == 0
        refused_ = status(issuer.token("operator", "es256", expires_in=-60))
        assert refused_.returncode != 0 and "the token has expired" in refused_.stderr
        forbidden = status(issuer.token("terminal", "es256"))
        assert forbidden.returncode != 0 and "is for callers of a role among: officer, operator" in forbidden.stderr
        broken = status("a\nb")
        assert broken.returncode != 0 and f"client.token_file {file}: it holds no token" in broken.stderr
    finally:
        del server.settings["client.token_file"]
    missing = status(None)
    assert missing.returncode != 0 and "a client certificate or a bearer token is required" in missing.stderr


# --- streams ----------------------------------------------------------------------------------------


class Asking:
    """A `DecideStream` that is open."""

    def __init__(self, server, who: dict):
        self.requests: queue.Queue = queue.Queue()
        self.stream = server.facilitation.DecideStream(iter(self.requests.get, None), metadata=who["metadata"], timeout=120)

    def decide(self, number: int) -> pb.DecideStreamResponse:
        self.requests.put(pb.DecideStreamRequest(correlation_id=number, request=declare(OTHER, number=number)))
        return next(self.stream)

    def end(self) -> grpc.RpcError:
        error = refused(lambda: next(self.stream))
        self.requests.put(None)
        return error


def watching(server, who: dict, number: int):
    keys = [pb.ShipmentKey(declaration_number=declare(OTHER, number=number).declaration_number)]
    watch = server.priority.WatchPriorities(pb.WatchPrioritiesRequest(keys=keys), metadata=who["metadata"], timeout=120)
    next(watch)
    return watch


def to_its_end(watch) -> tuple[grpc.RpcError, dict]:
    def drain():
        for _ in watch:
            pass

    error = refused(drain)
    return error, dict(error.trailing_metadata())


def test_streams_end_when_their_token_expires_and_go_on_with_another(tmp_path, issuer):
    with Guarded(tmp_path, issuer, {"auth.clock_skew": "0s"}).store_filled() as server:
        server.facilitation.Decide(declare(OTHER, number=1), **of(issuer, "clearance"))
        asking, watch = Asking(server, of(issuer, "clearance", expires_in=5)), watching(
            server, of(issuer, "terminal", expires_in=5), 1)
        for number in range(2, 6):
            assert asking.decide(number).HasField("decision")
        assert "expired" in asking.end().details()
        error, trailers = to_its_end(watch)
        assert "expired" in error.details()
        again = pb.WatchPrioritiesRequest(keys=[pb.ShipmentKey(declaration_number=declare(OTHER, number=1).declaration_number)],
                                          resume_token=trailers["greenlane-resume-token"])
        watch = server.priority.WatchPriorities(again, **of(issuer, "terminal"))
        server.facilitation.Decide(declare(OTHER, number=1), **of(issuer, "clearance"))
        assert next(event for event in watch if event.HasField("shipment")).shipment.revision >= 1
        watch.cancel()


def test_streams_end_when_their_caller_may_no_longer_what_it_might(tmp_path, issuer):
    with Guarded(tmp_path, issuer).store_filled() as server:
        server.facilitation.Decide(declare(OTHER, number=1), **of(issuer, "clearance"))
        clearance, chief = Asking(server, of(issuer, "clearance")), Asking(server, of(issuer, "chief"))
        watch = watching(server, of(issuer, "terminal"), 1)
        assert clearance.decide(2).HasField("decision") and chief.decide(3).HasField("decision")
        # The terminal is another role's now, the chief sees less, and clearance stays what it was.
        server.callers.write_text(callers_file(terminal="officer", chief="clearance"))
        error, trailers = to_its_end(watch)
        assert "changed" in error.details() and trailers["greenlane-resume-token"]
        assert "changed" in chief.end().details()
        assert clearance.decide(4).HasField("decision")
        clearance.requests.put(None)
        refused(lambda: server.priority.GetPriority(pb.GetPriorityRequest(), **of(issuer, "terminal")),
                grpc.StatusCode.PERMISSION_DENIED)


# --- files ------------------------------------------------------------------------------------------


def failing(server, source: str) -> bool:
    return server.metrics()[f'greenlane_auth_source_failing{{source="{source}"}}'] == 1


def test_a_bad_file_is_kept_out_and_told_of_once(tmp_path, issuer):
    with Guarded(tmp_path, issuer).store_filled() as server:
        good_callers, good_keys = server.callers.read_text(), server.jwks.read_text()
        for source, file, good, words in (("callers", server.callers, good_callers, "callers refused"),
                                          ("keys", server.jwks, good_keys, "keys refused")):
            assert not failing(server, source)
            file.write_text(good[:-20])
            eventually(lambda: failing(server, source), SOON, f"{source} failing")
            assert server.registry.GetRegistryStatus(pb.GetRegistryStatusRequest(), **of(issuer, "officer"))
            file.write_text(good)
            eventually(lambda: not failing(server, source), SOON, f"{source} well again")
            assert server.log.read_text().count(words) == 1
        server.callers.chmod(0o666)
        eventually(lambda: failing(server, "callers"), SOON, "a file that anybody may write")
        server.callers.chmod(0o644)
        eventually(lambda: not failing(server, "callers"), SOON, "nobody but its owner")


@pytest.mark.parametrize("change, words", [
    (lambda server: server.callers.write_text(callers_file() + '[[caller]]\nname = "a"\nsubject = "a"\nroles = ["chief"]\n'),
     ["auth.callers_file", "callers.toml", "line 28", 'no role "chief"']),
    (lambda server: server.callers.write_text(callers_file() + "key = 1\n"), ["auth.callers_file", "line 25", "unknown field `key`"]),
    (lambda server: server.callers.unlink(), ["auth.callers_file", "No such file"]),
    (lambda server: server.jwks.write_text('{"keys": []}'), ["auth.jwks_file", "keys.json", "no key that can be used"]),
    (lambda server: server.settings.pop("auth.callers_file"), ["auth.callers_file", "keys alone ask nobody"]),
    (lambda server: server.settings.pop("auth.audience"), ["auth.audience", "one issuer and for one audience"]),
    (lambda server: server.settings.update({"auth.jwks_url": "http://keys.example/"}), ["auth.jwks_url", "must be https"]),
    (lambda server: server.settings.update({"auth.clock_skew": "6m"}), ["auth.clock_skew", "at most 5m"]),
])
def test_what_would_not_hold_stops_the_start_and_the_check(tmp_path, issuer, change, words):
    server = Guarded(tmp_path, issuer)
    change(server)
    for command in (("serve", "--generate-secret"), ("serve", "--check-config")):
        done = server.command(*command)
        assert done.returncode != 0
        assert all(word in done.stderr for word in words), done.stderr


# --- an address ---------------------------------------------------------------------------------------


class KeyServer:
    """Serves a key set over HTTP, or HTTPS with a certificate of its own."""

    def __init__(self, context: ssl.SSLContext | None = None):
        self.answer, self.asked = (200, b"", {}), 0
        own = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                own.asked += 1
                status, body, headers = own.answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        scheme = "https" if context else "http"
        self.url = f"{scheme}://localhost:{self.server.server_port}/keys"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def keys(self, issuer: Issuer, *without: str):
        self.answer = (200, issuer.jwks(*without).encode(), {})

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@contextlib.contextmanager
def fetching(tmp_path, issuer, keys: KeyServer, **settings):
    """A server that has its keys from an address."""
    server = Guarded(tmp_path, issuer, {"auth.jwks_url": keys.url, "auth.refresh_interval": "1h"} | settings)
    del server.settings["auth.jwks_file"]
    server.start(wait=False)
    with server:
        server.wait_for_store()
        with contextlib.closing(server.sql()) as sql, transaction(sql):
            fill(sql, "REGULAR", 10)
        server.wait_ready()
        yield server


def is_believed(server, issuer, kid: str) -> bool:
    return server.http("GET", "/v1/status", issuer.token("operator", kid))[0] == 200


def test_keys_are_fetched_kept_while_their_address_fails_and_revoked_when_they_are_gone(tmp_path, issuer):
    keys = KeyServer()
    keys.answer = (503, b"", {})
    with fetching(tmp_path, issuer, keys) as server:
        assert not is_believed(server, issuer, "es256"), "there are no keys yet"
        keys.keys(issuer, "eddsa")
        eventually(lambda: is_believed(server, issuer, "es256"), SOON, "the first fetch that is answered")
        assert not failing(server, "keys")
        # A key that is not known yet is asked for at once, though the next look is an hour away; made up ones are no flood.
        keys.keys(issuer)
        eventually(lambda: is_believed(server, issuer, "eddsa"), SOON, "a new key")
        asked, begun = keys.asked, time.monotonic()
        for number in range(300):
            token = issuer.token("operator", "es256", headers={"kid": f"made up {number}"})
            assert server.http("GET", "/v1/status", token)[0] == 401
        assert keys.asked - asked <= 2 + (time.monotonic() - begun) / 5
        # What cannot be taken changes nothing.
        for answer in ((500, b"", {}), (200, b"{", {}), (200, b" " * (300 << 10), {}), (302, b"", {"location": keys.url})):
            keys.answer, asked = answer, keys.asked
            server.http("GET", "/v1/status", issuer.token("operator", "es256", headers={"kid": "another"}))
            eventually(lambda: keys.asked > asked, SOON, f"asked for {answer[0]}")
            eventually(lambda: failing(server, "keys"), SOON, f"{answer[0]} refused")
            assert is_believed(server, issuer, "es256") and is_believed(server, issuer, "eddsa")
        # Gone from the set, gone at once: with the fetch that tells.
        keys.keys(issuer, "eddsa")
        eventually(lambda: not is_believed(server, issuer, "eddsa"), SOON, "revoked")
        assert is_believed(server, issuer, "es256")
        keys.close()
    told = server.log.read_text().count("keys could not be fetched")
    assert told == 2, "once while the address failed at first, and once later"


def certificate_of(name: str, folder) -> tuple[str, str]:
    """A self-signed certificate of a host, and its key."""
    crt, key = folder / f"{name}.crt", folder / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext",
                    "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", crt], check=True, capture_output=True)
    return str(crt), str(key)


def test_keys_come_over_tls_from_whoever_has_the_right_certificate(tmp_path, issuer):
    crt, key = certificate_of("keys", tmp_path)
    other, _ = certificate_of("other", tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)
    keys = KeyServer(context)
    keys.keys(issuer)
    for ca, trusted in ((crt, True), (other, False)):
        folder = tmp_path / ("trusted" if trusted else "untrusted")
        folder.mkdir()
        with fetching(folder, issuer, keys, **{"auth.jwks_ca_file": ca}) as server:
            if trusted:
                eventually(lambda: is_believed(server, issuer, "es256"), SOON, "the keys")
            else:
                eventually(lambda: "keys could not be fetched" in server.log.read_text(), SOON, "no trust")
                assert not is_believed(server, issuer, "es256")
                # The authority is replaced, as it is when it runs out, and nobody starts anything again.
                replaced = folder / "replaced.crt"
                shutil.copy(crt, replaced)
                os.replace(replaced, other)
                eventually(lambda: is_believed(server, issuer, "es256"), SOON, "the keys by the other authority")
    keys.close()
