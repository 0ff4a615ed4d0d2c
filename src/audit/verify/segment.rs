//! Examines one segment alone: everything but how it goes on from the one before, so that several are read at once.

use std::path::{Path, PathBuf};

use prost::Message as _;

use super::{Fault, TOLD, What};
use crate::{
    audit::{
        frame::{self, Hash},
        merkle::Tree,
        read::{Group, ReadError, SegmentReader},
        segment::SegmentHeader,
    },
    wire::pb::{self, audit_record::Entry},
};

/// What was found in one segment.
#[derive(Debug)]
pub(super) struct Examined {
    /// First sequence, by its name.
    pub(super) first: u64,
    pub(super) path: PathBuf,
    /// `None` where it is damaged.
    pub(super) header: Option<SegmentHeader>,
    /// In the order of the file; not more than a report holds.
    pub(super) faults: Vec<Fault>,
    /// How many there are beyond.
    pub(super) more_faults: u64,
    /// Where something stands that is no whole group, with nothing whole behind it.
    pub(super) torn: Option<u64>,
    /// Where its last whole group ends, and the sequence that follows.
    pub(super) end: u64,
    pub(super) next_sequence: u64,
    /// Chain of its last whole group, as far as it can be known.
    pub(super) chain_after: Option<Hash>,
    /// Root over the records that are there.
    pub(super) root: Hash,
    pub(super) records: u64,
    pub(super) decisions: u64,
    pub(super) unlogged: u64,
    /// Chain of the group that ends with the record that was asked for.
    pub(super) chain_at: Option<Hash>,
    pub(super) length: u64,
}

/// Reads a segment; `trusted` are the keys whose it may be, `head` a sequence whose chain is asked for.
pub(super) fn examine(
    first: u64,
    path: &Path,
    trusted: &[Hash],
    head: Option<u64>,
) -> Result<Examined, ReadError> {
    let (header, reader) = match SegmentReader::open(path) {
        Ok(reader) => (Some(reader.header), reader),
        Err(ReadError::NoSegment { .. }) => (None, SegmentReader::open_headless(path, first)?),
        Err(error) => return Err(error),
    };
    let mut examining = Examining {
        trusted,
        head,
        chain: header.map(|header| header.chain_before),
        leaves: Tree::default(),
        found: Examined {
            first,
            path: path.to_owned(),
            header,
            faults: Vec::new(),
            more_faults: 0,
            torn: None,
            end: reader.place().0,
            next_sequence: first,
            chain_after: None,
            root: Hash::default(),
            records: 0,
            decisions: 0,
            unlogged: 0,
            chain_at: None,
            length: reader.length()?,
        },
    };
    match header {
        None => examining.fault(first, 0, What::Header),
        Some(header) if header.first_sequence != first => {
            examining.fault(first, 0, What::Named(header.first_sequence));
        }
        Some(_) => {}
    }
    examining.groups(reader.reading_ahead())?;
    let Examining {
        chain,
        leaves,
        mut found,
        ..
    } = examining;
    found.chain_after = chain;
    found.root = leaves.root();
    Ok(found)
}

struct Examining<'a> {
    trusted: &'a [Hash],
    head: Option<u64>,
    /// Chain of the group before; `None` where that cannot be known.
    chain: Option<Hash>,
    leaves: Tree,
    found: Examined,
}

impl Examining<'_> {
    fn groups(&mut self, mut reader: SegmentReader) -> Result<(), ReadError> {
        loop {
            let (offset, due) = reader.place();
            match reader.next_group() {
                Ok(Some(group)) => self.group(&group),
                Ok(None) => {
                    // Zeros, or the file's end. Groups behind zeros would be behind a hole.
                    let Some(behind) = reader.skip_damage()? else {
                        return Ok(());
                    };
                    self.fault_to(due, behind.first_sequence, offset, What::Zeros);
                    self.chain = None;
                }
                Err(ReadError::Damaged { what, .. }) => {
                    let here = reader.damaged_group()?;
                    // A whole group of a later sequence: what was before it is gone.
                    if let Some(later) = here.as_ref().filter(|here| here.header.first_sequence > due) {
                        self.fault_to(due, later.header.first_sequence, offset, What::Missing);
                        self.chain = None;
                        reader = reader.at(offset, later.header.first_sequence);
                        continue;
                    }
                    let Some(behind) = reader.skip_damage()? else {
                        self.found.torn = Some(offset);
                        return Ok(());
                    };
                    self.fault_to(due, behind.first_sequence, offset, What::Group(what));
                    // Where only its records are damaged, its header still says how the chain goes on.
                    self.chain = here
                        .filter(|here| here.header.first_sequence == due)
                        .map(|here| here.header.chain);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn group(&mut self, group: &Group) {
        let first = group.header.first_sequence;
        let mut leaves = Vec::new();
        let mut rest = group.payload.len();
        for (sequence, record) in group.records() {
            let offset = group.end() - rest as u64;
            let Some(record) = record else {
                self.fault(sequence, offset, What::Cut);
                break;
            };
            rest -= record.len() + prost::length_delimiter_len(record.len());
            leaves.push(frame::leaf(record));
            match pb::AuditRecord::decode(record) {
                Ok(record) => self.record(sequence, offset, &record),
                Err(_) => self.fault(sequence, offset, What::Undecodable),
            }
        }
        let count = leaves.len() as u64;
        // One more than it has: what it lost may have been its last.
        let end = group.header.next_sequence().saturating_add(1);
        if count != u64::from(group.header.records) {
            self.fault_to(first, end, group.offset, What::Count);
        }
        if let Some(chain) = &self.chain
            && group.header.chain_after(chain, &leaves) != group.header.chain
        {
            self.fault_to(first, end, group.offset, What::Chain);
        }
        self.chain = Some(group.header.chain);
        let next_sequence = group.header.next_sequence();
        if self
            .head
            .is_some_and(|head| head.saturating_add(1) == next_sequence)
        {
            self.found.chain_at = self.chain;
        }
        self.leaves.extend(leaves);
        self.found.records += count;
        self.found.next_sequence = next_sequence;
        self.found.end = group.end();
    }

    fn record(&mut self, sequence: u64, offset: u64, record: &pb::AuditRecord) {
        let opened = match &record.entry {
            Some(Entry::Opened(opened)) => Some(opened),
            Some(Entry::Decision(_)) => {
                self.found.decisions += 1;
                None
            }
            Some(Entry::Unlogged(unlogged)) => {
                self.found.unlogged = self.found.unlogged.saturating_add(unlogged.decisions);
                None
            }
            Some(
                Entry::Activation(_) | Entry::OrderChange(_) | Entry::Inspection(_) | Entry::Commitment(_),
            )
            | None => None,
        };
        match opened {
            Some(opened) if !self.trusted.iter().any(|key| key[..] == opened.public_key) => {
                self.fault(sequence, offset, What::OpenedBy);
            }
            None if sequence == self.found.first => self.fault(sequence, offset, What::NotOpened),
            Some(_) | None => {}
        }
    }

    fn fault(&mut self, sequence: u64, offset: u64, what: What) {
        self.fault_to(sequence, sequence.saturating_add(1), offset, what);
    }

    /// A fault from one sequence up to, but not including, another.
    fn fault_to(&mut self, sequence: u64, end: u64, offset: u64, what: What) {
        if self.found.faults.len() == TOLD {
            self.found.more_faults += 1;
            return;
        }
        self.found.faults.push(Fault {
            sequence,
            last_sequence: end.saturating_sub(1).max(sequence),
            segment: self.found.first,
            offset,
            what,
        });
    }
}

/// The first record that is not the one that was sealed, given the leaves that were: its sequence and its place.
pub(super) fn first_difference(
    first: u64,
    path: &Path,
    sealed: &[Hash],
) -> Result<Option<(u64, u64)>, ReadError> {
    let mut reader = SegmentReader::open_headless(path, first)?;
    loop {
        let (offset, due) = reader.place();
        let group = match reader.next_group() {
            Ok(Some(group)) => group,
            Ok(None) => {
                let missing = due < first.saturating_add(sealed.len() as u64);
                return Ok(missing.then_some((due, offset)));
            }
            Err(ReadError::Damaged { .. }) => match reader.damaged_group()? {
                Some(group) if group.header.first_sequence == due => {
                    reader = reader.at(group.end(), group.header.next_sequence());
                    group
                }
                // What stands there is another's, or nothing's: the record that was due is not there.
                Some(_) | None => return Ok(Some((due, offset))),
            },
            Err(error) => return Err(error),
        };
        let mut at = group.offset + frame::HEADER as u64;
        for (sequence, record) in group.records() {
            let expected = usize::try_from(sequence - first)
                .ok()
                .and_then(|number| sealed.get(number));
            let own = record.map(frame::leaf);
            if own.is_none() || own.as_ref() != expected {
                return Ok(Some((sequence, at)));
            }
            let length = record.map_or(0, <[u8]>::len);
            at += (length + prost::length_delimiter_len(length)) as u64;
        }
    }
}
