//! One connection: HTTP/2 on a socket, until its peer, its age or the drain ends it.
//!
//! ```text
//! age, drain, certificate that is trusted no longer --> GOAWAY, streams told --> calls finish --> closed once the peer has
//! idle ------------------------------------------------> GOAWAY  |                   |-- none open, and the peer does not close: cut
//!                                                                |                   `-- grace or deadline passed: cut
//! silent, stuck, condemned ----------------------------------------------------------> cut
//! ```

use std::{
    error::Error as _,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use rand::RngExt as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep, sleep_until},
};
use tracing::debug;

use super::{
    ConnectionLimits, ConnectionService, Shared,
    guarded::Guarded,
    tasks::{self, Tasks},
    vigil::{Finding, Vigil},
};
use crate::{
    metrics::Shed,
    service::{
        admission::Conduct,
        ending::{EndStreams, Why},
    },
};

/// How long a peer that was told to go, and has no call open, may take to hear it. Calls cross a GOAWAY for that long at most.
const SILENCE: Duration = Duration::from_secs(1);
/// Calls that may be reset before they were looked at.
const MAX_UNSEEN_RESETS: usize = 100;
/// Calls that may break HTTP/2's rules, or be one too many.
const MAX_BROKEN_STREAMS: usize = 1024;

/// A connection that is to be served.
pub(super) struct Connection<S> {
    /// Answers its calls.
    pub(super) service: S,
    pub(super) shared: Shared,
    /// Tells its streams.
    pub(super) end: EndStreams,
    pub(super) conduct: Arc<Conduct>,
}

/// How far a connection's end has come.
#[derive(Debug, Default)]
struct Leaving {
    draining: bool,
    /// When calls are cut.
    cut_at: Option<Instant>,
    /// When it is looked whether there are any.
    look_at: Option<Instant>,
    /// There was none when that was looked at last: an answer that has just left is still to be heard.
    is_quiet: bool,
}

impl<S: ConnectionService> Connection<S> {
    /// Serves it to its end, which begins when `untrusted` completes: its peer's certificate is trusted no longer.
    pub(super) async fn run(
        self,
        socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        untrusted: impl Future<Output = ()>,
    ) {
        let Self {
            service,
            shared,
            end,
            conduct,
        } = self;
        let Shared {
            limits,
            tls: _,
            mut drain,
            cut,
            metrics,
        } = shared;
        let tasks = Tasks(Arc::new(tasks::Shared {
            conduct: Arc::clone(&conduct),
            stall: limits.stall,
            metrics: Arc::clone(&metrics),
        }));
        let io = TokioIo::new(Guarded::new(socket, Arc::clone(&conduct), limits.control_frames));
        let mut connection = pin!(http2(&limits, tasks).serve_connection(io, service));
        let mut vigil = Vigil::new(Arc::clone(&conduct), &limits);
        let (mut aged, mut untrusted) = (pin!(aged(limits.age)), pin!(untrusted));
        let (mut leaving, mut is_trusted) = (Leaving::default(), true);
        loop {
            let (why, time) = tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        debug!(%error, "a connection ended with an error");
                        if let Some(cause) = abuse(&conduct, &error) {
                            metrics.shed(cause, 1);
                        }
                    }
                    return;
                }
                // A sender that is gone has nobody left to serve.
                () = async { drop(drain.wait_for(|drain| *drain).await) }, if !leaving.draining => {
                    leaving.draining = true;
                    (Why::Draining, limits.drain_deadline)
                }
                () = aged.as_mut(), if leaving.cut_at.is_none() => (Why::Aged, limits.age_grace),
                () = untrusted.as_mut(), if is_trusted => {
                    is_trusted = false;
                    (Why::Untrusted, limits.age_grace)
                }
                finding = vigil.finds(), if leaving.cut_at.is_none() => match finding {
                    Finding::Idle => {
                        debug!("a connection had no call within limits.max_connection_idle");
                        (Why::Aged, limits.age_grace)
                    }
                    Finding::Silent => {
                        metrics.shed(Shed::Preface, 1);
                        return;
                    }
                    Finding::Stuck => {
                        metrics.shed(Shed::Stalled, 1);
                        return;
                    }
                },
                () = at(leaving.look_at) => {
                    let was_quiet = std::mem::replace(&mut leaving.is_quiet, conduct.open_calls() == 0);
                    if was_quiet && leaving.is_quiet {
                        return;
                    }
                    leaving.look_at = Some(Instant::now() + SILENCE);
                    continue;
                }
                () = at(leaving.cut_at) => {
                    if conduct.open_calls() == 0 {
                        debug!("a connection whose calls had ended was not closed by its peer");
                    } else if leaving.draining {
                        cut.fetch_add(1, Ordering::Relaxed);
                    } else {
                        debug!("calls were still in flight at limits.max_connection_age_grace: connection closed");
                    }
                    return;
                }
            };
            if !conduct.is_greeted() {
                // Nothing was said that could be answered.
                return;
            }
            let now = Instant::now();
            let cut = now + time;
            leaving.cut_at = Some(leaving.cut_at.map_or(cut, |earlier| earlier.min(cut)));
            if leaving.look_at.is_none() {
                leaving.look_at = Some(now + SILENCE);
                leaving.is_quiet = conduct.open_calls() == 0;
            }
            // Calls that cross the GOAWAY on their way are served: it names no last one until the peer has seen it.
            connection.as_mut().graceful_shutdown();
            // Who has much to do leaves off before it is cut.
            end.begin(why, now + time / 2);
        }
    }
}

/// What a connection's error is counted as; nothing where its peer only went away.
fn abuse(conduct: &Conduct, error: &hyper::Error) -> Option<Shed> {
    if let Some(condemned) = conduct.condemned() {
        return Some(condemned.shed());
    }
    let of_http2 = error.source()?.downcast_ref::<h2::Error>()?;
    let is_ours = of_http2.is_library() && of_http2.is_go_away();
    (is_ours && of_http2.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM)).then_some(Shed::Protocol)
}

fn http2(limits: &ConnectionLimits, tasks: Tasks) -> http2::Builder<Tasks> {
    let mut builder = http2::Builder::new(tasks);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header_bytes)
        .max_pending_accept_reset_streams(MAX_UNSEEN_RESETS)
        .max_local_error_reset_streams(MAX_BROKEN_STREAMS);
    if !limits.keepalive_interval.is_zero() {
        builder
            .keep_alive_interval(limits.keepalive_interval)
            .keep_alive_timeout(limits.keepalive_timeout);
    }
    builder
}

/// Completes then; never, where there is no such time.
async fn at(time: Option<Instant>) {
    match time {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
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
