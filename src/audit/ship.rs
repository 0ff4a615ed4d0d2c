//! Ships the log to the store: groups as they lie in segments, then the seals, and every second a signed head.
//!
//! ```text
//! head --changes--> Tail --groups that chain on--> Archive --progress--> shipped_to, for retention
//!      --interval-> signed head -----------------> Archive
//! ```
//!
//! **Invariants.** What is shipped is on the disk first, so that a power failure never leaves the store ahead of the log.
//! Nothing waits in memory while the store is away but one batch: it is read from the segments again. The store's progress
//! is the only truth; after any failure it is asked for.

mod tail;

use std::{path::PathBuf, sync::Arc, time::Duration};

use thiserror::Error;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tracing::{debug, error, info, warn};

use self::tail::Tail;
use super::{
    decision,
    read::ReadError,
    seal::{SEAL, SIGNATURE},
    segment,
    writer::Head,
};
use crate::{
    metrics::Metrics,
    upstream::archive::{Archive, HeadTaken, Progress, SignedText, UpstreamError},
};

/// Between two batches, unless the first was a full one.
const GATHER: Duration = Duration::from_millis(100);
/// Records that may wait before that is told.
const LAG: u64 = 100_000;
/// Bound on the last flush at stop.
const LAST_FLUSH: Duration = Duration::from_secs(2);
/// How long what is on its way to the store may take at stop, before it is left to the last flush.
const LAST_STEP: Duration = Duration::from_secs(1);
/// Waits between two tries: from here, doubling, to there.
const WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Makes the signed text of a head.
pub type SignHead = Box<dyn Fn(&Head) -> SignedText + Send>;

/// Why nothing is shipped now.
#[derive(Debug, Error)]
enum ShipError {
    /// The store.
    #[error("the store: {0}")]
    Store(#[from] UpstreamError),
    /// The log.
    #[error("the log: {0}")]
    Log(#[from] ReadError),
    /// What the store has is not the beginning of this log.
    #[error(
        "record {sequence} does not follow on what the store has of replica {replica}: the log was put back to an \
         older state, or changed"
    )]
    OtherHistory {
        /// The replica.
        replica: String,
        /// The record.
        sequence: u64,
    },
    /// Segments that were not shipped are gone.
    #[error("record {0} is in no segment, and the store does not have it")]
    Gone(u64),
}

/// What the store lacks when shipping ends.
#[derive(Debug, Error)]
pub enum NotShipped {
    /// The end of the log.
    #[error("{records} records of the audit log are not in the store, the next start ships them: {why}")]
    Records {
        /// How many, as far as is known.
        records: u64,
        /// Why.
        why: String,
    },
    /// The last signed head, where nothing else is shipped.
    #[error("the signed head of the audit log is not in the store, the next start puts another: {why}")]
    Head {
        /// Why.
        why: String,
    },
}

/// Everything that shipping needs.
pub struct Shipper {
    /// The store.
    pub archive: Archive,
    /// Whether groups and seals are shipped, beside heads.
    pub groups: bool,
    /// The log's directory.
    pub directory: PathBuf,
    /// The replica's name in the log.
    pub replica: String,
    /// Where the log ends.
    pub head: watch::Receiver<Head>,
    /// Signs heads.
    pub sign: SignHead,
    /// The public key that signs, in PEM.
    pub public_key: String,
    /// Between two heads.
    pub head_interval: Duration,
    /// Told of the last record that the store has; 0 for none.
    pub shipped_to: watch::Sender<u64>,
    /// Told of records written and waiting.
    pub metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Shipper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shipper")
            .field("replica", &self.replica)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// What a run of the shipper remembers beyond a connection.
#[derive(Debug)]
struct Watched {
    /// The last record that was counted.
    counted: u64,
    /// The lag was told of.
    lagging: bool,
    /// The failure was told of.
    failing: bool,
    /// A store that knows of more than this log was told of.
    behind: bool,
    /// The seal shipped last.
    sealed: u64,
}

impl Shipper {
    /// Ships until `stop` turns true, then what is left, as far as there is time; an error tells what the store lacks.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), NotShipped> {
        let mut watched = Watched {
            counted: self.head.borrow().sequence,
            lagging: false,
            failing: false,
            behind: false,
            sealed: 0,
        };
        let mut wait = WAITS.0;
        while !*stop.borrow() {
            let begun = Instant::now();
            let mut stopping = stop.clone();
            let overdue = async {
                // A sender that is gone stops too.
                drop(stopping.wait_for(|stop| *stop).await);
                tokio::time::sleep(LAST_STEP).await;
            };
            let followed = tokio::select! {
                followed = self.follow(&mut watched, Some(&mut stop)) => followed,
                // The store is silent: nothing is lost, for its own progress tells where to go on.
                () = overdue => break,
            };
            let Err(problem) = followed else {
                break;
            };
            self.metrics.failed("audit");
            if std::mem::replace(&mut watched.failing, true) {
                debug!(%problem, "audit log not shipped");
            } else {
                warn!(%problem, "audit log not shipped; trying again");
            }
            // Whoever worked for a while begins anew.
            wait = if begun.elapsed() > WAITS.1 {
                WAITS.0
            } else {
                (wait * 2).min(WAITS.1)
            };
            let again = Instant::now() + wait;
            while Instant::now() < again && !*stop.borrow() {
                self.tell(&mut watched);
                let _stopping = timeout(WAITS.0.min(wait), stop.wait_for(|stop| *stop)).await;
            }
        }
        let why = match timeout(LAST_FLUSH, self.follow(&mut watched, None)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(problem)) => problem.to_string(),
            Err(_) => "the store does not answer in time".to_owned(),
        };
        if self.groups && self.archive.takes_groups() {
            let records = self
                .head
                .borrow()
                .sequence
                .saturating_sub(*self.shipped_to.borrow());
            Err(NotShipped::Records { records, why })
        } else {
            Err(NotShipped::Head { why })
        }
    }

    /// Ships whatever there is, and whatever comes until `stop`; without one, to the end and no further.
    async fn follow(
        &mut self,
        watched: &mut Watched,
        mut stop: Option<&mut watch::Receiver<bool>>,
    ) -> Result<(), ShipError> {
        let ships = self.groups && self.archive.takes_groups();
        let mut progress = Progress::default();
        let mut tail = None;
        if ships {
            progress = self.archive.progress(&self.replica).await?;
            watched.sealed = self.archive.last_seal(&self.replica).await?;
            self.shipped(&progress);
            tail = Some(Tail::new(self.directory.clone(), self.replica.clone(), progress));
        }
        self.archive.put_key(&self.replica, &self.public_key).await?;
        let mut heads = interval(self.head_interval.max(Duration::from_millis(10)));
        heads.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut begun = Instant::now();
        loop {
            let head = *self.head.borrow_and_update();
            self.tell(watched);
            let mut more = false;
            if let Some(tail) = &mut tail {
                let groups = tail.read(&head)?;
                more = !groups.is_empty();
                if more {
                    begun = Instant::now();
                    tail.sync()?;
                    let groups: Vec<_> = groups.iter().map(decision::shipped).collect();
                    progress = self.archive.ship(&self.replica, &progress, &groups).await?;
                    self.shipped(&progress);
                } else {
                    self.ship_seals(watched).await?;
                }
                if std::mem::take(&mut watched.failing) {
                    info!(shipped_to = progress.next_sequence - 1, "audit log shipped again");
                }
            }
            let stopping = stop.as_ref().is_none_or(|stop| *stop.borrow());
            if stopping && !more {
                self.put_head(watched).await?;
                return Ok(());
            }
            let Some(stop) = stop.as_deref_mut() else { continue };
            let grown = async {
                let changed = self.head.changed().await;
                // Of few records many would otherwise be a transaction each.
                sleep_until(begun + GATHER).await;
                changed
            };
            let is_behind = more && tail.as_ref().is_some_and(Tail::is_behind);
            tokio::select! {
                biased;
                _ = heads.tick() => self.put_head(watched).await?,
                () = std::future::ready(()), if is_behind => {}
                changed = grown, if tail.is_some() => if changed.is_err() { return Ok(()) },
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Puts the head as it is now.
    async fn put_head(&mut self, watched: &mut Watched) -> Result<(), ShipError> {
        let head = *self.head.borrow();
        if head.sequence == 0 {
            return Ok(());
        }
        let taken = self.archive.put_head(&self.replica, &(self.sign)(&head)).await?;
        if !self.archive.takes_groups() && std::mem::take(&mut watched.failing) {
            info!("heads of the audit log are stored again");
        }
        match taken {
            HeadTaken::Taken => watched.behind = false,
            HeadTaken::Behind { stored } => {
                if !std::mem::replace(&mut watched.behind, true) {
                    error!(
                        stored,
                        head = head.sequence,
                        "THE AUDIT LOG HAS LOST ITS END: the store has a signed head of a later record"
                    );
                }
            }
        }
        Ok(())
    }

    /// Ships the seals that the store does not have.
    async fn ship_seals(&mut self, watched: &mut Watched) -> Result<(), ShipError> {
        let io = |error| ReadError::Io {
            path: self.directory.clone(),
            error,
        };
        let seals = segment::list_files(&self.directory, SEAL).map_err(io)?;
        let new = seals.partition_point(|(first, _)| *first <= watched.sealed);
        for (first, path) in &seals[new..] {
            let read = std::fs::read_to_string(path).and_then(|text| {
                let signature = std::fs::read(path.with_extension(SIGNATURE))?;
                Ok(SignedText {
                    sequence: *first,
                    text,
                    signature,
                })
            });
            let seal = read.map_err(|error| ReadError::Io {
                path: path.clone(),
                error,
            })?;
            self.archive.put_seal(&self.replica, &seal).await?;
            watched.sealed = *first;
        }
        Ok(())
    }

    fn shipped(&self, progress: &Progress) {
        self.shipped_to.send_if_modified(|shipped_to| {
            let now = progress.next_sequence.saturating_sub(1);
            std::mem::replace(shipped_to, now) != now
        });
    }

    /// Tells how much was written, and how much of it waits.
    fn tell(&self, watched: &mut Watched) {
        let head = self.head.borrow().sequence;
        self.metrics.audit.written(head.saturating_sub(watched.counted));
        watched.counted = watched.counted.max(head);
        if !(self.groups && self.archive.takes_groups()) {
            return;
        }
        let lag = head.saturating_sub(*self.shipped_to.borrow());
        self.metrics.audit.lag(lag);
        if lag > LAG && !watched.lagging {
            watched.lagging = true;
            warn!(
                records = lag,
                "the audit log is written faster than it is shipped"
            );
        } else if lag < LAG / 2 && watched.lagging {
            watched.lagging = false;
            info!(
                records = lag,
                "the audit log is shipped as fast as it is written again"
            );
        }
    }
}
