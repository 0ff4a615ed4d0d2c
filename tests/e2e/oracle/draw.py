"""The random draw: HMAC-SHA-256 under a key derived for the month of acceptance."""

from __future__ import annotations

import hashlib
import hmac


def epoch_key(secret: bytes, epoch: str) -> bytes:
    """HKDF-SHA-256 (RFC 5869): no salt, the epoch's name as info, one block of output."""
    extracted = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    return hmac.new(extracted, epoch.encode() + b"\x01", hashlib.sha256).digest()


def draw(secret: bytes, epoch: str, declaration: str, transport_document: str) -> int:
    """The draw of a consignment: a number below 1000000, uniform."""
    if transport_document:
        kind, subject = "transport-document", transport_document.upper()
    else:
        kind, subject = "declaration", declaration
    message = b"\x1f".join((b"greenlane-draw-v1", kind.encode(), subject.encode()))
    first = hmac.new(epoch_key(secret, epoch), message, hashlib.sha256).digest()[:8]
    return int.from_bytes(first, "big") * 1_000_000 >> 64
