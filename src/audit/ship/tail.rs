//! The log from a record on, as it grows: group after group, each of which follows on the one before it.

use std::path::PathBuf;

use tracing::warn;

use super::ShipError;
use crate::{
    audit::{
        read::{Group, ReadError, SegmentReader, segments},
        segment,
        writer::Head,
    },
    upstream::archive::Progress,
};

/// Bytes of groups that are read at once; a larger group goes alone.
const BATCH: usize = 2 << 20;
/// Groups that are read at once.
const GROUPS: usize = 4_096;

/// Reads what the store does not have.
#[derive(Debug)]
pub(super) struct Tail {
    directory: PathBuf,
    replica: String,
    reader: Option<SegmentReader>,
    /// Read, but perhaps not on the disk.
    unsynced: Vec<SegmentReader>,
    at: Progress,
    /// The last batch was full.
    is_behind: bool,
}

impl Tail {
    /// From there on.
    pub(super) fn new(directory: PathBuf, replica: String, at: Progress) -> Self {
        Self {
            directory,
            replica,
            reader: None,
            unsynced: Vec::new(),
            at,
            is_behind: false,
        }
    }

    /// Whether the last batch was full, so that there is probably more.
    pub(super) fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// The next groups, up to the head; none where there are none.
    pub(super) fn read(&mut self, head: &Head) -> Result<Vec<Group>, ShipError> {
        // What the store has is more than the log.
        if self.at.next_sequence > head.sequence + 1 {
            return Err(self.other_history());
        }
        let (mut read, mut found) = (0, Vec::new());
        while read < BATCH && found.len() < GROUPS && self.at.next_sequence <= head.sequence {
            let group = self.next()?;
            let follows = group.header.first_sequence == self.at.next_sequence
                && group.header.chain_after(&self.at.chain, &group.leaves()) == group.header.chain;
            if !follows {
                return Err(self.other_history());
            }
            self.at = Progress {
                next_sequence: group.header.next_sequence(),
                chain: group.header.chain,
            };
            read += group.payload.len();
            found.push(group);
        }
        self.is_behind = read >= BATCH || found.len() >= GROUPS;
        Ok(found)
    }

    /// Makes the disk have what was read.
    pub(super) fn sync(&mut self) -> Result<(), ReadError> {
        for reader in self.unsynced.drain(..) {
            reader.sync()?;
        }
        self.reader.as_ref().map_or(Ok(()), SegmentReader::sync)
    }

    /// The group with the record that is next; it is known to be written.
    fn next(&mut self) -> Result<Group, ShipError> {
        loop {
            let Some(reader) = &mut self.reader else {
                self.reader = Some(self.open()?);
                continue;
            };
            let next = match reader.next_group() {
                Ok(Some(group)) if group.header.next_sequence() <= self.at.next_sequence => continue,
                Ok(Some(group)) => return Ok(group),
                Ok(None) => None,
                Err(damage @ ReadError::Damaged { .. }) => Some(damage),
                Err(error) => return Err(error.into()),
            };
            // What a failed write left behind a segment's last group is no part of it.
            let following = segment::path(&self.directory, self.at.next_sequence);
            if reader.path() == following || !following.exists() {
                return Err(next.map_or_else(|| ShipError::Gone(self.at.next_sequence), Into::into));
            }
            self.unsynced
                .extend(self.reader.replace(SegmentReader::open(&following)?));
        }
    }

    /// The segment with the record that is next; where it was deleted unshipped, the first one that is left.
    fn open(&mut self) -> Result<SegmentReader, ShipError> {
        let segments = segments(&self.directory)?;
        let behind = segments.partition_point(|(first, _)| *first <= self.at.next_sequence);
        let (_, path) = segments
            .get(behind.saturating_sub(1))
            .ok_or(ShipError::Gone(self.at.next_sequence))?;
        let reader = SegmentReader::open(path)?;
        let header = &reader.header;
        if header.replica.as_str() != self.replica {
            return Err(self.other_history());
        }
        if header.first_sequence > self.at.next_sequence {
            warn!(
                from = self.at.next_sequence,
                to = header.first_sequence - 1,
                "records of the audit log were deleted before they were shipped: the store has a gap"
            );
            self.at = Progress {
                next_sequence: header.first_sequence,
                chain: header.chain_before,
            };
        }
        Ok(reader)
    }

    fn other_history(&self) -> ShipError {
        ShipError::OtherHistory {
            replica: self.replica.clone(),
            sequence: self.at.next_sequence,
        }
    }
}
