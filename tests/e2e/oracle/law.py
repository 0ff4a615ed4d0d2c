"""The four decrees as tables, and the closed vocabularies of the contract."""

from __future__ import annotations

# Position in these tuples is the number on the wire.
TIERS = ("UNSPECIFIED", "ADVANCED_CERTIFIED", "CERTIFIED", "REGULAR", "DISCREDITED", "SERIOUSLY_DISCREDITED")
DIRECTIONS = ("UNSPECIFIED", "IMPORT", "EXPORT", "TRANSIT")
TRANSPORT_MODES = ("UNSPECIFIED", "SEA", "AIR", "RAIL", "ROAD", "MAIL", "OTHER")
TRADE_MODES = ("UNSPECIFIED", "GENERAL", "PROCESSING", "E_COMMERCE", "OTHER")
ROLES = ("UNSPECIFIED", "DECLARANT", "CONSIGNEE", "CONSIGNOR", "PRODUCER", "END_USER", "FOREIGN_PARTY")
CLASSES = ("UNSPECIFIED", "EXPEDITED", "PRIORITY", "NORMAL", "DEFERRED")
FRESHNESS = ("UNSPECIFIED", "FRESH", "STALE", "EXPIRED")
REASONS = (
    "UNSPECIFIED", "HOLD_ORDER", "MANDATED_INSPECTION", "TARGETED_INSPECTION", "DOCUMENT_ORDER",
    "PARTY_UNKNOWN", "CERTIFICATION_NOT_YET_EFFECTIVE", "CERTIFICATION_EXPIRED", "PARTY_SUSPENDED",
    "TIER_MAPPED", "DATA_STALE", "DATA_EXPIRED", "LOWER_TIER_PREVAILS", "TIER_RATE",
    "RECOGNITION_APPLIED", "RECOGNITION_NOT_APPLICABLE", "RISK_UPLIFT", "RANDOM_FLOOR", "DRAWN",
    "NOT_DRAWN", "URGENT_GOODS", "POST_DISRUPTION", "TIER_NOT_GREEN", "CHECK_CHARACTER",
    "POLICY_PROVISIONAL",
)
MEASURES = {
    "REDUCED_INSPECTION": 1, "SIMPLIFIED_DOCUMENT_REVIEW": 2, "PRIORITY_CLEARANCE": 3,
    "RELEASE_BEFORE_DETERMINATION": 4, "PRE_ARRIVAL_EXPORT_DECLARATION": 5, "GUARANTEE_REDUCTION": 6,
    "GUARANTEE_EXEMPTION_ON_APPLICATION": 7, "DEPOSIT_ACCOUNT_WAIVER": 8, "COORDINATOR": 9,
    "REDUCED_AUDIT_FREQUENCY": 10, "REDUCED_ORIGIN_SURVEY_SAMPLING": 11,
    "FOREIGN_REGISTRATION_RECOMMENDATION": 12, "MUTUAL_RECOGNITION": 13, "JOINT_INCENTIVES": 14,
    "POST_DISRUPTION_PRIORITY": 15, "HEIGHTENED_INSPECTION": 50, "INTENSIFIED_DOCUMENT_REVIEW": 51,
    "FULL_GUARANTEE_PROCESSING_TRADE": 52, "INCREASED_AUDIT_FREQUENCY": 53,
    "NO_CONSOLIDATED_TAXATION": 54, "NO_SAMPLE_AND_IMAGE_RELEASE": 55,
    "INSPECTION_COST_NOT_WAIVED": 56, "JOINT_PUNISHMENT": 57,
}
FIRST_RESTRICTION = 50

DISCREDITED_TIERS = ("DISCREDITED", "SERIOUSLY_DISCREDITED")
REVIEW = {
    "ADVANCED_CERTIFIED": "SIMPLIFIED", "CERTIFIED": "SIMPLIFIED", "REGULAR": "STANDARD",
    "DISCREDITED": "INTENSIFIED", "SERIOUSLY_DISCREDITED": "INTENSIFIED",
}
CLASS = {
    "ADVANCED_CERTIFIED": "EXPEDITED", "CERTIFIED": "PRIORITY", "REGULAR": "NORMAL",
    "DISCREDITED": "DEFERRED", "SERIOUSLY_DISCREDITED": "DEFERRED",
}

# Measures that depend on the shipment: listed only then.
ONLY_ON_EXPORT = {"PRE_ARRIVAL_EXPORT_DECLARATION", "REDUCED_ORIGIN_SURVEY_SAMPLING"}
ONLY_IN_PROCESSING = {"FULL_GUARANTEE_PROCESSING_TRADE"}

_THREE = ["REDUCED_INSPECTION", "SIMPLIFIED_DOCUMENT_REVIEW", "PRIORITY_CLEARANCE"]
_STRICT = ["HEIGHTENED_INSPECTION", "INTENSIFIED_DOCUMENT_REVIEW"]
_ADVANCED_237 = [*_THREE, "PRE_ARRIVAL_EXPORT_DECLARATION", "POST_DISRUPTION_PRIORITY"]
_ADVANCED_251 = {
    "s": [*_ADVANCED_237, "REDUCED_ORIGIN_SURVEY_SAMPLING"],
    "e": ["FOREIGN_REGISTRATION_RECOMMENDATION", "GUARANTEE_EXEMPTION_ON_APPLICATION",
          "REDUCED_AUDIT_FREQUENCY", "COORDINATOR", "MUTUAL_RECOGNITION", "JOINT_INCENTIVES"],
}
_DISCREDITED_251 = {
    "s": [*_STRICT, "FULL_GUARANTEE_PROCESSING_TRADE"],
    "e": ["INCREASED_AUDIT_FREQUENCY"],
}
_NONE = {"s": [], "e": []}

# Rate rules: ("baseline",), ("at_most", ppm), ("below", ppm) or ("at_least", ppm).
# A tier without a rule is mapped to another before any rule is asked for.
POLICIES = {
    "CN-GACC-225": {
        "from": "2014-12-01", "provisional": True,
        "mapped": {"SERIOUSLY_DISCREDITED": "DISCREDITED"},
        "green": {"ADVANCED_CERTIFIED", "CERTIFIED"},
        "rate": {
            "ADVANCED_CERTIFIED": ("at_most", 200_000), "CERTIFIED": ("at_most", 500_000),
            "REGULAR": ("baseline",), "DISCREDITED": ("at_least", 800_000),
        },
        "measures": {
            "ADVANCED_CERTIFIED": {
                "s": [*_THREE, "RELEASE_BEFORE_DETERMINATION"],
                "e": ["DEPOSIT_ACCOUNT_WAIVER", "COORDINATOR", "MUTUAL_RECOGNITION"],
            },
            "CERTIFIED": {"s": _THREE, "e": []},
            "REGULAR": _NONE,
            "DISCREDITED": {"s": _STRICT, "e": []},
        },
    },
    "CN-GACC-237": {
        "from": "2018-05-01", "provisional": False,
        "mapped": {"SERIOUSLY_DISCREDITED": "DISCREDITED"},
        "green": {"ADVANCED_CERTIFIED", "CERTIFIED"},
        "rate": {
            "ADVANCED_CERTIFIED": ("at_most", 200_000), "CERTIFIED": ("at_most", 500_000),
            "REGULAR": ("baseline",), "DISCREDITED": ("at_least", 800_000),
        },
        "measures": {
            "ADVANCED_CERTIFIED": {
                "s": _ADVANCED_237,
                "e": ["GUARANTEE_REDUCTION", "GUARANTEE_EXEMPTION_ON_APPLICATION", "REDUCED_AUDIT_FREQUENCY",
                      "COORDINATOR", "MUTUAL_RECOGNITION", "JOINT_INCENTIVES"],
            },
            "CERTIFIED": {"s": _THREE, "e": ["GUARANTEE_REDUCTION"]},
            "REGULAR": _NONE,
            "DISCREDITED": {
                "s": [*_STRICT, "INSPECTION_COST_NOT_WAIVED", "NO_SAMPLE_AND_IMAGE_RELEASE",
                      "FULL_GUARANTEE_PROCESSING_TRADE"],
                "e": ["NO_CONSOLIDATED_TAXATION", "INCREASED_AUDIT_FREQUENCY", "JOINT_PUNISHMENT"],
            },
        },
    },
    "CN-GACC-251": {
        "from": "2021-11-01", "provisional": False,
        "mapped": {"CERTIFIED": "REGULAR", "SERIOUSLY_DISCREDITED": "DISCREDITED"},
        "green": {"ADVANCED_CERTIFIED"},
        "rate": {
            "ADVANCED_CERTIFIED": ("below", 200_000),
            "REGULAR": ("baseline",), "DISCREDITED": ("at_least", 800_000),
        },
        "measures": {
            "ADVANCED_CERTIFIED": _ADVANCED_251,
            "REGULAR": _NONE,
            "DISCREDITED": _DISCREDITED_251,
        },
    },
    "CN-GACC-282": {
        "from": "2026-04-01", "provisional": True,
        "mapped": {},
        "green": {"ADVANCED_CERTIFIED", "CERTIFIED"},
        "rate": {
            "ADVANCED_CERTIFIED": ("below", 200_000), "CERTIFIED": ("at_most", 500_000),
            "REGULAR": ("baseline",), "DISCREDITED": ("at_least", 800_000),
            "SERIOUSLY_DISCREDITED": ("at_least", 800_000),
        },
        "measures": {
            "ADVANCED_CERTIFIED": _ADVANCED_251,
            "CERTIFIED": {"s": _THREE, "e": ["MUTUAL_RECOGNITION"]},
            "REGULAR": _NONE,
            "DISCREDITED": _DISCREDITED_251,
            "SERIOUSLY_DISCREDITED": {
                "s": _DISCREDITED_251["s"],
                "e": ["INCREASED_AUDIT_FREQUENCY", "JOINT_PUNISHMENT"],
            },
        },
    },
}


def policy_on(date: str) -> str | None:
    """The id of the policy in force on an acceptance date (YYYY-MM-DD), or None before the first."""
    in_force = [(table["from"], name) for name, table in POLICIES.items() if table["from"] <= date]
    return max(in_force)[1] if in_force else None


def worse(tier: str, other: str) -> bool:
    """Whether `tier` is strictly worse than `other`."""
    return TIERS.index(tier) > TIERS.index(other)


def tier_rate(policy_id: str, tier: str, baseline: int) -> int:
    """The rate of a tier in ppm, from the baseline in ppm."""
    rule, *argument = POLICIES[policy_id]["rate"][tier]
    if rule == "baseline":
        return baseline
    (ppm,) = argument
    if rule == "at_most":
        return baseline * ppm // 1_000_000
    if rule == "below":
        return max(0, (baseline * ppm - 1) // 1_000_000)
    return max(ppm, baseline)


def by_number(measures) -> list[str]:
    """Measures ascending by number, each once."""
    return sorted(set(measures), key=MEASURES.__getitem__)


def shipment_measures(policy_id: str, tier: str, direction: str, trade_mode: str) -> set[str]:
    """What the governing tier gives or imposes on this shipment."""
    measures = set(POLICIES[policy_id]["measures"][tier]["s"])
    if direction != "EXPORT":
        measures -= ONLY_ON_EXPORT
    if trade_mode != "PROCESSING":
        measures -= ONLY_IN_PROCESSING
    return measures
