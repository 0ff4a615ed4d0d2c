//! Verifies a log: every group, every record, the chain through all of them, and the seals that vouch for it. Needs nothing
//! but the directory and the public key.

mod links;
mod segment;

use std::{
    io,
    num::NonZero,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde::{Serialize, Serializer};
use thiserror::Error;

use self::segment::Examined;
use super::{frame::Hash, read::ReadError, seal::SEAL, segment as segments, statement::StatementFault};

/// Faults that a report holds; those beyond are counted.
const TOLD: usize = 100;

/// Why a log cannot be verified.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// There is none.
    #[error("{}: there is no audit log here", directory.display())]
    NoLog {
        /// Where it should be.
        directory: PathBuf,
    },
}

/// What is wrong at one place of a log.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum What {
    /// Of a segment.
    #[error("the segment's header is damaged")]
    Header,
    /// A segment's header against its name.
    #[error("the file is named after another record than the segment begins with: {0}")]
    Named(u64),
    /// A group, as a reader tells of it.
    #[error("no whole group: {0}")]
    Group(&'static str),
    /// Nothing, where records are due and others follow.
    #[error("zeros where a group is due")]
    Zeros,
    /// A gap in the sequence.
    #[error("records are missing")]
    Missing,
    /// A record within a group.
    #[error("the record is cut")]
    Cut,
    /// A record within a group.
    #[error("the record is no AuditRecord")]
    Undecodable,
    /// A group's header against its payload.
    #[error("the group has another number of records than it says")]
    Count,
    /// A group or a segment against what is before it.
    #[error("the chain is broken: this was not written behind what is before it")]
    Chain,
    /// The first record of a segment.
    #[error("the segment does not begin with LogOpened")]
    NotOpened,
    /// A `LogOpened`.
    #[error("the log was opened with another public key")]
    OpenedBy,
    /// A segment against the one before.
    #[error("the segment is another replica's")]
    Replica,
    /// Of a segment that is full.
    #[error("the segment has no seal")]
    NotSealed,
    /// Of a seal.
    #[error("the segment's seal does not count: {0}")]
    Seal(StatementFault),
    /// A segment against its seal.
    #[error("the segment is not what was sealed: {0} differs")]
    SealDiffers(&'static str),
    /// A seal against the one before.
    #[error("the segment's seal does not follow on the seal before")]
    SealLink,
    /// A record against the leaf that was sealed.
    #[error("the record is not the one that was sealed")]
    Record,
    /// A segment that a seal tells of.
    #[error("the segment was sealed and is missing")]
    SegmentMissing,
    /// The head.
    #[error("the signed head does not count: {0}")]
    Head(StatementFault),
    /// The head against the log.
    #[error("the signed head is of another log or another history: {0} differs")]
    HeadDiffers(&'static str),
    /// The log against the head.
    #[error("the signed head tells of records that are missing")]
    CutTail,
}

impl Serialize for What {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One fault, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The first record that is bad, or missing, or no longer vouched for.
    pub sequence: u64,
    /// The last record up to which the fault may reach.
    pub last_sequence: u64,
    /// First sequence of the segment, by which its file is named.
    pub segment: u64,
    /// Where in that file, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub what: What,
}

/// What stands at the end of the log and was never acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TornTail {
    /// First sequence of the segment.
    pub segment: u64,
    /// Where it begins.
    pub offset: u64,
    /// The record that was being written.
    pub sequence: u64,
}

/// What shows how far the log went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum Reach {
    /// Nothing: records at its end may have been removed.
    Nothing,
    /// A signed head, which the log reaches.
    Head {
        /// Last record that the head tells of.
        sequence: u64,
        /// When it was signed.
        at: String,
    },
    /// A signed head of records that were deleted by retention since.
    OlderHead {
        /// Last record that the head tells of.
        sequence: u64,
    },
}

/// What was found in a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Who wrote it.
    pub replica: String,
    /// First record that is there; above 1 where retention deleted what was before.
    pub first_sequence: u64,
    /// Last record that is there; 0 when there is none.
    pub last_sequence: u64,
    /// Segments that are there.
    pub segments: u64,
    /// Of these, with a seal that counts.
    pub sealed: u64,
    /// First record that no seal vouches for yet, only the chain.
    pub unsealed_from: u64,
    /// Records read.
    pub records: u64,
    /// Of these, decisions.
    pub decisions: u64,
    /// Decisions that were given without a record, as the log tells.
    pub unlogged_decisions: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What a crash left at the end, if anything. No fault by itself; only a head shows that nothing else was there.
    pub torn_tail: Option<TornTail>,
    /// What shows how far the log went.
    pub reach: Reach,
    /// Faults in the order of records; the first is the first bad record. At most 100 are kept.
    pub faults: Vec<Fault>,
    /// How many there are.
    pub fault_count: u64,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.fault_count == 0
    }
}

/// A signed head, as it was found: not checked yet.
#[derive(Debug, Clone, Copy)]
pub struct HeadText<'a> {
    /// The text.
    pub text: &'a [u8],
    /// Its signature.
    pub signature: &'a [u8],
}

/// Verifies the log of a directory against the public keys of its replica, each of which it had at some time, and, where there
/// is one, a signed head, of before the call. `progress` is told of bytes read, from several threads.
///
/// The log may be written meanwhile: what comes later is not looked at.
pub fn verify(
    directory: &Path,
    trusted: &[Hash],
    head: Option<HeadText<'_>>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Report, VerifyError> {
    let io = |error: io::Error| ReadError::Io {
        path: directory.to_owned(),
        error,
    };
    // Seals first: a log that is being written may get more of both meanwhile, and a seal without its segment is a fault.
    let seals = segments::list_files(directory, SEAL).map_err(io)?;
    let files = segments::list(directory).map_err(io)?;
    if files.is_empty() && seals.is_empty() {
        return Err(VerifyError::NoLog {
            directory: directory.to_owned(),
        });
    }
    let head = head.map(|head| links::HeadClaim::check(&head, trusted));
    let asked = head.as_ref().and_then(links::HeadClaim::sequence);
    let examined = examine_all(&files, trusted, asked, progress)?;
    let seals = seals.into_iter().map(|(first, _)| first).collect();
    let mut linking = links::Linking::new(directory, trusted, seals);
    linking.walk(examined)?;
    let mut report = linking.finish(head.as_ref());
    report
        .faults
        .sort_by_key(|fault| (fault.sequence, fault.segment, fault.offset));
    report.fault_count += report.faults.len() as u64;
    report.faults.truncate(TOLD);
    Ok(report)
}

/// Examines every segment, several at a time.
fn examine_all(
    files: &[(u64, PathBuf)],
    trusted: &[Hash],
    head: Option<u64>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<Examined>, ReadError> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(files.len()));
    let threads = thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(files.len());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((first, path)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let examined = segment::examine(*first, path, trusted, head);
                    if let Ok(examined) = &examined {
                        progress(examined.length);
                    }
                    results
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(examined);
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let is_gone = |examined: &Result<Examined, ReadError>| matches!(examined, Err(ReadError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound);
    // What went meanwhile, by retention or because it could not be begun, is as if it had never been there.
    let there = results.into_iter().filter(|examined| !is_gone(examined));
    let mut examined = there.collect::<Result<Vec<_>, _>>()?;
    examined.sort_by_key(|examined| examined.first);
    Ok(examined)
}
