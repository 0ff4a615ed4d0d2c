//! Operating parameters: figures that operators set, not the law.

mod document;

pub use document::{BaselineDocument, DisruptionDocument, Document, UpliftDocument};

use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use super::{WrongDigest, canonical, check_digest, digest_of};
use crate::domain::{
    CreditTier, Direction, Ppm, TradeMode, TransportMode,
    declaration::Declaration,
    identifier::{Country, CustomsOffice, HsPrefix},
    order::goods_match,
};

/// The parameters, compiled for the evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// As written.
    pub document: Document,
    /// SHA-256 of the canonical form, 64 lower-case hex digits.
    pub digest: String,
    canonical: String,
    /// How long a decision is valid.
    pub valid_for: SignedDuration,
    /// Factor for shipments with a recognised foreign operator.
    pub recognition_multiplier: Ppm,
    /// In file order.
    pub uplifts: Vec<Uplift>,
    baselines: Vec<Baseline>,
    floors: [Ppm; CreditTier::COUNT],
    urgent: Vec<HsPrefix>,
    disruptions: Vec<Disruption>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Baseline {
    direction: Option<Direction>,
    customs_office: Option<CustomsOffice>,
    transport_mode: Option<TransportMode>,
    rate: Ppm,
}

/// A risk uplift, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplift {
    /// The factor, at least 1000000.
    pub multiplier: Ppm,
    /// The uplift in words.
    pub text: String,
    hs_prefix: Option<HsPrefix>,
    origin_country: Option<Country>,
    customs_office: Option<CustomsOffice>,
    trade_mode: Option<TradeMode>,
    direction: Option<Direction>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Disruption {
    customs_office: CustomsOffice,
    from: Timestamp,
    to: Timestamp,
}

/// Why parameters cannot be used.
#[derive(Debug, Error)]
pub enum ParametersError {
    /// No TOML of the right form.
    #[error("{0}")]
    Form(#[from] toml::de::Error),
    /// No canonical form.
    #[error("canonical form: {0}")]
    Canonical(#[from] serde_json::Error),
    /// Its canonical form is another one.
    #[error("{0}")]
    Digest(#[from] WrongDigest),
    /// A value that is not admitted.
    #[error("{key}: {problem}")]
    Value {
        /// The key, with its index in a list.
        key: String,
        /// What is wrong.
        problem: String,
    },
}

impl Parameters {
    /// Reads and compiles a parameters file.
    pub fn parse(text: &str) -> Result<Self, ParametersError> {
        Self::compile(toml::from_str(text)?)
    }

    /// Compiles a document.
    pub fn compile(document: Document) -> Result<Self, ParametersError> {
        let canonical = canonical(&document)?;
        Self::compile_as(document, canonical)
    }

    /// Reads parameters from their canonical form, as [`Self::canonical`] gave it, perhaps in another release.
    pub fn from_canonical(canonical: &str, digest: &str) -> Result<Self, ParametersError> {
        check_digest(canonical, digest)?;
        Self::compile_as(serde_json::from_str(canonical)?, canonical.to_owned())
    }

    /// What the digest is of: compact JSON, the keys of every object in byte order.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    fn compile_as(document: Document, canonical: String) -> Result<Self, ParametersError> {
        let valid_for = humantime::parse_duration(&document.valid_for)
            .ok()
            .and_then(|duration| SignedDuration::try_from(duration).ok())
            .ok_or_else(|| refuse("valid_for", "must be a duration such as \"4h\""))?;
        if document.recognition_multiplier_ppm > Ppm::ALWAYS {
            return Err(refuse("recognition_multiplier_ppm", "must be at most 1000000"));
        }
        rate("default_baseline_ppm", document.default_baseline_ppm)?;
        let mut floors = [Ppm(0); CreditTier::COUNT];
        for &tier in CreditTier::ALL {
            let key = format!("random_floor_ppm.{tier}");
            let floor = *document
                .random_floor_ppm
                .get(&tier)
                .ok_or_else(|| refuse(&key, "is missing"))?;
            floors[tier.index()] = rate(&key, floor)?;
        }
        if !floors.is_sorted() {
            return Err(refuse(
                "random_floor_ppm",
                "no better tier may have a higher floor",
            ));
        }
        let mut baselines = Vec::with_capacity(document.baseline.len());
        for (at, entry) in document.baseline.iter().enumerate() {
            let key = |name: &str| format!("baseline[{at}].{name}");
            baselines.push(Baseline {
                direction: entry.direction,
                customs_office: identifier(&key("customs_office"), entry.customs_office.as_deref())?,
                transport_mode: entry.transport_mode,
                rate: rate(&key("rate_ppm"), entry.rate_ppm)?,
            });
        }
        // The best match first; a stable sort keeps the file's order among equals.
        baselines.sort_by_key(|entry| std::cmp::Reverse(entry.precision()));
        let mut uplifts = Vec::with_capacity(document.risk_uplift.len());
        for (at, entry) in document.risk_uplift.iter().enumerate() {
            uplifts.push(Uplift::compile(at, entry)?);
        }
        let mut urgent = Vec::with_capacity(document.urgent_hs_prefixes.len());
        for (at, prefix) in document.urgent_hs_prefixes.iter().enumerate() {
            urgent.extend(identifier::<HsPrefix>(
                &format!("urgent_hs_prefixes[{at}]"),
                Some(prefix),
            )?);
        }
        let mut disruptions = Vec::with_capacity(document.post_disruption.len());
        for (at, entry) in document.post_disruption.iter().enumerate() {
            let key = |name: &str| format!("post_disruption[{at}].{name}");
            let (from, to) = (
                instant(&key("from"), &entry.from)?,
                instant(&key("to"), &entry.to)?,
            );
            if from >= to {
                return Err(refuse(&key("to"), "must be after from"));
            }
            let customs_office = entry
                .customs_office
                .parse()
                .map_err(|error| refuse(&key("customs_office"), error))?;
            disruptions.push(Disruption {
                customs_office,
                from,
                to,
            });
        }
        Ok(Self {
            digest: digest_of(&canonical),
            canonical,
            valid_for,
            recognition_multiplier: document.recognition_multiplier_ppm,
            uplifts,
            baselines,
            floors,
            urgent,
            disruptions,
            document,
        })
    }

    /// The baseline rate for a declaration.
    pub fn baseline(&self, declaration: &Declaration) -> Ppm {
        self.baselines
            .iter()
            .find(|entry| {
                entry
                    .customs_office
                    .is_none_or(|office| office == declaration.customs_office)
                    && entry
                        .transport_mode
                        .is_none_or(|mode| Some(mode) == declaration.transport_mode)
                    && entry
                        .direction
                        .is_none_or(|direction| direction == declaration.direction)
            })
            .map_or(self.document.default_baseline_ppm, |entry| entry.rate)
    }

    /// The least rate of a tier.
    pub fn floor(&self, tier: CreditTier) -> Ppm {
        self.floors[tier.index()]
    }

    /// Whether any goods item is urgent.
    pub fn is_urgent(&self, declaration: &Declaration) -> bool {
        self.urgent
            .iter()
            .any(|&prefix| goods_match(Some(prefix), None, declaration))
    }

    /// Whether a post-disruption period is on at the office.
    pub fn is_post_disruption(&self, office: CustomsOffice, at: Timestamp) -> bool {
        self.disruptions
            .iter()
            .any(|period| period.customs_office == office && period.from <= at && at < period.to)
    }
}

impl Baseline {
    /// How specific the entry is: first the number of keys, then which.
    fn precision(&self) -> (u8, bool, bool, bool) {
        let (office, mode, direction) = (
            self.customs_office.is_some(),
            self.transport_mode.is_some(),
            self.direction.is_some(),
        );
        (
            u8::from(office) + u8::from(mode) + u8::from(direction),
            office,
            mode,
            direction,
        )
    }
}

impl Uplift {
    fn compile(at: usize, entry: &UpliftDocument) -> Result<Self, ParametersError> {
        let key = |name: &str| format!("risk_uplift[{at}].{name}");
        if entry.multiplier_ppm < Ppm::ALWAYS {
            return Err(refuse(&key("multiplier_ppm"), "must be at least 1000000"));
        }
        let UpliftDocument {
            hs_prefix,
            origin_country,
            customs_office,
            trade_mode,
            direction,
            multiplier_ppm,
        } = entry;
        let about = [
            hs_prefix.as_ref().map(|prefix| format!("goods {prefix}")),
            origin_country.as_ref().map(|origin| format!("origin {origin}")),
            customs_office.as_ref().map(|office| format!("office {office}")),
            trade_mode.map(|mode| format!("trade mode {mode}")),
            direction.map(|direction| format!("direction {direction}")),
        ];
        let about: Vec<_> = about.into_iter().flatten().collect();
        let about = if about.is_empty() {
            "every shipment".to_owned()
        } else {
            about.join(", ")
        };
        Ok(Self {
            multiplier: *multiplier_ppm,
            text: format!("Risk uplift x {} for {about}", f64::from(multiplier_ppm.0) / 1e6),
            hs_prefix: identifier(&key("hs_prefix"), hs_prefix.as_deref())?,
            origin_country: identifier(&key("origin_country"), origin_country.as_deref())?,
            customs_office: identifier(&key("customs_office"), customs_office.as_deref())?,
            trade_mode: *trade_mode,
            direction: *direction,
        })
    }

    /// Whether it applies to a declaration.
    pub fn matches(&self, declaration: &Declaration) -> bool {
        self.customs_office
            .is_none_or(|office| office == declaration.customs_office)
            && self
                .direction
                .is_none_or(|direction| direction == declaration.direction)
            && self
                .trade_mode
                .is_none_or(|mode| Some(mode) == declaration.trade_mode)
            && goods_match(self.hs_prefix, self.origin_country, declaration)
    }
}

fn refuse(key: &str, problem: impl std::fmt::Display) -> ParametersError {
    ParametersError::Value {
        key: key.to_owned(),
        problem: problem.to_string(),
    }
}

fn rate(key: &str, ppm: Ppm) -> Result<Ppm, ParametersError> {
    if ppm > Ppm::ALWAYS {
        Err(refuse(key, "must be at most 1000000"))
    } else {
        Ok(ppm)
    }
}

fn identifier<T: std::str::FromStr<Err: ToString>>(
    key: &str,
    text: Option<&str>,
) -> Result<Option<T>, ParametersError> {
    text.map(|text| {
        text.parse()
            .map_err(|error: T::Err| refuse(key, error.to_string()))
    })
    .transpose()
}

fn instant(key: &str, text: &str) -> Result<Timestamp, ParametersError> {
    text.parse()
        .map_err(|_| refuse(key, "must be an instant such as \"2026-11-01T00:00:00+08:00\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("parameters.toml");

    fn refused(change: &str, with: &str) -> String {
        Parameters::parse(&SHIPPED.replace(change, with))
            .expect_err("refused")
            .to_string()
    }

    #[test]
    fn what_would_invert_the_law_is_refused_by_name() {
        Parameters::parse(SHIPPED).expect("the shipped parameters are good");
        assert!(refused("= 800000 ", "= 1000001 ").starts_with("recognition_multiplier_ppm"));
        assert!(
            refused("ADVANCED_CERTIFIED = 500", "ADVANCED_CERTIFIED = 501").starts_with("random_floor_ppm")
        );
        assert!(
            refused(
                "[random_floor_ppm]",
                "[[risk_uplift]]\nmultiplier_ppm = 999999\n[random_floor_ppm]"
            )
            .starts_with("risk_uplift[0].multiplier_ppm")
        );
        assert!(refused("valid_for", "valid_four").contains("valid_four"));
        assert!(refused("REGULAR = 500", "").contains("random_floor_ppm.REGULAR"));
        assert!(refused("\"4h\"", "\"soon\"").starts_with("valid_for"));
    }

    #[test]
    fn instants_may_be_quoted_or_not() {
        for instant in ["\"2026-11-01T00:00:00+08:00\"", "2026-11-01T00:00:00+08:00"] {
            let text = format!(
                "{SHIPPED}\n[[post_disruption]]\ncustoms_office = \"2225\"\nfrom = {instant}\nto = \"2026-12-01T00:00:00+08:00\"\n"
            );
            let parameters = Parameters::parse(&text).expect("good");
            let office = "2225".parse().expect("an office");
            assert!(
                parameters.is_post_disruption(office, "2026-10-31T16:00:00Z".parse().expect("an instant"))
            );
            assert!(
                !parameters.is_post_disruption(office, "2026-11-30T16:00:00Z".parse().expect("an instant"))
            );
        }
    }
}
