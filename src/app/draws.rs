//! The keys of the draw before everybody's eyes: committed to ahead, compared with the store, revealed in time.
//!
//! Every replica does the same, without talking to the others: the first one to put a commitment is whose stands, and all
//! compare their own key with it. A store that does not answer is asked again; what was drawn meanwhile can be recomputed.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    fmt,
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use rand::RngExt as _;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::{audit::Proof, feed, settings::Settings};
use crate::{
    audit::{
        draw::commitment::{self, Commitment, Worth},
        log::record,
        signing::SigningKey,
    },
    domain::Date,
    facilitation::Facilitation,
    metrics::Metrics,
    policy::draw::Epoch,
    service::facilitation::AcceptanceWindow,
    upstream::{UpstreamError, commitments::Commitments},
    wire::pb::{self, audit_record::Entry},
};

/// Between two looks at the commitments.
const EVERY: Duration = Duration::from_mins(1);
/// How long calls wait at start for the first look.
const FIRST: Duration = Duration::from_secs(1);
/// Longest wait between two tries while the store does not answer.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Told of each commitment that this replica put.
pub type OnCommitment = Box<dyn Fn(pb::DrawCommitmentEntry) + Send + Sync>;
/// What time it is.
pub type Clock = Box<dyn Fn() -> Timestamp + Send + Sync>;

/// Commits to the keys of this replica, and holds them against the store's commitments.
pub struct Committer {
    /// Where commitments are.
    pub commitments: Commitments,
    /// Holds the keys, and is told which of them may not be drawn with.
    pub facilitation: Arc<Facilitation>,
    /// Signs.
    pub signing: Arc<SigningKey>,
    /// This replica.
    pub replica: String,
    /// Acceptance dates that are taken: a commitment is needed for each of their months.
    pub window: AcceptanceWindow,
    /// How long after the end of an epoch its key is revealed.
    pub reveal_after: Duration,
    /// Counts failures.
    pub metrics: Arc<Metrics>,
    /// Told of what was put.
    pub on_commitment: OnCommitment,
    /// What time it is.
    pub clock: Clock,
    /// What has been said of each epoch, so that it is said once.
    pub said: BTreeMap<Epoch, Stand>,
}

/// How an epoch's commitment stands to this replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stand {
    /// It is of our key, and was there before the epoch began.
    Ahead,
    /// It is of our key, but was put late.
    Late,
    /// It is of our key, but nobody signed it.
    Unsigned,
    /// It is of another key.
    Disputed,
}

impl Stand {
    const ALL: [Self; 4] = [Self::Ahead, Self::Late, Self::Unsigned, Self::Disputed];

    /// The word for metrics.
    const fn name(self) -> &'static str {
        match self {
            Self::Ahead => "ahead",
            Self::Late => "late",
            Self::Unsigned => "unsigned",
            Self::Disputed => "disputed",
        }
    }
}

impl fmt::Debug for Committer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committer")
            .field("replica", &self.replica)
            .field("said", &self.said)
            .finish_non_exhaustive()
    }
}

impl Committer {
    /// As the settings have it, of the replica of that name.
    pub(super) fn new(
        settings: &Settings,
        replica: String,
        proof: &Proof,
        facilitation: &Arc<Facilitation>,
        metrics: &Arc<Metrics>,
        window: AcceptanceWindow,
    ) -> anyhow::Result<Self> {
        let log = proof.log.clone();
        Ok(Self {
            commitments: Commitments::of(&feed::source_settings(settings))?,
            facilitation: Arc::clone(facilitation),
            signing: Arc::clone(&proof.key),
            replica,
            window,
            reveal_after: settings.draw.reveal_after.get(),
            metrics: Arc::clone(metrics),
            on_commitment: Box::new(move |entry| {
                let Some(log) = &log else { return };
                if let Err(problem) = log.append(&[record(Entry::Commitment(entry))]) {
                    error!(%problem, "the audit log does not tell of a draw commitment");
                }
            }),
            clock: Box::new(Timestamp::now),
            said: BTreeMap::new(),
        })
    }

    /// Looks once before calls are taken, as long as the store answers soon: a replica with another secret then never draws.
    pub async fn first(&mut self) {
        match tokio::time::timeout(FIRST, self.look()).await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => self.failed(&problem),
            Err(_) => self.failed(&UpstreamError::timed_out("draw commitments", FIRST)),
        }
    }

    /// Looks again and again until `stop` turns true.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut failures = u32::from(self.said.is_empty());
        while !*stop.borrow() {
            let wait = match failures {
                0 => EVERY,
                again => Duration::from_millis(250).saturating_mul(1 << again.min(10)),
            };
            let wait = wait.min(if failures == 0 { EVERY } else { MAX_BACKOFF });
            // Replicas that were started together do not ask together.
            let wait = wait.mul_f64(rand::rng().random_range(0.5..=1.0));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // Whoever would say so has gone, or does.
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let looked = tokio::select! {
                looked = self.look() => looked,
                // A store that is silent holds up no stop: the next start looks again.
                _ = stop.wait_for(|stop| *stop) => return,
            };
            failures = match looked {
                Ok(()) => 0,
                Err(problem) => {
                    self.failed(&problem);
                    failures.saturating_add(1)
                }
            };
        }
    }

    fn failed(&self, problem: &UpstreamError) {
        self.metrics.commitment_failed(problem.kind());
        warn!(%problem, "draw commitments cannot be published or compared now; trying again");
    }

    /// One look: puts what is missing, compares, reveals.
    pub async fn look(&mut self) -> Result<(), UpstreamError> {
        let now = (self.clock)();
        let mut standing = BTreeMap::new();
        for stored in self.commitments.list().await? {
            match Commitment::read(stored) {
                Ok(read) => drop(standing.insert(read.epoch, read)),
                Err(problem) => warn!(%problem, "passed over"),
            }
        }
        let published = self.publish_missing(&mut standing, now).await;
        // Also where nothing can be put: with another key than the one that stands, nothing is drawn.
        self.compare(&standing);
        published?;
        self.reveal(&standing, now).await
    }

    /// Puts a commitment for each epoch that needs one and has none.
    async fn publish_missing(
        &self,
        standing: &mut BTreeMap<Epoch, Commitment>,
        now: Timestamp,
    ) -> Result<(), UpstreamError> {
        for epoch in self.needed(now) {
            if let btree_map::Entry::Vacant(missing) = standing.entry(epoch) {
                missing.insert(self.publish(epoch, now).await?);
            }
        }
        Ok(())
    }

    /// The epochs whose commitments must be in the store: this one and the next first.
    fn needed(&self, now: Timestamp) -> Vec<Epoch> {
        let at = |later: SignedDuration| Epoch::of(Date::of(now.checked_add(later).unwrap_or(now)));
        let span = |length: Duration| SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
        let (now, last) = (at(SignedDuration::ZERO), at(span(self.window.ahead)));
        let policies = self.facilitation.policies();
        let policies = policies.policies().first();
        let first_policy = policies.map_or(Date::MIN, |policy| policy.document.effective_from);
        let mut epoch = at(-span(self.window.behind)).max(Epoch::of(first_policy));
        let mut needed = vec![now, now.next()];
        while epoch <= last.next() && epoch < epoch.next() {
            if !needed.contains(&epoch) {
                needed.push(epoch);
            }
            epoch = epoch.next();
        }
        needed
    }

    /// Puts a commitment; gives the one that stands.
    async fn publish(&self, epoch: Epoch, now: Timestamp) -> Result<Commitment, UpstreamError> {
        let key = self.facilitation.draws().key(epoch);
        let ours = commitment::commit(epoch, &key, now, &self.replica, &self.signing);
        let stands = self.commitments.put(ours.clone()).await?;
        let put = stands == ours;
        let stands = Commitment::read(stands).map_err(|error| UpstreamError::Corrupt(error.to_string()))?;
        if put {
            info!(%epoch, commitment = ours.commitment, "draw commitment published");
            (self.on_commitment)(stands.entry());
        }
        Ok(stands)
    }

    /// Holds our keys against what stands: where they differ, nothing is drawn any more.
    fn compare(&mut self, standing: &BTreeMap<Epoch, Commitment>) {
        let stand = |commitment: &Commitment| {
            let key = self.facilitation.draws().key(commitment.epoch);
            match commitment.worth() {
                _ if !commitment.is_of(&key) => Stand::Disputed,
                Worth::Ahead => Stand::Ahead,
                Worth::Late(_) => Stand::Late,
                Worth::Unsigned => Stand::Unsigned,
            }
        };
        let stands: BTreeMap<_, _> = standing
            .values()
            .map(|commitment| (commitment.epoch, stand(commitment)))
            .collect();
        let disputed: BTreeSet<_> = stands
            .iter()
            .filter(|(_, stand)| **stand == Stand::Disputed)
            .map(|(epoch, _)| *epoch)
            .collect();
        self.facilitation.draws().dispute(disputed.into_iter().collect());
        for (epoch, commitment) in standing {
            let stand = stands[epoch];
            if self.said.get(epoch) == Some(&stand) {
                continue;
            }
            match stand {
                Stand::Ahead => info!(%epoch, by = commitment.stored.replica, "draw commitment stands"),
                Stand::Late | Stand::Unsigned => warn!(
                    %epoch, by = commitment.stored.replica,
                    "draw commitment does not count: {}", commitment.worth()
                ),
                Stand::Disputed => error!(
                    %epoch, by = commitment.stored.replica, committed = commitment.stored.commitment,
                    own = self.facilitation.draws().key(*epoch).commitment,
                    "REFUSING TO DRAW: the draw commitment in the store is of another key; is draw.master_secret the same \
                     on every replica?"
                ),
            }
        }
        for stand in Stand::ALL {
            let count = stands.values().filter(|own| **own == stand).count();
            self.metrics.commitments(stand.name(), count);
        }
        self.said = stands;
    }

    /// Reveals the keys whose time has come.
    async fn reveal(
        &self,
        standing: &BTreeMap<Epoch, Commitment>,
        now: Timestamp,
    ) -> Result<(), UpstreamError> {
        for (epoch, commitment) in standing {
            let key = self.facilitation.draws().key(*epoch);
            let hidden = commitment.stored.revealed_key.is_none();
            if hidden && now >= revealed_from(*epoch, self.reveal_after) && commitment.is_of(&key) {
                let at = commitment::instant(now);
                self.commitments
                    .reveal(&epoch.to_string(), &key.reveal(), &at)
                    .await?;
                info!(%epoch, "draw key revealed");
            }
        }
        Ok(())
    }
}

/// When the key of an epoch may be revealed.
pub fn revealed_from(epoch: Epoch, reveal_after: Duration) -> Timestamp {
    let after = SignedDuration::try_from(reveal_after).unwrap_or(SignedDuration::MAX);
    epoch.ends().checked_add(after).unwrap_or(Timestamp::MAX)
}
