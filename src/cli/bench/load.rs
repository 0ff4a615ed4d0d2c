//! The load itself: calls at their instants.
//!
//! Each thread has connections and a share of the rate of its own. Between two calls that are further apart than a timer is
//! exact it sleeps; else it turns, so that calls leave when they should: a thread keeps a core busy.

use std::{
    cell::{Cell, RefCell},
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
    line::{Connection, Due, Line},
    sample::Sample,
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
                };
                scope.spawn(move || {
                    let _running = running;
                    client::block_on(LocalSet::new().run_until(thread.run(context)))
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
}

impl Thread<'_> {
    async fn run(self, context: &Context) -> anyhow::Result<Sample> {
        let Self { plan, .. } = self;
        let sample = Rc::new(RefCell::new(Sample::new()?));
        let mut connections = Vec::with_capacity(self.connections);
        for _ in 0..self.connections {
            let channel = client::connect(context).await?;
            let connection = Connection::new(channel, plan, self.declarations, &sample);
            connections.push(Line::open(connection).await?);
        }
        let begin = Instant::now();
        match plan.arrivals {
            Arrivals::Rate(rate) => self.at_rate(rate, &connections, begin).await,
            Arrivals::OnAnswer { each } => self.on_answer(each, &connections, begin).await,
        }
        drop(connections);
        let mut sample = sample.borrow().clone();
        sample.took = plan.duration;
        Ok(sample)
    }

    /// Lets calls leave at a constant rate, then waits for the answers.
    async fn at_rate(self, rate: f64, lines: &[Line], begin: Instant) {
        let Self {
            plan, index, threads, ..
        } = self;
        let calls = rate / count(plan.each_call());
        let (between, end) = (1.0 / calls, begin + plan.whole());
        let mut under_way = JoinSet::new();
        // Threads take turns, so that together they are one even stream.
        for turn in 0_u64.. {
            let number = turn * threads as u64 + index as u64;
            #[expect(clippy::cast_precision_loss, reason = "exact to 2^53 calls")]
            let at = begin + Duration::from_secs_f64(number as f64 * between);
            if at >= end {
                break;
            }
            wait_until(at, &mut under_way).await;
            let due = Due {
                at,
                first: number * plan.each_call() as u64,
                counts: at >= begin + plan.warm_up,
            };
            let line = &lines[usize::try_from(turn).unwrap_or_default() % lines.len()];
            line.send(due, &mut under_way);
        }
        let answered = async {
            while under_way.join_next().await.is_some() {}
            for line in lines {
                line.is_empty().await;
            }
        };
        // Every call has a bound of its own; streams have not.
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

/// Waits for an instant, exactly; takes the ends of calls meanwhile.
async fn wait_until(at: Instant, under_way: &mut JoinSet<()>) {
    loop {
        while under_way.try_join_next().is_some() {}
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
