"""Seeded random worlds (registry rows and operating parameters) and random requests on them.

Pools are small on purpose: requests must meet the orders, the uplifts and one another's parties.
"""

from __future__ import annotations

import dataclasses
import datetime
import random
import string
import time

from oracle import law
from oracle.registry import (
    TABLES, ControlOrder, Enterprise, MutualRecognition, Parameters, RecognisedOperator, ScheduledTier,
    columns, midnight, parse_instant)
from oracle.validate import SECOND, SOCIAL_ALPHABET, container_check_digit, date_of, normalise_aeo

TIERS = law.TIERS[1:]
FIRST_DAY = datetime.date(2014, 12, 1)
LAST_DAY = datetime.date(2028, 6, 1)
STARTS = [table["from"] for table in law.POLICIES.values()]
HOUR = 3600 * SECOND


@dataclasses.dataclass
class World:
    """What one server is given: rows by table, and the text of `parameters.toml`."""
    seed: int
    now: int
    rng: random.Random
    rows: dict[str, list] = dataclasses.field(default_factory=lambda: {name: [] for name in TABLES})
    parameters: Parameters | None = None
    customs: list[str] = dataclasses.field(default_factory=list)
    social: list[str] = dataclasses.field(default_factory=list)
    foreign: list[str] = dataclasses.field(default_factory=list)
    containers: list[str] = dataclasses.field(default_factory=list)
    hs_codes: list[str] = dataclasses.field(default_factory=list)
    origins: list[str] = dataclasses.field(default_factory=list)
    offices: list[str] = dataclasses.field(default_factory=list)
    serial: int = 0

    def insert(self, connection):
        """Writes all rows in one transaction."""
        connection.execute("BEGIN IMMEDIATE")
        for table, rows in self.rows.items():
            names = columns(TABLES[table])
            marks = ", ".join("?" * len(names))
            connection.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})",
                                   [dataclasses.astuple(row) for row in rows])
        connection.execute("COMMIT")


def digits(rng, count: int) -> str:
    return "".join(rng.choices(string.digits, k=count))


def some(rng, probability: float, value):
    return value if rng.random() < probability else None


def social_code(rng) -> str:
    """A social credit code; about one in six fails its check."""
    body = "".join(rng.choices(SOCIAL_ALPHABET, k=17))
    total = sum(SOCIAL_ALPHABET.index(c) * pow(3, i, 31) for i, c in enumerate(body))
    wrong = rng.randrange(1, 31) if rng.random() < 0.15 else 0
    return body + SOCIAL_ALPHABET[(wrong - total) % 31]


def container(rng) -> str:
    """A valid container number; some have the remainder 10."""
    body = "".join(rng.choices(string.ascii_uppercase, k=3)) + rng.choice("UUUJZ") + digits(rng, 6)
    return body + str(container_check_digit(body))


def day(rng, now: int) -> str:
    """A date: near today in a third of the cases, at a decree's start in some, else anywhere."""
    kind = rng.random()
    if kind < 0.35:
        shift = rng.randint(-9, 4)
        return date_of(now + shift * 24 * HOUR)
    if kind < 0.45:
        return rng.choice(STARTS)
    span = (LAST_DAY - FIRST_DAY).days
    return (FIRST_DAY + datetime.timedelta(rng.randint(-400, span))).isoformat()


def past_day(rng, now: int) -> str:
    today = datetime.date.fromisoformat(date_of(now))
    return (today - datetime.timedelta(rng.randint(8, 4000))).isoformat()


def instant_text(rng, nanoseconds: int) -> str:
    """An RFC 3339 instant in UTC, in one of the forms that programs write."""
    seconds, rest = divmod(nanoseconds, SECOND)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return text + rng.choice(["", f".{rest // 1_000_000:03}", f".{rest // 1000:06}"]) + rng.choice("ZZZ+").replace(
        "+", "+00:00")


def make_world(seed: int, now: int | None = None) -> World:
    rng = random.Random(seed)
    world = World(seed, now or time.time_ns(), rng)
    world.offices = [digits(rng, 4) for _ in range(6)]
    world.origins = rng.sample(["US", "DE", "JP", "SG", "AU", "XX", "KR", "BR"], 5)
    world.hs_codes = [digits(rng, rng.randint(6, 13)) for _ in range(25)]
    world.hs_codes += [code[:6] + digits(rng, 4) for code in world.hs_codes[:8]]
    world.containers = [container(rng) for _ in range(25)]
    _enterprises(world)
    _operators(world)
    for number in range(45):
        world.rows["control_order"].append(_order(world, number))
    world.parameters = Parameters(_parameters(world))
    return world


def _enterprises(world: World):
    rng = world.rng
    codes = {digits(rng, 10) if rng.random() < 0.7 else
             "".join(rng.choices(string.digits + string.ascii_uppercase, k=10)) for _ in range(215)}
    world.customs = sorted(codes)
    rng.shuffle(world.customs)
    for i, code in enumerate(world.customs[:200]):
        first = past_day(rng, world.now) if rng.random() < 0.6 else day(rng, world.now)
        until = some(rng, 0.35, day(rng, world.now))
        if until is not None and until <= first and rng.random() < 0.8:
            until = None
        world.rows["enterprise"].append(Enterprise(
            code, some(rng, 0.85, social_code(rng)), f"Enterprise {i}", TIERS[i % 5], first, until,
            int(rng.random() < 0.12)))
    by_code = {row.customs_code: row for row in world.rows["enterprise"]}
    for code in world.customs:
        dates = {day(rng, world.now) for _ in range(rng.choice([0, 0, 0, 0, 1, 1, 2, 3]))}
        if code in by_code and rng.random() < 0.06:
            dates.add(by_code[code].tier_effective_from)
        world.rows["scheduled_tier"] += [ScheduledTier(code, rng.choice(TIERS), date) for date in sorted(dates)]
    world.social = [row.social_credit_code for row in by_code.values() if row.social_credit_code]
    world.social += [social_code(rng) for _ in range(8)]


def _operators(world: World):
    rng = world.rng
    programmes = [("SG", "STP-Plus"), ("KR", "AEO"), ("HK", "AEO"), ("DE", "AEOS"), ("FR", "AEOF"), ("JP", "AEO"),
                  ("AU", "ATT"), ("CL", "AEO"), ("AE", "AEO"), ("QM", "Alpha"), ("QN", "Beta"), ("SG", "Other")]
    seen = set()
    for i in range(40):
        country, programme = programmes[i % len(programmes)]
        code = country + "".join(rng.choices(string.digits + string.ascii_uppercase, k=rng.choice([1, 7, 12, 30])))
        code = "AEO" + digits(rng, 4) if i == 20 else code
        if normalise_aeo(code) != code or code in seen:
            continue
        seen.add(code)
        first = past_day(rng, world.now) if rng.random() < 0.7 else day(rng, world.now)
        until = some(rng, 0.25, day(rng, world.now))
        until = until if until and until > first else None
        world.rows["recognised_operator"].append(RecognisedOperator(
            code, country, programme, f"Operator {i}", first, until, int(rng.random() < 0.12)))
    world.foreign = sorted(seen) + ["US99", "SGUNKNOWN1", "DE000", "AEO1"]
    modes = law.TRANSPORT_MODES[1:]
    keys = set()
    for country, programme in [("QM", "Alpha"), ("QM", "Alpha"), ("QN", "Beta"), ("QN", "Beta"), ("QN", "Beta")]:
        direction = rng.choice([*law.DIRECTIONS[1:], "ALL"])
        transport = rng.choice(["ALL", ",".join(rng.sample(modes, rng.randint(1, 3)))])
        first = rng.choice([past_day(rng, world.now), day(rng, world.now)])
        until = some(rng, 0.3, day(rng, world.now))
        if (key := (country, programme, direction, transport, first)) not in keys:
            keys.add(key)
            world.rows["mutual_recognition"].append(
                MutualRecognition(*key, until if until and until > first else None))


def _order(world: World, number: int) -> ControlOrder:
    rng = world.rng
    kind = rng.choices(["HOLD", "INSPECT", "DOCUMENTS"], [2, 5, 3])[0]
    prefix = rng.choice(world.hs_codes)
    selectors = {
        "enterprise_id": rng.choice([*world.customs, *world.social, *world.foreign]),
        "hs_prefix": prefix[:rng.choice([4, 6, len(prefix)])],
        "origin_country": rng.choice(world.origins),
        "customs_office": rng.choice(world.offices),
        "container_number": rng.choice(world.containers),
        "direction": rng.choice(law.DIRECTIONS[1:]),
    }
    main = rng.choice(["enterprise_id", "enterprise_id", "hs_prefix", "hs_prefix", "container_number"])
    kept = {main, *(name for name in selectors if rng.random() < 0.12)}
    if number == 0:  # one broad order, so that combinations are met
        kind, kept = rng.choice(["INSPECT", "DOCUMENTS"]), {"origin_country", "customs_office"}
    kind_of_time = rng.random()
    start, end = -rng.randint(1, 100_000) * HOUR, None
    if kind_of_time < 0.25:
        end = rng.randint(60, 6 * 3600) * SECOND + rng.randrange(SECOND)
    elif kind_of_time < 0.35:
        end = -rng.randint(60, 7200) * SECOND
        start = end - rng.randint(1, 50_000) * HOUR
    elif kind_of_time < 0.45:
        start = rng.randint(60, 7200) * SECOND
    code = rng.choice(["ORD", "ord", "X", "a"]) + f"-{rng.randrange(10 ** 6)}-{number}"
    return ControlOrder(
        id=code, kind=kind, basis=rng.choice(["MANDATED", "TARGETED", "EMERGENCY"]),
        **{name: value if name in kept else None for name, value in selectors.items()},
        valid_from=instant_text(rng, world.now + start),
        valid_to=None if end is None else instant_text(rng, world.now + end),
        legal_basis=f"Law {number}", public_reason=f"Public reason {number}",
        confidential_reason=some(rng, 0.5, f"Confidential reason {number}"))


def _parameters(world: World) -> str:
    rng = world.rng
    choose = lambda probability, name, value: {name: value} if rng.random() < probability else {}
    floors = sorted(rng.choice([1, 500, 500, 4000, 30_000, rng.randrange(900_000)]) for _ in TIERS)
    urgent = [rng.choice(world.hs_codes)[:rng.choice([4, 6])] for _ in range(rng.randint(0, 4))]
    lines = [
        f"default_baseline_ppm = {rng.choice([24_400, 24_401, 0, 1, 5, 300_000, 999_999, 1_000_000])}",
        f"recognition_multiplier_ppm = {rng.choice([800_000, 0, 333_333, 999_999, 1_000_000])}",
        f'valid_for = "{rng.choice(["4h", "45s", "90m", "240h", "1500ms"])}"',
        f"urgent_hs_prefixes = {urgent}",
        "[random_floor_ppm]", *(f"{tier} = {floor}" for tier, floor in zip(TIERS, floors)),
    ]

    def section(name, entry):
        quote = lambda value: value if isinstance(value, int) else f'"{value}"'
        return [f"[[{name}]]", *(f"{key} = {quote(value)}" for key, value in entry.items())]

    for _ in range(rng.randint(0, 9)):
        entry = {"rate_ppm": rng.choice([rng.randrange(1_000_001), rng.randrange(100_000), rng.randrange(20)])}
        entry |= choose(0.5, "direction", rng.choice(law.DIRECTIONS[1:]))
        entry |= choose(0.5, "customs_office", rng.choice(world.offices))
        entry |= choose(0.5, "transport_mode", rng.choice(law.TRANSPORT_MODES[1:]))
        lines += section("baseline", entry)
    for _ in range(rng.randint(0, 8)):
        entry = {"multiplier_ppm": rng.choice([1_000_000, 1_500_000, 1_333_333, 40_000_000])}
        entry |= choose(0.4, "hs_prefix", rng.choice(world.hs_codes)[:rng.choice([2, 4, 6])])
        entry |= choose(0.4, "origin_country", rng.choice(world.origins))
        entry |= choose(0.3, "customs_office", rng.choice(world.offices))
        entry |= choose(0.3, "trade_mode", rng.choice(law.TRADE_MODES[1:]))
        entry |= choose(0.3, "direction", rng.choice(law.DIRECTIONS[1:]))
        lines += section("risk_uplift", entry)
    for _ in range(rng.randint(0, 4)):
        start = world.now + rng.randint(-72, 2) * HOUR - rng.choice([0, 80_000 * HOUR])
        length = rng.randint(1, 90_000 if rng.random() < 0.3 else 100) * HOUR
        stamp = lambda at: time.strftime("%Y-%m-%dT%H:%M:%S+08:00", time.gmtime(at // SECOND + 8 * 3600))
        lines += section("post_disruption", {
            "customs_office": rng.choice(world.offices), "from": stamp(start), "to": stamp(start + length)})
    return "\n".join(lines) + "\n"


# --- requests ---------------------------------------------------------------------------------


def messy(rng, code: str) -> str:
    """One of the forms in which people write an AEO code."""
    if rng.random() < 0.7:
        code = rng.choice(["AEO", "aeo", "AEO ", "AEO<", "<AEO"]) + code
    elif code.startswith("AEO"):
        return code
    if rng.random() < 0.4:
        code = code.lower()
    if rng.random() < 0.4:
        at = rng.randint(0, len(code))
        code = code[:at] + rng.choice([" ", "  ", "<", "> "]) + code[at:]
    return code


def _identifier(world: World, role: str) -> tuple[str, str]:
    rng = world.rng
    if role == "FOREIGN_PARTY" and rng.random() < 0.8:
        return "aeo_code", messy(rng, rng.choice(world.foreign))
    code = rng.choice(world.customs) if rng.random() < 0.97 else digits(rng, 10)
    kind = rng.random()
    if kind < 0.45:
        return "customs_code", code
    if kind < 0.75:
        return "social_credit_code", rng.choice(world.social)
    return "aeo_code", messy(rng, "CN" + code)


def make_request(world: World) -> dict:
    """A valid DecideRequest without accepted_at."""
    rng = world.rng
    direction = rng.choice([1, 1, 2, 2, 3])
    world.serial += 1
    ninth = rng.choice({"IMPORT": "1I", "EXPORT": "0E", "TRANSIT": "01IE"}[law.DIRECTIONS[direction]])
    roles = rng.choices(law.ROLES[1:6], k=rng.choices([1, 2, 3, 15], [55, 30, 14, 1])[0])
    if rng.random() < 0.35:
        roles.insert(rng.randint(0, len(roles)), "FOREIGN_PARTY")
    if rng.random() < 0.08 and len(roles) < 16:
        roles.insert(0, "FOREIGN_PARTY")
    goods = [{"hs_code": rng.choice(world.hs_codes), "origin_country": rng.choice([*world.origins, "ZZ"])}
             for _ in range(rng.choice([0, 1, 1, 2, 4]))]
    document = "".join(rng.choices(string.ascii_letters + string.digits + "!~/-", k=rng.randint(1, 64)))
    return {
        "declaration_number": f"{rng.choice(world.offices)}2026{ninth}{world.seed % 10_000:04}{world.serial:05}",
        "direction": direction,
        "parties": [{"role": law.ROLES.index(role), "id": _identifier(world, role)} for role in roles],
        "goods": goods,
        "customs_office": rng.choice(world.offices),
        "transport_mode": rng.randrange(len(law.TRANSPORT_MODES)),
        "trade_mode": rng.randrange(len(law.TRADE_MODES)),
        "transport_document_number": document if rng.random() < 0.4 else "",
        "container_numbers": rng.sample(world.containers, rng.choice([0, 0, 1, 2, 3])),
        "accepted_at": None,
    }


def split(nanoseconds: int) -> tuple[int, int]:
    return divmod(nanoseconds, SECOND)


def make_decide(world: World) -> dict:
    """A valid DecideRequest whose acceptance lies inside the server's window."""
    rng = world.rng
    request = make_request(world)
    if rng.random() < 0.7:
        request["accepted_at"] = split(time.time_ns() + rng.randint(-7 * 24 * HOUR + HOUR // 30, HOUR // 15))
    return request


def edges(world: World, request: dict) -> list[int]:
    """The instants at which something about the parties of this request changes."""
    named = set(_customs_codes(world, request))
    named |= {normalise_aeo(text) for kind, text in (party["id"] for party in request["parties"])}
    dates = []
    for table, key in (("enterprise", "customs_code"), ("scheduled_tier", "customs_code"),
                       ("recognised_operator", "aeo_code")):
        for row in world.rows[table]:
            if getattr(row, key) in named:
                dates += [value for name, value in vars(row).items() if "valid" in name or "effective" in name]
    return [midnight(date) for date in dates if date]


def any_instant(rng, about: list[int]) -> tuple[int, int]:
    """Any instant of the decrees' years; often about a decree's first midnight or one of `about`."""
    if rng.random() < 0.5:
        start = rng.choice(about if about and rng.random() < 0.6 else [midnight(start) for start in STARTS])
        shift = rng.choice([-1, 0, 1, 8 * HOUR, 8 * HOUR - 1, rng.randint(-24 * HOUR, 24 * HOUR)])
        return split(max(start + shift, midnight(STARTS[0])))
    return split(rng.randint(midnight(STARTS[0]), midnight(LAST_DAY.isoformat())))


def _customs_codes(world: World, request: dict) -> list[str]:
    """The customs codes to which the parties of a request resolve."""
    codes = {row.social_credit_code: row.customs_code for row in world.rows["enterprise"]}
    found = []
    for kind, text in (party["id"] for party in request["parties"]):
        if kind == "customs_code":
            found.append(text)
        elif kind == "social_credit_code":
            found += [codes[text]] if text in codes else []
        elif (normal := normalise_aeo(text)).startswith("CN"):
            found.append(normal[2:])
    return found


def make_simulation(world: World) -> dict:
    """A valid SimulateRequest."""
    rng = world.rng
    request = make_request(world)
    about = edges(world, request)
    as_of = any_instant(rng, about) if rng.random() < 0.85 else None
    if rng.random() < 0.5:
        request["accepted_at"] = any_instant(rng, about)
    codes = sorted({rng.choice(world.customs), *_customs_codes(world, request)})
    chosen = rng.sample(codes, min(len(codes), rng.choice([0, 0, 1, 2])))
    return {
        "request": request,
        "policy_id": rng.choice(["", *law.POLICIES]) if rng.random() < 0.6 else "",
        "tier_overrides": [{"customs_code": code, "credit_tier": rng.randint(1, 5)} for code in chosen],
        "as_of": as_of,
    }


def edge_simulations(world: World):
    """Simulations just before and at each end of recognition rows and post-disruption periods."""
    operators = {(row.country, row.programme): row for row in world.rows["recognised_operator"]}
    edges = [(midnight(date), row, {}) for row in world.rows["recognised_operator"]
             for date in (row.valid_from, row.valid_until) if date]
    for row in world.rows["mutual_recognition"]:
        operator = operators.get((row.country, row.programme))
        direction = law.DIRECTIONS.index(row.direction.replace("ALL", "IMPORT"))
        edges += [(midnight(date), operator, {"direction": direction})
                  for date in (row.effective_from, row.effective_to) if date and operator]
    for period in world.parameters.disruptions:
        edges += [(parse_instant(period[end]), None, {"customs_office": period["customs_office"]})
                  for end in ("from", "to")]
    for instant, operator, fields in (edge for edge in edges if edge[0] > midnight(STARTS[0])):
        request = make_request(world) | {"parties": [{"role": 1, "id": ("customs_code", "ABCDEFGHIJ")}]} | fields
        ninth = {"IMPORT": "1", "EXPORT": "0", "TRANSIT": "0"}[law.DIRECTIONS[request["direction"]]]
        number = request["declaration_number"]
        request["declaration_number"] = number[:8] + ninth + number[9:]
        if operator:
            request["parties"].append({"role": 6, "id": ("aeo_code", operator.aeo_code)})
        for shift in (-1, 0):
            yield {"request": request, "policy_id": "CN-GACC-251", "as_of": split(instant + shift),
                   "tier_overrides": [{"customs_code": "ABCDEFGHIJ", "credit_tier": 3 if operator else 1}]}
