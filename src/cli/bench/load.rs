//! The load itself: calls at their instants.
//!
//! Each thread has connections and a share of the rate of its own. Between two calls that are further apart than a timer is
//! exact it sleeps; else it turns, so that calls leave when they should: a thread keeps a core busy.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::anyhow;
use indicatif::ProgressBar;
use tokio::{
    task::{JoinSet, LocalSet, yield_now},
    time::{sleep, timeout},
};

use super::{
    declarations::Declarations,
    line::{Calls, Due, Line},
    sample::Sample,
    transport::Endpoint,
};
use crate::cli::{Context, client};

/// How decisions are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Shape {
    /// `Decide`, a call a decision
    #[default]
    Unary,
    /// `BatchDecide`, a call of so many
    Batch,
    /// `DecideStream`, a long one a connection
    Stream,
}

/// When calls leave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Arrivals {
    /// So many decisions a second, whatever becomes of them.
    Rate(f64),
    /// So many calls at once on each connection, one after the other: what the server can do.
    OnAnswer { each: usize },
}

/// What is to be done.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) arrivals: Arrivals,
    /// Before anything counts.
    pub(super) warm_up: Duration,
    pub(super) duration: Duration,
    pub(super) shape: Shape,
    pub(super) batch: usize,
    pub(super) connections: usize,
    pub(super) threads: usize,
    pub(super) timeout: Duration,
}

/// What a timer is exact to.
const TIMER: Duration = Duration::from_micros(1500);
/// Calls that leave together where they are late, before answers are taken.
const MOST_IN_TURN: u64 = 64;
/// Looks at the progress of the load.
const LOOK: Duration = Duration::from_millis(100);

impl Plan {
    /// Warm-up and measurement.
    pub(super) fn whole(&self) -> Duration {
        self.warm_up + self.duration
    }

    /// Decisions of one call.
    pub(super) fn each_call(&self) -> usize {
        match self.shape {
            Shape::Batch => self.batch,
            Shape::Unary | Shape::Stream => 1,
        }
    }
}

/// Carries a plan out; fails where the server cannot be reached.
pub(super) fn run(
    context: &Context,
    plan: &Plan,
    declarations: &Arc<Declarations>,
    bar: &ProgressBar,
) -> anyhow::Result<Sample> {
    let threads = plan.threads.min(plan.connections);
    let to = Arc::new(Endpoint::new(context, plan)?);
    thread::scope(|scope| {
        let started = Instant::now();
        // Disconnected when the last of them has ended.
        let (running, ended) = mpsc::channel::<()>();
        let threads: Vec<_> = (0..threads)
            .map(|index| {
                let running = running.clone();
                let of = |all: usize| all / threads + usize::from(index < all % threads);
                let thread = Thread {
                    plan,
                    index,
                    threads,
                    connections: of(plan.connections),
                    declarations,
                    to: &to,
                };
                scope.spawn(move || {
                    let _running = running;
                    client::block_on(LocalSet::new().run_until(thread.run()))
                })
            })
            .collect();
        drop(running);
        while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            bar.set_position(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
        }
        let mut whole = Sample::new()?;
        for thread in threads {
            let sample = thread
                .join()
                .map_err(|_| anyhow!("a thread of the load panicked"))??;
            whole.add(&sample)?;
        }
        Ok(whole)
    })
}

/// One thread of the load.
#[derive(Clone, Copy)]
struct Thread<'a> {
    plan: &'a Plan,
    index: usize,
    threads: usize,
    connections: usize,
    declarations: &'a Arc<Declarations>,
    to: &'a Arc<Endpoint>,
}

impl Thread<'_> {
    async fn run(self) -> anyhow::Result<Sample> {
        let Self { plan, to, .. } = self;
        let calls = Rc::new(Calls::new(plan, self.declarations)?);
        let mut lines = Vec::with_capacity(self.connections);
        for _ in 0..self.connections {
            lines.push(Line::open(to, &calls).await?);
        }
        let begin = Instant::now();
        match plan.arrivals {
            Arrivals::Rate(rate) => self.at_rate(rate, &lines, &calls, begin).await,
            Arrivals::OnAnswer { each } => self.on_answer(each, &lines, begin).await,
        }
        let mut sample = calls.sample();
        sample.took = plan.duration;
        Ok(sample)
    }

    /// Lets calls leave at a constant rate, then waits for the answers.
    async fn at_rate(self, rate: f64, lines: &[Line], calls: &Calls, begin: Instant) {
        let Self {
            plan, index, threads, ..
        } = self;
        let (between, end) = (count(plan.each_call()) / rate, begin + plan.whole());
        // Threads take turns, so that together they are one even stream.
        for turn in 0_u64.. {
            let number = turn * threads as u64 + index as u64;
            #[expect(clippy::cast_precision_loss, reason = "exact to 2^53 calls")]
            let at = begin + Duration::from_secs_f64(number as f64 * between);
            if at >= end {
                break;
            }
            if turn % MOST_IN_TURN == 0 {
                yield_now().await;
            }
            wait_until(at).await;
            let due = Due {
                at,
                first: number * plan.each_call() as u64,
                counts: at >= begin + plan.warm_up,
            };
            lines[usize::try_from(turn).unwrap_or_default() % lines.len()].send(due);
        }
        // Every call has a bound of its own; streams have not.
        let answered = async {
            while calls.under_way() > 0 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let _late = timeout(plan.timeout + Duration::from_secs(1), answered).await;
        for line in lines {
            line.give_up();
        }
    }

    /// Keeps so many calls under way on each connection.
    async fn on_answer(self, each: usize, lines: &[Line], begin: Instant) {
        let Self {
            plan, index, threads, ..
        } = self;
        let (from, end) = (begin + plan.warm_up, begin + plan.whole());
        let next = Rc::new(Cell::new(index as u64));
        let mut loops = JoinSet::new();
        for line in lines {
            for _ in 0..each {
                let (line, next, step) = (line.clone(), Rc::clone(&next), threads as u64);
                let decisions = plan.each_call() as u64;
                loops.spawn_local(async move {
                    loop {
                        let at = Instant::now();
                        if at >= end {
                            return;
                        }
                        let number = next.replace(next.get() + step);
                        let due = Due {
                            at,
                            first: number * decisions,
                            counts: at >= from,
                        };
                        line.ask(due).await;
                    }
                });
            }
        }
        while loops.join_next().await.is_some() {}
    }
}

#[expect(clippy::cast_precision_loss, reason = "at most 1000")]
fn count(decisions: usize) -> f64 {
    decisions as f64
}

/// Waits for an instant, exactly.
async fn wait_until(at: Instant) {
    loop {
        let now = Instant::now();
        if now >= at {
            return;
        }
        match at.saturating_duration_since(now).checked_sub(TIMER) {
            Some(time) if !time.is_zero() => sleep(time).await,
            Some(_) | None => yield_now().await,
        }
    }
}
