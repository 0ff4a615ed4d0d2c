//! What Greenlane answers.

use arrayvec::ArrayVec;
use jiff::Timestamp;

use super::{CreditTier, Ppm, bits, declaration::MAX_PARTIES, identifier::CustomsCode, measure::MeasureSet};

named_enum! {
    /// How it came to an inspection, or not.
    InspectionBasis {
        /// By the random draw.
        Random = 1, "RANDOM";
        /// An INSPECT order that law mandates.
        Mandated = 2, "MANDATED";
        /// A targeted or emergency INSPECT order.
        Targeted = 3, "TARGETED";
        /// No draw was made: a hold, expired data, or a simulation.
        NotDrawn = 4, "NOT_DRAWN";
    }
}

named_enum! {
    /// How closely the documents are looked at.
    DocumentReview {
        /// Less than usual.
        Simplified = 1, "SIMPLIFIED";
        /// As usual.
        Standard = 2, "STANDARD";
        /// More than usual.
        Intensified = 3, "INTENSIFIED";
    }
}

named_enum! {
    /// Priority class, from first to last.
    PriorityClass {
        /// First.
        Expedited = 1, "EXPEDITED";
        /// Before the usual.
        Priority = 2, "PRIORITY";
        /// The usual.
        Normal = 3, "NORMAL";
        /// After the usual.
        Deferred = 4, "DEFERRED";
    }
}

impl PriorityClass {
    /// One class better, not above EXPEDITED.
    #[must_use]
    pub const fn lifted(self) -> Self {
        match self {
            Self::Expedited | Self::Priority => Self::Expedited,
            Self::Normal => Self::Priority,
            Self::Deferred => Self::Normal,
        }
    }
}

named_enum! {
    /// The outcome for the shipment, from free to held.
    Lane {
        /// Released.
        Green = 1, "GREEN";
        /// Released now, audited later.
        Blue = 2, "BLUE";
        /// Documents first.
        Yellow = 3, "YELLOW";
        /// Inspected.
        Red = 4, "RED";
        /// An officer decides.
        Manual = 5, "MANUAL";
    }
}

named_enum! {
    /// Why a decision is as it is, in the order in which reasons are given.
    ReasonCode {
        /// A HOLD order matches.
        HoldOrder = 1, "HOLD_ORDER";
        /// A mandated INSPECT order matches.
        MandatedInspection = 2, "MANDATED_INSPECTION";
        /// A targeted or emergency INSPECT order matches.
        TargetedInspection = 3, "TARGETED_INSPECTION";
        /// A DOCUMENTS order matches.
        DocumentOrder = 4, "DOCUMENT_ORDER";
        /// A counted party is not on the register.
        PartyUnknown = 5, "PARTY_UNKNOWN";
        /// A counted party's certification begins later.
        CertificationNotYetEffective = 6, "CERTIFICATION_NOT_YET_EFFECTIVE";
        /// A counted party's certification has ended.
        CertificationExpired = 7, "CERTIFICATION_EXPIRED";
        /// A counted party is suspended.
        PartySuspended = 8, "PARTY_SUSPENDED";
        /// The policy takes a counted party's tier for another one.
        TierMapped = 9, "TIER_MAPPED";
        /// Registry data is too old for relief.
        DataStale = 10, "DATA_STALE";
        /// Registry data is too old to decide on.
        DataExpired = 11, "DATA_EXPIRED";
        /// Counted parties have different standings.
        LowerTierPrevails = 12, "LOWER_TIER_PREVAILS";
        /// The tier's rate rule.
        TierRate = 13, "TIER_RATE";
        /// A foreign operator is recognised.
        RecognitionApplied = 14, "RECOGNITION_APPLIED";
        /// A foreign operator is not recognised here.
        RecognitionNotApplicable = 15, "RECOGNITION_NOT_APPLICABLE";
        /// A risk uplift applied.
        RiskUplift = 16, "RISK_UPLIFT";
        /// The random floor raised the rate.
        RandomFloor = 17, "RANDOM_FLOOR";
        /// The random draw selected the shipment.
        Drawn = 18, "DRAWN";
        /// The random draw did not select it.
        NotDrawn = 19, "NOT_DRAWN";
        /// Urgent goods changed class or rank.
        UrgentGoods = 20, "URGENT_GOODS";
        /// A post-disruption period changed the rank.
        PostDisruption = 21, "POST_DISRUPTION";
        /// The governing tier may not take the green channel.
        TierNotGreen = 22, "TIER_NOT_GREEN";
        /// A social credit code fails its check character.
        CheckCharacter = 23, "CHECK_CHARACTER";
        /// The policy is provisional.
        PolicyProvisional = 24, "POLICY_PROVISIONAL";
    }
}

/// A set of reason codes; iterates ascending by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReasonSet(u32);

impl ReasonSet {
    /// Adds a code. Numbers end at 24, so 32 bits hold every code.
    pub fn insert(&mut self, code: ReasonCode) {
        self.0 |= 1 << code.number();
    }

    /// Whether the code is in.
    pub fn contains(self, code: ReasonCode) -> bool {
        self.0 & 1 << code.number() != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members, ascending by number.
    pub fn iter(self) -> impl Iterator<Item = ReasonCode> {
        ReasonCode::ALL
            .iter()
            .copied()
            .filter(move |&code| self.contains(code))
    }

    /// The numbers of the members, ascending.
    pub fn numbers(self) -> impl Iterator<Item = u8> {
        bits::numbers(self.0.into())
    }
}

/// One cause of the decision, in words that borrow from the policy, the parameters and the orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason<'a> {
    /// Which cause.
    pub code: ReasonCode,
    /// The party it is about, as an index; `None` where none is meant.
    pub party: Option<u8>,
    /// Such as "GACC-251 Art 30(1)"; empty where no article stands behind it.
    pub article: &'a str,
    /// What anybody may read.
    pub text: &'a str,
    /// What officers and auditors may read; empty where there is nothing more.
    pub confidential_text: &'a str,
}

/// What was found of one party.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartyAssessment {
    /// Of the registered enterprise, where there is one.
    pub customs_code: Option<CustomsCode>,
    /// On the register, or a recognised operator.
    pub known: bool,
    /// As that row says.
    pub suspended: bool,
    /// Whether its role enters the lower-tier rule.
    pub counted: bool,
    /// As registered on the acceptance date; Chinese enterprises only.
    pub registered_tier: Option<CreditTier>,
    /// After dates, suspension, mapping and freshness; counted parties only.
    pub standing: Option<CreditTier>,
    /// Status rights and burdens by the party's own standing.
    pub enterprise_measures: MeasureSet,
}

/// Whether the shipment is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspection {
    /// The rate that applies.
    pub rate: Ppm,
    /// Whether this one is selected.
    pub selected: bool,
    /// How it came to that.
    pub basis: InspectionBasis,
}

/// What applies to a declaration, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'a> {
    /// The governing standing.
    pub credit_tier: CreditTier,
    /// One for each party, in the declaration's order.
    pub parties: ArrayVec<PartyAssessment, MAX_PARTIES>,
    /// Index of the party whose standing governs.
    pub governing_party: u8,
    /// Rate and selection.
    pub inspection: Inspection,
    /// Review of documents.
    pub document_review: DocumentReview,
    /// Priority class.
    pub priority_class: PriorityClass,
    /// Lower goes first.
    pub rank: u32,
    /// What stands against the green channel; eligible when empty.
    pub blocked_by: ReasonSet,
    /// The outcome.
    pub lane: Lane,
    /// Measures on this shipment.
    pub measures: MeasureSet,
    /// Every cause, in the contract's order.
    pub reasons: Vec<Reason<'a>>,
    /// When the decision ends, by time or by a change known now.
    pub valid_until: Timestamp,
}

impl Decision<'_> {
    /// Whether a reason says what only officers and auditors may read.
    pub fn is_confidential(&self) -> bool {
        self.reasons
            .iter()
            .any(|reason| !reason.confidential_text.is_empty())
    }
}
