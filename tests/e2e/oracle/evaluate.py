"""The evaluation of a decision, most binding step first."""

from __future__ import annotations

import dataclasses

from . import law
from .draw import draw
from .registry import ControlOrder, Facts, Parameters, Registry, goods_match, midnight
from .validate import date_of, instant, social_check_fails

ALWAYS = 1_000_000
REASON_OF_ORDER = {"HOLD": "HOLD_ORDER", "DOCUMENTS": "DOCUMENT_ORDER"}


@dataclasses.dataclass
class Case:
    """Everything that one decision depends on."""
    registry: Registry
    parameters: Parameters
    request: dict
    decided_at: int
    freshness: str = "FRESH"
    secret: bytes | None = None  # None: a simulation, nothing is drawn
    policy_id: str = ""
    overrides: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Party:
    role: str
    facts: Facts
    counted: bool
    standing: str | None = None


def decide(case: Case) -> dict:
    """The decision on a valid request, without decision_id, digests, version and data_age."""
    return _Evaluation(case).decision()


class _Evaluation:
    def __init__(self, case: Case):
        request = case.request
        self.case = case
        self.request = request
        self.parameters = case.parameters
        self.direction = law.DIRECTIONS[request["direction"]]
        self.mode = law.TRANSPORT_MODES[request["transport_mode"]]
        self.trade_mode = law.TRADE_MODES[request["trade_mode"]]
        self.office = request["customs_office"]
        accepted_at = case.decided_at if request["accepted_at"] is None else instant(request["accepted_at"])
        self.date = date_of(accepted_at)
        self.policy_id = case.policy_id or law.policy_on(self.date)
        self.policy = law.POLICIES[self.policy_id]
        self.reasons: list[tuple] = []

    def leave(self, code: str, party: int | None = None, order: ControlOrder | None = None):
        self.reasons.append((code, party, order))

    def decision(self) -> dict:
        self.match_orders()
        self.assess_parties()
        self.find_governing()
        self.recognise()
        self.set_rate()
        self.draw()
        self.set_priority()
        self.set_green_channel()
        review, measures = self.review_and_measures()
        if self.policy["provisional"]:
            self.leave("POLICY_PROVISIONAL")
        if self.manual:
            lane = "MANUAL"
        elif self.selected:
            lane = "RED"
        elif not self.blocked_by:
            lane = "GREEN"
        else:
            lane = "BLUE" if review == "SIMPLIFIED" else "YELLOW"
        return {
            "declaration_number": self.request["declaration_number"],
            "credit_tier": self.tier,
            "parties": [self.assessment(i) for i in range(len(self.parties))],
            "governing_party": self.governing,
            "inspection": {
                "rate_ppm": self.rate, "selected": self.selected, "basis": self.basis,
                "draw_epoch": self.date[:7] if self.basis == "RANDOM" else "",
            },
            "document_review": review,
            "priority": {"priority_class": self.priority_class, "rank": self.rank},
            "green_channel": {"eligible": not self.blocked_by, "blocked_by": self.blocked_by},
            "lane": lane,
            "measures": law.by_number(measures),
            "reasons": self.ordered_reasons(),
            "policy": {"id": self.policy_id, "provisional": self.policy["provisional"]},
            "freshness": self.case.freshness,
            "decided_at": self.case.decided_at,
            "valid_until": self.valid_until(),
        }

    # --- parties and orders -------------------------------------------------------------------

    def match_orders(self):
        """Steps 1 to 3: which orders match, and what each kind of them means."""
        facts = [self.case.registry.facts(party, self.date, self.case.overrides)
                 for party in self.request["parties"]]
        self.parties = [
            Party(law.ROLES[party["role"]], fact, law.ROLES[party["role"]] != "FOREIGN_PARTY")
            for party, fact in zip(self.request["parties"], facts)]
        ids = set().union(*(fact.ids for fact in facts))
        self.orders = [order for order in self.case.registry.orders if self.order_matches(order, ids)]
        for order in self.orders:
            inspecting = "MANDATED_INSPECTION" if order.basis == "MANDATED" else "TARGETED_INSPECTION"
            self.leave(REASON_OF_ORDER.get(order.kind, inspecting), order=order)
        self.order_codes = {code for code, _, _ in self.reasons}
        self.inspected = bool(self.order_codes & {"MANDATED_INSPECTION", "TARGETED_INSPECTION"})
        self.manual = "HOLD_ORDER" in self.order_codes or self.case.freshness == "EXPIRED"

    def order_matches(self, order: ControlOrder, ids: set[str]) -> bool:
        return (
            order.in_force(self.case.decided_at)
            and (order.enterprise_id is None or order.enterprise_id in ids)
            and goods_match(vars(order), self.request["goods"])
            and order.customs_office in (None, self.office)
            and order.direction in (None, self.direction)
            and (order.container_number is None
                 or order.container_number in self.request["container_numbers"]))

    def assess_parties(self):
        """Step 4: the standing of each counted party."""
        for i, party in enumerate(self.parties):
            kind, text = self.request["parties"][i]["id"]
            if kind == "social_credit_code" and social_check_fails(text):
                self.leave("CHECK_CHARACTER", i)
            if party.counted:
                party.standing = self.standing(i, party.facts)
        if self.case.freshness != "FRESH":
            self.leave("DATA_" + self.case.freshness)

    def standing(self, i: int, facts: Facts) -> str:
        tier = "REGULAR"
        if not facts.known:
            self.leave("PARTY_UNKNOWN", i)
        else:
            tier = facts.tier
            if law.worse("REGULAR", tier):
                if facts.first is not None and self.date < facts.first:
                    self.leave("CERTIFICATION_NOT_YET_EFFECTIVE", i)
                    tier = "REGULAR"
                elif facts.until is not None and self.date >= facts.until:
                    self.leave("CERTIFICATION_EXPIRED", i)
                    tier = "REGULAR"
            if facts.suspended:
                self.leave("PARTY_SUSPENDED", i)
                tier = at_best_regular(tier)
        if tier in self.policy["mapped"]:
            self.leave("TIER_MAPPED", i)
            tier = self.policy["mapped"][tier]
        return tier if self.case.freshness == "FRESH" else at_best_regular(tier)

    def find_governing(self):
        """Step 5: the worst standing governs, of equals the first."""
        counted = [i for i, party in enumerate(self.parties) if party.counted]
        self.counted_facts = [self.parties[i].facts for i in counted]
        self.governing = max(counted, key=lambda i: (law.TIERS.index(self.parties[i].standing), -i))
        self.tier = self.parties[self.governing].standing
        self.discredited = self.tier in law.DISCREDITED_TIERS
        if len({self.parties[i].standing for i in counted}) > 1:
            self.leave("LOWER_TIER_PREVAILS")

    def assessment(self, i: int) -> dict:
        party = self.parties[i]
        table = self.policy["measures"]
        return {
            "role": party.role,
            "enterprise_id": self.request["parties"][i]["id"][1],
            "customs_code": party.facts.customs_code,
            "known": party.facts.known,
            "suspended": party.facts.suspended,
            "counted": party.counted,
            "registered_tier": party.facts.tier or "UNSPECIFIED",
            "standing": party.standing or "UNSPECIFIED",
            "enterprise_measures": law.by_number(table[party.standing]["e"]) if party.counted else [],
        }

    # --- rate and draw ------------------------------------------------------------------------

    def recognise(self):
        """Step 6, recognition: which foreign parties bring it."""
        allowed = (
            not self.discredited
            and self.case.freshness == "FRESH"
            and all(facts.known and not facts.suspended for facts in self.counted_facts))
        self.recognised = False
        for i, party in enumerate(self.parties):
            if not party.facts.foreign:
                continue
            holds = allowed and self.case.registry.recognises(
                party.facts.operator, self.date, self.direction, self.mode)
            self.leave("RECOGNITION_APPLIED" if holds else "RECOGNITION_NOT_APPLICABLE", i)
            self.recognised |= holds

    def set_rate(self):
        """Step 6, the rate in ppm."""
        if self.inspected:
            self.rate = ALWAYS
            return
        baseline = self.parameters.baseline(self.direction, self.office, self.mode)
        rate = law.tier_rate(self.policy_id, self.tier, baseline)
        self.leave("TIER_RATE")
        if self.recognised:
            rate = rate * self.parameters.multiplier // ALWAYS
        for uplift in self.parameters.uplifts:
            if self.uplift_matches(uplift):
                rate = rate * uplift["multiplier_ppm"] // ALWAYS
                self.leave("RISK_UPLIFT")
        floor = self.parameters.floors[self.tier]
        if rate < floor:
            self.leave("RANDOM_FLOOR")
        self.rate = min(max(rate, floor), ALWAYS)

    def uplift_matches(self, uplift: dict) -> bool:
        shipment = {"customs_office": self.office, "trade_mode": self.trade_mode, "direction": self.direction}
        return (all(uplift.get(key, value) == value for key, value in shipment.items())
                and goods_match(uplift, self.request["goods"]))

    def draw(self):
        """Steps 1, 2, 7 and 8: who selects, if anyone."""
        self.selected, self.basis = False, "NOT_DRAWN"
        if self.manual:
            return
        if self.inspected:
            self.selected = True
            self.basis = "MANDATED" if "MANDATED_INSPECTION" in self.order_codes else "TARGETED"
        elif self.case.secret is not None:
            self.basis = "RANDOM"
            drawn = draw(self.case.secret, self.date[:7], self.request["declaration_number"],
                         self.request["transport_document_number"])
            self.selected = drawn < self.rate
            self.leave("DRAWN" if self.selected else "NOT_DRAWN")

    # --- priority, green channel, measures ----------------------------------------------------

    def set_priority(self):
        """Step 9."""
        ordinal = law.CLASSES.index(law.CLASS[self.tier])
        if self.recognised:
            ordinal = min(ordinal, law.CLASSES.index("PRIORITY"))
        credit = 0
        urgent = any(item["hs_code"].startswith(prefix)
                     for prefix in self.parameters.urgent for item in self.request["goods"])
        if urgent and not self.discredited:
            ordinal = max(1, ordinal - 1)
            credit += 10
            self.leave("URGENT_GOODS")
        table = self.policy["measures"][self.tier]["s"]
        if "POST_DISRUPTION_PRIORITY" in table and self.parameters.disrupted(self.office, self.case.decided_at):
            credit += 20
            self.leave("POST_DISRUPTION")
        self.priority_class = law.CLASSES[ordinal]
        self.rank = 100 * ordinal - credit

    def set_green_channel(self):
        """Step 10."""
        if self.tier not in self.policy["green"]:
            self.leave("TIER_NOT_GREEN")
        blocking = {"PARTY_UNKNOWN", "PARTY_SUSPENDED", "DATA_STALE", "DATA_EXPIRED", "TIER_NOT_GREEN"}
        codes = self.order_codes | {code for code, _, _ in self.reasons if code in blocking}
        self.blocked_by = sorted(codes, key=law.REASONS.index)

    def review_and_measures(self) -> tuple[str, set[str]]:
        """Steps 1 to 3 and 5 on the document review and the shipment's measures."""
        review = law.REVIEW[self.tier]
        measures = law.shipment_measures(self.policy_id, self.tier, self.direction, self.trade_mode)
        if self.recognised:
            measures.add("MUTUAL_RECOGNITION")
            if review == "STANDARD":
                review = "SIMPLIFIED"
                measures.add("SIMPLIFIED_DOCUMENT_REVIEW")
        if self.inspected:
            measures.discard("REDUCED_INSPECTION")
        if "DOCUMENT_ORDER" in self.order_codes:
            review = "INTENSIFIED"
            measures.discard("SIMPLIFIED_DOCUMENT_REVIEW")
        if self.manual:
            measures = {name for name in measures if law.MEASURES[name] >= law.FIRST_RESTRICTION}
        return review, measures

    # --- the rest -----------------------------------------------------------------------------

    def valid_until(self) -> int:
        """Step 12."""
        end = self.case.decided_at + self.parameters.valid_for
        changes = [midnight(date) for facts in self.counted_facts for date in facts.dates]
        changes += [order.end() for order in self.orders if order.valid_to is not None]
        return min([end, *(at for at in changes if self.case.decided_at < at < end)])

    def ordered_reasons(self) -> list[dict]:
        """By code, then party, then order id; the rest keeps the order in which it was left."""
        def key(reason):
            code, party, order = reason
            return (law.REASONS.index(code), -1 if party is None else party,
                    order.id.encode() if order else b"")

        out = []
        for code, party, order in sorted(self.reasons, key=key):
            reason = {"code": code, "party": party}
            if order:
                reason |= {"article": order.legal_basis, "text": order.public_reason,
                           "confidential_text": order.confidential_reason or ""}
            out.append(reason)
        return out


def at_best_regular(tier: str) -> str:
    return tier if law.worse(tier, "REGULAR") else "REGULAR"
