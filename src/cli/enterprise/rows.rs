//! From a CSV record to an enterprise.

use std::{fmt::Display, str::FromStr};

use csv::ByteRecord;

use crate::{
    domain::{
        Date,
        enterprise::{CreditRecord, Enterprise},
    },
    registry::row::Entity,
    upstream::edit::OptionalColumns,
};

/// The longest value that is repeated in an error.
const MAX_SHOWN: usize = 80;

/// Where the columns of an enterprise stand in a file.
#[derive(Debug)]
pub(super) struct Header {
    columns: usize,
    customs_code: usize,
    name: usize,
    credit_tier: usize,
    tier_effective_from: usize,
    social_credit_code: Option<usize>,
    tier_valid_until: Option<usize>,
    suspended: Option<usize>,
}

impl Header {
    /// Reads the first record of a file: the names of columns, in any order.
    pub(super) fn read(record: &ByteRecord) -> anyhow::Result<Self> {
        let known = Entity::Enterprise.columns();
        let names: Vec<_> = record
            .iter()
            .map(|name| String::from_utf8_lossy(name).trim().to_owned())
            .collect();
        for (at, name) in names.iter().enumerate() {
            anyhow::ensure!(
                known.contains(&name.as_str()),
                "header: unknown column {name:?}; the columns are {}",
                known.join(", ")
            );
            anyhow::ensure!(
                !names[..at].contains(name),
                "header: the column {name} stands twice"
            );
        }
        let optional = |name: &str| names.iter().position(|own| own == name);
        let required = |name: &str| {
            optional(name).ok_or_else(|| anyhow::anyhow!("header: the column {name} is missing"))
        };
        Ok(Self {
            columns: names.len(),
            customs_code: required("customs_code")?,
            name: required("name")?,
            credit_tier: required("credit_tier")?,
            tier_effective_from: required("tier_effective_from")?,
            social_credit_code: optional("social_credit_code"),
            tier_valid_until: optional("tier_valid_until"),
            suspended: optional("suspended"),
        })
    }

    /// Which of the columns that may be absent are there.
    pub(super) fn optional_columns(&self) -> OptionalColumns {
        OptionalColumns {
            social_credit_code: self.social_credit_code.is_some(),
            tier_valid_until: self.tier_valid_until.is_some(),
            suspended: self.suspended.is_some(),
        }
    }

    /// Reads a record, or says everything that is wrong with it.
    pub(super) fn enterprise(&self, record: &ByteRecord) -> Result<Enterprise, String> {
        if record.len() != self.columns {
            return Err(format!(
                "has {} values, and the header has {}",
                record.len(),
                self.columns
            ));
        }
        let mut row = Row {
            record,
            problems: Vec::new(),
        };
        let customs_code = row.required("customs_code", self.customs_code);
        let name = row.required::<String>("name", self.name);
        let credit_tier = row.required("credit_tier", self.credit_tier);
        let tier_effective_from = row.required::<Date>("tier_effective_from", self.tier_effective_from);
        let social_credit_code = row.optional("social_credit_code", self.social_credit_code);
        let tier_valid_until = row.optional("tier_valid_until", self.tier_valid_until);
        let suspended = row.optional::<Suspended>("suspended", self.suspended);
        match (customs_code, name, credit_tier, tier_effective_from) {
            (Some(customs_code), Some(name), Some(credit_tier), Some(tier_effective_from))
                if row.problems.is_empty() =>
            {
                let credit = CreditRecord {
                    credit_tier,
                    tier_effective_from,
                    tier_valid_until,
                    suspended: suspended.is_some_and(|Suspended(suspended)| suspended),
                };
                Ok(Enterprise {
                    customs_code,
                    social_credit_code,
                    name,
                    credit,
                })
            }
            _ => Err(row.problems.join("; ")),
        }
    }
}

/// Whether an enterprise is suspended, as files write it.
struct Suspended(bool);

impl FromStr for Suspended {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "0" | "false" => Ok(Self(false)),
            "1" | "true" => Ok(Self(true)),
            _ => Err("must be 0, 1, true or false"),
        }
    }
}

struct Row<'r> {
    record: &'r ByteRecord,
    problems: Vec<String>,
}

impl Row<'_> {
    fn required<T: FromStr<Err: Display>>(&mut self, column: &str, at: usize) -> Option<T> {
        if self.record.get(at).is_none_or(<[u8]>::is_empty) {
            self.problems.push(format!("{column}: is missing"));
        }
        self.optional(column, Some(at))
    }

    fn optional<T: FromStr<Err: Display>>(&mut self, column: &str, at: Option<usize>) -> Option<T> {
        let bytes = self.record.get(at?).filter(|bytes| !bytes.is_empty())?;
        let text = String::from_utf8_lossy(bytes);
        let parsed = match std::str::from_utf8(bytes) {
            Ok(text) => text.parse().map_err(|error: T::Err| error.to_string()),
            Err(_) => Err("is not UTF-8".to_owned()),
        };
        parsed
            .map_err(|error| {
                let quoted = format!("{text:?}");
                // Some errors begin with the value, others do not name it.
                let problem = error
                    .strip_prefix(&quoted)
                    .unwrap_or(&error)
                    .trim_start()
                    .to_owned();
                let shown: String = text.chars().take(MAX_SHOWN).collect();
                let dots = if shown.len() < text.len() { "..." } else { "" };
                self.problems.push(format!("{column}: {shown:?}{dots} {problem}"));
            })
            .ok()
    }
}
