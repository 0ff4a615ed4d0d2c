//! Deletes what is old or too much: whole sealed segments, the oldest first, never one that was not shipped unless told to.
//!
//! Seals stay, each some 700 bytes, and the counts of realized rates, so that the chain of seals stays whole and `audit verify` can say where the log begins.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tracing::info;

use super::{
    rates::RATES,
    seal::{SEAL, SIGNATURE, SignedSeal},
    segment, sidecar,
};

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Time after its sealing at which a segment is deleted; zero keeps it.
    pub max_age: Duration,
    /// Bytes of all segments above which the oldest are deleted; 0 keeps them.
    pub max_bytes: u64,
    /// Whether segments that were not shipped are deleted too.
    pub delete_unshipped: bool,
}

/// A segment that was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// First sequence.
    pub segment: u64,
    /// Number of records.
    pub records: u64,
    /// Bytes of its file.
    pub bytes: u64,
}

struct Candidate {
    path: PathBuf,
    bytes: u64,
}

impl Retention {
    /// Deletes what need not be kept at `now`. `shipped_to` is the sequence of the last record that the store has taken over;
    /// 0 when there is none.
    ///
    /// After an error, what was deleted is deleted; the next call goes on.
    pub fn apply(&self, directory: &Path, shipped_to: u64, now: Timestamp) -> io::Result<Vec<Deleted>> {
        let mut deleted = Vec::new();
        if self.max_age.is_zero() && self.max_bytes == 0 {
            return Ok(deleted);
        }
        let mut segments = Vec::new();
        for (_, path) in segment::list(directory)? {
            let bytes = fs::metadata(&path)?.len();
            segments.push(Candidate { path, bytes });
        }
        let mut total: u64 = segments.iter().map(|segment| segment.bytes).sum();
        // The last is the one that is written.
        segments.pop();
        for Candidate { path, bytes } in segments {
            // Oldest first, without a hole: what stays of the log hangs together.
            let Some(seal) = SignedSeal::read(&path)?.and_then(|signed| signed.unverified()) else {
                break;
            };
            let age = now.duration_since(seal.sealed_at);
            let too_old = !self.max_age.is_zero()
                && SignedDuration::try_from(self.max_age).is_ok_and(|max_age| age >= max_age);
            let too_much = self.max_bytes > 0 && total > self.max_bytes;
            let shipped = seal.next_sequence() <= shipped_to.saturating_add(1);
            if !(too_old || too_much) || !(shipped || self.delete_unshipped) {
                break;
            }
            delete(directory, &path)?;
            total = total.saturating_sub(bytes);
            info!(
                segment = seal.segment,
                records = seal.records,
                bytes,
                shipped,
                cause = if too_old { "max_age" } else { "max_bytes" },
                "audit segment deleted"
            );
            deleted.push(Deleted {
                segment: seal.segment,
                records: seal.records,
                bytes,
            });
        }
        Ok(deleted)
    }
}

/// Deletes a segment and what stands beside it, but for its seal and its counts. The segment goes last: until then it is whole, and what is
/// missing beside it can be made again.
fn delete(directory: &Path, path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let beside = entry?.path();
        let kept = beside
            .extension()
            .is_some_and(|extension| extension == SEAL || extension == SIGNATURE || extension == RATES);
        if beside.file_stem() == path.file_stem() && beside != path && !kept {
            fs::remove_file(beside)?;
        }
    }
    fs::remove_file(path)?;
    sidecar::sync_directory(path)
}
