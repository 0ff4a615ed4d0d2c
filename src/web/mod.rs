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
//!
//! Probes are for anybody. Where callers are asked who they are, all else is for those who may have it: `/v1/...` as its RPC
//! over gRPC, the console and the metrics for operators. Their token may come as the password of HTTP's Basic authentication too.

pub mod console;
mod gateway;
mod relay;
mod response;
mod scrape;
pub mod server;
mod sign_in;

pub use gateway::{Callers, Gateway, Worker};
pub use relay::RelaySite;

use std::sync::Arc;

use http::{HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;

use self::{
    console::Console,
    response::{Answer, refused, text},
    scrape::scrape,
};
use crate::{
    access::{Caller, Cause, Peer, permission},
    audit::rates::RateTable,
    metrics::Metrics,
    service::{authentication::Authentication, health::Health, status::Refusal},
    trust::ServerTrust,
};

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
    /// Finds out who asks.
    pub authentication: Arc<Authentication>,
    /// Whether the metrics are for anybody.
    pub open_metrics: bool,
    /// TLS, for figures.
    pub tls: Option<Arc<ServerTrust>>,
}

impl server::Site for Web {
    async fn answer(&self, mut request: Request<Incoming>, peer: &Peer) -> Answer {
        if let Some(answer) = self.open_to_anybody(&request) {
            return not_read(&request).unwrap_or(answer);
        }
        sign_in::read(request.headers_mut());
        let caller = match self.authentication.caller(peer, request.headers()) {
            Ok(caller) => caller,
            Err(cause) => return self.unknown(cause, request.uri().path()),
        };
        if request.uri().path().starts_with(gateway::PATH) {
            return self.gateway.answer(request, caller, peer).await;
        }
        match not_read(&request) {
            Some(refused) => refused,
            None => self.shown_to(&caller, &request).await,
        }
    }
}

impl Web {
    /// What needs no caller.
    fn open_to_anybody(&self, request: &Request<Incoming>) -> Option<Answer> {
        Some(match request.uri().path() {
            "/livez" => probe(true, ""),
            "/readyz" => probe(
                self.health.is_serving(),
                "not ready: the registry is loading, expired, or draining",
            ),
            "/startupz" => probe(self.health.has_started(), "starting: no registry snapshot yet"),
            "/metrics" if self.open_metrics => scrape(self, request.headers()),
            _ => return None,
        })
    }

    /// The answer to who is not known; a browser that was to show the console asks them who they are.
    fn unknown(&self, cause: Cause, path: &str) -> Answer {
        let mut answer = refused(&Refusal::Unauthenticated(cause));
        if Console::has(path) && self.authentication.takes_tokens() {
            sign_in::offer(&mut answer);
        }
        answer
    }

    /// What operators are shown.
    async fn shown_to(&self, caller: &Caller, request: &Request<Incoming>) -> Answer {
        let (path, query, headers) = (request.uri().path(), request.uri().query(), request.headers());
        let permitted = |what| self.authentication.permitted(caller, permission::OPERATORS, what);
        if path == "/metrics" {
            return match permitted("/metrics") {
                Ok(()) => scrape(self, headers),
                Err(refusal) => refused(&refusal),
            };
        }
        if !Console::has(path) {
            let there_are = "there are / (the console), /livez, /readyz, /startupz, /metrics, and the JSON gateway under /v1/";
            return text(StatusCode::NOT_FOUND, there_are);
        }
        match permitted("the console") {
            Ok(()) => self.console.answer(path, query, headers).await,
            Err(refusal) => refused(&refusal),
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
