"""The rules of `DecideRequest` and `SimulateRequest`: which field paths a request violates."""

from __future__ import annotations

import datetime
import re

from . import law

SOCIAL_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
SECOND = 1_000_000_000
MAX_AHEAD = 5 * 60 * SECOND
MAX_BEHIND = 7 * 24 * 3600 * SECOND
# The instants that a Timestamp can say: years 1 to 9999.
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799


def whole(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text) is not None


def upper(text: str) -> str:
    """ASCII upper case: no other character may become one of ours."""
    return "".join(chr(ord(c) - 32) if "a" <= c <= "z" else c for c in text)


def normalise_aeo(text: str) -> str:
    """`aeo<sg 123>` becomes `SG123`."""
    text = upper(text).translate({ord(c): None for c in " <>"})
    return text[3:] if re.match("AEO[A-Z]{2}", text) else text


def aeo_is_valid(normal: str) -> bool:
    if normal.startswith("CN"):
        return whole("CN[0-9A-Z]{10}", normal)
    return whole("[A-Z]{2}[0-9A-Z]{1,30}", normal)


def social_check_fails(code: str) -> bool:
    """Whether the check character of a well-formed social credit code is wrong (GB 32100)."""
    total = sum(SOCIAL_ALPHABET.index(c) * pow(3, i, 31) for i, c in enumerate(code[:17]))
    return SOCIAL_ALPHABET[-total % 31] != code[17]


def container_check_digit(first_ten: str) -> int:
    """ISO 6346: letters from 10 without the multiples of 11, weights 2^i; 10 counts as 0."""
    letters, value = {}, 10
    for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        value += value % 11 == 0
        letters[letter] = value
        value += 1
    total = sum((letters[c] if c in letters else int(c)) << i for i, c in enumerate(first_ten))
    return total % 11 % 10


def container_is_valid(text: str) -> bool:
    return whole("[A-Z]{3}[UJZ][0-9]{7}", text) and container_check_digit(text[:10]) == int(text[10])


def instant(wire) -> int | None:
    """Nanoseconds of a (seconds, nanos) pair, or None when it is not an instant."""
    seconds, nanos = wire
    if not (FIRST_SECOND <= seconds <= LAST_SECOND and 0 <= nanos < SECOND):
        return None
    return seconds * SECOND + nanos


def date_of(nanoseconds: int) -> str:
    """The date in UTC+8 at an instant."""
    days = (nanoseconds // SECOND + 8 * 3600) // 86400
    ordinal = days + datetime.date(1970, 1, 1).toordinal()
    return datetime.date.fromordinal(min(ordinal, datetime.date.max.toordinal())).isoformat()


def _party(path: str, party: dict) -> list[str]:
    found = []
    role_known = 0 < party["role"] < len(law.ROLES)
    if not role_known:
        found.append(f"{path}.role")
    if party["id"] is None:
        return [*found, f"{path}.identifier"]
    kind, text = party["id"]
    if kind == "customs_code":
        valid = whole("[0-9A-Z]{10}", text)
    elif kind == "social_credit_code":
        valid = whole(f"[{SOCIAL_ALPHABET}]{{18}}", text)
    else:
        normal = normalise_aeo(text)
        foreign_party = role_known and law.ROLES[party["role"]] == "FOREIGN_PARTY"
        misplaced = role_known and not foreign_party and not normal.startswith("CN")
        valid = aeo_is_valid(normal) and not misplaced
    return found if valid else [*found, f"{path}.{kind}"]


def _parties(parties: list[dict]) -> list[str]:
    found = [path for i, party in enumerate(parties[:16]) for path in _party(f"parties[{i}]", party)]
    all_foreign = all(party["role"] == law.ROLES.index("FOREIGN_PARTY") for party in parties)
    if not parties or len(parties) > 16 or all_foreign:
        found.append("parties")
    return found


def _shipment(request: dict) -> list[str]:
    found = []
    number_valid = whole("[0-9]{8}[01IE][0-9]{9}", request["declaration_number"])
    if not number_valid:
        found.append("declaration_number")
    direction = request["direction"]
    if not 0 < direction < len(law.DIRECTIONS):
        found.append("direction")
    elif number_valid:
        agreeing = {"EXPORT": "0E", "IMPORT": "1I", "TRANSIT": "01IE"}[law.DIRECTIONS[direction]]
        if request["declaration_number"][8] not in agreeing:
            found.append("direction")
    if len(request["goods"]) > 100:
        found.append("goods")
    for i, item in enumerate(request["goods"][:100]):
        if not whole("[0-9]{6,13}", item["hs_code"]):
            found.append(f"goods[{i}].hs_code")
        if not whole("[A-Z]{2}", item["origin_country"]):
            found.append(f"goods[{i}].origin_country")
    if not whole("[0-9]{4}", request["customs_office"]):
        found.append("customs_office")
    if not 0 <= request["transport_mode"] < len(law.TRANSPORT_MODES):
        found.append("transport_mode")
    if not 0 <= request["trade_mode"] < len(law.TRADE_MODES):
        found.append("trade_mode")
    if not whole("[\x21-\x7e]{0,64}", request["transport_document_number"]):
        found.append("transport_document_number")
    if len(request["container_numbers"]) > 100:
        found.append("container_numbers")
    for i, number in enumerate(request["container_numbers"][:100]):
        if not container_is_valid(number):
            found.append(f"container_numbers[{i}]")
    return found


def decide_violations(request: dict, now: int) -> list[str]:
    """The sorted paths that a DecideRequest violates when the server's clock says `now`."""
    found = _parties(request["parties"]) + _shipment(request)
    if request["accepted_at"] is not None:
        accepted = instant(request["accepted_at"])
        if accepted is None or not now - MAX_BEHIND <= accepted <= now + MAX_AHEAD:
            found.append("accepted_at")
    return sorted(set(found))


def simulate_violations(simulation: dict) -> list[str]:
    """The sorted paths that a SimulateRequest violates; `request` may be None."""
    found = []
    request = simulation["request"]
    accepted = None
    if request is None:
        found.append("request")
    else:
        found += [f"request.{path}" for path in _parties(request["parties"]) + _shipment(request)]
        accepted = request["accepted_at"]
    policy_id = simulation["policy_id"]
    if policy_id and policy_id not in law.POLICIES:
        found.append("policy_id")
    for i, override in enumerate(simulation["tier_overrides"]):
        if not whole("[0-9A-Z]{10}", override["customs_code"]):
            found.append(f"tier_overrides[{i}].customs_code")
        if not 0 < override["credit_tier"] < len(law.TIERS):
            found.append(f"tier_overrides[{i}].credit_tier")
    as_of = simulation["as_of"]
    for path, wire in (("as_of", as_of), ("request.accepted_at", accepted)):
        if wire is not None and instant(wire) is None:
            found.append(path)
    path, chosen = ("request.accepted_at", accepted) if accepted is not None else ("as_of", as_of)
    if not policy_id and chosen is not None and instant(chosen) is not None:
        if law.policy_on(date_of(instant(chosen))) is None:
            found.append(path)
    return sorted(set(found))
