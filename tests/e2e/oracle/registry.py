"""The registry's rows and the operating parameters as plain data, and what they say of a party."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import re
import tomllib

from .validate import SECOND, normalise_aeo


@functools.lru_cache(maxsize=None)
def parse_instant(text: str) -> int:
    """Nanoseconds of an RFC 3339 instant with up to nine decimals."""
    body, decimals, offset = re.fullmatch(r"([^.]*?:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", text).groups()
    moment = datetime.datetime.fromisoformat(body + ("+00:00" if offset == "Z" else offset))
    return int(moment.timestamp()) * SECOND + int((decimals or "0").ljust(9, "0"))


def midnight(date: str) -> int:
    """The instant at which a date begins in UTC+8."""
    return parse_instant(f"{date}T00:00:00+08:00")


@dataclasses.dataclass
class Enterprise:
    customs_code: str
    social_credit_code: str | None
    name: str
    credit_tier: str
    tier_effective_from: str
    tier_valid_until: str | None
    suspended: int


@dataclasses.dataclass
class ScheduledTier:
    customs_code: str
    credit_tier: str
    effective_from: str


@dataclasses.dataclass
class RecognisedOperator:
    aeo_code: str
    country: str
    programme: str
    name: str
    valid_from: str
    valid_until: str | None
    suspended: int


@dataclasses.dataclass
class MutualRecognition:
    country: str
    programme: str
    direction: str
    transport_modes: str
    effective_from: str
    effective_to: str | None


@dataclasses.dataclass
class ControlOrder:
    id: str
    kind: str
    basis: str
    enterprise_id: str | None
    hs_prefix: str | None
    origin_country: str | None
    customs_office: str | None
    container_number: str | None
    direction: str | None
    valid_from: str
    valid_to: str | None
    legal_basis: str
    public_reason: str
    confidential_reason: str | None

    def in_force(self, at: int) -> bool:
        return parse_instant(self.valid_from) <= at and (self.valid_to is None or at < self.end())

    def end(self) -> int:
        return parse_instant(self.valid_to)


TABLES = {
    "enterprise": Enterprise,
    "scheduled_tier": ScheduledTier,
    "recognised_operator": RecognisedOperator,
    "mutual_recognition": MutualRecognition,
    "control_order": ControlOrder,
}


def columns(row_class) -> list[str]:
    return [field.name for field in dataclasses.fields(row_class)]


def read_table(connection, table: str) -> list:
    row_class = TABLES[table]
    names = ", ".join(columns(row_class))
    return [row_class(*row) for row in connection.execute(f"SELECT {names} FROM {table}")]


@dataclasses.dataclass
class Facts:
    """What the registry says of one party on the acceptance date.

    `tier` is the registered tier of a Chinese enterprise; `first` and `until` bound it, and `dates`
    are the days on which it may change. `ids` are the identifiers that a control order may name.
    """
    ids: set[str]
    customs_code: str = ""
    known: bool = False
    suspended: bool = False
    tier: str | None = None
    first: str | None = None
    until: str | None = None
    dates: list[str] = dataclasses.field(default_factory=list)
    operator: RecognisedOperator | None = None
    foreign: bool = False


class Registry:
    """All rows, reachable as the decision needs them."""

    def __init__(self, connection):
        self.by_customs = {row.customs_code: row for row in read_table(connection, "enterprise")}
        self.by_social = {row.social_credit_code: row for row in self.by_customs.values()
                          if row.social_credit_code}
        self.scheduled: dict[str, list[ScheduledTier]] = {}
        for row in read_table(connection, "scheduled_tier"):
            self.scheduled.setdefault(row.customs_code, []).append(row)
        self.operators = {row.aeo_code: row for row in read_table(connection, "recognised_operator")}
        self.arrangements = read_table(connection, "mutual_recognition")
        self.orders = sorted(read_table(connection, "control_order"), key=lambda row: row.id.encode())

    def facts(self, party: dict, date: str, overrides: dict[str, str]) -> Facts:
        """Resolves a valid party; `overrides` gives tiers by customs code."""
        kind, text = party["id"]
        if kind == "aeo_code":
            text = normalise_aeo(text)
            if not text.startswith("CN"):
                return self._foreign(text)
            text = text[2:]
        row = (self.by_social if kind == "social_credit_code" else self.by_customs).get(text)
        ids = {text}
        code = text if kind != "social_credit_code" else ""
        if row is not None:
            code = row.customs_code
            ids |= {row.customs_code, row.social_credit_code or row.customs_code}
        suspended = row is not None and bool(row.suspended)
        if code in overrides:
            return Facts(ids, customs_code=code, known=True, suspended=suspended, tier=overrides[code])
        if row is None:
            return Facts(ids)
        facts = Facts(ids, customs_code=code, known=True, suspended=suspended)
        self._set_tier(facts, row, date)
        return facts

    def _foreign(self, code: str) -> Facts:
        operator = self.operators.get(code)
        return Facts({code}, known=operator is not None, suspended=bool(operator and operator.suspended),
                     operator=operator, foreign=True)

    def _set_tier(self, facts: Facts, row: Enterprise, date: str):
        scheduled = self.scheduled.get(row.customs_code, [])
        due = [(s.effective_from, 1, s.credit_tier, None) for s in scheduled if s.effective_from <= date]
        if row.tier_effective_from <= date:
            due.append((row.tier_effective_from, 0, row.credit_tier, row.tier_valid_until))
        own = (row.tier_effective_from, 0, row.credit_tier, row.tier_valid_until)
        facts.first, _, facts.tier, facts.until = max(due, key=lambda entry: entry[:2]) if due else own
        facts.dates = [row.tier_effective_from, *(s.effective_from for s in scheduled)]
        if row.tier_valid_until:
            facts.dates.append(row.tier_valid_until)

    def recognises(self, operator: RecognisedOperator | None, date: str, direction: str, mode: str) -> bool:
        """Whether a foreign operator stands recognised for such a shipment, whoever else takes part."""
        if operator is None or operator.suspended or not _within(date, operator.valid_from, operator.valid_until):
            return False
        return any(
            (row.country, row.programme) == (operator.country, operator.programme)
            and _within(date, row.effective_from, row.effective_to)
            and row.direction in (direction, "ALL")
            and (row.transport_modes == "ALL" or mode in row.transport_modes.split(","))
            for row in self.arrangements)


def _within(date: str, first: str, end: str | None) -> bool:
    return first <= date and (end is None or date < end)


UNITS = {"ms": 1_000_000, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}


class Parameters:
    """`parameters.toml`."""

    def __init__(self, text: str):
        self.text = text
        values = tomllib.loads(text)
        self.default_baseline = values["default_baseline_ppm"]
        self.multiplier = values["recognition_multiplier_ppm"]
        number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", values["valid_for"]).groups()
        self.valid_for = int(number) * UNITS[unit]
        self.urgent = values["urgent_hs_prefixes"]
        self.floors = values["random_floor_ppm"]
        self.baselines = values.get("baseline", [])
        self.uplifts = values.get("risk_uplift", [])
        self.disruptions = values.get("post_disruption", [])

    def baseline(self, direction: str, office: str, mode: str) -> int:
        """The rate of the most specific matching entry; an unsent mode matches no entry with one."""
        shipment = {"customs_office": office, "transport_mode": mode, "direction": direction}

        def rank(entry):
            present = [key in entry for key in shipment]
            return sum(present), present

        best = None
        for entry in self.baselines:
            if all(entry.get(key, value) == value for key, value in shipment.items()):
                if best is None or rank(entry) > rank(best):
                    best = entry
        return best["rate_ppm"] if best else self.default_baseline

    def disrupted(self, office: str, at: int) -> bool:
        return any(entry["customs_office"] == office
                   and parse_instant(entry["from"]) <= at < parse_instant(entry["to"])
                   for entry in self.disruptions)


def goods_match(entry: dict, goods: list[dict]) -> bool:
    """Whether one goods item has both the hs_prefix and the origin_country that an entry asks for."""
    prefix, origin = entry.get("hs_prefix"), entry.get("origin_country")
    if prefix is None and origin is None:
        return True
    return any(item["hs_code"].startswith(prefix or "") and origin in (None, item["origin_country"])
               for item in goods)
