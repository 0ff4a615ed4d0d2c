"""A server that asks who calls, with one caller a role, over a register with an order whose reason is confidential."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request

from feed import code, fill, transaction
from harness import Server, eventually, pb
from issuer import AUDIENCE, ISSUER, Issuer

ROLES = ["clearance", "terminal", "officer", "auditor", "operator"]
MARKER = "PLANTED-the-informer-of-the-tip"
ENTERPRISE = code("REGULAR", 0)
ORDER = ("INSERT INTO control_order (id, kind, basis, enterprise_id, valid_from, legal_basis, public_reason, confidential_reason)"
         f" VALUES ('O-1', 'HOLD', 'MANDATED', '{ENTERPRISE}', '2020-01-01T00:00:00Z', 'Art 6', 'held', '{MARKER}')")


def callers_file(**over) -> str:
    """One caller a role, by token; `name="role, role"` adds another, or takes its place."""
    callers = {role: role for role in ROLES} | {"chief": "clearance, officer"} | over
    return "".join(f'[[caller]]\nname = "the-{name}"\nsubject = "{name}"\nroles = {json.dumps(roles.split(", "))}\n'
                   for name, roles in callers.items() if roles)


class Guarded(Server):
    """A server that asks who calls."""

    def __init__(self, tmp_path, issuer: Issuer, settings: dict[str, str] | None = None):
        self.issuer = issuer
        self.callers, self.jwks = tmp_path / "callers.toml", tmp_path / "keys.json"
        self.callers.write_text(callers_file())
        self.jwks.write_text(issuer.jwks())
        super().__init__(tmp_path, {
            "auth.callers_file": self.callers, "auth.jwks_file": self.jwks, "auth.issuer": ISSUER,
            "auth.audience": AUDIENCE, "log.request_sample": 1, "log.level": "debug"} | (settings or {}))

    def metrics(self) -> dict[str, float]:
        """As the operator gets them."""
        answer = self.http("GET", "/metrics", self.issuer.token("operator", "es256"))[2]
        lines = answer.decode().splitlines()
        return {name: float(value) for name, value in
                (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}

    def http(self, method: str, path: str, token: str | None = None, body: bytes | None = None):
        """Code, headers and body."""
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
        body = b"{}" if body is None and method == "POST" else body
        request = urllib.request.Request(f"http://{self.http_addr}{path}", method=method, data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def store_filled(self) -> "Guarded":
        self.start(wait=False)
        self.wait_for_store()
        with contextlib.closing(self.sql()) as sql, transaction(sql):
            fill(sql, "REGULAR", 10)
            sql.execute(ORDER)
        self.wait_ready()
        operator = {"metadata": bearer(self.issuer.token("operator", "es256")), "timeout": 30}
        version = self.version()
        eventually(lambda: self.registry.GetRegistryStatus(pb.GetRegistryStatusRequest(), **operator).registry_version == version,
                   30, "the store's version")
        return self


def bearer(token: str | None):
    return [("authorization", f"Bearer {token}")] if token else []
