//! Whether decisions can be had: told to gRPC health checks and to probes from one place.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};
use tonic_health::{
    ServingStatus,
    pb::{HealthCheckRequest, HealthCheckResponse, health_server},
    server::{HealthReporter, HealthService},
};
use tracing::{info, warn};

use super::ending::{Ending, ending_with};
use crate::{
    domain::{Date, Freshness},
    facilitation::{Facilitation, Moment},
    metrics::{PolicyInForce, PolicyReading, RegistryReading},
    registry::{FreshnessLimits, Generation, Registry},
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
    shipments: Arc<Shipments>,
    draining: AtomicBool,
}

impl Health {
    /// Health that follows the registry and the shipments.
    pub fn new(facilitation: Arc<Facilitation>, feed: Arc<FeedStatus>, shipments: Arc<Shipments>) -> Self {
        Self {
            facilitation,
            feed,
            shipments,
            draining: AtomicBool::new(false),
        }
    }

    /// Ready and not EXPIRED: stale data still decides, strictly. What terminals ask is loaded too, and with it the draws
    /// that declarations keep.
    pub fn is_serving(&self) -> bool {
        let moment = Moment::now();
        let age = self.feed.clock.age(moment.monotonic, moment.wall);
        self.shipments.is_ready()
            && !self.draining.load(Ordering::Relaxed)
            && self.facilitation.freshness(age) != Freshness::Expired
    }

    /// Whether there is data to decide on; an empty store has none.
    pub fn has_started(&self) -> bool {
        self.feed.is_ready()
    }

    /// Whether the process is on its way to its end.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The state of the registry now, for metrics.
    pub fn reading(&self) -> RegistryReading {
        let facilitation = &self.facilitation;
        reading(
            facilitation.registry(),
            &self.feed,
            facilitation.freshness_limits(),
        )
    }

    /// The policies now, for metrics.
    pub fn policy(&self) -> PolicyReading {
        let now = Moment::now().timestamp;
        let today = Date::of(now);
        let book = self.facilitation.policies();
        let in_force = book.on(today).map(|policy| PolicyInForce {
            id: policy.id().to_owned(),
            digest: policy.digest.clone(),
            provisional: policy.document.provisional,
        });
        let starts = book
            .policies()
            .iter()
            .map(|policy| policy.document.effective_from);
        let next = starts.filter(|start| *start > today).min();
        let next_in = next.map(|start| start.midnight().duration_since(now).unsigned_abs());
        PolicyReading { in_force, next_in }
    }

    /// From now on nothing new is wanted.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Keeps gRPC health up to date until `stop` turns true. The reporter starts with every service `NOT_SERVING`.
    pub async fn run(self: Arc<Self>, reporter: HealthReporter, mut stop: watch::Receiver<bool>) {
        let mut told = false;
        while !*stop.borrow() {
            let serving = self.is_serving();
            if serving != told {
                self.report(&reporter, serving).await;
                if serving {
                    info!("serving");
                } else {
                    warn!("not serving");
                }
                told = serving;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = stop.changed() => {}
            }
        }
        self.report(&reporter, false).await;
    }

    /// Tells the state of every service. Where terminals may not ask, that they are not served is all there is to tell them.
    pub async fn report(&self, reporter: &HealthReporter, serving: bool) {
        for service in SERVICES {
            let is_served = service != TERMINALS || self.shipments.is_served();
            let status = if serving && is_served {
                ServingStatus::Serving
            } else {
                ServingStatus::NotServing
            };
            reporter.set_service_status(service, status).await;
        }
    }
}

/// The state of a registry now, for metrics.
pub fn reading(registry: &Registry, feed: &FeedStatus, limits: FreshnessLimits) -> RegistryReading {
    let moment = Moment::now();
    let age = feed.clock.age(moment.monotonic, moment.wall);
    let state = match limits.of(age) {
        _ if !feed.is_ready() => "loading",
        Freshness::Fresh => "live",
        Freshness::Stale => "stale",
        Freshness::Expired => "expired",
    };
    let generation = registry.current();
    let generation = generation.as_deref();
    RegistryReading {
        enterprises: generation.map(Generation::tier_counts).unwrap_or_default(),
        sequence: generation.map_or(0, |generation| generation.position().sequence),
        age: age.0,
        state,
        quarantined: generation.map_or(0, |generation| generation.quarantined_count() as u64),
    }
}

const TERMINALS: &str = "greenlane.v1.PriorityService";
/// The services that health checks may ask about; the empty name is the whole process.
const SERVICES: [&str; 5] = [
    "",
    "greenlane.v1.FacilitationService",
    TERMINALS,
    "greenlane.v1.RegistryService",
    "greenlane.v1.AuditService",
];

/// `grpc.health.v1.Health`: a watch of it ends with its connection.
#[derive(Debug)]
pub struct HealthRpc(HealthService);

impl HealthRpc {
    /// Tells what the reporter is told.
    pub fn new(reporter: &HealthReporter) -> Self {
        Self(HealthService::from_health_reporter(reporter.clone()))
    }
}

#[tonic::async_trait]
impl health_server::Health for HealthRpc {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.0.check(request).await
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let ending = Ending::of(&request);
        let watch = self.0.watch(request).await?.into_inner();
        Ok(Response::new(Box::pin(ending_with(watch, ending))))
    }
}
