//! One connection: HTTP/2 on a socket, until its peer, its age or the drain ends it.
//!
//! ```text
//! age, drain, certificate that is trusted no longer --> GOAWAY, streams told --> calls finish --> closed
//!                                                              `-- grace or deadline passed --> cut
//! ```

use std::{pin::pin, sync::atomic::Ordering, time::Duration};

use hyper::{
    rt::{Read, Write},
    server::conn::http2,
};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rand::RngExt as _;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::debug;

use super::{ConnectionLimits, ConnectionService, Shared};
use crate::service::ending::{EndStreams, Why};

/// A connection that is to be served.
pub(super) struct Connection<S> {
    /// Answers its calls.
    pub(super) service: S,
    pub(super) shared: Shared,
    /// Tells its streams.
    pub(super) end: EndStreams,
}

impl<S: ConnectionService> Connection<S> {
    /// Serves it to its end, which begins when `untrusted` completes: its peer's certificate is trusted no longer.
    pub(super) async fn run(
        self,
        io: impl Read + Write + Unpin + Send + 'static,
        untrusted: impl Future<Output = ()>,
    ) {
        let Self { service, shared, end } = self;
        let Shared {
            limits,
            tls: _,
            mut drain,
            counts,
        } = shared;
        let mut connection = pin!(http2(&limits).serve_connection(io, service));
        let (mut aged, mut untrusted) = (pin!(aged(limits.age)), pin!(untrusted));
        let (mut draining, mut is_trusted, mut cut_at) = (false, true, None::<Instant>);
        loop {
            let cut = async {
                match cut_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let (why, time) = tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        debug!(%error, "a connection ended with an error");
                    }
                    return;
                }
                // A sender that is gone has nobody left to serve.
                () = async { drop(drain.wait_for(|drain| *drain).await) }, if !draining => {
                    draining = true;
                    (Why::Draining, limits.drain_deadline)
                }
                () = aged.as_mut(), if cut_at.is_none() => (Why::Aged, limits.age_grace),
                () = untrusted.as_mut(), if is_trusted => {
                    is_trusted = false;
                    (Why::Untrusted, limits.age_grace)
                }
                () = cut => {
                    if draining {
                        counts.cut.fetch_add(1, Ordering::Relaxed);
                    } else {
                        debug!("calls were still in flight at limits.max_connection_age_grace: connection closed");
                    }
                    return;
                }
            };
            let cut = Instant::now() + time;
            cut_at = Some(cut_at.map_or(cut, |earlier| earlier.min(cut)));
            // Calls that cross the GOAWAY on their way are served: it names no last one until the peer has seen it.
            connection.as_mut().graceful_shutdown();
            // Who has much to do leaves off before it is cut.
            end.begin(why, Instant::now() + time / 2);
        }
    }
}

fn http2(limits: &ConnectionLimits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header_bytes);
    if !limits.keepalive_interval.is_zero() {
        builder
            .keep_alive_interval(limits.keepalive_interval)
            .keep_alive_timeout(limits.keepalive_timeout);
    }
    builder
}

/// Completes at that age, give or take a tenth: connections that began together do not end together.
async fn aged(age: Duration) {
    if age.is_zero() {
        std::future::pending::<()>().await;
    } else {
        let age = age.mul_f64(rand::rng().random_range(0.9..=1.1));
        sleep(age).await;
    }
}
