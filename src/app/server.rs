//! The gRPC server: one acceptor hands sockets round-robin to one single-threaded runtime a core.
//!
//! ```text
//! Server: accepts --socket--> worker (a thread): TLS, serves --> connection: HTTP/2, its age and its end
//! ```
//!
//! A multi-threaded runtime costs about twice the CPU a call: the woken connection task jumps the queue and writes
//! reply by reply. An own accept loop also spreads few connections evenly, which `SO_REUSEPORT` does not, and leaves
//! the end of a connection (GOAWAY, then a bounded wait) in our hands.

mod connection;
mod worker;

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use http::Request;
use hyper::body::Incoming;
use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use self::worker::Worker;
use super::settings::{LimitSettings, Settings};
use crate::{
    access::Peer,
    metrics::{Metrics, Shed},
    service::ending::Ending,
    trust::Acceptor,
};

/// How the server treats connections.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Open at once; more are closed as they come.
    pub connections: usize,
    /// Calls at once on one connection.
    pub streams: u32,
    /// Bytes of headers a call.
    pub header_bytes: u32,
    /// Between two keepalive pings; zero for none.
    pub keepalive_interval: Duration,
    /// How long a ping may stay unanswered.
    pub keepalive_timeout: Duration,
    /// Age at which a connection is to end, give or take a tenth; zero for none.
    pub age: Duration,
    /// How long calls on an aged connection may take before they are cut.
    pub age_grace: Duration,
    /// How long calls may take before they are cut once the server drains.
    pub drain_deadline: Duration,
}

impl From<&Settings> for ConnectionLimits {
    fn from(settings: &Settings) -> Self {
        let LimitSettings {
            max_message_bytes: _,
            max_concurrent_streams,
            max_connections,
            max_header_bytes,
            handshake_timeout: _,
            keepalive_interval,
            keepalive_timeout,
            max_connection_age,
            max_connection_age_grace,
        } = &settings.limits;
        Self {
            connections: *max_connections,
            streams: *max_concurrent_streams,
            header_bytes: *max_header_bytes,
            keepalive_interval: keepalive_interval.get(),
            keepalive_timeout: keepalive_timeout.get(),
            age: max_connection_age.get(),
            age_grace: max_connection_age_grace.get(),
            drain_deadline: settings.drain.deadline.get(),
        }
    }
}

/// A service that answers the calls of one connection.
pub trait ConnectionService:
    hyper::service::Service<
        Request<Incoming>,
        Response = http::Response<tonic::body::Body>,
        Error = std::convert::Infallible,
        Future: Send + 'static,
    > + Send
    + 'static
{
}

impl<S> ConnectionService for S where
    S: hyper::service::Service<
            Request<Incoming>,
            Response = http::Response<tonic::body::Body>,
            Error = std::convert::Infallible,
            Future: Send + 'static,
        > + Send
        + 'static
{
}

/// What one worker runs.
pub struct WorkerService<S> {
    /// Makes what answers the calls of a connection with that peer, which tells its streams when it is to end.
    pub service: Arc<dyn Fn(Ending, Peer) -> S + Send + Sync>,
    /// Runs beside the connections, on the same thread, until they have ended.
    pub beside: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<S> std::fmt::Debug for WorkerService<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerService").finish_non_exhaustive()
    }
}

/// What every worker has.
#[derive(Debug, Clone)]
struct Shared {
    limits: ConnectionLimits,
    /// Shakes hands; plaintext without.
    tls: Option<Acceptor>,
    /// Turns true when connections are to finish.
    drain: watch::Receiver<bool>,
    counts: Arc<Counts>,
}

/// A bound listener with its workers.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    workers: Vec<Worker>,
    limits: ConnectionLimits,
    counts: Arc<Counts>,
    ended: mpsc::UnboundedReceiver<usize>,
    metrics: Arc<Metrics>,
}

/// A socket on its way to a worker.
#[derive(Debug)]
struct Accepted {
    socket: TcpStream,
    /// Of the peer.
    address: SocketAddr,
}

/// Connections of all workers.
#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    /// Closed by the drain with calls in flight.
    cut: AtomicUsize,
}

impl Server {
    /// Binds the address and starts the workers; nothing is accepted yet.
    ///
    /// Connections speak TLS where there is `tls`. `service` is asked once for each worker. `drain` turns true when connections
    /// are to finish.
    pub fn bind<S: ConnectionService>(
        address: SocketAddr,
        workers: usize,
        limits: ConnectionLimits,
        tls: Option<&Acceptor>,
        mut service: impl FnMut() -> WorkerService<S>,
        drain: &watch::Receiver<bool>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)
            .map_err(|error| io::Error::new(error.kind(), format!("server.grpc_addr {address}: {error}")))?;
        listener.set_nonblocking(true)?;
        let counts = Arc::new(Counts::default());
        let (end, ended) = mpsc::unbounded_channel();
        let workers = (0..workers)
            .map(|index| {
                let shared = Shared {
                    limits: limits.clone(),
                    tls: tls.cloned(),
                    drain: drain.clone(),
                    counts: Arc::clone(&counts),
                };
                worker::start(index, service(), shared, end.clone())
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            listener,
            workers,
            limits,
            counts,
            ended,
            metrics: Arc::default(),
        })
    }

    /// Has the connections counted that are refused.
    #[must_use]
    pub fn counting_refused(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics, ..self }
    }

    /// The address that is bound.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Accepts connections until `drain` turns true, then waits for the workers to finish theirs. Gives how many were cut with
    /// calls in flight.
    pub async fn run(mut self, mut drain: watch::Receiver<bool>) -> io::Result<usize> {
        let mut hands = HandOver {
            sockets: self.workers.iter().map(|worker| worker.sockets.clone()).collect(),
            turn: 0,
            limits: self.limits,
            counts: Arc::clone(&self.counts),
            metrics: self.metrics,
        };
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        while !*drain.borrow() {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(index) = self.ended.recv() => {
                    return Err(io::Error::other(format!("the thread grpc-{index} ended by itself")));
                }
                _ = drain.changed() => break,
            };
            match accepted.and_then(|(socket, peer)| Ok((socket.into_std()?, peer))) {
                Ok((socket, peer)) => hands.give(socket, peer),
                // Out of file descriptors, or a peer gone before its turn: the next one may fare better.
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
        // The system took these for us, and their clients may have sent calls: a closed listener would reset them.
        let listener = listener.into_std()?;
        while let Ok((socket, peer)) = listener.accept() {
            hands.give(socket, peer);
        }
        drop((listener, hands));
        let threads: Vec<_> = self.workers.into_iter().map(Worker::closed).collect();
        let joined =
            tokio::task::spawn_blocking(|| threads.into_iter().try_for_each(thread::JoinHandle::join)).await;
        match joined {
            Ok(Ok(())) => Ok(self.counts.cut.load(Ordering::Relaxed)),
            _ => Err(io::Error::other("a worker ended by a panic")),
        }
    }
}

/// Hands sockets to the workers in turn.
struct HandOver {
    sockets: Vec<mpsc::UnboundedSender<Accepted>>,
    turn: usize,
    limits: ConnectionLimits,
    counts: Arc<Counts>,
    metrics: Arc<Metrics>,
}

impl HandOver {
    fn give(&mut self, socket: TcpStream, peer: SocketAddr) {
        if self.counts.open.load(Ordering::Relaxed) >= self.limits.connections {
            self.metrics.shed(Shed::Connections, 1);
            debug!(%peer, "connection refused: limits.max_connections are open");
            return;
        }
        self.counts.open.fetch_add(1, Ordering::Relaxed);
        // A worker ends only when nobody can give it anything any more.
        let accepted = Accepted {
            socket,
            address: peer,
        };
        drop(self.sockets[self.turn % self.sockets.len()].send(accepted));
        self.turn = self.turn.wrapping_add(1);
    }
}
