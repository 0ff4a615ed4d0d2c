//! A record taken apart without decoding what is in it.

use thiserror::Error;

use crate::wire::{
    pb,
    reading::{Undecodable, Value, each_field},
};

/// A record that cannot be read, or not in full.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field}: {problem}")]
pub struct BadRecord {
    /// Where, as a path within `DecisionEntry`.
    pub field: String,
    /// What is wrong.
    pub problem: String,
}

impl BadRecord {
    pub(super) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

impl From<Undecodable> for BadRecord {
    fn from(problem: Undecodable) -> Self {
        Self::new("entry", problem.to_string())
    }
}

/// Number of the field `AuditRecord.decision`.
pub const DECISION: u32 = 2;
/// Number of the field `AuditRecord.activation`.
pub const ACTIVATION: u32 = 4;
/// Number of the field `AuditRecord.inspection`.
pub const INSPECTION: u32 = 6;

/// An encoded `DecisionEntry` taken apart, its messages still bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Entry<'a> {
    /// A `DecideRequest`.
    pub request: &'a [u8],
    /// A `Decision`.
    pub decision: &'a [u8],
    /// A `DecisionFacts`.
    pub facts: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Takes an encoded `DecisionEntry` apart; what stands twice is refused.
    pub fn read(bytes: &'a [u8]) -> Result<Self, BadRecord> {
        let mut parts = [None; 3];
        each_field(bytes, |number, value| {
            let names = ["request", "decision", "facts"];
            let at = usize::try_from(number).unwrap_or_default().wrapping_sub(1);
            if let (Some(slot), Value::Bytes(part)) = (parts.get_mut(at), value)
                && slot.replace(part).is_some()
            {
                return Err(BadRecord::new(names[at], "stands twice"));
            }
            Ok(())
        })?;
        let [request, decision, facts] = parts.map(Option::unwrap_or_default);
        Ok(Self {
            request,
            decision,
            facts,
        })
    }
}

/// What an encoded `AuditRecord` is of: the number of the field that is set, such as [`DECISION`], and its message. `None`
/// where it is of nothing.
pub fn entry_of(record: &[u8]) -> Result<Option<(u32, &[u8])>, BadRecord> {
    let mut entry = None;
    each_field(record, |number, value| {
        // The first field is the time.
        if number > 1 {
            entry = value.bytes().ok().map(|part| (number, part));
        }
        Ok::<_, BadRecord>(())
    })?;
    Ok(entry)
}

/// What a replay takes from a logged `Decision`: what was not decided, but given. The rest is passed over.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LoggedOutcome {
    /// The decision's identifier.
    #[prost(string, tag = "1")]
    pub decision_id: String,
    /// Under which policy and parameters.
    #[prost(message, optional, tag = "13")]
    pub policy: Option<LoggedPolicy>,
    /// On which registry data.
    #[prost(message, optional, tag = "14")]
    pub registry_version: Option<pb::RegistryVersion>,
    /// When.
    #[prost(message, optional, tag = "17")]
    pub decided_at: Option<prost_types::Timestamp>,
}

/// What a replay takes from a `PolicyRef`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LoggedPolicy {
    /// Digest of the policy.
    #[prost(string, tag = "2")]
    pub digest: String,
    /// Digest of the parameters.
    #[prost(string, tag = "4")]
    pub parameters_digest: String,
}
