//! The gRPC server: one acceptor hands sockets round-robin to one single-threaded runtime a core.
//!
//! ```text
//! Server: accepts --gate--> worker (a thread): TLS, serves --> connection: HTTP/2, its age and its end
//!                                                                 |-- guarded: what is read and written, frame by frame
//!                                                                 |-- vigil: who keeps it without using it
//!                                                                 `-- tasks: its calls
//! ```
//!
//! A multi-threaded runtime costs about twice the CPU a call: the woken connection task jumps the queue and writes
//! reply by reply. An own accept loop also spreads few connections evenly, which `SO_REUSEPORT` does not, and leaves
//! the end of a connection (GOAWAY, then a bounded wait) in our hands.

mod connection;
mod frames;
mod gate;
mod guarded;
mod limits;
mod tasks;
mod vigil;
mod worker;

pub use limits::ConnectionLimits;

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use http::Request;
use hyper::body::Incoming;
use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use self::{
    gate::{Gate, Open},
    worker::Worker,
};
use crate::{
    access::Peer,
    metrics::Metrics,
    service::{admission::Conduct, body::AnswerBody, ending::Ending},
    trust::Acceptor,
};

/// A service that answers the calls of one connection.
pub trait ConnectionService:
    hyper::service::Service<
        Request<Incoming>,
        Response = http::Response<AnswerBody>,
        Error = std::convert::Infallible,
        Future: Send + 'static,
    > + Send
    + 'static
{
}

impl<S> ConnectionService for S where
    S: hyper::service::Service<
            Request<Incoming>,
            Response = http::Response<AnswerBody>,
            Error = std::convert::Infallible,
            Future: Send + 'static,
        > + Send
        + 'static
{
}

/// What one worker runs.
pub struct WorkerService<S> {
    /// Makes what answers the calls of a connection with that peer, which tells its streams when it is to end.
    pub service: Arc<dyn Fn(Ending, Peer, Arc<Conduct>) -> S + Send + Sync>,
    /// Counts the calls that are open on the thread.
    pub load: Arc<AtomicUsize>,
    /// Called when the thread has nothing to do.
    pub rest: Box<dyn Fn() + Send + Sync>,
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
    /// Connections that were closed by the drain with calls in flight.
    cut: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

/// A bound listener with its workers.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    workers: Vec<Worker>,
    gate: Arc<Gate>,
    cut: Arc<AtomicUsize>,
    ended: mpsc::UnboundedReceiver<usize>,
    metrics: Arc<Metrics>,
}

/// A socket on its way to a worker.
#[derive(Debug)]
struct Accepted {
    socket: TcpStream,
    /// Of the peer.
    address: SocketAddr,
    open: Open,
}

impl Server {
    /// Binds the address and starts the workers; nothing is accepted yet.
    ///
    /// Connections speak TLS where there is `tls`. `service` is asked once for each worker; what is refused or cut is counted in
    /// `metrics`. `drain` turns true when connections are to finish.
    pub fn bind<S: ConnectionService>(
        address: SocketAddr,
        workers: usize,
        limits: ConnectionLimits,
        tls: Option<&Acceptor>,
        metrics: Arc<Metrics>,
        mut service: impl FnMut() -> WorkerService<S>,
        drain: &watch::Receiver<bool>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)
            .map_err(|error| io::Error::new(error.kind(), format!("server.grpc_addr {address}: {error}")))?;
        listener.set_nonblocking(true)?;
        let cut = Arc::new(AtomicUsize::new(0));
        let (end, ended) = mpsc::unbounded_channel();
        let workers = (0..workers)
            .map(|index| {
                let shared = Shared {
                    limits: limits.clone(),
                    tls: tls.cloned(),
                    drain: drain.clone(),
                    cut: Arc::clone(&cut),
                    metrics: Arc::clone(&metrics),
                };
                worker::start(index, service(), shared, end.clone())
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            listener,
            workers,
            gate: Arc::new(Gate::new(limits, Arc::clone(&metrics))),
            cut,
            ended,
            metrics,
        })
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
            gate: self.gate,
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
            Ok(Ok(())) => Ok(self.cut.load(Ordering::Relaxed)),
            _ => Err(io::Error::other("a worker ended by a panic")),
        }
    }
}

/// Hands sockets to the workers in turn.
struct HandOver {
    sockets: Vec<mpsc::UnboundedSender<Accepted>>,
    turn: usize,
    gate: Arc<Gate>,
    metrics: Arc<Metrics>,
}

impl HandOver {
    fn give(&mut self, socket: TcpStream, peer: SocketAddr) {
        let open = match self.gate.enter(peer.ip(), Instant::now()) {
            Ok(open) => open,
            Err(cause) => {
                self.metrics.shed(cause, 1);
                debug!(%peer, ?cause, "connection refused");
                return;
            }
        };
        // A worker ends only when nobody can give it anything any more.
        let accepted = Accepted {
            socket,
            address: peer,
            open,
        };
        drop(self.sockets[self.turn % self.sockets.len()].send(accepted));
        self.turn = self.turn.wrapping_add(1);
    }
}
