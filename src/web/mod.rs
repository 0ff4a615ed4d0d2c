//! The HTTP side: probes for an orchestrator, metrics, and in JSON what is answered over gRPC too.
//!
//! | path | what |
//! |---|---|
//! | `/livez` | the process answers |
//! | `/readyz` | decisions can be had, and registry data has not EXPIRED |
//! | `/startupz` | the first snapshot is in force |
//! | `/metrics` | every metric, as `OpenMetrics` 1.0.0 to who accepts it, else as Prometheus text |
//! | `/v1/priority/...` | see [`PriorityRoute`] |
//! | `/`, `/console/...` | see [`console`] |

pub mod console;
mod priority;
mod response;
mod scrape;
pub mod server;

pub use priority::PriorityRoute;

use std::sync::Arc;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;

use self::{
    console::Console,
    response::{Answer, text},
    scrape::scrape,
};
use crate::{audit::rates::RateTable, metrics::Metrics, service::health::Health};

/// What the HTTP side answers from; a clone a connection.
#[derive(Debug, Clone)]
pub struct Web {
    /// Whether decisions can be had.
    pub health: Arc<Health>,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// Realized rates, for figures.
    pub rates: Arc<RateTable>,
    /// Priorities of shipments.
    pub priority: Arc<PriorityRoute>,
    /// The page for people.
    pub console: Arc<Console>,
}

impl Web {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET");
        }
        let path = request.uri().path();
        if let Some(key) = path.strip_prefix(priority::PATH) {
            return self.priority.answer(key).await;
        }
        let (query, headers) = (request.uri().query(), request.headers());
        if let Some(answer) = self.console.answer(path, query, headers).await {
            return answer;
        }
        match path {
            "/livez" => probe(true, ""),
            "/readyz" => probe(
                self.health.is_serving(),
                "not ready: the registry is loading, expired, or draining",
            ),
            "/startupz" => probe(self.health.has_started(), "starting: no registry snapshot yet"),
            "/metrics" => scrape(self, request.headers()),
            _ => text(
                StatusCode::NOT_FOUND,
                "there are / (the console), /livez, /readyz, /startupz, /metrics and /v1/priority/{declaration or container}",
            ),
        }
    }
}

fn probe(holds: bool, otherwise: &'static str) -> Answer {
    if holds {
        text(StatusCode::OK, "ok")
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, otherwise)
    }
}
