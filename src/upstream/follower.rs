//! Keeps the registry up to the store's head, and says what it sees.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use rand::RngExt as _;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::{Poll, UpstreamError, sqlite::Reader};
use crate::registry::{FreshnessClock, Generation, Position, Registry};

/// Longest wait between two tries while the store cannot be reached.
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// How often the log is trimmed.
const TRIM_EVERY: Duration = Duration::from_hours(1);

/// What the follower has seen, for whoever asks.
#[derive(Debug)]
pub struct FeedStatus {
    /// How old the data is.
    pub clock: FreshnessClock,
    position: watch::Sender<Option<Position>>,
    ready: AtomicBool,
    told: Mutex<Told>,
}

/// The parts of the status that change seldom.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// The last problem, until it is over; empty when there is none.
    pub last_error: String,
    /// Since when the registry has been ready, or not.
    pub since: Option<SystemTime>,
}

impl Default for FeedStatus {
    fn default() -> Self {
        Self {
            clock: FreshnessClock::default(),
            position: watch::Sender::new(None),
            ready: AtomicBool::new(false),
            told: Mutex::new(Told {
                last_error: String::new(),
                since: Some(SystemTime::now()),
            }),
        }
    }
}

impl FeedStatus {
    /// Whether the registry has caught up with a head and holds enough to decide on.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// The position in force, and a notice of each new one.
    pub fn positions(&self) -> watch::Receiver<Option<Position>> {
        self.position.subscribe()
    }

    /// The last problem and since when the registry has been ready or not.
    pub fn told(&self) -> Told {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tell(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn set_ready(&self, ready: bool) {
        if self.ready.swap(ready, Ordering::AcqRel) != ready {
            self.tell(|told| told.since = Some(SystemTime::now()));
        }
    }
}

/// How the follower works.
#[derive(Debug, Clone, Copy)]
pub struct FollowerSettings {
    /// Between two looks at the head.
    pub poll_interval: Duration,
    /// Fewer registered enterprises than this are no data.
    pub min_enterprises: u64,
    /// How long log rows are kept.
    pub change_log_retention: Duration,
}

/// The follower: one task, the registry's only writer.
#[derive(Debug)]
pub struct Follower {
    /// The store.
    pub reader: Reader,
    /// What it keeps up to date.
    pub registry: Arc<Registry>,
    /// What it says.
    pub status: Arc<FeedStatus>,
    /// How it works.
    pub settings: FollowerSettings,
}

impl Follower {
    /// Follows the store until `stop` turns true. Blocks its thread while it reads: it has one of its own.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut failures = 0_u32;
        let mut trimmed = None;
        while !*stop.borrow() {
            let wait = match self.step() {
                Ok(()) => {
                    if failures > 0 {
                        info!(failures, "upstream answers again");
                        self.status.tell(|told| told.last_error.clear());
                    }
                    failures = 0;
                    self.trim(&mut trimmed);
                    self.settings.poll_interval
                }
                Err(problem) => {
                    if failures == 0 {
                        warn!(%problem, "upstream does not answer; the last good data stays in force");
                    }
                    self.status.tell(|told| told.last_error = problem.to_string());
                    failures = failures.saturating_add(1);
                    backoff(failures)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// One look at the head, and whatever follows from it.
    fn step(&mut self) -> Result<(), UpstreamError> {
        // Age counts from when we asked, not from when the answer came.
        let (asked, asked_wall) = (Instant::now(), SystemTime::now());
        let Some(generation) = self.registry.current() else {
            return self.snapshot("first", asked, asked_wall);
        };
        match self.reader.poll(&generation.position())? {
            Poll::UpToDate => {}
            Poll::Changes { changes, sequence } => {
                for change in &changes {
                    if let Some(reason) = &change.unreadable {
                        let entity = change.row.entity().name();
                        warn!(entity, key = %change.key, reason, "row quarantined on the strict side");
                    }
                }
                generation.commit(&changes, sequence);
                self.in_force(&generation);
            }
            Poll::Resync(cause) => {
                warn!(
                    cause = cause.name(),
                    "the change log cannot be followed: taking a fresh snapshot"
                );
                return self.snapshot(cause.name(), asked, asked_wall);
            }
        }
        self.status.clock.confirm(asked, asked_wall);
        Ok(())
    }

    fn snapshot(&mut self, cause: &str, asked: Instant, asked_wall: SystemTime) -> Result<(), UpstreamError> {
        let generation = self.reader.snapshot()?;
        let position = generation.position();
        let enterprises = generation.enterprise_count();
        let quarantined = generation.quarantined_count();
        let former = self.registry.replace(Arc::clone(&generation));
        self.in_force(&generation);
        self.status.clock.confirm(asked, asked_wall);
        info!(
            cause,
            epoch = %position.epoch,
            sequence = position.sequence,
            enterprises,
            quarantined,
            seconds = asked.elapsed().as_secs_f64(),
            "registry snapshot in force"
        );
        // Requests may still hold the former one; here is where it is freed, not in one of them.
        drop(former);
        Ok(())
    }

    /// Tells everybody where the generation in force stands now.
    fn in_force(&self, generation: &Generation) {
        let enough = generation.enterprise_count() >= self.settings.min_enterprises;
        if !enough && self.status.is_ready() {
            error!("the registry has too few enterprises to decide on: not ready");
        }
        self.status.set_ready(enough);
        self.status.tell(|told| {
            told.last_error = if enough {
                String::new()
            } else {
                format!(
                    "fewer than {} enterprises: not ready",
                    self.settings.min_enterprises
                )
            };
        });
        self.status.position.send_replace(Some(generation.position()));
    }

    fn trim(&self, trimmed: &mut Option<Instant>) {
        if trimmed.is_some_and(|last| last.elapsed() < TRIM_EVERY) {
            return;
        }
        *trimmed = Some(Instant::now());
        match self.reader.trim(self.settings.change_log_retention) {
            Ok(0) => {}
            Ok(rows) => info!(rows, "change log trimmed"),
            Err(problem) => warn!(%problem, "change log not trimmed"),
        }
    }
}

/// Doubles from 50 ms up to [`MAX_BACKOFF`], half of it by chance, so that replicas do not come back together.
fn backoff(failures: u32) -> Duration {
    let ceiling = Duration::from_millis(50)
        .saturating_mul(1 << failures.min(10))
        .min(MAX_BACKOFF);
    ceiling.mul_f64(rand::rng().random_range(0.5..=1.0))
}
