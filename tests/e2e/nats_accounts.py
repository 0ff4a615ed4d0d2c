"""An operator, an account and a user of NATS, as decentralised JWTs: for the test of a `.creds` file.

Keys are Ed25519 keys in NATS' own notation (base32 with a prefix and a CRC-16); openssl makes them and signs.
"""

from __future__ import annotations

import base64
import json
import pathlib
import subprocess
import time

OPERATOR, ACCOUNT, USER, SEED = 14 << 3, 0, 20 << 3, 18 << 3
UNLIMITED = ["subs", "data", "payload", "imports", "exports", "conn", "leaf", "mem_storage", "disk_storage", "streams",
             "consumer"]


def crc16(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def base32(data: bytes) -> str:
    return base64.b32encode(data + crc16(data).to_bytes(2, "little")).decode().rstrip("=")


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Key:
    """A key pair of one kind."""

    def __init__(self, folder: pathlib.Path, name: str, kind: int):
        self.file, self.kind = folder / f"{name}.key", kind
        self.openssl("genpkey", "-algorithm", "ed25519", "-out", self.file)
        # Both halves are the last 32 bytes of their encodings.
        self.private = self.openssl("pkey", "-in", self.file, "-outform", "DER")[-32:]
        self.raw = self.openssl("pkey", "-in", self.file, "-pubout", "-outform", "DER")[-32:]

    def openssl(self, *arguments) -> bytes:
        return subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True).stdout

    @property
    def public(self) -> str:
        return base32(bytes([self.kind]) + self.raw)

    @property
    def seed(self) -> str:
        return base32(bytes([SEED | self.kind >> 5, (self.kind & 31) << 3]) + self.private)

    def sign(self, data: bytes) -> bytes:
        message = self.file.with_suffix(".message")
        message.write_bytes(data)
        return self.openssl("pkeyutl", "-sign", "-inkey", self.file, "-rawin", "-in", message)

    def token(self, subject: str, name: str, claims: dict, expires: dict | None = None) -> str:
        """A JWT that this key issues."""
        head = {"typ": "JWT", "alg": "ed25519-nkey"}
        body = {"jti": name, "iat": int(time.time()), "iss": self.public, "name": name, "sub": subject,
                "nats": claims | {"version": 2}} | (expires or {})
        text = ".".join(base64url(json.dumps(part).encode()) for part in (head, body))
        return f"{text}.{base64url(self.sign(text.encode()))}"


class Accounts:
    """An account whose user may do everything; `config` is for the server, `login` for the tests, `file` for ours."""

    def __init__(self, folder: pathlib.Path):
        folder.mkdir()
        operator, account = Key(folder, "operator", OPERATOR), Key(folder, "account", ACCOUNT)
        system, user = Key(folder, "system", ACCOUNT), Key(folder, "user", USER)
        limits = dict.fromkeys(UNLIMITED, -1) | {"wildcards": True}
        self.account, self.user = account, user
        self.token = self.issue()
        of_account = operator.token(account.public, "account", {"type": "account", "limits": limits})
        # The system's own account may keep nothing, and JetStream asks for one.
        bare = {key: value for key, value in limits.items() if not key.endswith(("_storage", "streams", "consumer"))}
        of_system = operator.token(system.public, "system", {"type": "account", "limits": bare})
        of_operator = operator.token(operator.public, "operator",
                                     {"type": "operator", "system_account": system.public})
        self.config = (f"operator: {of_operator}\nsystem_account: {system.public}\nresolver: MEMORY\n"
                       f"resolver_preload {{ {account.public}: {of_account}, {system.public}: {of_system} }}")
        self.file = folder / "user.creds"
        self.write(self.token)
        self.login = {"user_jwt_cb": lambda: self.token.encode(),
                      "signature_cb": lambda nonce: base64.b64encode(user.sign(nonce.encode()))}

    def issue(self, seconds: float | None = None) -> str:
        """A JWT of the user, good for ever or for so long."""
        expires = {} if seconds is None else {"exp": int(time.time() + seconds)}
        return self.account.token(self.user.public, "user", {"type": "user", "pub": {}, "sub": {}, "subs": -1, "data": -1,
                                                             "payload": -1}, expires)

    def write(self, token: str):
        """Puts a JWT in the place of the one in the file."""
        file = self.file.with_suffix(".new")
        file.touch(0o600)
        file.write_text(f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
                        f"-----BEGIN USER NKEY SEED-----\n{self.user.seed}\n------END USER NKEY SEED------\n")
        file.replace(self.file)


__all__ = ["Accounts"]
