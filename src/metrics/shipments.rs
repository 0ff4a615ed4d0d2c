//! What is told of shipments and of who watches them.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use super::registered;

/// The metrics of shipments.
#[derive(Debug)]
pub struct Shipments {
    held: Gauge<u64, AtomicU64>,
    unsaved: Gauge<u64, AtomicU64>,
    watches: Gauge<u64, AtomicU64>,
    changed: Counter,
    revoked: Counter,
}

impl Shipments {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            held: registered(registry, "greenlane_shipments", "Shipments in memory"),
            unsaved: registered(
                registry,
                "greenlane_shipments_unsaved",
                "Changed shipments that the shared store has not taken over yet",
            ),
            watches: registered(registry, "greenlane_watch_streams", "Watches that are open"),
            changed: registered(
                registry,
                "greenlane_shipment_changes",
                "Shipments that changed because the registry did",
            ),
            revoked: registered(
                registry,
                "greenlane_shipment_revocations",
                "Shipments of which a grant was taken back because the registry changed",
            ),
        }
    }

    /// A change of the registry changed a shipment; it may have taken a grant back.
    pub fn evaluated(&self, revoked: bool) {
        self.changed.inc();
        self.revoked.inc_by(revoked.into());
    }

    /// What [`Self::counted`] told last: shipments held, those that wait to be saved, and watches.
    pub fn counts(&self) -> [u64; 3] {
        [&self.held, &self.unsaved, &self.watches].map(Gauge::get)
    }

    /// How many shipments are held, wait to be saved, and how many watches there are.
    pub fn counted(&self, held: u64, unsaved: u64, watches: u64) {
        self.held.set(held);
        self.unsaved.set(unsaved);
        self.watches.set(watches);
    }
}
