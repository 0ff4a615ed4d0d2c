//! One worker: a thread that serves the connections it is given.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    sync::{Arc, atomic::AtomicUsize},
    thread,
};

use tokio::{
    sync::mpsc,
    task::{JoinSet, yield_now},
};
use tracing::debug;

use super::{Accepted, ConnectionService, Shared, WorkerService, connection::Connection};
use crate::{
    access::Peer,
    service::{
        admission::Conduct,
        ending::{self, Ending},
    },
    trust::{Acceptor, Established, Standing},
};

/// A worker that runs.
#[derive(Debug)]
pub(super) struct Worker {
    /// Takes connections, for as long as anybody holds it.
    pub(super) sockets: mpsc::UnboundedSender<Accepted>,
    thread: thread::JoinHandle<()>,
}

impl Worker {
    /// Gives it nothing more; its thread ends with its last connection.
    pub(super) fn closed(self) -> thread::JoinHandle<()> {
        self.thread
    }
}

/// Starts a worker, whose number is sent to `end` when it ends, by a panic too.
pub(super) fn start<S: ConnectionService>(
    index: usize,
    service: WorkerService<S>,
    shared: Shared,
    end: mpsc::UnboundedSender<usize>,
) -> io::Result<Worker> {
    let (sockets, received) = mpsc::unbounded_channel();
    let WorkerService {
        service,
        load,
        rest,
        beside,
    } = service;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(rest)
        .build()?;
    let connections = Connections {
        service,
        load,
        shared,
    };
    let thread = thread::Builder::new()
        .name(format!("grpc-{index}"))
        .spawn(move || {
            let _end = End(index, end);
            runtime.block_on(async {
                let mut besides = JoinSet::new();
                besides.spawn(beside);
                tokio::select! {
                    () = connections.run(received) => {}
                    // Without it no call would be answered any more.
                    _ = besides.join_next() => {}
                }
            });
        })?;
    Ok(Worker { sockets, thread })
}

/// Tells that a worker has ended.
struct End(usize, mpsc::UnboundedSender<usize>);

impl Drop for End {
    fn drop(&mut self) {
        // Nobody listens any more once all of them are to end.
        let _listening = self.1.send(self.0);
    }
}

/// One worker's connections.
struct Connections<S> {
    service: Arc<dyn Fn(Ending, Peer, Arc<Conduct>) -> S + Send + Sync>,
    load: Arc<AtomicUsize>,
    shared: Shared,
}

impl<S: ConnectionService> Connections<S> {
    async fn run(self, mut sockets: mpsc::UnboundedReceiver<Accepted>) {
        let mut serving = JoinSet::new();
        loop {
            tokio::select! {
                accepted = sockets.recv() => match accepted {
                    Some(accepted) => {
                        drop(serving.spawn(self.serve(accepted)));
                        // Calls have their turn between two of many connections that come at once.
                        yield_now().await;
                    }
                    None => break,
                },
                Some(_) = serving.join_next() => {}
            }
        }
        while serving.join_next().await.is_some() {}
    }

    fn serve(&self, accepted: Accepted) -> impl Future<Output = ()> + Send + use<S> {
        let Accepted {
            socket,
            address,
            open,
        } = accepted;
        let (service, shared) = (Arc::clone(&self.service), self.shared.clone());
        let conduct = Arc::new(Conduct::new(Arc::clone(&self.load), shared.limits.resets));
        async move {
            let _open = open;
            let socket = match adopted(socket) {
                Ok(socket) => socket,
                Err(error) => return debug!(%error, "a connection was lost before it was served"),
            };
            let (end, ending) = ending::of_connection();
            let connection = |peer, shared| Connection {
                service: service(ending, peer, Arc::clone(&conduct)),
                shared,
                end,
                conduct,
            };
            let Some(tls) = shared.tls.clone() else {
                let peer = Peer {
                    address,
                    certificate: None,
                };
                let connection = connection(peer, shared);
                return connection.run(socket, Standing::of_nobody().lost()).await;
            };
            let Some(Established {
                stream,
                certificate,
                standing,
            }) = shaken(&tls, socket, address, &shared).await
            else {
                return;
            };
            let peer = Peer { address, certificate };
            let connection = connection(peer, shared);
            connection.run(stream, standing.lost()).await;
        }
    }
}

/// A connection over TLS. A drain does not wait for who stalls.
async fn shaken(
    tls: &Acceptor,
    socket: tokio::net::TcpStream,
    address: SocketAddr,
    shared: &Shared,
) -> Option<Established<tokio::net::TcpStream>> {
    let mut drain = shared.drain.clone();
    tokio::select! {
        established = tls.accept(socket, address) => established,
        () = async {
            drop(drain.wait_for(|drain| *drain).await);
            tokio::time::sleep(shared.limits.drain_deadline).await;
        } => None,
    }
}

/// The socket on this thread's runtime.
fn adopted(socket: TcpStream) -> io::Result<tokio::net::TcpStream> {
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    tokio::net::TcpStream::from_std(socket)
}
