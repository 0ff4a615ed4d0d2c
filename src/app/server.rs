//! The gRPC server: one acceptor hands sockets round-robin to one single-threaded runtime a core.
//!
//! A multi-threaded runtime costs about twice the CPU a call: the woken connection task jumps the queue and writes
//! reply by reply. An own accept loop also spreads few connections evenly, which `SO_REUSEPORT` does not, and leaves
//! shutdown (GOAWAY, then a bounded wait) in our hands.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use http::Request;
use hyper::{body::Incoming, server::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tracing::{debug, warn};

use super::settings::LimitSettings;
use crate::metrics::{Metrics, Shed};

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
}

impl From<&LimitSettings> for ConnectionLimits {
    fn from(limits: &LimitSettings) -> Self {
        Self {
            connections: limits.max_connections,
            streams: limits.max_concurrent_streams,
            header_bytes: limits.max_header_bytes,
            keepalive_interval: limits.keepalive_interval.get(),
            keepalive_timeout: limits.keepalive_timeout.get(),
        }
    }
}

/// A service that a worker can run a copy of for each connection.
pub trait ConnectionService:
    hyper::service::Service<
        Request<Incoming>,
        Response = http::Response<tonic::body::Body>,
        Error = std::convert::Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static
{
}

impl<S> ConnectionService for S where
    S: hyper::service::Service<
            Request<Incoming>,
            Response = http::Response<tonic::body::Body>,
            Error = std::convert::Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static
{
}

/// What one worker runs.
pub struct WorkerService<S> {
    /// Answers calls; cloned for each connection.
    pub service: S,
    /// Runs beside the connections, on the same thread, until they have ended.
    pub beside: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<S> std::fmt::Debug for WorkerService<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerService").finish_non_exhaustive()
    }
}

/// A bound listener with its workers.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    workers: Vec<Worker>,
    limits: ConnectionLimits,
    open: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Worker {
    sockets: mpsc::UnboundedSender<TcpStream>,
    thread: thread::JoinHandle<()>,
}

impl Server {
    /// Binds the address and starts the workers; nothing is accepted yet.
    ///
    /// `service` is asked once for each worker. `drain` turns true when connections are to finish; each then has `drain_deadline` for its calls in flight.
    pub fn bind<S: ConnectionService>(
        address: SocketAddr,
        workers: usize,
        limits: ConnectionLimits,
        mut service: impl FnMut() -> WorkerService<S>,
        drain: &watch::Receiver<bool>,
        drain_deadline: Duration,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)
            .map_err(|error| io::Error::new(error.kind(), format!("server.grpc_addr {address}: {error}")))?;
        listener.set_nonblocking(true)?;
        let open = Arc::new(AtomicUsize::new(0));
        let mut running = Vec::with_capacity(workers);
        for index in 0..workers {
            let (sockets, received) = mpsc::unbounded_channel();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let WorkerService { service, beside } = service();
            let connections = Connections {
                service,
                limits: limits.clone(),
                drain: drain.clone(),
                drain_deadline,
                open: Arc::clone(&open),
            };
            let thread = thread::Builder::new()
                .name(format!("grpc-{index}"))
                .spawn(move || {
                    runtime.block_on(async {
                        let mut besides = JoinSet::new();
                        besides.spawn(beside);
                        connections.run(received).await;
                    });
                })?;
            running.push(Worker { sockets, thread });
        }
        Ok(Self {
            listener,
            workers: running,
            limits,
            open,
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

    /// Accepts connections until `drain` turns true, then waits for the workers to finish theirs.
    pub async fn run(self, mut drain: watch::Receiver<bool>) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let mut turn = 0_usize;
        while !*drain.borrow() {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = drain.changed() => break,
            };
            match accepted {
                Ok((socket, peer)) => {
                    if self.open.load(Ordering::Relaxed) >= self.limits.connections {
                        self.metrics.shed(Shed::Connections, 1);
                        debug!(%peer, "connection refused: limits.max_connections are open");
                        continue;
                    }
                    if let Ok(socket) = socket.into_std() {
                        self.open.fetch_add(1, Ordering::Relaxed);
                        // A worker ends only after draining, when nothing is accepted any more.
                        drop(self.workers[turn % self.workers.len()].sockets.send(socket));
                        turn = turn.wrapping_add(1);
                    }
                }
                // Out of file descriptors, or a peer gone before its turn: the next one may fare better.
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
        drop(listener);
        let workers = self
            .workers
            .into_iter()
            .map(|worker| worker.thread)
            .collect::<Vec<_>>();
        let joined =
            tokio::task::spawn_blocking(|| workers.into_iter().try_for_each(thread::JoinHandle::join)).await;
        match joined {
            Ok(Ok(())) => Ok(()),
            _ => Err(io::Error::other("a worker ended by a panic")),
        }
    }
}

/// One worker's connections.
struct Connections<S> {
    service: S,
    limits: ConnectionLimits,
    drain: watch::Receiver<bool>,
    drain_deadline: Duration,
    open: Arc<AtomicUsize>,
}

impl<S: ConnectionService> Connections<S> {
    async fn run(mut self, mut sockets: mpsc::UnboundedReceiver<TcpStream>) {
        let mut connections = JoinSet::new();
        while !*self.drain.borrow() {
            tokio::select! {
                socket = sockets.recv() => match socket {
                    Some(socket) => drop(connections.spawn(self.serve(socket))),
                    None => break,
                },
                Some(_) = connections.join_next() => {}
                _ = self.drain.changed() => {}
            }
        }
        while connections.join_next().await.is_some() {}
    }

    fn serve(&self, socket: TcpStream) -> impl Future<Output = ()> + Send + 'static {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.streams)
            .max_header_list_size(self.limits.header_bytes);
        if !self.limits.keepalive_interval.is_zero() {
            builder
                .keep_alive_interval(self.limits.keepalive_interval)
                .keep_alive_timeout(self.limits.keepalive_timeout);
        }
        let (service, mut drain, deadline) = (self.service.clone(), self.drain.clone(), self.drain_deadline);
        let open = Open(Arc::clone(&self.open));
        async move {
            let _open = open;
            let socket = match socket
                .set_nodelay(true)
                .and_then(|()| tokio::net::TcpStream::from_std(socket))
            {
                Ok(socket) => socket,
                Err(error) => {
                    debug!(%error, "a connection was lost before it was served");
                    return;
                }
            };
            let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = async { drop(drain.wait_for(|&drain| drain).await) } => {
                    connection.as_mut().graceful_shutdown();
                    if let Ok(ended) = tokio::time::timeout(deadline, connection).await { ended } else {
                        warn!("calls were still in flight at drain.deadline: connection closed");
                        return;
                    }
                }
            };
            if let Err(error) = ended {
                debug!(%error, "a connection ended with an error");
            }
        }
    }
}

/// Counts a connection as open until it is dropped.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
