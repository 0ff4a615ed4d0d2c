//! The only map from what can go wrong to gRPC statuses.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::facilitation::DecideError;

/// Fields that break a rule: paths within the request, each with the rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Violations(pub Vec<(String, String)>);

impl Violations {
    /// Notes that a field breaks a rule.
    pub fn add(&mut self, field: impl Into<String>, rule: impl Into<String>) {
        self.0.push((field.into(), rule.into()));
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One violation.
    pub fn of(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self(vec![(field.into(), rule.into())])
    }

    /// The same paths under a prefix.
    #[must_use]
    pub fn under(self, prefix: &str) -> Self {
        Self(
            self.0
                .into_iter()
                .map(|(field, rule)| (format!("{prefix}{field}"), rule))
                .collect(),
        )
    }

    /// The sentence that goes with them.
    pub fn message(&self) -> String {
        match self.0.as_slice() {
            [(field, rule)] => format!("{field}: {rule}"),
            many => format!(
                "{} fields break a rule; the first: {}: {}",
                many.len(),
                many[0].0,
                many[0].1
            ),
        }
    }
}

/// Why a request is not answered with a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Fields break rules.
    Invalid(Violations),
    /// No registry data yet.
    NotReady,
    /// The registry has not reached the version asked for within the bound.
    Behind,
    /// The caller's deadline has passed.
    DeadlineExceeded,
    /// The version asked for is of another store.
    OtherEpoch,
    /// The store keeps no history.
    NoHistory,
}

impl Refusal {
    /// The gRPC code.
    pub const fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidArgument,
            Self::NotReady | Self::Behind => Code::Unavailable,
            Self::DeadlineExceeded => Code::DeadlineExceeded,
            Self::OtherEpoch | Self::NoHistory => Code::FailedPrecondition,
        }
    }

    /// What the caller may read.
    pub fn message(&self) -> String {
        match self {
            Self::Invalid(violations) => violations.message(),
            Self::NotReady => "the registry is not loaded yet".to_owned(),
            Self::Behind => "the registry has not reached min_registry_version yet".to_owned(),
            Self::DeadlineExceeded => "the deadline passed before an answer was ready".to_owned(),
            Self::OtherEpoch => "min_registry_version is of another store than the one in force".to_owned(),
            Self::NoHistory => "the store keeps no history for known_at".to_owned(),
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.message();
        match refusal {
            Refusal::Invalid(violations) => bad_request(message, violations),
            Refusal::NotReady
            | Refusal::Behind
            | Refusal::DeadlineExceeded
            | Refusal::OtherEpoch
            | Refusal::NoHistory => Self::new(refusal.code(), message),
        }
    }
}

impl From<DecideError> for Refusal {
    fn from(error: DecideError) -> Self {
        match error {
            DecideError::NotReady => Self::NotReady,
            DecideError::NoPolicy => Self::Invalid(Violations::of("accepted_at", error.to_string())),
        }
    }
}

fn bad_request(message: String, violations: Violations) -> Status {
    let violations: Vec<_> = violations
        .0
        .into_iter()
        .map(|(field, rule)| FieldViolation::new(field, rule))
        .collect();
    Status::with_error_details(
        Code::InvalidArgument,
        message,
        ErrorDetails::with_bad_request(violations),
    )
}

/// A message that is no valid protobuf, by field where prost tells which.
pub fn undecodable(error: &prost::DecodeError) -> Status {
    let violations = undecodable_field(error);
    bad_request(violations.message(), violations)
}

/// The field at which decoding failed, from prost's trail `Message.field: Message.field: what`.
pub fn undecodable_field(error: &prost::DecodeError) -> Violations {
    let text = error.to_string();
    let mut rest = text
        .strip_prefix("failed to decode Protobuf message: ")
        .unwrap_or(&text);
    let mut path = Vec::new();
    while let Some((step, after)) = rest.split_once(": ") {
        match step.split_once('.') {
            Some((message, field)) if message.starts_with(|first: char| first.is_ascii_uppercase()) => {
                path.push(field);
            }
            _ => break,
        }
        rest = after;
    }
    // prost tells the innermost field first.
    path.reverse();
    let field = if path.is_empty() {
        "request".to_owned()
    } else {
        path.join(".")
    };
    Violations::of(field, format!("is no valid protobuf: {rest}"))
}
