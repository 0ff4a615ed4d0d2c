//! `parameters.toml` as written.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::domain::{CreditTier, Direction, Ppm, TradeMode, TransportMode};

/// `parameters.toml` as written; unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Inspection rate of REGULAR where no `baseline` entry matches.
    pub default_baseline_ppm: Ppm,
    /// Factor for shipments with a recognised foreign operator, at most 1000000.
    pub recognition_multiplier_ppm: Ppm,
    /// How long a decision is valid.
    pub valid_for: String,
    /// Beginnings of the commodity codes of urgent goods.
    #[serde(default)]
    pub urgent_hs_prefixes: Vec<String>,
    /// The least rate of each tier; no better tier has a higher one.
    pub random_floor_ppm: BTreeMap<CreditTier, Ppm>,
    /// Baseline rates by office, mode and direction.
    #[serde(default)]
    pub baseline: Vec<BaselineDocument>,
    /// Factors for risky goods, each at least 1000000.
    #[serde(default)]
    pub risk_uplift: Vec<UpliftDocument>,
    /// Periods of recovery after trade was interrupted.
    #[serde(default)]
    pub post_disruption: Vec<DisruptionDocument>,
}

/// A baseline rate; the entry with most keys that match wins (ties: office over mode over direction).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaselineDocument {
    /// Only in this direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// Only at this office.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customs_office: Option<String>,
    /// Only by this mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport_mode: Option<TransportMode>,
    /// The rate.
    pub rate_ppm: Ppm,
}

/// A risk uplift; it applies to every tier when all its keys match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpliftDocument {
    /// Only goods whose code begins so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hs_prefix: Option<String>,
    /// Only goods of this origin; with `hs_prefix` the same goods item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin_country: Option<String>,
    /// Only at this office.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customs_office: Option<String>,
    /// Only in this trade mode; an unsent one does not match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trade_mode: Option<TradeMode>,
    /// Only in this direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// The factor.
    pub multiplier_ppm: Ppm,
}

/// A post-disruption period at an office; the end is exclusive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisruptionDocument {
    /// Where.
    pub customs_office: String,
    /// From here on.
    #[serde(deserialize_with = "instant_text")]
    pub from: String,
    /// Until here.
    #[serde(deserialize_with = "instant_text")]
    pub to: String,
}

/// TOML has instants of its own; either form is taken.
fn instant_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Instant(toml::value::Datetime),
    }
    match Either::deserialize(deserializer) {
        Ok(Either::Text(text)) => Ok(text),
        Ok(Either::Instant(instant)) => Ok(instant.to_string()),
        Err(_) => Err(de::Error::custom(
            "must be an instant such as \"2026-11-01T00:00:00+08:00\"",
        )),
    }
}
