"""An issuer of tokens, by PyJWT and cryptography: what the server believes is made by others' code."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://id.customs.example"
AUDIENCE = "greenlane"
KINDS = {"RS256": RSAAlgorithm, "RS384": RSAAlgorithm, "RS512": RSAAlgorithm, "ES256": ECAlgorithm, "ES384": ECAlgorithm,
         "EdDSA": OKPAlgorithm}


def make_key(algorithm: str, bits: int = 2048):
    """A private key for an algorithm."""
    match algorithm:
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "ES384":
            return ec.generate_private_key(ec.SECP384R1())
        case "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def public_jwk(key, algorithm: str, kid: str, **members) -> dict:
    """The public key as a member of a key set."""
    jwk = json.loads(KINDS[algorithm].to_jwk(key.public_key()))
    jwk.pop("key_ops", None)
    return jwk | {"kid": kid, "alg": algorithm, "use": "sig"} | members


class Issuer:
    """Keys by name, and tokens signed with them."""

    def __init__(self, *algorithms: str):
        self.keys = {algorithm.lower(): (algorithm, make_key(algorithm)) for algorithm in algorithms}

    def jwks(self, *without: str) -> str:
        """The key set, without some keys."""
        keys = [public_jwk(key, algorithm, kid) for kid, (algorithm, key) in self.keys.items() if kid not in without]
        return json.dumps({"keys": keys})

    def token(self, subject: str, kid: str, key=None, algorithm: str | None = None, headers: dict | None = None,
              expires_in: float = 3600, **claims) -> str:
        """A good token, unless something else is said; a claim of `None` is left out."""
        own_algorithm, own_key = self.keys[kid]
        payload = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": int(time.time() + expires_in)} | claims
        payload = {name: value for name, value in payload.items() if value is not None}
        return jwt.encode(payload, own_key if key is None else key, algorithm=algorithm or own_algorithm,
                          headers={"kid": kid} | (headers or {}))

    def by_hand(self, subject: str, kid: str, header: dict, sign) -> str:
        """A token that PyJWT would not make: `sign` gives the signature of a message."""
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": int(time.time() + 3600)}
        parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"kid": kid} | header, claims)]
        message = b".".join(parts)
        return (message + b"." + base64.urlsafe_b64encode(sign(message)).rstrip(b"=")).decode()

    def confused(self, subject: str, kid: str) -> str:
        """A token whose secret is the public key, by the oldest of tricks."""
        public = self.keys[kid][1].public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        return self.by_hand(subject, kid, {"alg": "HS256"},
                            lambda message: hmac.new(public, message, hashlib.sha256).digest())
