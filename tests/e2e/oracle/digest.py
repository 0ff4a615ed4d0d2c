"""The registry digest, computed again from a store's rows: SHA-256 of each row, added lane by lane modulo 2^64.

Rows are read as they are: one that the server would quarantine is refused here.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import struct

TIERS = ["ADVANCED_CERTIFIED", "CERTIFIED", "REGULAR", "DISCREDITED", "SERIOUSLY_DISCREDITED"]
KINDS = ["HOLD", "INSPECT", "DOCUMENTS"]
BASES = ["MANDATED", "TARGETED", "EMERGENCY"]
DIRECTIONS = ["IMPORT", "EXPORT", "TRANSIT"]
NO_END = 2**63 - 1
EPOCH = datetime.date(1970, 1, 1)
COLUMNS = {
    "enterprise": ["customs_code", "social_credit_code", "name", "credit_tier", "tier_effective_from",
                   "tier_valid_until", "suspended"],
    "scheduled_tier": ["customs_code", "credit_tier", "effective_from"],
    "recognised_operator": ["aeo_code", "country", "programme", "name", "valid_from", "valid_until", "suspended"],
    "mutual_recognition": ["country", "programme", "direction", "transport_modes", "effective_from", "effective_to"],
    "control_order": ["id", "kind", "basis", "enterprise_id", "hs_prefix", "origin_country", "customs_office",
                      "container_number", "direction", "valid_from", "valid_to", "legal_basis", "public_reason",
                      "confidential_reason"],
}


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    return struct.pack("<q", value)


def optional(value: str | None) -> bytes:
    return number(0) if value is None else number(1) + text(value)


def date(value: str | datetime.date) -> bytes:
    if isinstance(value, str):
        value = datetime.date.fromisoformat(value)
    return number((value - EPOCH).days)


def end(value: str | datetime.date | None) -> bytes:
    return number(NO_END) if value is None else date(value)


def instant(value: str | datetime.datetime) -> bytes:
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
    since = value - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return number(since // datetime.timedelta(microseconds=1))


def place(names: list[str], value: str) -> bytes:
    return number(1 + names.index(value))


def foreign_id(value: str | None) -> str | None:
    """An order's enterprise in the form in which it is held: an AEO code loses its prefix."""
    if value is None or len(value) in (10, 18):
        return value
    plain = re.sub("[ <>]", "", value.upper())
    plain = plain[3:] if re.match("AEO[A-Z]{2}", plain) else plain
    return plain[2:] if plain.startswith("CN") else plain


def fields(table: str, row: tuple) -> bytes:
    """A row's fields in one run of bytes; `row` has the table's columns in order."""
    if table == "enterprise":
        code, social, name, tier, begins, until, suspended = row
        return (text(code) + optional(social) + text(name) + place(TIERS, tier) + date(begins) + end(until)
                + number(int(suspended)))
    if table == "scheduled_tier":
        code, tier, begins = row
        return text(code) + place(TIERS, tier) + date(begins)
    if table == "recognised_operator":
        code, country, programme, name, begins, until, suspended = row
        return (text(code) + text(country) + text(programme) + text(name) + date(begins) + end(until)
                + number(int(suspended)))
    if table == "mutual_recognition":
        *key, until = row
        return text("|".join(map(str, key))) + end(until)
    (order, kind, basis, enterprise, prefix, origin, office, container, direction, begins, until, legal, public,
     confidential) = row
    return (text(order) + place(KINDS, kind) + place(BASES, basis) + optional(foreign_id(enterprise))
            + optional(prefix) + optional(origin) + optional(office) + optional(container)
            + (number(0) if direction is None else place(DIRECTIONS, direction)) + instant(begins)
            + (number(NO_END) if until is None else instant(until)) + text(legal) + text(public)
            + optional(confidential))


def digest(connection) -> str:
    """The digest of what the store holds, as a connection of sqlite3 or psycopg sees it now."""
    sums = [0, 0, 0, 0]
    for table, columns in COLUMNS.items():
        head = text(table)
        for row in connection.execute(f"SELECT {', '.join(columns)} FROM {table}"):
            hashed = hashlib.sha256(head + fields(table, row)).digest()
            for lane, value in enumerate(struct.unpack("<4Q", hashed)):
                sums[lane] = (sums[lane] + value) % 2**64
    return struct.pack(">4Q", *sums).hex()
