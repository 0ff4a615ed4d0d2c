//! Looks decisions up: in this replica's segments, and where there is one in the archive that every replica ships to.
//!
//! ```text
//! segments: sealed -> index, the others -> scanned --\
//!                                                     merged by (decided_at, replica, sequence), each once
//! archive (PostgreSQL): what was shipped ------------/
//! ```
//!
//! Lists are read behind a key, not at an offset: what comes meanwhile moves nothing. With an archive, of the own log only
//! what it does not have is read; what is shipped between the two reads is in both, and given once.

mod local;
mod shipments;
mod token;

pub use self::shipments::LoggedShipments;
pub use crate::upstream::archive::{Bound, DecisionFilter, DecisionKey};
pub use token::{page_token, read_page_token};

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;
use thiserror::Error;
use tokio::sync::{Semaphore, watch};

use self::local::{After, LocalLog};
use super::{decision, index::IndexError, read::ReadError, segment, writer::Head};
use crate::{
    upstream::archive::{ArchiveReader, FoundRecord, UpstreamError},
    wire::pb,
};

/// Records of a page that asks for no number.
pub const DEFAULT_PAGE: usize = 100;
/// Records of the largest page.
pub const MAX_PAGE: usize = 1_000;
/// Bytes of records after which a page ends: clients take messages of 4 MiB unless told otherwise.
const PAGE_BYTES: usize = 2 << 20;
/// Searches of the own segments at once: each keeps a thread and the disk busy.
const AT_ONCE: usize = 2;

/// Why decisions cannot be looked up now.
#[derive(Debug, Error)]
pub enum QueryError {
    /// The archive.
    #[error("the archive: {0}")]
    Archive(#[from] UpstreamError),
    /// A segment.
    #[error("the log: {0}")]
    Log(#[from] ReadError),
    /// An index.
    #[error("the log: {0}")]
    Index(#[from] IndexError),
    /// Nobody waits for it any more.
    #[error("given up")]
    GivenUp,
}

/// A decision that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// With everything that it was made of.
    pub record: pb::DecisionEntry,
    /// The replica that decided it.
    pub replica: String,
    /// Its place in that replica's log.
    pub sequence: u64,
}

impl Found {
    fn of(found: &FoundRecord) -> Option<Self> {
        Some(Self {
            record: decision::of_record(&found.record)?,
            replica: found.key.replica.clone(),
            sequence: found.key.sequence,
        })
    }
}

/// One page of a list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// In order of `decided_at`, replica and sequence.
    pub decisions: Vec<Found>,
    /// Where the next page begins behind; `None` on the last.
    pub next: Option<DecisionKey>,
}

/// Every decision that can be looked up here.
#[derive(Debug, Clone)]
pub struct Decisions {
    local: Option<Arc<LocalLog>>,
    archive: Option<ArchiveReader>,
    shipped_to: watch::Receiver<u64>,
    turns: Arc<Semaphore>,
}

/// The own log, as the search needs it.
#[derive(Debug, Clone)]
pub struct OwnLog {
    /// Where its segments lie.
    pub directory: PathBuf,
    /// The replica's name in it.
    pub replica: String,
    /// Where it ends.
    pub head: watch::Receiver<Head>,
}

impl OwnLog {
    /// Its segments by their first sequence, ascending; none where there is no directory.
    fn segments(&self) -> Result<Vec<(u64, PathBuf)>, ReadError> {
        match segment::list(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed.map_err(|error| ReadError::Io {
                path: self.directory.clone(),
                error,
            }),
        }
    }
}

impl Decisions {
    /// Looks up in the own log, if there is one, and in the archive, if one can be searched; `shipped_to` tells the last own
    /// record that it has.
    pub fn new(
        log: Option<OwnLog>,
        archive: Option<ArchiveReader>,
        shipped_to: watch::Receiver<u64>,
    ) -> Self {
        Self {
            local: log.map(|log| Arc::new(LocalLog::new(log))),
            archive: archive.filter(|archive| matches!(archive, ArchiveReader::Postgres(_))),
            shipped_to,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// A decision by its UUID, in any of its forms.
    pub async fn find(&self, decision_id: &str) -> Result<Option<Found>, QueryError> {
        let Ok(id) = uuid::Uuid::try_parse(decision_id) else {
            return Ok(None);
        };
        let text = id.hyphenated().to_string();
        let wanted = text.clone();
        let mut found = self
            .search(move |log, given_up| log.find(&id, &wanted, given_up))
            .await?;
        if found.is_none()
            && let Some(archive) = &self.archive
        {
            found = archive.find(&text).await?;
        }
        Ok(found.as_ref().and_then(Found::of))
    }

    /// The latest decision on a declaration.
    pub async fn latest(&self, declaration_number: &str) -> Result<Option<Found>, QueryError> {
        let wanted = declaration_number.to_owned();
        let own = self
            .search(move |log, given_up| log.latest(&wanted, given_up))
            .await?;
        let shipped = match &self.archive {
            Some(archive) => archive.latest(declaration_number).await?,
            None => None,
        };
        let latest = own.into_iter().chain(shipped).max_by(|a, b| a.key.cmp(&b.key));
        Ok(latest.as_ref().and_then(Found::of))
    }

    /// The decisions that pass a filter, behind a key: at most so many, fewer where they are large.
    pub async fn list(
        &self,
        filter: &DecisionFilter,
        after: Option<&DecisionKey>,
        page_size: usize,
    ) -> Result<Page, QueryError> {
        let size = page_size.clamp(1, MAX_PAGE);
        // One more, to know whether there is another page.
        let bound = Bound {
            records: size + 1,
            bytes: PAGE_BYTES,
        };
        // Before the own log is read, and that before the archive: what moves meanwhile is seen twice, never missed.
        let from = match &self.archive {
            Some(_) => *self.shipped_to.borrow() + 1,
            None => 0,
        };
        let (own_filter, own_after) = (filter.clone(), after.cloned());
        let own = self
            .search(move |log, given_up| {
                let after = own_after.as_ref().map(|after| After::of(after, log.replica()));
                log.list(&own_filter, after, from, bound, given_up)
            })
            .await?;
        let shipped = match &self.archive {
            Some(archive) => archive.list(filter, after, bound).await?,
            None => Vec::new(),
        };
        Ok(merged(own, shipped, size, bound))
    }

    /// Searches the own segments on a thread that may wait for the disk. Ends early when the caller has gone.
    async fn search<T: Default + Send + 'static>(
        &self,
        search: impl FnOnce(&LocalLog, &AtomicBool) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        struct GiveUp(Arc<AtomicBool>);
        impl Drop for GiveUp {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let Some(log) = self.local.clone() else {
            return Ok(T::default());
        };
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| QueryError::GivenUp)?;
        let given_up = GiveUp(Arc::default());
        let flag = Arc::clone(&given_up.0);
        let searched = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            search(&log, &flag)
        });
        let found = searched.await.map_err(|_| QueryError::GivenUp)?;
        drop(given_up);
        found
    }
}

/// Puts two sorted lists together. A list that was cut says nothing of what comes behind its end.
fn merged(own: Vec<FoundRecord>, shipped: Vec<FoundRecord>, size: usize, bound: Bound) -> Page {
    let cut_at = |list: &[FoundRecord]| {
        let bytes: usize = list.iter().map(|found| found.record.len()).sum();
        let cut = list.len() >= bound.records || bytes >= bound.bytes;
        list.last().filter(|_| cut).map(|last| last.key.clone())
    };
    let horizon = [cut_at(&own), cut_at(&shipped)].into_iter().flatten().min();
    let mut all: Vec<FoundRecord> = own.into_iter().chain(shipped).collect();
    all.sort_by(|a, b| a.key.cmp(&b.key));
    all.dedup_by(|a, b| a.key == b.key);
    let whole = all.len();
    if let Some(horizon) = &horizon {
        all.retain(|found| found.key <= *horizon);
    }
    let (mut taken, mut bytes) = (0, 0);
    while taken < all.len().min(size) && bytes < bound.bytes {
        bytes += all[taken].record.len();
        taken += 1;
    }
    // A list that was cut at the look-ahead alone ends behind this page.
    let more = taken < whole || horizon.is_some();
    Page {
        next: all[..taken].last().filter(|_| more).map(|last| last.key.clone()),
        decisions: all[..taken].iter().filter_map(Found::of).collect(),
    }
}

/// An instant as the log keeps it.
fn nanoseconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)
}
