//! Anti-entropy: the digest of what is in force against the digest of the store's rows, now and then and on request.
//!
//! Both are taken at the same sequence: the store's in one transaction, the replica's from the trail of its last commits.
//! NATS replicas need none of this: the relay names its digest whenever it is asked for the head.

use std::{sync::Arc, time::Duration};

use rand::RngExt as _;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use tracing::{debug, error, info, warn};

use super::{ResyncCause, UpstreamError, source::StoreRows, status::FeedStatus};
use crate::{
    background,
    metrics::Metrics,
    registry::{Position, Registry},
};

/// How long the replica may take to reach the sequence at which the store was read.
const CATCH_UP: Duration = Duration::from_secs(30);
/// How long a comparison lets calls go first before it takes its share of the processor.
const PATIENCE: Duration = Duration::from_secs(30);
/// Tries at one comparison: the replica may step over the sequence when it takes several commits as one.
const TRIES: usize = 5;

/// Compares digests.
#[derive(Debug)]
pub struct Comparison {
    /// What the store's digest is read from.
    pub rows: StoreRows,
    /// What is compared with it.
    pub registry: Arc<Registry>,
    /// Where the replica stands.
    pub status: Arc<FeedStatus>,
    /// Counts comparisons and mismatches.
    pub metrics: Arc<Metrics>,
    /// Between two comparisons; each waits up to a tenth longer, so that replicas do not read together.
    pub interval: Duration,
    /// Where a fresh snapshot is asked for.
    pub resyncs: mpsc::Sender<ResyncCause>,
}

/// What a comparison came to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Equal,
    /// The sequence at which they differ.
    Differ(u64),
    /// The replica was never at the sequence at which the store was read.
    Missed,
}

impl Comparison {
    /// Compares whenever the interval has passed or `requests` asks, until `stop` turns true.
    pub async fn run(self, mut requests: mpsc::Receiver<()>, mut stop: watch::Receiver<bool>) {
        loop {
            let wait = self.interval.mul_f64(rand::rng().random_range(1.0..=1.1));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                Some(()) = requests.recv() => info!("a comparison with the store was asked for"),
                _ = stop.wait_for(|stop| *stop) => return,
            }
            tokio::select! {
                () = self.compare() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn compare(&self) {
        background::begin(PATIENCE);
        for _ in 0..TRIES {
            match self.verdict().await {
                Ok(Verdict::Equal) => {
                    self.metrics.compared(true);
                    info!("the digest equals the store's");
                    return;
                }
                Ok(Verdict::Differ(sequence)) => {
                    self.metrics.compared(false);
                    error!(
                        sequence,
                        "DIGEST MISMATCH: what is in force is not what the store holds"
                    );
                    // One request that waits is as good as two.
                    let _already_asked = self.resyncs.try_send(ResyncCause::Mismatch);
                    return;
                }
                Ok(Verdict::Missed) => debug!("the replica stepped over the sequence of the comparison"),
                Err(problem) => {
                    warn!(%problem, "the digest could not be compared with the store's");
                    return;
                }
            }
        }
        warn!("the digest could not be compared with the store's: too much changed meanwhile");
    }

    async fn verdict(&self) -> Result<Verdict, UpstreamError> {
        let (begun, position) = oneshot::channel();
        let (theirs, ours) = tokio::join!(self.rows.digest(begun), async {
            match position.await {
                Ok(position) => self.ours_at(&position).await.map(|digest| (position, digest)),
                // The store could not even be opened: the other half says why.
                Err(_) => None,
            }
        });
        let theirs = theirs?;
        Ok(match ours {
            None => Verdict::Missed,
            Some((_, digest)) if digest == theirs => Verdict::Equal,
            Some((position, _)) => Verdict::Differ(position.sequence),
        })
    }

    /// The replica's digest at that position, once it is there.
    async fn ours_at(&self, wanted: &Position) -> Option<String> {
        let mut positions = self.status.positions();
        let there = positions.wait_for(|own| {
            own.as_ref()
                .is_some_and(|own| own.epoch == wanted.epoch && own.sequence >= wanted.sequence)
        });
        timeout(CATCH_UP, there).await.ok()?.ok()?;
        let generation = self.registry.current()?;
        (generation.epoch() == &*wanted.epoch)
            .then(|| generation.digest_at(wanted.sequence))
            .flatten()
    }
}
