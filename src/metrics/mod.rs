//! Every metric, by the names that dashboards and alerts use. A leaf: it knows the law's words and nothing else.
//!
//! Labels come from closed sets only. What can be read when it is asked for (ages, counts) is set just before it is told.

mod audit;
mod auth;
mod calls;
mod classic;
mod decisions;
mod histogram;
mod policy;
mod shipments;
#[cfg(test)]
mod tests;
mod tls;

pub use auth::{AUTH_FAILURES, AuthSource};
pub use calls::{CODES, Calls, Shed};
pub use classic::PROMETHEUS_TEXT;
pub use decisions::RateReading;
pub use histogram::{Distribution, Histogram};
pub use policy::{PolicyInForce, PolicyReading};
pub use tls::{TlsHandshake, TlsReading};

use std::{
    fmt,
    sync::{Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram as LockedHistogram},
    registry::{Metric, Registry},
};

use self::{
    calls::ShedCounters,
    decisions::{Decisions, RateGauges},
    policy::Policy,
};
use crate::domain::{
    CreditTier,
    decision::{InspectionBasis, Lane},
};

/// The media type of what [`Metrics::openmetrics`] gives.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Seconds from a commit in the store to its being in force: from a millisecond to minutes.
const PROPAGATION: [f64; 16] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TierLabel {
    credit_tier: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EntityLabel {
    entity: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

/// Every metric of a process.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    enterprises: Family<TierLabel, Gauge>,
    sequence: Gauge<u64, AtomicU64>,
    age: Gauge<f64, AtomicU64>,
    state: Family<StateLabel, Gauge>,
    quarantined: Gauge,
    changes: Family<EntityLabel, Counter>,
    propagation: LockedHistogram,
    errors: Family<KindLabel, Counter>,
    resyncs: Family<CauseLabel, Counter>,
    refusals: Family<CauseLabel, Counter>,
    comparisons: Counter,
    mismatches: Counter,
    decisions: Decisions,
    rates: RateGauges,
    shed: ShedCounters,
    policy: Policy,
    commitments: Family<StateLabel, Gauge>,
    commitment_errors: Family<KindLabel, Counter>,
    /// Of the audit log.
    pub audit: audit::Audit,
    /// Of who calls.
    pub auth: auth::Auth,
    /// Of shipments.
    pub shipments: shipments::Shipments,
    /// Of TLS.
    pub tls: tls::Tls,
    /// gRPC connections.
    pub connections: calls::Connections,
}

/// The state of the registry at one instant.
#[derive(Debug, Clone)]
pub struct RegistryReading {
    /// Enterprises of each tier.
    pub enterprises: [u64; CreditTier::COUNT],
    /// The last change in force.
    pub sequence: u64,
    /// How old the data is.
    pub age: Duration,
    /// "loading", "live", "stale" or "expired".
    pub state: &'static str,
    /// Rows that could not be read.
    pub quarantined: u64,
}

/// Values of labels whose series are there, at 0, from the start: one that begins at 1 with its first event has not risen, as
/// far as Prometheus can tell, and no alert would come of it.
const ENTITIES: [&str; 5] = [
    "enterprise",
    "scheduled_tier",
    "recognised_operator",
    "mutual_recognition",
    "control_order",
];
const ERRORS: [&str; 5] = ["unavailable", "corrupt", "unsupported", "snapshot_file", "audit"];
const RESYNCS: [&str; 7] = ["first", "epoch", "fork", "gap", "bulk", "mismatch", "refused"];
const REFUSALS: [&str; 4] = ["drift", "torn", "older", "foreign"];
const COMMITMENT_ERRORS: [&str; 3] = ["unavailable", "corrupt", "unsupported"];

const STATES: [&str; 4] = ["loading", "live", "stale", "expired"];

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let propagation = LockedHistogram::new(PROPAGATION);
        Self {
            enterprises: registered(
                &mut registry,
                "greenlane_registry_enterprises",
                "Registered enterprises in force, by credit tier",
            ),
            sequence: registered(
                &mut registry,
                "greenlane_registry_sequence",
                "Sequence of the last change in force",
            ),
            age: registered(
                &mut registry,
                "greenlane_registry_age_seconds",
                "Seconds since the store was last asked for its head and confirmed that this is it",
            ),
            state: registered(
                &mut registry,
                "greenlane_registry_state",
                "1 for the state that the registry is in",
            ),
            quarantined: registered(
                &mut registry,
                "greenlane_registry_quarantined_rows",
                "Rows of the store that could not be read in full and stand on the strict side",
            ),
            changes: registered(
                &mut registry,
                "greenlane_upstream_changes",
                "Changed rows put in force, by table",
            ),
            propagation: {
                registry.register(
                    "greenlane_upstream_propagation_seconds",
                    "Seconds from a commit in the store (its clock) to its being in force here",
                    propagation.clone(),
                );
                propagation
            },
            errors: registered(
                &mut registry,
                "greenlane_upstream_errors",
                "Looks at the store that failed, by kind",
            ),
            resyncs: registered(
                &mut registry,
                "greenlane_upstream_resyncs",
                "Fresh snapshots taken, by cause",
            ),
            refusals: registered(
                &mut registry,
                "greenlane_upstream_refusals",
                "Snapshots and commits refused, by cause; the last good data stayed in force",
            ),
            comparisons: registered(
                &mut registry,
                "greenlane_upstream_digest_comparisons",
                "Digests compared with the store's",
            ),
            mismatches: registered(
                &mut registry,
                "greenlane_upstream_digest_mismatches",
                "Digests that differed from the store's; a fresh snapshot follows",
            ),
            decisions: Decisions::registered(&mut registry),
            rates: RateGauges::registered(&mut registry),
            shed: ShedCounters::registered(&mut registry),
            policy: Policy::registered(&mut registry),
            commitments: registered(
                &mut registry,
                "greenlane_draw_commitments",
                "Epochs whose draw key is committed to, by how the commitment stands to this replica's key",
            ),
            commitment_errors: registered(
                &mut registry,
                "greenlane_draw_commitment_errors",
                "Looks at the draw commitments that failed, by kind",
            ),
            audit: audit::Audit::new(&mut registry),
            auth: auth::Auth::new(&mut registry),
            shipments: shipments::Shipments::new(&mut registry),
            tls: tls::Tls::new(&mut registry),
            connections: calls::Connections::new(&mut registry),
            registry: Mutex::new(registry),
        }
        .begun()
    }
}

fn registered<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    /// Every series of the counters above.
    fn begun(self) -> Self {
        for entity in ENTITIES {
            self.changed(entity, 0);
        }
        for cause in RESYNCS {
            drop(self.resyncs.get_or_create(&CauseLabel { cause }));
        }
        for cause in REFUSALS {
            drop(self.refusals.get_or_create(&CauseLabel { cause }));
        }
        for kind in ERRORS {
            drop(self.errors.get_or_create(&KindLabel { kind }));
        }
        for kind in COMMITMENT_ERRORS {
            drop(self.commitment_errors.get_or_create(&KindLabel { kind }));
        }
        self
    }

    /// Everything in `OpenMetrics` text.
    pub fn openmetrics(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(
            &mut text,
            &self.registry.lock().unwrap_or_else(PoisonError::into_inner),
        )?;
        // Both formats write it so; the library does not.
        Ok(text.replace(" inf\n", " +Inf\n"))
    }

    /// Everything in Prometheus' own text format.
    pub fn prometheus_text(&self) -> Result<String, fmt::Error> {
        self.openmetrics().map(|text| classic::classic(&text))
    }

    /// Takes what the registry is at this instant.
    pub fn read_registry(&self, reading: &RegistryReading) {
        for (tier, &count) in CreditTier::ALL.iter().zip(&reading.enterprises) {
            let label = TierLabel {
                credit_tier: tier.name(),
            };
            self.enterprises.get_or_create(&label).set(signed(count));
        }
        self.sequence.set(reading.sequence);
        // Never confirmed: older than any limit.
        self.age.set(match reading.age {
            Duration::MAX => f64::INFINITY,
            age => age.as_secs_f64(),
        });
        self.quarantined.set(signed(reading.quarantined));
        for state in STATES {
            let is = i64::from(state == reading.state);
            self.state.get_or_create(&StateLabel { state }).set(is);
        }
    }

    /// A decision was answered so long after its request was at hand; a few nanoseconds, for the counters are found
    /// beforehand.
    pub fn decided(
        &self,
        tier: CreditTier,
        lane: Lane,
        basis: InspectionBasis,
        selected: bool,
        after: Duration,
    ) {
        self.decisions.count(tier, lane, basis, selected);
        self.decisions.duration.observe(after);
    }

    /// How long decisions took so far.
    pub fn decision_durations(&self) -> Distribution {
        self.decisions.duration.reading()
    }

    /// Counters of the calls of these methods, each a service's name and its own. To be asked for once a process.
    pub fn calls<'a>(&self, methods: impl IntoIterator<Item = (&'a str, &'a str)>) -> Calls {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        Calls::registered(&mut registry, methods)
    }

    /// Something was turned away, so many times.
    pub fn shed(&self, what: Shed, times: u64) {
        self.shed.count(what, times);
    }

    /// Decisions answered so far, by governing tier and lane.
    pub fn decisions(&self) -> impl Iterator<Item = (CreditTier, Lane, u64)> {
        self.decisions.counted()
    }

    /// Takes the policies as they are at this instant.
    pub fn read_policy(&self, reading: PolicyReading) {
        self.policy.set(reading);
    }

    /// Takes the realized rates of the current month, one for each tier.
    pub fn read_rates(&self, readings: &[RateReading; CreditTier::COUNT]) {
        self.rates.set(readings);
    }

    /// Rows of one table came in force.
    pub fn changed(&self, entity: &'static str, rows: u64) {
        self.changes.get_or_create(&EntityLabel { entity }).inc_by(rows);
    }

    /// A commit came in force so long after it was made.
    pub fn propagated(&self, after: Duration) {
        self.propagation.observe(after.as_secs_f64());
    }

    /// A look at the store failed.
    pub fn failed(&self, kind: &'static str) {
        self.errors.get_or_create(&KindLabel { kind }).inc();
    }

    /// A fresh snapshot was taken.
    pub fn resynced(&self, cause: &'static str) {
        self.resyncs.get_or_create(&CauseLabel { cause }).inc();
    }

    /// Something was refused, and the last good data stays.
    pub fn refused(&self, cause: &'static str) {
        self.refusals.get_or_create(&CauseLabel { cause }).inc();
    }

    /// So many epochs' commitments stand so: "ahead", "late", "unsigned" or "disputed".
    pub fn commitments(&self, state: &'static str, epochs: usize) {
        let epochs = i64::try_from(epochs).unwrap_or(i64::MAX);
        self.commitments.get_or_create(&StateLabel { state }).set(epochs);
    }

    /// A look at the draw commitments failed.
    pub fn commitment_failed(&self, kind: &'static str) {
        self.commitment_errors.get_or_create(&KindLabel { kind }).inc();
    }

    /// Digests were compared.
    pub fn compared(&self, equal: bool) {
        self.comparisons.inc();
        if !equal {
            self.mismatches.inc();
        }
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
