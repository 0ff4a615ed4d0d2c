//! What is told of the policy in force, and of the next.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder},
    metrics::{MetricType, gauge::Gauge},
    registry::Registry,
};

use super::registered;

/// The policies at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyReading {
    /// In force for what is accepted today; `None` before the first.
    pub in_force: Option<PolicyInForce>,
    /// Until the next takes effect; `None` where no other is known.
    pub next_in: Option<Duration>,
}

/// The policy that an acceptance today is decided by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyInForce {
    /// Such as "CN-GACC-282".
    pub id: String,
    /// SHA-256 of its canonical form, in hex.
    pub digest: String,
    /// Some of its figures are no decree's.
    pub provisional: bool,
}

/// One series, for the policy in force: that of a former digest is gone.
#[derive(Debug, Clone, Default)]
struct Info(Arc<Mutex<Option<PolicyInForce>>>);

#[derive(EncodeLabelSet)]
struct InfoLabels {
    id: String,
    digest: String,
    provisional: &'static str,
}

impl EncodeMetric for Info {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let in_force = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(PolicyInForce {
            id,
            digest,
            provisional,
        }) = in_force
        else {
            return Ok(());
        };
        let provisional = if provisional { "true" } else { "false" };
        encoder.encode_info(&InfoLabels {
            id,
            digest,
            provisional,
        })
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Info
    }
}

/// The metrics of policies.
#[derive(Debug)]
pub(super) struct Policy {
    info: Info,
    next: Gauge<f64, AtomicU64>,
}

impl Policy {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        Self {
            info: registered(
                registry,
                "greenlane_policy",
                "The policy that what is accepted today (UTC+8) is decided by",
            ),
            next: registered(
                registry,
                "greenlane_policy_next_activation_seconds",
                "Seconds until the next policy takes effect; +Inf where no other is known",
            ),
        }
    }

    pub(super) fn set(&self, reading: PolicyReading) {
        let PolicyReading { in_force, next_in } = reading;
        *self.info.0.lock().unwrap_or_else(PoisonError::into_inner) = in_force;
        self.next
            .set(next_in.map_or(f64::INFINITY, |after| after.as_secs_f64()));
    }
}
