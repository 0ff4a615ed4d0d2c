//! Accepts HTTP connections, and keeps room for probes among them.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::timeout};

use super::Web;

/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections at once.
const MAX_CONNECTIONS: usize = 256;
/// When so many are open, new ones are for one request each: nobody shall wait behind those that only stay open.
const MAX_KEPT_CONNECTIONS: usize = 128;

/// Binds the address.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("server.http_addr {address}: {error}"));
    let listener = std::net::TcpListener::bind(address).map_err(named)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until `stop` turns true; what is being answered then may take until `deadline`. Gives how many connections were cut.
pub async fn run(
    listener: TcpListener,
    web: Web,
    mut stop: watch::Receiver<bool>,
    deadline: Duration,
) -> io::Result<usize> {
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
        let web = web.clone();
        let service = service_fn(move |request| {
            let web = web.clone();
            async move { Ok::<_, Infallible>(web.answer(request).await) }
        });
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .keep_alive(connections.len() < MAX_KEPT_CONNECTIONS);
        let connection = builder.serve_connection(TokioIo::new(socket), service);
        let mut stop = stop.clone();
        connections.spawn(async move {
            let mut connection = pin!(connection);
            // A client that goes away in mid-request is its own affair.
            tokio::select! {
                ended = connection.as_mut() => return drop(ended),
                _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
            }
            drop(connection.await);
        });
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    let _late = timeout(deadline, finish).await;
    Ok(connections.len())
}
