"""Who may do what, by client certificates: every method, every role, and every certificate that is not right."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request

import grpc
import pytest

from certificates import Authority, Mounted, TlsServer
from guarded import ROLES
from harness import eventually
from issuer import AUDIENCE, ISSUER, Issuer
from test_callers import ANYBODY, METHODS, PATHS, REFUSED, call, descriptors, in_order, methods_of, reason

# A handshake that is refused: nothing is answered, health neither.
NO_HANDSHAKE = "NO HANDSHAKE"


def identity(role: str) -> str:
    """Terminals by a star, others by the whole URI."""
    return f"spiffe://customs.example/{role}" + ("/*" if role == "terminal" else "")


def uri(role: str) -> str:
    return identity(role).replace("*", "yantian-7")


class Replica(TlsServer):
    """A replica over TLS that knows one caller a role by certificate, and by token too."""

    def __init__(self, tmp_path, authority: Authority, issuer: Issuer, client_certificates: str = "optional"):
        mounted = Mounted(tmp_path / "tls")
        mounted.pair(authority.issue())
        mounted.put(ca_crt=authority.pem)
        callers, keys = tmp_path / "callers.toml", tmp_path / "keys.json"
        callers.write_text("".join(
            f'[[caller]]\nname = "{role}"\nidentity = "{identity(role)}"\nsubject = "{role}"\nroles = ["{role}"]\n'
            for role in ROLES))
        keys.write_text(issuer.jwks())
        settings = {"auth.callers_file": callers, "auth.jwks_file": keys, "auth.issuer": ISSUER, "auth.audience": AUDIENCE,
                    "tls.client_certificates": client_certificates}
        super().__init__(tmp_path, mounted, authority, settings=settings)

    def http(self, method: str, path: str, pair=None) -> tuple[int, dict]:
        """Code and document, as far as it is one."""
        context = ssl.create_default_context(cadata=self.authority.pem.decode())
        if pair:
            file = self.tmp / "client.pem"
            file.write_bytes(pair.certificate + pair.key)
            context.load_cert_chain(file)
        request = urllib.request.Request(f"https://{self.http_addr}{path}", method=method, data=b"{}" if method == "POST" else None,
                                         headers={"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30, context=context) as answer:
                return answer.status, {}
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read()) if error.headers["content-type"] == "application/json" else {}


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def issuer():
    return Issuer("ES256")


@pytest.fixture
def replica(tmp_path, authority, issuer):
    server = Replica(tmp_path, authority, issuer)
    server.start(wait=False)
    with server:
        server.wait_for_store()
        ready(server)
        yield server


def ready(server):
    def answers() -> bool:
        try:
            return server.http("GET", "/livez")[0] == 200
        except OSError:
            return False

    eventually(answers, 30, "an answer")


def credentials(authority: Authority) -> dict:
    """By name: the certificate of a role, and the reason that it is refused for; `None` where it is good."""
    other = Authority("Elsewhere")
    return {
        "good": (lambda role: authority.issue(role, uris=[uri(role)]), None),
        "good, with another URI": (lambda role: authority.issue(role, uris=["https://unknown.example/", uri(role)]), None),
        "no certificate": (lambda role: None, "CREDENTIAL_MISSING"),
        "unknown URI": (lambda role: authority.issue(role, uris=[uri(role) + "/more"]), "CALLER_UNKNOWN"),
        "of two callers": (lambda role: authority.issue(role, uris=[uri(role), uri(ROLES[ROLES.index(role) - 1])]),
                           "CALLER_UNKNOWN"),
        "wrong CA": (lambda role: other.issue(role, uris=[uri(role)]), NO_HANDSHAKE),
        "expired": (lambda role: authority.issue(role, uris=[uri(role)], begins=-7200, ends=-3600), NO_HANDSHAKE),
        "not valid yet": (lambda role: authority.issue(role, uris=[uri(role)], begins=3600), NO_HANDSHAKE),
        "of a server": (lambda role: authority.issue(role), NO_HANDSHAKE),
    }


def wrong_cells(server, pairs: dict) -> list:
    """The cells of methods x roles x certificates that are not as they should be; `pairs` has reasons and certificates."""
    methods = {service.full_name: methods_of(service) for service in descriptors()}
    methods["grpc.reflection.v1.ServerReflection"] = methods["grpc.reflection.v1alpha.ServerReflection"]
    wrong, cells = [], 0
    for (credential, role), (refusal, pair) in pairs.items():
        with server.connect(pair) as channel:
            for service, own in methods.items():
                for method in own:
                    allowed = METHODS[service][method.name]
                    error = call(channel, service, method, None, wait=refusal is not NO_HANDSHAKE)
                    told = (error.code(), reason(error)) if error and error.code() in REFUSED else None
                    cells += 1
                    if refusal is NO_HANDSHAKE:
                        right = error is not None and error.code() == grpc.StatusCode.UNAVAILABLE
                    elif allowed is ANYBODY or (refusal is None and role in allowed):
                        right = told is None
                    elif refusal:
                        right = told == (grpc.StatusCode.UNAUTHENTICATED, refusal)
                    else:
                        right = told == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING")
                    if not right:
                        wrong.append((service, method.name, role, credential, error and error.code(), told))
    assert cells == len(pairs) * sum(len(own) for own in METHODS.values())
    return wrong


def test_exactly_the_intended_calls_pass(replica, authority):
    pairs = {(name, role): (refusal, make(role)) for name, (make, refusal) in credentials(authority).items() for role in ROLES}
    assert not (wrong := wrong_cells(replica, pairs)), wrong


def test_exactly_the_intended_paths_pass(replica, authority):
    wrong = []
    for credential, (make, refusal) in credentials(authority).items():
        for role in ROLES:
            pair = make(role)
            for (method, path), allowed in PATHS.items():
                try:
                    code, told = replica.http(method, path, pair)
                except OSError:
                    code, told = NO_HANDSHAKE, {}
                if refusal is NO_HANDSHAKE:
                    right = code == NO_HANDSHAKE
                elif allowed is ANYBODY or (refusal is None and role in allowed):
                    right = code not in (401, 403, NO_HANDSHAKE)
                elif refusal:
                    right = code == 401 and told["details"][0]["reason"] == refusal
                else:
                    right = code == 403 and told["details"][0]["metadata"]["roles"] == in_order(allowed)
                if not right:
                    wrong.append((method, path, role, credential, code, told))
    assert not wrong, wrong


def test_certificates_that_are_revoked_pass_nowhere(replica, authority):
    pairs = {role: authority.issue(role, uris=[uri(role)]) for role in ROLES}
    assert not wrong_cells(replica, {("good", role): (None, pair) for role, pair in pairs.items()})
    # By a list, and by another authority in the place of the one that issued them.
    replica.mounted.put(crl_pem=authority.revoke(pairs["operator"]))
    next_one = Authority("Next")
    replica.mounted.put(ca_crt=next_one.pem)

    def is_refused(pair) -> bool:
        try:
            return replica.http("GET", "/metrics", pair)[0] != 200
        except OSError:
            return True

    eventually(lambda: is_refused(pairs["operator"]), 30, "the authority has gone")
    assert not (wrong := wrong_cells(replica, {("revoked by rotation", role): (NO_HANDSHAKE, pair)
                                               for role, pair in pairs.items()})), wrong
    followers = {("good again", role): (None, next_one.issue(role, uris=[uri(role)])) for role in ROLES}
    assert not (wrong := wrong_cells(replica, followers)), wrong


def test_a_token_stands_above_a_certificate_that_is_still_needed_for_the_handshake(tmp_path, authority, issuer):
    server = Replica(tmp_path, authority, issuer, client_certificates="required")
    server.start(wait=False)
    with server:
        server.wait_for_store()
        ready(server)
        methods = {method.name: (service.full_name, method) for service in descriptors() for method in service.methods}

        def told(pair, name: str, token: str | None, wait: bool = True):
            with server.connect(pair) as channel:
                error = call(channel, *methods[name], token, wait=wait)
                return error and error.code()

        terminal = authority.issue("terminal", uris=[uri("terminal")])
        operator = issuer.token("operator", "es256")
        assert told(terminal, "GetRegistryStatus", operator) is None, "the token's caller may"
        assert told(terminal, "GetPriority", operator) == grpc.StatusCode.PERMISSION_DENIED, "and the certificate's is not asked"
        assert told(terminal, "GetPriority", issuer.token("operator", "es256", expires_in=-60)) == grpc.StatusCode.UNAUTHENTICATED
        # Without a token the certificate is asked; what comes then, of an empty register, is not of who calls.
        assert told(terminal, "GetPriority", None) not in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
        assert told(None, "GetRegistryStatus", operator, wait=False) == grpc.StatusCode.UNAVAILABLE, "no handshake without one"
