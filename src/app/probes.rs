//! The HTTP side as far as it stands: probes for an orchestrator.
//!
//! `/livez`: the process answers. `/readyz`: decisions can be had, and registry data has not EXPIRED. `/startupz`: the
//! first snapshot is in force.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use super::health::Health;

/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections at once; probes need few.
const MAX_CONNECTIONS: usize = 256;

/// Serves probes until `stop` turns true.
pub async fn run(
    listener: TcpListener,
    health: Arc<Health>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
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
        let health = Arc::clone(&health);
        let service = service_fn(move |request| {
            let answer = answer(&request, &health);
            async move { Ok::<_, Infallible>(answer) }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
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

fn answer(request: &Request<Incoming>, health: &Health) -> Response<Full<Bytes>> {
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
    match request.uri().path() {
        "/livez" => probe(true, ""),
        "/readyz" => probe(
            health.is_serving(),
            "not ready: the registry is loading, expired, or draining",
        ),
        "/startupz" => probe(health.has_started(), "starting: no registry snapshot yet"),
        _ => text(StatusCode::NOT_FOUND, "there are /livez, /readyz and /startupz"),
    }
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
