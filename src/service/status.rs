//! The only map from what can go wrong to gRPC statuses.

use std::{borrow::Cow, collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::{
    access::{Cause, Roles},
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
    /// The store's history cannot be read.
    HistoryUnread,
    /// The decision could not be put into the audit log.
    NotLogged,
    /// What is asked for is not there.
    NotFound(Cow<'static, str>),
    /// The audit log, or the store that it is shipped to, cannot be read.
    Unread,
    /// This replica may not draw in the epoch.
    DrawDisputed(Epoch),
    /// The shipments are not loaded yet.
    NoShipments,
    /// This replica does not hold the shipment, and the store cannot be asked.
    ShipmentsUnreachable,
    /// What changed since the resume token is no longer known.
    TooOld,
    /// As many watches as there may be.
    TooManyWatches,
    /// As many calls over HTTP as there may be at once.
    TooManyCalls,
    /// Calls would wait too long, or as many are open as may be.
    Overloaded,
    /// The caller asks for more decisions than it may: how long until it may again.
    CallerRate(Duration),
    /// The caller has as many calls open as it may.
    CallerCalls,
    /// Requests that are not whole take as much memory as they may.
    TooMuchUnfinished,
    /// A request for one answer is longer than any that could be right.
    RequestTooLarge,
    /// The request was not whole in time.
    Unfinished,
    /// The reader of a watch was too slow.
    TooSlow,
    /// A stream ends because the server is about to.
    Draining,
    /// A stream ends because its connection does, by its age.
    ConnectionAge,
    /// A fault of the server, of which nothing is told.
    Internal,
    /// Nobody knows who calls.
    Unauthenticated(Cause),
    /// The caller has none of the roles that something is for.
    Forbidden {
        /// A method's path, or a path over HTTP.
        what: String,
        /// Those that may have it.
        roles: Roles,
    },
    /// There is no such method.
    NotServed,
}

/// What `google.rpc.ErrorInfo` tells of a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Such as `TOKEN_EXPIRED`.
    pub reason: &'static str,
    /// More, by name.
    pub metadata: Vec<(&'static str, String)>,
}

/// The domain of every [`Info`]'s reason.
pub const ERROR_DOMAIN: &str = "greenlane";

impl Refusal {
    /// How long to wait until it is worth another try, where that is told.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooSlow | Self::TooManyCalls | Self::TooMuchUnfinished => Some(Duration::from_secs(1)),
            Self::Overloaded | Self::CallerCalls => Some(Duration::from_millis(100)),
            Self::CallerRate(wait) => Some(*wait),
            Self::TooManyWatches => Some(Duration::from_secs(5)),
            Self::Invalid(_)
            | Self::NotReady
            | Self::Behind
            | Self::DeadlineExceeded
            | Self::OtherEpoch
            | Self::NoHistory
            | Self::HistoryUnread
            | Self::NotLogged
            | Self::NotFound(_)
            | Self::Unread
            | Self::DrawDisputed(_)
            | Self::NoShipments
            | Self::ShipmentsUnreachable
            | Self::TooOld
            | Self::Unfinished
            | Self::RequestTooLarge
            | Self::Draining
            | Self::ConnectionAge
            | Self::Internal
            | Self::Unauthenticated(_)
            | Self::Forbidden { .. }
            | Self::NotServed => None,
        }
    }

    /// The gRPC code.
    pub const fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidArgument,
            Self::NotFound(_) => Code::NotFound,
            Self::NotReady
            | Self::Behind
            | Self::NotLogged
            | Self::Unread
            | Self::DrawDisputed(_)
            | Self::NoShipments
            | Self::ShipmentsUnreachable
            | Self::HistoryUnread
            | Self::Draining
            | Self::ConnectionAge => Code::Unavailable,
            Self::Internal => Code::Internal,
            Self::DeadlineExceeded | Self::Unfinished => Code::DeadlineExceeded,
            Self::TooOld | Self::RequestTooLarge => Code::OutOfRange,
            Self::TooManyWatches
            | Self::TooManyCalls
            | Self::Overloaded
            | Self::CallerRate(_)
            | Self::CallerCalls
            | Self::TooMuchUnfinished
            | Self::TooSlow => Code::ResourceExhausted,
            Self::OtherEpoch | Self::NoHistory => Code::FailedPrecondition,
            Self::Unauthenticated(_) => Code::Unauthenticated,
            Self::Forbidden { .. } => Code::PermissionDenied,
            Self::NotServed => Code::Unimplemented,
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
            Self::NotFound(what) => what.clone().into_owned(),
            Self::Unread => "the audit log cannot be read now".to_owned(),
            Self::NoHistory => "the store keeps no history for known_at".to_owned(),
            Self::HistoryUnread => "the store's history cannot be read now".to_owned(),
            Self::DrawDisputed(epoch) => DecideError::DrawDisputed(*epoch).to_string(),
            Self::NoShipments => "the shipments are not loaded yet".to_owned(),
            Self::ShipmentsUnreachable => "the shipment cannot be looked up now".to_owned(),
            Self::TooOld => {
                "what changed since resume_token is no longer known: watch again without it".to_owned()
            }
            Self::TooManyWatches => "this replica serves as many watches as it may".to_owned(),
            Self::TooManyCalls => "this replica answers as many calls over HTTP at once as it may".to_owned(),
            Self::Overloaded => "this replica is overloaded: go on with another, or later".to_owned(),
            Self::CallerRate(_) => "more decisions a second than this caller may ask for".to_owned(),
            Self::CallerCalls => "as many calls at once as this caller may have".to_owned(),
            Self::TooMuchUnfinished => {
                "requests that are not whole take as much memory as they may: later".to_owned()
            }
            Self::RequestTooLarge => {
                "a request is at most 1 MiB; only a batch may be as long as limits.max_message_bytes"
                    .to_owned()
            }
            Self::Unfinished => "the request was not whole within limits.stall_timeout".to_owned(),
            Self::TooSlow => "the reader is too slow: resume with the last token".to_owned(),
            Self::Draining => "the server is stopping: go on with another".to_owned(),
            Self::ConnectionAge => "the connection has reached its age: go on with another".to_owned(),
            Self::Internal => "internal error".to_owned(),
            Self::Unauthenticated(cause) => cause.to_string(),
            Self::Forbidden { what, roles } => format!("{what} is for callers of a role among: {roles}"),
            Self::NotServed => "this replica does not serve that method".to_owned(),
        }
    }

    /// What programs are told of who calls, where that is why.
    pub fn info(&self) -> Option<Info> {
        if let Self::Unauthenticated(cause) = self {
            let (reason, metadata) = (cause.reason(), Vec::new());
            return Some(Info { reason, metadata });
        }
        let Self::Forbidden { what, roles } = self else {
            return None;
        };
        Some(Info {
            reason: Cause::Permission.reason(),
            metadata: vec![("method", what.clone()), ("roles", roles.to_string())],
        })
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let (code, message) = (refusal.code(), refusal.message());
        if let Refusal::Invalid(violations) = refusal {
            return bad_request(message, violations);
        }
        if let Some(Info { reason, metadata }) = refusal.info() {
            let metadata: HashMap<_, _> = metadata
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect();
            let details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, metadata);
            return Self::with_error_details(code, message, details);
        }
        let Some(wait) = refusal.retry_after() else {
            return Self::new(code, message);
        };
        let details = ErrorDetails::with_retry_info(Some(wait));
        let mut status = Self::with_error_details(code, message, details);
        // What clients that retry by themselves go by (gRFC A6).
        let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX).max(1);
        status.metadata_mut().insert(PUSHBACK, wait.into());
        status
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

/// In how many milliseconds a client may try again.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// Bytes of violations that a status carries. It travels in a header in base64, and clients refuse a response with more
/// than 8 KiB of them; the message tells how many violations there are.
const MAX_VIOLATION_BYTES: usize = 4 << 10;

fn bad_request(message: String, violations: Violations) -> Status {
    let mut bytes = 0;
    let fits = |(field, rule): &(String, String)| {
        bytes += field.len() + rule.len();
        bytes <= MAX_VIOLATION_BYTES
    };
    let violations: Vec<_> = violations
        .0
        .into_iter()
        .take_while(fits)
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
