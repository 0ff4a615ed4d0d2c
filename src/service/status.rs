//! The only map from what can go wrong to gRPC statuses.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::{
    audit::query::QueryError,
    facilitation::DecideError,
    policy::draw::Epoch,
    wire::violations::{Violations, undecodable_field},
};

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
    /// The decision could not be put into the audit log.
    NotLogged,
    /// What is asked for is not there.
    NotFound(&'static str),
    /// The audit log, or the store that it is shipped to, cannot be read.
    Unread,
    /// This replica may not draw in the epoch.
    DrawDisputed(Epoch),
}

impl Refusal {
    /// The gRPC code.
    pub const fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidArgument,
            Self::NotFound(_) => Code::NotFound,
            Self::NotReady | Self::Behind | Self::NotLogged | Self::Unread | Self::DrawDisputed(_) => {
                Code::Unavailable
            }
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
            Self::NotLogged => "the audit log cannot be written, so that no decision is given".to_owned(),
            Self::NotFound(what) => (*what).to_owned(),
            Self::Unread => "the audit log cannot be read now".to_owned(),
            Self::NoHistory => "the store keeps no history for known_at".to_owned(),
            Self::DrawDisputed(epoch) => DecideError::DrawDisputed(*epoch).to_string(),
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
            | Refusal::NoHistory
            | Refusal::NotLogged
            | Refusal::NotFound(_)
            | Refusal::Unread
            | Refusal::DrawDisputed(_) => Self::new(refusal.code(), message),
        }
    }
}

impl Refusal {
    /// The log or its archive could not be read: why is the operator's to know.
    pub fn unread(problem: &QueryError) -> Self {
        tracing::warn!(%problem, "logged decisions could not be read");
        Self::Unread
    }
}

impl From<DecideError> for Refusal {
    fn from(error: DecideError) -> Self {
        match error {
            DecideError::NotReady => Self::NotReady,
            DecideError::NoPolicy => Self::Invalid(Violations::of("accepted_at", error.to_string())),
            DecideError::DrawDisputed(epoch) => Self::DrawDisputed(epoch),
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
