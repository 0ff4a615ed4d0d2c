//! How segments go on from one another, what their seals say, and how far the log should reach.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{
    Fault, HeadText, Reach, Report, TornTail, What,
    segment::{Examined, first_difference},
};
use crate::audit::{
    frame::Hash,
    head::SignedHead,
    merkle::Tree,
    read::ReadError,
    seal::{LEAVES, Seal, SignedSeal},
    segment, sidecar,
    statement::StatementFault,
};

/// Segments at the end that need no seal: the one that is written, and the one before, which may be in the making.
const MAY_BE_UNSEALED: usize = 2;

/// A head, or why it does not count.
pub(super) struct HeadClaim(Result<SignedHead, StatementFault>);

impl HeadClaim {
    pub(super) fn check(head: &HeadText<'_>, trusted: &[Hash]) -> Self {
        Self(SignedHead::check(head.text, head.signature, trusted))
    }

    pub(super) fn sequence(&self) -> Option<u64> {
        self.0.as_ref().ok().map(|head| head.sequence)
    }
}

/// What stands beside a segment.
enum Sealed {
    /// A seal that counts.
    By(Box<Seal>),
    /// One that does not.
    Wrongly,
    /// Nothing.
    Not,
}

/// Walks over segments and seals in order.
pub(super) struct Linking<'a> {
    directory: &'a Path,
    trusted: &'a [Hash],
    /// First sequences of the segments that had a seal before any was read: one that is sealed meanwhile was read unsealed.
    seals: BTreeSet<u64>,
    report: Report,
    replica: Option<String>,
    /// What the next segment should begin with.
    sequence: u64,
    chain: Option<Hash>,
    /// Digest of the last seal.
    seal: Option<Hash>,
    chain_at_head: Option<Hash>,
    /// The last segment, and where its last group ends.
    end: (u64, u64),
}

impl<'a> Linking<'a> {
    /// `seals` are the first sequences of segments that had a seal before any segment was read.
    pub(super) fn new(directory: &'a Path, trusted: &'a [Hash], seals: BTreeSet<u64>) -> Self {
        Self {
            directory,
            trusted,
            seals,
            report: Report {
                replica: String::new(),
                first_sequence: 0,
                last_sequence: 0,
                segments: 0,
                sealed: 0,
                unsealed_from: 1,
                records: 0,
                decisions: 0,
                unlogged_decisions: 0,
                bytes: 0,
                torn_tail: None,
                reach: Reach::Nothing,
                faults: Vec::new(),
                fault_count: 0,
            },
            replica: None,
            sequence: 1,
            chain: Some(Hash::default()),
            seal: Some(Hash::default()),
            chain_at_head: None,
            end: (1, 0),
        }
    }

    /// Goes through all of them.
    pub(super) fn walk(&mut self, examined: Vec<Examined>) -> Result<(), ReadError> {
        let count = examined.len();
        let last_sealed = self.seals.last().copied();
        let mut gone = self.seals.clone();
        for (at, segment) in examined.into_iter().enumerate() {
            gone.remove(&segment.first);
            // Seals of segments that are not there: deleted by retention before the first, lost behind it.
            let before: Vec<u64> = gone.range(..segment.first).copied().collect();
            for first in before {
                gone.remove(&first);
                self.gone(first, at == 0)?;
            }
            let must_be_sealed =
                last_sealed.is_some_and(|last| segment.first < last) || at + MAY_BE_UNSEALED < count;
            self.segment(segment, at, at + 1 == count, must_be_sealed)?;
        }
        for first in gone {
            self.gone(first, false)?;
        }
        Ok(())
    }

    /// A segment that only its seal tells of.
    fn gone(&mut self, first: u64, deleted: bool) -> Result<(), ReadError> {
        let path = segment::path(self.directory, first);
        let seal = match self.seal_of(first, &path)? {
            Sealed::By(seal) => Some(*seal),
            Sealed::Not | Sealed::Wrongly => None,
        };
        let next = seal.as_ref().map_or(first, Seal::next_sequence);
        if !deleted {
            self.fault(first, next, first, 0, What::SegmentMissing);
        } else if self.sequence != first {
            self.fault(self.sequence, first, first, 0, What::Missing);
        } else if let Some(seal) = &seal
            && self.chain.is_some_and(|chain| chain != seal.chain_before)
        {
            self.fault(first, next, first, 0, What::Chain);
        }
        self.sequence = next;
        self.chain = seal.as_ref().map(|seal| seal.chain_after);
        self.report.unsealed_from = next;
        if let Some(seal) = seal {
            self.replica.get_or_insert(seal.replica);
        }
        Ok(())
    }

    fn segment(
        &mut self,
        mut examined: Examined,
        at: usize,
        last: bool,
        must_be_sealed: bool,
    ) -> Result<(), ReadError> {
        let first = examined.first;
        if first != self.sequence {
            // Where it begins too early, what it holds stands twice or in place of something else.
            let (from, to) = (first.min(self.sequence), first.max(self.sequence));
            self.fault(from, to, first, 0, What::Missing);
            self.chain = None;
        }
        if let Some(header) = &examined.header {
            if self.chain.is_some_and(|chain| chain != header.chain_before) {
                self.fault(first, first.saturating_add(1), first, 0, What::Chain);
            }
            let replica = self.replica.get_or_insert_with(|| header.replica.to_string());
            if *replica != header.replica.as_str() {
                self.fault(first, first.saturating_add(1), first, 0, What::Replica);
            }
        }
        let seal = match self.seal_of(first, &examined.path)? {
            Sealed::By(seal) => {
                self.compare(&mut examined, &seal)?;
                Some(seal)
            }
            Sealed::Not if must_be_sealed => {
                self.fault(first, examined.next_sequence, first, 0, What::NotSealed);
                None
            }
            Sealed::Not | Sealed::Wrongly => None,
        };
        // A crash while a segment was begun leaves a file without a header: nothing in it was ever acknowledged.
        let unbegun = matches!(
            &examined.faults[..],
            [Fault {
                what: What::Header,
                ..
            }]
        ) && examined.records == 0;
        if last && unbegun && seal.is_none() {
            examined.faults.clear();
            examined.torn = Some(0);
        }
        if let Some(offset) = examined.torn {
            let goes_on = examined.next_sequence > first
                && segment::path(self.directory, examined.next_sequence).exists();
            if last {
                self.report.torn_tail = Some(TornTail {
                    segment: first,
                    offset,
                    sequence: examined.next_sequence,
                });
            } else if !goes_on && seal.is_none() {
                self.fault(
                    examined.next_sequence,
                    examined.next_sequence.saturating_add(1),
                    first,
                    offset,
                    What::Group("what stands there is no group"),
                );
            }
        }
        if at == 0 {
            self.report.first_sequence = first;
        }
        let report = &mut self.report;
        report.segments += 1;
        report.records += examined.records;
        report.decisions += examined.decisions;
        report.unlogged_decisions = report.unlogged_decisions.saturating_add(examined.unlogged);
        report.bytes += examined.end;
        report.last_sequence = examined.next_sequence.saturating_sub(1);
        report.faults.extend(examined.faults);
        report.fault_count += examined.more_faults;
        self.chain_at_head = self.chain_at_head.or(examined.chain_at);
        self.end = (first, examined.end);
        self.sequence = examined.next_sequence;
        self.chain = examined.chain_after;
        if let Some(seal) = seal {
            self.report.sealed += 1;
            // What was sealed is what the next one goes on from, whatever is there now.
            self.sequence = seal.next_sequence();
            self.chain = Some(seal.chain_after);
            self.report.unsealed_from = seal.next_sequence();
        }
        Ok(())
    }

    /// The seal of a segment; what is wrong with it is told.
    fn seal_of(&mut self, first: u64, path: &Path) -> Result<Sealed, ReadError> {
        if !self.seals.contains(&first) {
            return Ok(Sealed::Not);
        }
        let signed = SignedSeal::read(path).map_err(|error| ReadError::Io {
            path: path.to_owned(),
            error,
        })?;
        let Some(signed) = signed else {
            return Ok(Sealed::Not);
        };
        let before = self.seal.replace(signed.digest());
        let what = match signed.check(self.trusted) {
            Err(fault) => What::Seal(fault),
            Ok(seal) if seal.segment != first => What::SealDiffers("the segment"),
            Ok(seal) => {
                if before != Some(seal.previous_seal) {
                    self.fault(first, seal.next_sequence(), first, 0, What::SealLink);
                }
                return Ok(Sealed::By(Box::new(seal)));
            }
        };
        self.fault(first, first.saturating_add(1), first, 0, what);
        Ok(Sealed::Wrongly)
    }

    /// Holds a segment against its seal. Where they differ, the leaves that were sealed tell the first bad record.
    fn compare(&mut self, examined: &mut Examined, seal: &Seal) -> Result<(), ReadError> {
        let header = examined.header.as_ref();
        let differs = [
            (
                "the number of records",
                examined.next_sequence != seal.next_sequence() || examined.records != seal.records,
            ),
            ("the Merkle root", examined.root != seal.merkle_root),
            (
                "the chain after it",
                examined
                    .chain_after
                    .is_some_and(|chain| chain != seal.chain_after),
            ),
            (
                "the chain before it",
                header.is_some_and(|header| header.chain_before != seal.chain_before),
            ),
            (
                "the replica",
                header.is_some_and(|header| header.replica.as_str() != seal.replica),
            ),
            ("the length", examined.length != seal.bytes),
        ];
        let Some((what, _)) = differs.into_iter().find(|(_, differs)| *differs) else {
            return Ok(());
        };
        let first = seal.segment;
        let sealed = sealed_leaves(&examined.path, seal);
        let difference = match &sealed {
            Some(leaves) => first_difference(first, &examined.path, leaves)?,
            None => None,
        };
        match difference {
            Some((sequence, offset)) => {
                // A fault that was known to be somewhere in a group is known to be here.
                let mut told = false;
                for fault in &mut examined.faults {
                    if (fault.sequence..=fault.last_sequence).contains(&sequence) {
                        (fault.sequence, fault.offset) = (sequence, offset);
                        told = true;
                    }
                }
                if !told {
                    self.fault(sequence, sequence.saturating_add(1), first, offset, What::Record);
                }
            }
            // Something beside the records; or it can only be told that it is somewhere in the segment.
            None if examined.faults.is_empty() => {
                self.fault(first, seal.next_sequence(), first, 0, What::SealDiffers(what));
            }
            None => {}
        }
        Ok(())
    }

    /// The report; with the head, whether the log reaches it.
    pub(super) fn finish(mut self, head: Option<&HeadClaim>) -> Report {
        self.report.replica = self.replica.take().unwrap_or_default();
        if self.report.segments == 0 {
            self.report.first_sequence = self.sequence;
        }
        if let Some(HeadClaim(head)) = head {
            let (last, segment) = (self.report.last_sequence, self.report.first_sequence);
            match head {
                Err(fault) => self.fault(last, last, segment, 0, What::Head(*fault)),
                Ok(head) => self.reach(head),
            }
        }
        self.report
    }

    fn reach(&mut self, head: &SignedHead) {
        let Report {
            first_sequence,
            last_sequence,
            ..
        } = self.report;
        let next = last_sequence + 1;
        if head.replica != self.report.replica {
            self.fault(
                head.sequence,
                head.sequence,
                first_sequence,
                0,
                What::HeadDiffers("the replica"),
            );
        } else if head.sequence > last_sequence {
            let (segment, end) = self.end;
            self.fault(next, head.sequence.saturating_add(1), segment, end, What::CutTail);
        } else if head.sequence < first_sequence {
            self.report.reach = Reach::OlderHead {
                sequence: head.sequence,
            };
        } else if self.chain_at_head != Some(head.chain) {
            self.fault(
                head.sequence,
                head.sequence,
                first_sequence,
                0,
                What::HeadDiffers("the chain"),
            );
        } else {
            self.report.reach = Reach::Head {
                sequence: head.sequence,
                at: format!("{:.3}", head.at),
            };
        }
    }

    /// A fault from one sequence up to, but not including, another.
    fn fault(&mut self, sequence: u64, end: u64, segment: u64, offset: u64, what: What) {
        self.report.faults.push(Fault {
            sequence,
            last_sequence: end.saturating_sub(1).max(sequence),
            segment,
            offset,
            what,
        });
    }
}

/// The leaves that were sealed, from the sidecar that holds them: the signed root says whether it does.
fn sealed_leaves(segment: &Path, seal: &Seal) -> Option<Vec<Hash>> {
    let path: PathBuf = sidecar::path(segment, LEAVES);
    let bytes = sidecar::read(&path).ok()??;
    let leaves = bytes.as_chunks().0.to_vec();
    let root = leaves.iter().copied().collect::<Tree>().root();
    (root == seal.merkle_root).then_some(leaves)
}
