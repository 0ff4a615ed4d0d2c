//! What is told of the audit log.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use super::registered;

/// The audit log's metrics.
#[derive(Debug)]
pub struct Audit {
    records: Counter,
    lag: Gauge<u64, AtomicU64>,
}

impl Audit {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            records: registered(
                registry,
                "greenlane_audit_records",
                "Records written to the audit log",
            ),
            lag: registered(
                registry,
                "greenlane_audit_lag_records",
                "Records of the audit log that the store has not taken over yet",
            ),
        }
    }

    /// So many records more were written.
    pub fn written(&self, records: u64) {
        self.records.inc_by(records);
    }

    /// Records written so far, and how many of the log wait to be shipped.
    pub fn counts(&self) -> (u64, u64) {
        (self.records.get(), self.lag.get())
    }

    /// So many records wait to be shipped.
    pub fn lag(&self, records: u64) {
        self.lag.set(records);
    }
}
