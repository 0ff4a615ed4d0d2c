//! Keeps the registry up to the store's head, and says what it sees.
//!
//! ```text
//!            first, epoch, fork, gap, bulk, mismatch          at the head, guard accepts
//!  nothing --------------------------------------> candidate --------------------------> in force --commits--+
//!     ^                                               ^                                     |  ^             |
//!     +-- snapshot file at start ---------------------+      <----- refused: last good stays +  +-------------+
//! ```

mod commits;
mod orders;
mod publish;
mod report;
mod start;
mod trim;

pub use self::{
    commits::{ChangeListener, InForce},
    orders::{OrderChange, OrderListener},
};

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use rand::RngExt as _;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use super::{
    Asked, Commit, Found, MAX_COMMIT_IN_PLACE, ResyncCause, UpstreamError,
    guard::{Drift, DriftGuard, DriftLimits},
    relay::Publisher,
    source::Source,
    status::FeedStatus,
};
use crate::{
    background,
    metrics::Metrics,
    registry::{Change, Generation, Registry},
};

/// Longest wait between two tries while the store cannot be reached.
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// How long what changes lets calls go first before it takes its share of the processor: nobody shall be decided on by
/// yesterday's tier because much is asked.
const COMMIT_PATIENCE: Duration = Duration::from_millis(250);
/// The same of a fresh snapshot, while the former one is in force.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(30);
/// Fewer changes than this are followed rather than taken as a snapshot, however small the registry.
const ALWAYS_FOLLOWED: u64 = 100_000;

/// How the follower works.
#[derive(Debug, Clone, Copy)]
pub struct FollowerSettings {
    /// Fewer registered enterprises than this are no data.
    pub min_enterprises: u64,
    /// How long log rows are kept.
    pub change_log_retention: Duration,
    /// How far a tier may move.
    pub drift: DriftLimits,
    /// Take the first catch-up whatever the drift.
    pub accept_drift: bool,
    /// The age that data counts as whose time of confirmation lies ahead: over the relief limit.
    pub stale_age: Duration,
}

/// The state of an earlier life of this process, from its snapshot file.
#[derive(Debug)]
pub struct FileStart {
    /// What it held.
    pub generation: Arc<Generation>,
    /// When the store had confirmed that last.
    pub confirmed_at: SystemTime,
}

/// A generation on its way to being in force.
#[derive(Debug)]
struct Candidate {
    generation: Arc<Generation>,
    cause: ResyncCause,
    begun: Instant,
}

/// What ended a step early.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("drift: {0}")]
    Drift(#[from] Drift),
    #[error("the store's snapshot ends at {theirs}, before {ours} which is in force")]
    Older { ours: u64, theirs: u64 },
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Look again at once.
    Now,
    /// Look again after this.
    After(Duration),
    /// Look again when the store has news.
    News,
}

/// The follower: one task, the registry's only writer.
#[derive(Debug)]
pub struct Follower {
    source: Source,
    /// Where this is a relay's.
    publisher: Option<Publisher>,
    /// Told of changes of control orders.
    orders: Option<OrderListener>,
    /// Told of everything that comes in force.
    changes: Option<ChangeListener>,
    registry: Arc<Registry>,
    status: Arc<FeedStatus>,
    metrics: Arc<Metrics>,
    settings: FollowerSettings,
    guard: DriftGuard,
    /// From the snapshot file, until something is in force.
    file: Option<FileStart>,
    candidate: Option<Candidate>,
    /// A fresh snapshot is due, and why.
    due: Option<ResyncCause>,
    /// Snapshots taken since something came in force.
    snapshots: u32,
    failures: u32,
    refusals: u32,
    trimmed: Option<Instant>,
}

impl Follower {
    /// A follower of that source.
    pub fn new(
        source: Source,
        registry: Arc<Registry>,
        status: Arc<FeedStatus>,
        metrics: Arc<Metrics>,
        settings: FollowerSettings,
        file: Option<FileStart>,
    ) -> Self {
        let mut guard = DriftGuard::new(settings.drift);
        let candidate = file.as_ref().map(|file| {
            guard.accept(file.generation.tier_counts(), Instant::now());
            Candidate {
                generation: Arc::clone(&file.generation),
                cause: ResyncCause::First,
                begun: Instant::now(),
            }
        });
        Self {
            source,
            publisher: None,
            orders: None,
            changes: None,
            registry,
            status,
            metrics,
            settings,
            guard,
            due: candidate.is_none().then_some(ResyncCause::First),
            file,
            candidate,
            snapshots: 0,
            failures: 0,
            refusals: 0,
            trimmed: None,
        }
    }

    /// Follows the store until `stop` turns true; takes a fresh snapshot whenever `resyncs` asks for one. Blocks its
    /// thread while it reads a file: it has one of its own.
    pub async fn run(mut self, mut resyncs: mpsc::Receiver<ResyncCause>, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            () = self.first_contact() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        while !*stop.borrow() {
            let next = tokio::select! {
                result = self.step() => self.told(result).await,
                _ = stop.changed() => return,
            };
            tokio::select! {
                () = self.idle(next) => {}
                Some(cause) = resyncs.recv() => self.due = self.due.or(Some(cause)),
                _ = stop.changed() => {}
            }
        }
    }

    async fn idle(&mut self, next: Next) {
        match next {
            Next::Now => {}
            Next::After(wait) => tokio::time::sleep(wait).await,
            Next::News => self.source.changed().await,
        }
    }

    /// One look at the store, and whatever follows from it.
    async fn step(&mut self) -> Result<Next, StepError> {
        // The first data is what calls wait for.
        if self.registry.current().is_some() {
            background::begin(match self.due {
                Some(_) => SNAPSHOT_PATIENCE,
                None => COMMIT_PATIENCE,
            });
        }
        if let Some(cause) = self.due {
            let begun = Instant::now();
            let snapshot = self.source.snapshot().await?;
            self.due = None;
            self.snapshots = self.snapshots.saturating_add(1);
            self.resynced(cause, &snapshot.generation, begun.elapsed());
            self.candidate = Some(Candidate {
                generation: snapshot.generation,
                cause,
                begun,
            });
            if let Some(asked) = snapshot.confirmed {
                self.put_in_force(asked)?;
                self.publish_head(asked).await?;
                return Ok(Next::News);
            }
        }
        let held = match &self.candidate {
            Some(candidate) => Some(Arc::clone(&candidate.generation)),
            None => self.registry.current(),
        };
        let Some(held) = held else {
            self.due = Some(ResyncCause::First);
            return Ok(Next::Now);
        };
        let most = (held.enterprise_count() / 4).max(ALWAYS_FOLLOWED);
        let look = self.source.poll(&held.place(), most).await?;
        let mut next = Next::News;
        match look.found {
            Found::Nothing => {}
            Found::Commits(commits) => {
                if self.candidate.is_none() {
                    self.publish(&held, &commits).await?;
                }
                for commit in &commits {
                    if let Some(cause) = self.apply(&held, commit)? {
                        return Ok(self.resync(cause));
                    }
                }
                if look.confirmed.is_none() {
                    next = Next::Now;
                }
            }
            Found::Resync(cause) => return Ok(self.resync(cause)),
        }
        if let Some((sequence, digest)) = look.head_digest
            && let Some(own) = held.digest_at(sequence)
        {
            self.metrics.compared(own == digest);
            if own != digest {
                error!(sequence, %own, upstream = %digest, "the digest differs from upstream's");
                return Ok(self.resync(ResyncCause::Mismatch));
            }
        }
        if let Some(asked) = look.confirmed {
            if self.candidate.is_some() {
                self.put_in_force(asked)?;
            } else {
                self.confirm(asked);
            }
            self.publish_head(asked).await?;
        }
        Ok(next)
    }

    /// Asks for a fresh snapshot.
    fn resync(&mut self, cause: ResyncCause) -> Next {
        warn!(
            cause = cause.name(),
            "the change log cannot be followed: taking a fresh snapshot"
        );
        self.candidate = None;
        if matches!(cause, ResyncCause::Epoch | ResyncCause::Fork) && self.file.take().is_some() {
            let problem = "the snapshot file is of another store or another history";
            error!("{problem}: refused");
            self.refused("foreign", problem.to_owned());
            if cause == ResyncCause::Epoch {
                // Another store's register is no measure of this one.
                self.guard = DriftGuard::new(self.settings.drift);
            }
        }
        self.due = Some(cause);
        match self.snapshots {
            0 => Next::Now,
            again => Next::After(backoff(again, MAX_BACKOFF)),
        }
    }

    /// Applies a commit to what is held; gives why it cannot be, if so.
    fn apply(&mut self, held: &Generation, commit: &Commit) -> Result<Option<ResyncCause>, StepError> {
        let in_place = self.candidate.is_none();
        if in_place && commit.entries.len() > MAX_COMMIT_IN_PLACE {
            return Ok(Some(ResyncCause::Bulk));
        }
        let changes: Vec<Change> = commit
            .entries
            .iter()
            .inspect(|_| background::give_way())
            .filter_map(super::log::LogEntry::change)
            .collect();
        // What the snapshot file held is put in force as it is when the store's own data is refused: it must not have
        // taken the refused commits in by then.
        let checked = in_place || (self.file.is_some() && !self.settings.accept_drift);
        if checked {
            self.guard.check_commit(held, &changes)?;
        }
        for change in &changes {
            if let Some(reason) = &change.unreadable {
                let entity = change.row.entity().name();
                warn!(entity, key = %change.key, reason, "row quarantined on the strict side");
            }
        }
        held.commit(&changes, commit.sequence(), commit.mark);
        if checked {
            self.guard.settle(held.tier_counts(), Instant::now());
        }
        if in_place {
            self.tell_orders(held, commit);
            self.tell_changes(InForce::Commit(&changes));
            self.count(&changes, commit);
            self.in_force(held);
        }
        Ok(None)
    }

    /// Puts the candidate in force, if the guard lets it.
    fn put_in_force(&mut self, asked: Asked) -> Result<(), StepError> {
        let Some(candidate) = self.candidate.take() else {
            return Ok(());
        };
        let Candidate {
            generation,
            cause,
            begun,
        } = candidate;
        // Another history may be shorter, the same one may not: a standby that lags behind would undo what is in force.
        let another = matches!(cause, ResyncCause::Epoch | ResyncCause::Fork);
        if let Some(ours) = self.registry.current().map(|current| current.position())
            && !another
            && (*ours.epoch == *generation.epoch())
            && generation.position().sequence < ours.sequence
        {
            return Err(StepError::Older {
                ours: ours.sequence,
                theirs: generation.position().sequence,
            });
        }
        let counts = generation.tier_counts();
        if self.settings.accept_drift {
            self.guard.accept(counts, Instant::now());
        } else {
            self.guard.check(counts)?;
            self.guard.settle(counts, Instant::now());
        }
        self.settings.accept_drift = false;
        self.file = None;
        (self.snapshots, self.refusals) = (0, 0);
        let position = generation.position();
        if let Some(publisher) = &mut self.publisher {
            publisher.replaced(cause);
        }
        let former = self.registry.replace(Arc::clone(&generation));
        self.tell_replaced_orders(former.as_deref(), &generation);
        self.tell_changes(InForce::Everything);
        self.in_force(&generation);
        self.confirm(asked);
        info!(
            cause = cause.name(),
            epoch = %position.epoch,
            sequence = position.sequence,
            enterprises = generation.enterprise_count(),
            quarantined = generation.quarantined_count(),
            seconds = begun.elapsed().as_secs_f64(),
            "registry in force"
        );
        // Requests may still hold the former one; here is where it is freed, not in one of them.
        drop(former);
        Ok(())
    }
}

/// Doubles from 50 ms up to a ceiling, half of it by chance, so that replicas do not come back together.
fn backoff(failures: u32, most: Duration) -> Duration {
    let ceiling = Duration::from_millis(50)
        .saturating_mul(1 << failures.min(13))
        .min(most);
    ceiling.mul_f64(rand::rng().random_range(0.5..=1.0))
}
