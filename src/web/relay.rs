//! The HTTP side of a relay: probes and metrics.
//!
//! `/livez`: the process answers. `/readyz`: it answers replicas, for the store has confirmed what the stream holds.
//! `/startupz`: it has read the store. `/metrics`: those of its feed, for operators where callers are asked who they are.

use std::{fmt, sync::Arc};

use http::{Request, StatusCode};
use hyper::body::Incoming;
use tokio::sync::watch;

use super::{
    not_read, probe,
    response::{Answer, refused, text},
    scrape,
    server::Site,
    sign_in,
};
use crate::{
    access::{Peer, permission},
    metrics::{Metrics, RegistryReading},
    service::{authentication::Authentication, status::Refusal},
    trust::ServerTrust,
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
    /// Finds out who asks.
    pub authentication: Arc<Authentication>,
    /// Whether the metrics are for anybody.
    pub open_metrics: bool,
    /// TLS, for figures.
    pub tls: Option<Arc<ServerTrust>>,
}

impl RelaySite {
    /// Whether the figures are for who asks.
    fn permitted(&self, request: &mut Request<Incoming>, peer: &Peer) -> Result<(), Refusal> {
        if self.open_metrics {
            return Ok(());
        }
        sign_in::read(request.headers_mut());
        let caller = self.authentication.caller(peer, request.headers());
        let caller = caller.map_err(Refusal::Unauthenticated)?;
        self.authentication
            .permitted(&caller, permission::OPERATORS, "/metrics")
    }
}

impl fmt::Debug for RelaySite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelaySite").finish_non_exhaustive()
    }
}

impl Site for RelaySite {
    async fn answer(&self, mut request: Request<Incoming>, peer: &Peer) -> Answer {
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
            "/metrics" => match self.permitted(&mut request, peer) {
                Ok(()) => {
                    self.metrics.read_registry(&reading);
                    if let Some(tls) = &self.tls {
                        tls.read();
                    }
                    scrape::written(&self.metrics, request.headers())
                }
                Err(refusal) => refused(&refusal),
            },
            _ => text(
                StatusCode::NOT_FOUND,
                "there are /livez, /readyz, /startupz and /metrics",
            ),
        }
    }
}
