//! One decree's table, read from TOML and compiled for the evaluation.

mod document;

pub use document::{
    Articles, Cell, Document, MeasureDocument, Name, Only, Provenance, RateDocument, RateRuleKind, Scope,
    Source, TakenAs, TierDocument,
};

use thiserror::Error;

use super::{WrongDigest, canonical, check_digest, digest_of};
use crate::domain::{
    CreditTier, Direction, PartyRole, Ppm, TradeMode,
    decision::{DocumentReview, PriorityClass},
    measure::MeasureSet,
};

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
    canonical: String,
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
    /// Its canonical form is another one.
    #[error("{0}")]
    Digest(#[from] WrongDigest),
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
        let canonical = canonical(&document)?;
        Self::compile_as(document, canonical)
    }

    /// Reads a policy from its canonical form, as [`Self::canonical`] gave it, perhaps in another release.
    pub fn from_canonical(canonical: &str, digest: &str) -> Result<Self, PolicyError> {
        check_digest(canonical, digest)?;
        Self::compile_as(serde_json::from_str(canonical)?, canonical.to_owned())
    }

    /// What the digest is of: compact JSON, the keys of every object in byte order.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    fn compile_as(document: Document, canonical: String) -> Result<Self, PolicyError> {
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
            digest: digest_of(&canonical),
            canonical,
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

    /// What the rate rule demands of a tier where that is the baseline: at most this rate of a tier better than REGULAR, at
    /// least this one of a worse tier; `None` where it demands nothing. Recognition, uplifts and floors do not move it.
    pub fn limit(&self, tier: CreditTier, baseline: Ppm) -> Option<Ppm> {
        let rule = self.row(tier).rate;
        let (better, worse) = (tier < CreditTier::Regular, tier > CreditTier::Regular);
        match rule {
            RateRule::AtMost(_) | RateRule::StrictlyBelow(_) if better => Some(rule.apply(baseline)),
            RateRule::AtLeast(_) if worse => Some(rule.apply(baseline)),
            RateRule::Baseline | RateRule::AtMost(_) | RateRule::StrictlyBelow(_) | RateRule::AtLeast(_) => {
                None
            }
        }
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
