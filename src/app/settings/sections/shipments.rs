//! `[shipments]`: what port terminals ask, and how they are told of changes.

use std::time::Duration;

use serde::Deserialize;

use super::super::Span;

/// `[shipments]`: how much is held in memory and in the store, and what watches may take. Counts and sizes are above 0.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShipmentSettings {
    /// Whether `PriorityService` is served. Without, nothing of a decision is held or saved for terminals, and what they call is
    /// not implemented.
    pub serve: bool,
    /// Bytes of memory, about, for shipments by declaration; the latest are held.
    pub max_bytes: u64,
    /// Containers of which the shipments are held together.
    pub max_containers: u64,
    /// Changes that may wait for the shared store; what is beyond is read from the audit log again.
    pub max_unsaved: usize,
    /// Whether every decision is saved at once in the embedded store too, for other replicas that use its file. Without, what
    /// is asked for is looked up in the audit log.
    pub save_all: bool,
    /// How long the shared store keeps a shipment after its decision; 0 keeps all.
    pub retention: Span,
    /// Watches that may be open at once.
    pub max_watches: usize,
    /// How long a watch may leave changes unread before it is cut off.
    pub watch_stall: Span,
    /// Time between two signs of life of a watch.
    pub heartbeat_interval: Span,
}

impl Default for ShipmentSettings {
    fn default() -> Self {
        Self {
            serve: true,
            max_bytes: 512 * 1024 * 1024,
            max_containers: 500_000,
            max_unsaved: 100_000,
            save_all: false,
            retention: Span::new(Duration::from_hours(30 * 24)),
            max_watches: 20_000,
            watch_stall: Span::new(Duration::from_secs(30)),
            heartbeat_interval: Span::new(Duration::from_secs(10)),
        }
    }
}
