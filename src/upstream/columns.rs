//! The registry tables' columns, and their values as stores and change logs give them.

use std::borrow::Cow;

use crate::registry::row::Entity;

/// One value as a store gives it.
#[derive(Debug, Clone, PartialEq)]
pub enum Column<'a> {
    /// NULL, or a key that is missing.
    Null,
    /// A text.
    Text(Cow<'a, str>),
    /// An integer; a boolean counts as 0 or 1.
    Integer(i64),
    /// Anything else: it belongs into no column of ours.
    Foreign,
}

impl Entity {
    /// The columns of the table, in the contract's order.
    pub const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Enterprise => &[
                "customs_code",
                "social_credit_code",
                "name",
                "credit_tier",
                "tier_effective_from",
                "tier_valid_until",
                "suspended",
            ],
            Self::ScheduledTier => &["customs_code", "credit_tier", "effective_from"],
            Self::RecognisedOperator => &[
                "aeo_code",
                "country",
                "programme",
                "name",
                "valid_from",
                "valid_until",
                "suspended",
            ],
            Self::MutualRecognition => &[
                "country",
                "programme",
                "direction",
                "transport_modes",
                "effective_from",
                "effective_to",
            ],
            Self::ControlOrder => &[
                "id",
                "kind",
                "basis",
                "enterprise_id",
                "hs_prefix",
                "origin_country",
                "customs_office",
                "container_number",
                "direction",
                "valid_from",
                "valid_to",
                "legal_basis",
                "public_reason",
                "confidential_reason",
            ],
        }
    }

    /// The columns of the primary key; joined by `|` they are the key in the change log.
    pub const fn key_columns(self) -> &'static [&'static str] {
        match self {
            Self::Enterprise => &["customs_code"],
            Self::ScheduledTier => &["customs_code", "effective_from"],
            Self::RecognisedOperator => &["aeo_code"],
            Self::MutualRecognition => &[
                "country",
                "programme",
                "direction",
                "transport_modes",
                "effective_from",
            ],
            Self::ControlOrder => &["id"],
        }
    }
}

/// Reads a change log's JSON row into columns in the order of [`Entity::columns`]; `None` when it is no JSON object.
pub fn columns_of_json(entity: Entity, json: &str) -> Option<Vec<Column<'static>>> {
    let serde_json::Value::Object(mut object) = serde_json::from_str(json).ok()? else {
        return None;
    };
    let column = |name: &&str| match object.remove(*name) {
        None | Some(serde_json::Value::Null) => Column::Null,
        Some(serde_json::Value::String(text)) => Column::Text(text.into()),
        Some(serde_json::Value::Bool(value)) => Column::Integer(value.into()),
        Some(serde_json::Value::Number(number)) => number.as_i64().map_or(Column::Foreign, Column::Integer),
        Some(serde_json::Value::Array(_) | serde_json::Value::Object(_)) => Column::Foreign,
    };
    Some(entity.columns().iter().map(column).collect())
}
