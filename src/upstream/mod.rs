//! The only writer of the registry: reads a snapshot from the store, then follows its change log without a gap.
//!
//! ```text
//! SQLite / PostgreSQL / NATS --> Source --snapshot, file--> candidate --at the head, guard--> Registry
//!                                       --commits---------> commit by commit, in place
//!                                       --head------------> FreshnessClock (how old the data is)
//! ```
//!
//! **Invariants:** reconnected is not caught up. What cannot be proven to follow on the last applied change leads to a
//! fresh snapshot, and until that is whole, at the head and within the guard, the last good generation stays in force.

pub mod archive;
pub mod columns;
pub mod commitments;
pub mod comparison;
pub mod edit;
pub mod file;
pub mod follower;
pub mod guard;
pub mod history;
pub mod log;
pub mod nats;
mod password;
pub mod postgres;
pub mod relay;
pub mod row;
pub mod shipments;
pub mod source;
pub mod sqlite;
pub mod status;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use thiserror::Error;

use self::log::LogEntry;
use crate::registry::Generation;
pub use crate::registry::{Mark, Place};

/// More rows than this in one commit are taken as a fresh snapshot: applied in place they would hold up requests.
pub const MAX_COMMIT_IN_PLACE: usize = 10_000;

/// Why upstream could not answer.
#[derive(Debug, Error)]
pub enum UpstreamError {
    /// The store cannot be reached or read now.
    #[error("{0}")]
    Unavailable(String),
    /// The store is not one of ours, or is damaged.
    #[error("{0}")]
    Corrupt(String),
    /// The store is of a kind that this build does not read, or an option is not.
    #[error("{0}")]
    Unsupported(String),
}

impl UpstreamError {
    /// The word for metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Corrupt(_) => "corrupt",
            Self::Unsupported(_) => "unsupported",
        }
    }

    /// The store did not answer within its bound.
    pub fn timed_out(what: &str, bound: Duration) -> Self {
        Self::Unavailable(format!("{what}: no answer within {bound:?}"))
    }
}

impl From<rusqlite::Error> for UpstreamError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
                Self::Corrupt(error.to_string())
            }
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

/// When a store was asked: data is as old as the question, not as the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// By the clock that is never set.
    pub monotonic: Instant,
    /// By the clock that goes on while a machine sleeps.
    pub wall: SystemTime,
}

impl Asked {
    /// A question asked now.
    pub fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }
}

/// A whole commit, or several that are taken as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its rows, in order.
    pub entries: Vec<LogEntry>,
    /// What the store shows at its end.
    pub mark: Mark,
}

impl Commit {
    /// Where it leads; 0 for an empty one.
    pub fn sequence(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.sequence)
    }
}

/// What a look at the store brought.
#[derive(Debug)]
pub struct Look {
    /// What follows on the place asked about.
    pub found: Found,
    /// When the store was asked for its head, if what was found leads up to it.
    pub confirmed: Option<Asked>,
    /// The digest that the store itself names at a sequence, where it names one unasked (NATS: the relay's).
    pub head_digest: Option<(u64, String)>,
}

impl Look {
    /// Found this, up to the head as it was when asked.
    pub fn at_head(found: Found, asked: Asked) -> Self {
        Self {
            found,
            confirmed: Some(asked),
            head_digest: None,
        }
    }

    /// Found this, and there is more or the head is not known.
    pub fn on_the_way(found: Found) -> Self {
        Self {
            found,
            confirmed: None,
            head_digest: None,
        }
    }
}

/// What follows on a place.
#[derive(Debug)]
pub enum Found {
    /// Nothing yet.
    Nothing,
    /// Whole commits, in order and without a gap.
    Commits(Vec<Commit>),
    /// The changes since cannot be had: a fresh snapshot is due.
    Resync(ResyncCause),
}

/// Everything that a store holds.
#[derive(Debug)]
pub struct Snapshot {
    /// Not in force yet.
    pub generation: Arc<Generation>,
    /// When the store was asked, if this is its head.
    pub confirmed: Option<Asked>,
}

/// Why changes cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResyncCause {
    /// Nothing was there before.
    First,
    /// The store has another epoch.
    Epoch,
    /// The store's log is not the one that was followed: a restored backup, or another file in its place.
    Fork,
    /// The log no longer reaches back to the position, or has a hole.
    Gap,
    /// So many changes came at once that a fresh snapshot disturbs requests less.
    Bulk,
    /// The digests of replica and store differ.
    Mismatch,
    /// What the store held was refused, and may be in order by now.
    Refused,
}

impl ResyncCause {
    /// Every cause.
    pub const ALL: [Self; 7] = [
        Self::First,
        Self::Epoch,
        Self::Fork,
        Self::Gap,
        Self::Bulk,
        Self::Mismatch,
        Self::Refused,
    ];

    /// The word for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Epoch => "epoch",
            Self::Fork => "fork",
            Self::Gap => "gap",
            Self::Bulk => "bulk",
            Self::Mismatch => "mismatch",
            Self::Refused => "refused",
        }
    }
}
