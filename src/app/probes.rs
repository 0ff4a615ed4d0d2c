//! The HTTP side as far as it stands: probes for an orchestrator, metrics, and the priority of a shipment.
//!
//! `/livez`: the process answers. `/readyz`: decisions can be had, and registry data has not EXPIRED. `/startupz`: the
//! first snapshot is in force. `/metrics`: `OpenMetrics` text. `/v1/priority/...`: see [`PriorityRoute`].

mod priority;

pub use priority::PriorityRoute;

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use super::health::Health;
use crate::{
    audit::rates::RateTable,
    domain::Date,
    facilitation::Moment,
    metrics::{self, Metrics},
    policy::draw::Epoch,
};

/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections at once.
const MAX_CONNECTIONS: usize = 256;
/// When so many are open, new ones are for one request each: nobody shall wait behind those that only stay open.
const MAX_KEPT_CONNECTIONS: usize = 128;

/// What there is to tell.
#[derive(Debug, Clone)]
pub struct Told {
    /// Whether decisions can be had.
    pub health: Arc<Health>,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// Realized rates, for figures.
    pub rates: Arc<RateTable>,
    /// Priorities of shipments.
    pub priority: Arc<PriorityRoute>,
}

/// Serves probes until `stop` turns true.
pub async fn run(listener: TcpListener, told: Told, mut stop: watch::Receiver<bool>) -> io::Result<()> {
    let mut connections = JoinSet::new();
    while !*stop.borrow() {
        let accepted = tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => accepted,
            Some(_) = connections.join_next() => continue,
            _ = stop.changed() => break,
        };
        let Ok((socket, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let told = told.clone();
        let service = service_fn(move |request| {
            let told = told.clone();
            async move { Ok::<_, Infallible>(answer(&request, &told).await) }
        });
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .keep_alive(connections.len() < MAX_KEPT_CONNECTIONS);
        let connection = builder.serve_connection(TokioIo::new(socket), service);
        connections.spawn(async move {
            // A client that goes away in mid-request is its own affair.
            drop(connection.await);
        });
    }
    Ok(())
}

/// Binds the address.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("server.http_addr {address}: {error}"));
    let listener = std::net::TcpListener::bind(address).map_err(named)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn answer(request: &Request<Incoming>, told: &Told) -> Response<Full<Bytes>> {
    let health = &told.health;
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET");
    }
    let probe = |holds: bool, otherwise: &'static str| {
        if holds {
            text(StatusCode::OK, "ok")
        } else {
            text(StatusCode::SERVICE_UNAVAILABLE, otherwise)
        }
    };
    let path = request.uri().path();
    if let Some(key) = path.strip_prefix(priority::PATH) {
        return told.priority.answer(key).await;
    }
    match path {
        "/livez" => probe(true, ""),
        "/readyz" => probe(
            health.is_serving(),
            "not ready: the registry is loading, expired, or draining",
        ),
        "/startupz" => probe(health.has_started(), "starting: no registry snapshot yet"),
        "/metrics" => {
            told.metrics.read_registry(&health.reading());
            let month = Epoch::of(Date::of(Moment::now().timestamp));
            told.metrics.read_rates(&told.rates.reading(month));
            told.metrics.text().map_or_else(
                |_| text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written"),
                |metrics| body(StatusCode::OK, metrics::OPENMETRICS, metrics.into()),
            )
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /livez, /readyz, /startupz, /metrics and /v1/priority/{declaration or container}",
        ),
    }
}

fn text(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    body(
        status,
        "text/plain; charset=utf-8",
        Bytes::from_static(text.as_bytes()),
    )
}

fn body(status: StatusCode, media_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let media_type = header::HeaderValue::from_static(media_type);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}
