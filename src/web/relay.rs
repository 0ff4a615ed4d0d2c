//! The HTTP side of a relay: probes and metrics.
//!
//! `/livez`: the process answers. `/readyz`: it answers replicas, for the store has confirmed what the stream holds.
//! `/startupz`: it has read the store. `/metrics`: those of its feed.

use std::{fmt, sync::Arc};

use http::{Request, StatusCode};
use hyper::body::Incoming;
use tokio::sync::watch;

use super::{
    not_read, probe,
    response::{Answer, text},
    scrape,
    server::Site,
};
use crate::{
    access::Peer,
    metrics::{Metrics, RegistryReading},
};

/// What a relay tells over HTTP.
#[derive(Clone)]
pub struct RelaySite {
    /// Whether it answers replicas.
    pub speaking: watch::Receiver<bool>,
    /// What it holds of the store.
    pub reading: Arc<dyn Fn() -> RegistryReading + Send + Sync>,
    /// Figures.
    pub metrics: Arc<Metrics>,
}

impl fmt::Debug for RelaySite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelaySite").finish_non_exhaustive()
    }
}

impl Site for RelaySite {
    async fn answer(&self, request: Request<Incoming>, _: &Peer) -> Answer {
        if let Some(refused) = not_read(&request) {
            return refused;
        }
        let reading = (self.reading)();
        match request.uri().path() {
            "/livez" => probe(true, ""),
            "/readyz" => probe(
                *self.speaking.borrow(),
                "not ready: the store has not confirmed what the stream holds",
            ),
            "/startupz" => probe(reading.state != "loading", "starting: the store is not read yet"),
            "/metrics" => {
                self.metrics.read_registry(&reading);
                scrape::written(&self.metrics, request.headers())
            }
            _ => text(
                StatusCode::NOT_FOUND,
                "there are /livez, /readyz, /startupz and /metrics",
            ),
        }
    }
}
