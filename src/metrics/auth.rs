//! What is told of callers who are turned away, and of what they are known by.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{CauseLabel, registered};

/// Why calls are turned away; each series is there from the start.
pub const AUTH_FAILURES: [&str; 12] = [
    "missing",
    "malformed",
    "algorithm",
    "unknown_key",
    "signature",
    "expired",
    "not_yet_valid",
    "issuer",
    "audience",
    "unknown_caller",
    "changed",
    "permission",
];

/// What callers are known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthSource {
    /// The callers file.
    Callers,
    /// The key set.
    Keys,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: &'static str,
}

/// The metrics of authentication.
#[derive(Debug)]
pub struct Auth {
    failures: Family<CauseLabel, Counter>,
    failing: Family<SourceLabel, Gauge>,
}

impl Auth {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let own = Self {
            failures: registered(
                registry,
                "greenlane_auth_failures",
                "Calls turned away, and streams ended, for who called, by cause",
            ),
            failing: registered(
                registry,
                "greenlane_auth_source_failing",
                "1 while the callers file, or the key set, cannot be read or taken as it is now: the last good one stays in force",
            ),
        };
        for cause in AUTH_FAILURES {
            drop(own.failures.get_or_create(&CauseLabel { cause }));
        }
        own.source_failing(AuthSource::Callers, false);
        own.source_failing(AuthSource::Keys, false);
        own
    }

    /// A call was turned away, or a stream ended, for who called.
    pub fn failed(&self, cause: &'static str) {
        self.failures.get_or_create(&CauseLabel { cause }).inc();
    }

    /// Whether what is there now cannot be taken.
    pub fn source_failing(&self, source: AuthSource, failing: bool) {
        let source = match source {
            AuthSource::Callers => "callers",
            AuthSource::Keys => "keys",
        };
        self.failing
            .get_or_create(&SourceLabel { source })
            .set(failing.into());
    }
}
