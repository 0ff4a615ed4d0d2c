//! The only writer of the registry: reads a snapshot from the store, then follows its change log without a gap.
//!
//! ```text
//! store --snapshot--> Generation --put in force--> Registry
//!       --changes---> commit by commit, in place
//!       --head------> FreshnessClock (how old the data is)
//! ```
//!
//! **Invariant:** reconnected is not caught up. What cannot be proven to follow on the last applied change leads to a
//! fresh snapshot, and until that is whole the last good generation stays in force.

pub mod columns;
pub mod follower;
pub mod row;
pub mod sqlite;

use thiserror::Error;

use crate::registry::row::Change;

/// Why upstream could not answer.
#[derive(Debug, Error)]
pub enum UpstreamError {
    /// The store cannot be reached or read now.
    #[error("{0}")]
    Unavailable(String),
    /// The store is not one of ours, or is damaged.
    #[error("{0}")]
    Corrupt(String),
    /// The store is of a kind that this build does not read.
    #[error("{0}")]
    Unsupported(String),
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

/// What a look at the store's head brought.
#[derive(Debug)]
pub enum Poll {
    /// The head is the position asked about.
    UpToDate,
    /// Whole commits that follow on the position, up to the head.
    Changes {
        /// In order.
        changes: Vec<Change>,
        /// Where they lead.
        sequence: u64,
    },
    /// The changes since the position cannot be had: a fresh snapshot is due.
    Resync(ResyncCause),
}

/// Why changes cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResyncCause {
    /// The store has another epoch.
    Epoch,
    /// The store's log is not the one that was followed: a restored backup, or another file in its place.
    Fork,
    /// The log no longer reaches back to the position, or has a hole.
    Gap,
    /// So many changes came at once that a fresh snapshot disturbs requests less.
    Bulk,
}

impl ResyncCause {
    /// The word for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Epoch => "epoch",
            Self::Fork => "fork",
            Self::Gap => "gap",
            Self::Bulk => "bulk",
        }
    }
}
