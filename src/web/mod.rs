//! The HTTP side: probes for an orchestrator, metrics, and in JSON what is answered over gRPC too.
//!
//! | path | what |
//! |---|---|
//! | `/livez` | the process answers |
//! | `/readyz` | decisions can be had, and registry data has not EXPIRED |
//! | `/startupz` | the first snapshot is in force |
//! | `/metrics` | every metric, as `OpenMetrics` 1.0.0 to who accepts it, else as Prometheus text |
//! | `/v1/...` | see [`Gateway`] |
//! | `/`, `/console/...` | see [`console`] |

pub mod console;
mod gateway;
mod relay;
mod response;
mod scrape;
pub mod server;

pub use gateway::{Gateway, Worker};
pub use relay::RelaySite;

use std::sync::Arc;

use http::{HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;

use self::{
    console::Console,
    response::{Answer, text},
    scrape::scrape,
};
use crate::{audit::rates::RateTable, metrics::Metrics, service::health::Health, trust::ServerTrust};

/// What the HTTP side answers from; a clone a connection.
#[derive(Debug, Clone)]
pub struct Web {
    /// Whether decisions can be had.
    pub health: Arc<Health>,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// Realized rates, for figures.
    pub rates: Arc<RateTable>,
    /// RPCs as JSON.
    pub gateway: Arc<Gateway>,
    /// The page for people.
    pub console: Arc<Console>,
    /// TLS, for figures.
    pub tls: Option<Arc<ServerTrust>>,
}

impl server::Site for Web {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if request.uri().path().starts_with(gateway::PATH) {
            return self.gateway.answer(request).await;
        }
        if let Some(refused) = not_read(&request) {
            return refused;
        }
        let path = request.uri().path();
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
                "there are / (the console), /livez, /readyz, /startupz, /metrics, and the JSON gateway under /v1/",
            ),
        }
    }
}

/// The answer to a request that wants more than to read, where nothing can be written.
fn not_read(request: &Request<Incoming>) -> Option<Answer> {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
    let allow = HeaderValue::from_static("GET, HEAD");
    answer.headers_mut().insert(header::ALLOW, allow);
    Some(answer)
}

fn probe(holds: bool, otherwise: &'static str) -> Answer {
    if holds {
        text(StatusCode::OK, "ok")
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, otherwise)
    }
}
