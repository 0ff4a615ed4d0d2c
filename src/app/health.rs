//! Whether decisions can be had: told to gRPC health checks and to probes from one place.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;
use tonic_health::{ServingStatus, server::HealthReporter};
use tracing::{info, warn};

use crate::{
    domain::Freshness,
    facilitation::{Facilitation, Moment},
    metrics::RegistryReading,
    registry::Generation,
    shipments::Shipments,
    upstream::status::FeedStatus,
};

/// How often the age of the data is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The health of the process.
#[derive(Debug)]
pub struct Health {
    facilitation: Arc<Facilitation>,
    feed: Arc<FeedStatus>,
    draining: AtomicBool,
}

impl Health {
    /// Health that follows the registry.
    pub fn new(facilitation: Arc<Facilitation>, feed: Arc<FeedStatus>) -> Self {
        Self {
            facilitation,
            feed,
            draining: AtomicBool::new(false),
        }
    }

    /// Ready and not EXPIRED: stale data still decides, strictly.
    pub fn is_serving(&self) -> bool {
        let moment = Moment::now();
        let age = self.feed.clock.age(moment.monotonic, moment.wall);
        self.feed.is_ready()
            && !self.draining.load(Ordering::Relaxed)
            && self.facilitation.freshness(age) != Freshness::Expired
    }

    /// Whether a snapshot has been in force.
    pub fn has_started(&self) -> bool {
        self.feed.positions().borrow().is_some()
    }

    /// The state of the registry now, for metrics.
    pub fn reading(&self) -> RegistryReading {
        let moment = Moment::now();
        let age = self.feed.clock.age(moment.monotonic, moment.wall);
        let state = match self.facilitation.freshness(age) {
            _ if !self.feed.is_ready() => "loading",
            Freshness::Fresh => "live",
            Freshness::Stale => "stale",
            Freshness::Expired => "expired",
        };
        let generation = self.facilitation.registry().current();
        let generation = generation.as_deref();
        RegistryReading {
            enterprises: generation.map(Generation::tier_counts).unwrap_or_default(),
            sequence: generation.map_or(0, |generation| generation.position().sequence),
            age: age.0,
            state,
            quarantined: generation.map_or(0, |generation| generation.quarantined_count() as u64),
        }
    }

    /// From now on nothing new is wanted.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Keeps gRPC health up to date until `stop` turns true. The reporter starts with every service `NOT_SERVING`.
    pub async fn run(
        self: Arc<Self>,
        reporter: HealthReporter,
        shipments: Arc<Shipments>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut told = Served::default();
        while !*stop.borrow() {
            let decisions = self.is_serving();
            let served = Served {
                decisions,
                shipments: decisions && shipments.is_ready(),
            };
            if served != told {
                report(&reporter, served).await;
                match (told.decisions, served.decisions) {
                    (false, true) => info!("serving"),
                    (true, false) => warn!("not serving"),
                    _ => {}
                }
                told = served;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = stop.changed() => {}
            }
        }
        report(&reporter, Served::default()).await;
    }
}

/// What can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Served {
    /// Decisions, and whatever hangs on the registry.
    decisions: bool,
    /// What terminals ask.
    shipments: bool,
}

/// The services that health checks may ask about beside `PriorityService`; the empty name is the whole process.
const SERVICES: [&str; 4] = [
    "",
    "greenlane.v1.FacilitationService",
    "greenlane.v1.RegistryService",
    "greenlane.v1.AuditService",
];

/// Tells the state of every service.
pub async fn report(reporter: &HealthReporter, served: Served) {
    let status = |is_served| {
        if is_served {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    };
    for service in SERVICES {
        reporter
            .set_service_status(service, status(served.decisions))
            .await;
    }
    let shipments = status(served.shipments);
    reporter
        .set_service_status("greenlane.v1.PriorityService", shipments)
        .await;
}
