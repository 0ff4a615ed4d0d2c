//! How a service stops: its steps in their order, each with its bound.
//!
//! ```text
//! propagation   unready, and serving                                       drain.propagation
//! calls         GOAWAY; calls finish, watches and streams end              drain.deadline
//! feed          who still changes something ends                           half of drain.flush
//! flush         audit log and shipments to the store                       the rest of drain.flush
//! snapshot      the snapshot file                                          drain.snapshot
//! ```
//!
//! What does not end within its bound is named and left behind: the process ends in the sum of the bounds, whatever hangs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tracing::{error, info, warn};

use super::{feed::SNAPSHOT, parts::Parts, settings::DrainSettings, traces};
use crate::{background, service::health::Health, shipments::Shipments};

/// The parts that answer calls.
const CALLS: [&str; 3] = ["grpc", "json", "http"];
/// The parts that write and send what the others leave: only once those have ended is there nothing more to come.
const FLUSH: [&str; 3] = ["audit", "shipping", "saving"];
/// Calls are cut by who answers them; only who does not come to it is left behind.
const TO_CUT: Duration = Duration::from_millis(500);

/// How a service stopped that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Nothing was cut, everything is where it belongs.
    InOrder,
    /// Calls were still in flight at `drain.deadline`.
    CallsCut,
    /// Something was not flushed, or a part was left behind: the data folder is still needed.
    DataLeft,
}

/// What tells the parts to end, in this order.
#[derive(Debug, Default)]
pub(super) struct Stops {
    /// Calls finish.
    pub(super) calls: watch::Sender<bool>,
    /// Everything ends that still changes something.
    pub(super) rest: watch::Sender<bool>,
    /// What is left is written and sent.
    pub(super) flush: watch::Sender<bool>,
    /// The snapshot file is written for the last time.
    pub(super) snapshot: watch::Sender<bool>,
}

/// Everything that the steps need.
#[derive(Debug)]
pub(super) struct Drain {
    pub(super) bounds: DrainSettings,
    pub(super) stops: Stops,
    pub(super) health: Arc<Health>,
    pub(super) shipments: Arc<Shipments>,
    /// Counts connections that were cut with calls in flight.
    pub(super) cut: Arc<AtomicUsize>,
    /// Spans that are not sent yet are sent last.
    pub(super) traces: Option<SdkTracerProvider>,
}

impl Drain {
    /// Goes through the steps. `asked`: nothing has failed; `again` completes when nobody wants to wait for callers to go.
    pub(super) async fn run(
        self,
        mut parts: Parts,
        asked: bool,
        again: impl Future<Output = ()>,
    ) -> anyhow::Result<Stopped> {
        let Self {
            bounds,
            stops,
            health,
            shipments,
            cut,
            traces,
        } = self;
        info!("draining");
        health.drain();
        // Before there is data nobody has an answer to lose.
        if asked && health.has_started() {
            // Callers see that we are not ready and go elsewhere; until they do, they are served.
            let begun = Instant::now();
            tokio::select! {
                () = sleep(bounds.propagation.get()) => {}
                () = again => info!("told again: callers are not waited for"),
                () = parts.first_end() => {}
            }
            done("propagation", begun);
        }
        shipments.end_watches();
        let calls = bounds.deadline.get() + TO_CUT;
        step(
            &mut parts,
            "calls",
            &stops.calls,
            |name| CALLS.contains(&name),
            calls,
        )
        .await;
        let is_last = |name: &str| name == SNAPSHOT || FLUSH.contains(&name);
        background::hurry();
        let (begun, flush) = (Instant::now(), bounds.flush.get());
        step(&mut parts, "feed", &stops.rest, |name| !is_last(name), flush / 2).await;
        let left = flush.saturating_sub(begun.elapsed());
        step(&mut parts, "flush", &stops.flush, |name| name != SNAPSHOT, left).await;
        step(
            &mut parts,
            "snapshot",
            &stops.snapshot,
            |_| true,
            bounds.snapshot.get(),
        )
        .await;
        if let Some(traces) = traces {
            traces::flush(traces).await;
        }
        let left = parts.outcome()?;
        let cut = cut.load(Ordering::Relaxed);
        Ok(if !left.is_empty() {
            error!(
                left = left.join(", "),
                cut, "stopped, but not everything is flushed"
            );
            Stopped::DataLeft
        } else if cut > 0 {
            warn!(cut, "stopped, but connections were cut with calls in flight");
            Stopped::CallsCut
        } else {
            info!("stopped");
            Stopped::InOrder
        })
    }
}

async fn step(
    parts: &mut Parts,
    name: &'static str,
    stop: &watch::Sender<bool>,
    which: impl Fn(&str) -> bool,
    bound: Duration,
) {
    let begun = Instant::now();
    stop.send_replace(true);
    parts.ended(which, bound).await;
    done(name, begun);
}

fn done(step: &'static str, begun: Instant) {
    info!(step, seconds = begun.elapsed().as_secs_f64(), "drained");
}
