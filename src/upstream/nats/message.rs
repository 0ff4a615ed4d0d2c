//! What stands in the stream: runs of whole commits, and resets over which no one can follow.
//!
//! ```text
//! version u8 | flags u8 | CRC-32 u32 | length of the body u32 | the body, lz4 if that is shorter
//! body: kind u8 | changes: epoch, from u64, open u8, commits | reset: epoch, sequence u64, mark, cause u8, object
//! ```
//!
//! A row: entity, key, op, committed_at | flag u8, the row | in version 2 flag u8, the author of a control order's row.
//!
//! All numbers are little-endian, texts have a u32 length before them. The sum covers every byte that stands beside it.
//! Sequences within a run are not written: they count up from `from`, so that a decoded run cannot have a hole.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub use self::{
    read::BadMessage,
    write::{Packed, TooLarge, pack},
};

use super::super::{Commit, Mark, ResyncCause};

/// The version of messages that name nobody: the first release reads no other.
const VERSION: u8 = 1;
/// The version of messages whose rows name who wrote them.
const WITH_AUTHORS: u8 = 2;
/// The body is compressed.
const LZ4: u8 = 1;
/// Bytes before the body.
const HEADER: usize = 10;
/// The largest body that is made or taken, in bytes, before compression.
const MAX_BODY: usize = 64 << 20;

const CHANGES: u8 = 1;
const RESET: u8 = 2;

/// A message of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Commits that follow on the message before.
    Changes(Changes),
    /// What was before cannot be followed to what comes after.
    Reset(Reset),
}

/// A run of commits: the whole log from one sequence to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The store's identity.
    pub epoch: String,
    /// The sequence that the run follows on.
    pub from: u64,
    /// Its commits, in order, each with the mark that the store showed at its end.
    pub commits: Vec<Commit>,
    /// The last commit goes on in the next message: it was too large for one.
    pub open: bool,
}

impl Changes {
    /// The last sequence in it.
    pub fn to(&self) -> u64 {
        self.commits.last().map_or(self.from, Commit::sequence)
    }
}

/// The log cannot be followed over this point: a snapshot is to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reset {
    /// The store's identity.
    pub epoch: String,
    /// Where the snapshot stands.
    pub sequence: u64,
    /// What the store showed there.
    pub mark: Mark,
    /// Why.
    pub cause: ResyncCause,
    /// The snapshot's name in the object store.
    pub object: String,
}

/// The number of a cause in a message; new ones are appended.
const CAUSES: [ResyncCause; 7] = [
    ResyncCause::First,
    ResyncCause::Epoch,
    ResyncCause::Fork,
    ResyncCause::Gap,
    ResyncCause::Bulk,
    ResyncCause::Mismatch,
    ResyncCause::Refused,
];
