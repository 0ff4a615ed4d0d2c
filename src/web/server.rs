//! Accepts HTTP connections, and keeps room for probes among them, whoever else holds connections open.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::timeout,
};

use super::response::Answer;
use crate::access::Peer;

/// What answers requests; a clone a connection.
pub trait Site: Clone + Send + Sync + 'static {
    /// The answer to a request of that peer's.
    fn answer(&self, request: Request<Incoming>, peer: &Peer) -> impl Future<Output = Answer> + Send;
}

/// How long a client may take to send a request's head, and may keep a connection between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes that a request's head may have, its target included.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// How long a connection lives, so that a client that does not take its answer does not keep it for ever.
const MAX_AGE: Duration = Duration::from_mins(1);
/// How long a request may still take that is under way then.
const AGE_GRACE: Duration = Duration::from_secs(20);
/// Connections at once. For one more, the oldest is cut off that has no request under way: of those there are always some,
/// because calls are limited and nothing else waits.
const MAX_CONNECTIONS: usize = 256;

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
    web: impl Site,
    mut stop: watch::Receiver<bool>,
    deadline: Duration,
) -> io::Result<usize> {
    let mut connections = Connections::default();
    while !*stop.borrow() {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.running.join_next() => continue,
            _ = stop.changed() => break,
        };
        let Ok((socket, address)) = accepted else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        connections.make_room();
        let under_way = Arc::new(AtomicBool::new(false));
        let peer = Peer {
            address,
            certificate: None,
        };
        let serving = serve(socket, peer, web.clone(), Arc::clone(&under_way), stop.clone());
        let handle = connections.running.spawn(serving);
        connections.by_age.push_back((handle, under_way));
    }
    drop(listener);
    let ended = async { while connections.running.join_next().await.is_some() {} };
    let _late = timeout(deadline, ended).await;
    Ok(connections.running.len())
}

/// Those that are open, some of which may have ended already.
#[derive(Default)]
struct Connections {
    running: JoinSet<()>,
    /// The oldest first, each with whether a request of its is under way.
    by_age: VecDeque<(AbortHandle, Arc<AtomicBool>)>,
}

impl Connections {
    /// Leaves room for another one.
    fn make_room(&mut self) {
        if self.by_age.len() < MAX_CONNECTIONS {
            return;
        }
        self.by_age.retain(|(connection, _)| !connection.is_finished());
        if self.by_age.len() < MAX_CONNECTIONS {
            return;
        }
        let waits = |(_, under_way): &(_, Arc<AtomicBool>)| !under_way.load(Ordering::Relaxed);
        if let Some(oldest) = self.by_age.iter().position(waits)
            && let Some((connection, _)) = self.by_age.remove(oldest)
        {
            connection.abort();
        }
    }
}

async fn serve(
    socket: TcpStream,
    peer: Peer,
    web: impl Site,
    under_way: Arc<AtomicBool>,
    mut stop: watch::Receiver<bool>,
) {
    let service = service_fn(move |request| {
        let (web, peer, under_way) = (web.clone(), peer.clone(), Arc::clone(&under_way));
        async move {
            under_way.store(true, Ordering::Relaxed);
            let answer = web.answer(request, &peer).await;
            under_way.store(false, Ordering::Relaxed);
            Ok::<_, Infallible>(answer)
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
    // A client that goes away in mid-request is its own affair.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(MAX_AGE) => {}
        // A sender that is gone has stopped too.
        _ = stop.wait_for(|stop| *stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    drop(timeout(AGE_GRACE, connection).await);
}
