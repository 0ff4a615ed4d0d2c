//! One decree's table, read from TOML and compiled for the evaluation.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::canonical_digest;
use crate::domain::{
    CreditTier, Date, Direction, PartyRole, Ppm, TradeMode,
    decision::{DocumentReview, PriorityClass},
    measure::{Measure, MeasureSet},
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

/// A rate rule, compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateRule {
    /// The baseline rate itself.
    Baseline,
    /// At most that share of the baseline.
    AtMost(Ppm),
    /// Strictly below that share of the baseline.
    StrictlyBelow(Ppm),
    /// At least that rate, and never under the baseline.
    AtLeast(Ppm),
}

impl RateRule {
    /// The rate that the rule gives for a baseline.
    pub fn apply(self, baseline: Ppm) -> Ppm {
        match self {
            Self::Baseline => baseline,
            Self::AtMost(share) => baseline.times(share),
            Self::StrictlyBelow(share) => baseline.strictly_below(share),
            Self::AtLeast(rate) => rate.max(baseline),
        }
    }
}

/// One tier's row, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierRow {
    /// Official name.
    pub name: Name,
    /// Rate rule.
    pub rate: RateRule,
    /// The article behind the rate.
    pub rate_article: String,
    /// The rule in words.
    pub rate_text: String,
    /// Review of documents.
    pub document_review: DocumentReview,
    /// Priority class.
    pub priority_class: PriorityClass,
    /// Whether the tier may take the green channel.
    pub green: bool,
    /// Shipment measures that always apply.
    pub shipment: MeasureSet,
    /// Shipment measures on exports.
    pub shipment_export: MeasureSet,
    /// Shipment measures in processing trade.
    pub shipment_processing: MeasureSet,
    /// Enterprise measures.
    pub enterprise: MeasureSet,
}

impl TierRow {
    /// The shipment measures for a direction and regime.
    pub fn shipment_measures(&self, direction: Direction, trade_mode: Option<TradeMode>) -> MeasureSet {
        let mut measures = self.shipment;
        if direction == Direction::Export {
            measures = measures.union(self.shipment_export);
        }
        if trade_mode == Some(TradeMode::Processing) {
            measures = measures.union(self.shipment_processing);
        }
        measures
    }

    /// Every measure of the row, whatever its scope and condition.
    pub fn all_measures(&self) -> MeasureSet {
        self.shipment
            .union(self.shipment_export)
            .union(self.shipment_processing)
            .union(self.enterprise)
    }
}

/// One decree, compiled for the evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// As written.
    pub document: Document,
    /// SHA-256 of the canonical form, 64 lower-case hex digits.
    pub digest: String,
    rows: [TierRow; CreditTier::COUNT],
    taken_as: [(CreditTier, String); CreditTier::COUNT],
    counted: u8,
}

/// Why a policy file cannot be used.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// It is no TOML of the right form.
    #[error("{0}")]
    Form(#[from] toml::de::Error),
    /// It has no canonical form.
    #[error("canonical form: {0}")]
    Canonical(#[from] serde_json::Error),
    /// It contradicts itself.
    #[error("{0}")]
    Content(String),
}

impl Policy {
    /// Reads and compiles a policy file.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        Self::compile(toml::from_str(text)?)
    }

    /// Compiles a document: every tier has a row or is taken for one that has.
    pub fn compile(document: Document) -> Result<Self, PolicyError> {
        let content = |text: String| PolicyError::Content(format!("{}: {text}", document.id));
        if document.id.is_empty()
            || !document
                .id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            return Err(content("id must be letters, digits and hyphens".to_owned()));
        }
        if document.counted_roles.is_empty() || document.counted_roles.contains(&PartyRole::ForeignParty) {
            return Err(content("counted_roles must name Chinese roles".to_owned()));
        }
        let entry = |tier: CreditTier| {
            let mut found = document.tier.iter().filter(|row| row.tier == tier);
            match (found.next(), found.next()) {
                (Some(row), None) => Ok(row),
                (None, _) => Err(content(format!("tier {tier} has no row"))),
                (Some(_), Some(_)) => Err(content(format!("tier {tier} has two rows"))),
            }
        };
        let mut rows = Vec::with_capacity(CreditTier::COUNT);
        let mut taken_as = Vec::with_capacity(CreditTier::COUNT);
        for &tier in CreditTier::ALL {
            let row = entry(tier)?;
            let (target, article) = match &row.taken_as {
                None => (tier, String::new()),
                Some(mapping) => (mapping.tier, mapping.article.clone()),
            };
            let target_row = entry(target)?;
            if row.taken_as.is_some() && (target_row.taken_as.is_some() || has_cells(row)) {
                return Err(content(format!(
                    "tier {tier} is taken as {target}: it has no cells, and {target} has its own"
                )));
            }
            rows.push(compile_row(target_row).map_err(|text| content(format!("tier {target}: {text}")))?);
            taken_as.push((target, article));
        }
        let too_many = |_| content("a policy has one row a tier".to_owned());
        Ok(Self {
            digest: canonical_digest(&document)?,
            rows: rows.try_into().map_err(|rows: Vec<_>| too_many(rows.len()))?,
            taken_as: taken_as.try_into().map_err(|rows: Vec<_>| too_many(rows.len()))?,
            counted: document
                .counted_roles
                .iter()
                .fold(0, |bits, role| bits | 1 << role.number()),
            document,
        })
    }

    /// Its identifier, such as `CN-GACC-251`.
    pub fn id(&self) -> &str {
        &self.document.id
    }

    /// The row of a tier, or of the tier it is taken for.
    pub fn row(&self, tier: CreditTier) -> &TierRow {
        &self.rows[tier.index()]
    }

    /// The tier for which the policy takes a tier, and the article behind that.
    pub fn mapped(&self, tier: CreditTier) -> (CreditTier, &str) {
        let (target, article) = &self.taken_as[tier.index()];
        (*target, article)
    }

    /// Whether a role's standing enters the lower-tier rule.
    pub fn counts(&self, role: PartyRole) -> bool {
        self.counted & 1 << role.number() != 0
    }
}

fn has_cells(row: &TierDocument) -> bool {
    let TierDocument {
        tier: _,
        taken_as: _,
        name,
        rate,
        document_review,
        priority_class,
        green_channel,
        measure,
    } = row;
    name.is_some()
        || rate.is_some()
        || document_review.is_some()
        || priority_class.is_some()
        || green_channel.is_some()
        || !measure.is_empty()
}

fn compile_row(row: &TierDocument) -> Result<TierRow, String> {
    let missing = |key: &str| format!("{key} is missing");
    let name = row.name.clone().ok_or_else(|| missing("name"))?;
    let rate_document = row.rate.as_ref().ok_or_else(|| missing("rate"))?;
    let rate = match (rate_document.rule, rate_document.ppm) {
        (RateRuleKind::Baseline, None) => RateRule::Baseline,
        (RateRuleKind::Baseline, Some(_)) => return Err("rate: BASELINE has no ppm".to_owned()),
        (_, None) => return Err(missing("rate.ppm")),
        (_, Some(ppm)) if ppm > Ppm::ALWAYS => return Err("rate.ppm is over 1000000".to_owned()),
        (RateRuleKind::AtMost, Some(ppm)) => RateRule::AtMost(ppm),
        (RateRuleKind::StrictlyBelow, Some(ppm)) => RateRule::StrictlyBelow(ppm),
        (RateRuleKind::AtLeast, Some(ppm)) => RateRule::AtLeast(ppm),
    };
    let mut compiled = TierRow {
        rate_text: rate_text(&name.en, rate),
        name,
        rate,
        rate_article: rate_document.article.clone(),
        document_review: row
            .document_review
            .as_ref()
            .ok_or_else(|| missing("document_review"))?
            .value,
        priority_class: row
            .priority_class
            .as_ref()
            .ok_or_else(|| missing("priority_class"))?
            .value,
        green: row
            .green_channel
            .as_ref()
            .ok_or_else(|| missing("green_channel"))?
            .value,
        shipment: MeasureSet::EMPTY,
        shipment_export: MeasureSet::EMPTY,
        shipment_processing: MeasureSet::EMPTY,
        enterprise: MeasureSet::EMPTY,
    };
    for entry in &row.measure {
        let set = match (entry.scope, entry.only) {
            (Scope::Shipment, None) => &mut compiled.shipment,
            (Scope::Shipment, Some(Only::Export)) => &mut compiled.shipment_export,
            (Scope::Shipment, Some(Only::Processing)) => &mut compiled.shipment_processing,
            (Scope::Enterprise, None) => &mut compiled.enterprise,
            (Scope::Enterprise, Some(_)) => {
                return Err(format!(
                    "{}: only shipment measures have conditions",
                    entry.measure
                ));
            }
        };
        if set.contains(entry.measure) {
            return Err(format!("{} is listed twice", entry.measure));
        }
        set.insert(entry.measure);
    }
    Ok(compiled)
}

fn rate_text(tier: &str, rule: RateRule) -> String {
    let percent = |ppm: Ppm| f64::from(ppm.0) / 10_000.0;
    match rule {
        RateRule::Baseline => format!("{tier}: the baseline inspection rate"),
        RateRule::AtMost(share) => format!(
            "{tier}: at most {} % of the baseline inspection rate",
            percent(share)
        ),
        RateRule::StrictlyBelow(share) => {
            format!(
                "{tier}: strictly below {} % of the baseline inspection rate",
                percent(share)
            )
        }
        RateRule::AtLeast(rate) => format!("{tier}: an inspection rate of at least {} %", percent(rate)),
    }
}
