//! A policy file as written.

use serde::{Deserialize, Serialize};

use crate::domain::{
    CreditTier, Date, PartyRole, Ppm,
    decision::{DocumentReview, PriorityClass},
    measure::Measure,
};

/// A policy file as written; every key is part of the digest, and unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Such as `CN-GACC-251`.
    pub id: String,
    /// Who issued it.
    pub authority: String,
    /// Its official designation.
    pub decree: String,
    /// Its title.
    pub title: Name,
    /// First acceptance date (UTC+8) to which it applies.
    pub effective_from: Date,
    /// Whether an authority has yet to confirm it.
    pub provisional: bool,
    /// Roles whose standings enter the lower-tier rule.
    pub counted_roles: Vec<PartyRole>,
    /// The articles behind rules that belong to no tier.
    pub articles: Articles,
    /// One for each credit tier.
    pub tier: Vec<TierDocument>,
}

/// A name in both languages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Name {
    /// English.
    pub en: String,
    /// Chinese.
    pub zh: String,
}

/// How well a figure is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provenance {
    /// Read in a copy of the text.
    Verified,
    /// The credit programme's stated aim.
    Programme,
    /// Assumed, until somebody can show the text.
    Assumed,
}

impl Provenance {
    /// The word that files use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Programme => "programme",
            Self::Assumed => "assumed",
        }
    }
}

/// A rule with the article behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Empty where no article stands behind it.
    pub article: String,
    /// How well it is known.
    pub provenance: Provenance,
}

/// Articles behind rules that belong to no tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "each field is named as the rule whose article it holds"
)]
pub struct Articles {
    pub lower_tier_prevails: Source,
    pub suspension: Source,
    pub unknown_party: Source,
    pub certification_dates: Source,
    pub mutual_recognition: Source,
    pub green_channel: Source,
    pub urgent_goods: Source,
    pub post_disruption: Source,
    pub random_floor: Source,
}

/// A tier's row: either `taken_as` alone, or all the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierDocument {
    /// Which tier.
    pub tier: CreditTier,
    /// The tier it is taken for, where the decree does not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken_as: Option<TakenAs>,
    /// Official name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Inspection rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateDocument>,
    /// Review of documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_review: Option<Cell<DocumentReview>>,
    /// Priority class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_class: Option<Cell<PriorityClass>>,
    /// Whether the tier may take the green channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub green_channel: Option<Cell<bool>>,
    /// Facilitations and restrictions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measure: Vec<MeasureDocument>,
}

/// A mapping of one tier to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakenAs {
    /// The tier whose row applies.
    pub tier: CreditTier,
    /// The article behind it.
    pub article: String,
    /// How well it is known.
    pub provenance: Provenance,
}

/// One value of the table with its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell<T> {
    /// The value.
    pub value: T,
    /// The article behind it.
    pub article: String,
    /// How well it is known.
    pub provenance: Provenance,
}

/// A rate rule as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateDocument {
    /// Which kind of rule.
    pub rule: RateRuleKind,
    /// Its figure in ppm; none for BASELINE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ppm: Option<Ppm>,
    /// The article behind it.
    pub article: String,
    /// How well it is known.
    pub provenance: Provenance,
}

/// The kinds of rate rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RateRuleKind {
    /// The baseline rate itself.
    Baseline,
    /// At most that share of the baseline.
    AtMost,
    /// Strictly below that share of the baseline.
    StrictlyBelow,
    /// At least that rate, absolute, and never under the baseline.
    AtLeast,
}

/// A measure of a tier as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasureDocument {
    /// Which measure.
    pub measure: Measure,
    /// Where it is listed.
    pub scope: Scope,
    /// When it applies; always where absent. Shipment scope only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<Only>,
    /// The article behind it.
    pub article: String,
    /// How well it is known.
    pub provenance: Provenance,
}

/// Where a measure is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Scope {
    /// On the decision.
    Shipment,
    /// On the party.
    Enterprise,
}

/// What a shipment measure is limited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Only {
    /// Exports.
    Export,
    /// Processing trade.
    Processing,
}
