//! What an index and the counts of a segment are made of, noted of each record: at best when it is appended, because what it
//! says is at hand then, and the segment need not be read for it.

use std::{ops::Range, path::Path};

use super::keys::{decision_keys, keys};
use crate::{
    audit::{
        outline::Outline,
        rates::{Counted, Observation, RateTable},
        read::{ReadError, SegmentReader},
        segment,
    },
    background,
    domain::declaration::Declaration,
    facilitation::Outcome,
    wire::{convert, record::DECISION},
};

/// Records of a group that are read at once.
const AT_ONCE: u32 = 8;
/// The kind of a decision's record.
pub(super) const DECIDED: u8 = 2;
const _: () = assert!(DECIDED as u32 == DECISION);

/// What the index has of a record, but for its place and its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Noted {
    /// When it was decided, or else recorded: nanoseconds since 1970.
    pub(super) at: i64,
    /// Where its keys end among those of all.
    keys_end: u32,
    /// The office of a decision, its four digits as a number; 0 else.
    pub(super) office: u16,
    /// The lane of a decision by its number in the contract; 0 else.
    pub(super) lane: u8,
    /// The number of the entry's field in `AuditRecord`; 0 for a kind that this program does not know.
    pub(super) kind: u8,
}

/// Notes of records, in their order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Notes {
    records: Vec<Noted>,
    /// The hashes of each record's keys, ascending, each once.
    keys: Vec<u64>,
    /// What counts.
    counted: Vec<Counted>,
    /// Hashes of one record.
    hashes: Vec<u64>,
}

/// A decision that was made, as far as it is noted.
#[derive(Debug, Clone, Copy)]
pub struct NotedDecision<'a> {
    /// Its id.
    pub id: &'a str,
    /// On what: every identifier was sent in its normal form.
    pub declaration: &'a Declaration,
    /// How it came out.
    pub outcome: &'a Outcome<'a>,
    /// What it adds to the realized rates.
    pub observation: &'a Observation,
}

impl Notes {
    pub(in crate::audit) fn clear(&mut self) {
        self.records.clear();
        self.keys.clear();
        self.counted.clear();
    }

    /// Notes an encoded record; one that is none takes its place all the same.
    pub fn read(&mut self, record: Option<&[u8]>) {
        let Some(record) = record.and_then(Outline::of) else {
            return self.push((0, 0, 0, 0));
        };
        keys(&record, |hash| self.hashes.push(hash));
        Counted::each(&record, |counted| self.counted.push(counted));
        let Some(entry) = &record.decision else {
            let at = record.recorded_at.as_ref().map_or(0, nanoseconds);
            return self.push((at, 0, 0, record.kind()));
        };
        let decision = entry.decision.as_ref();
        // As a scan and the store have it, whatever is missing: a list must not order a record otherwise once it is sealed.
        let at = decision.and_then(|decision| decision.decided_at.as_ref());
        let office = entry.request.as_ref().and_then(|request| {
            let digits = std::str::from_utf8(request.customs_office).ok()?;
            digits.parse().ok()
        });
        let lane = decision.map_or(0, |decision| decision.lane);
        self.push((
            at.map_or(0, nanoseconds),
            office.unwrap_or_default(),
            u8::try_from(lane).unwrap_or_default(),
            record.kind(),
        ));
    }

    /// Notes a decision's record without reading it: what [`Self::read`] notes of it.
    pub fn decided(&mut self, decision: &NotedDecision<'_>) {
        decision_keys(decision, |hash| self.hashes.push(hash));
        let NotedDecision {
            declaration,
            outcome,
            observation,
            ..
        } = decision;
        if !outcome.repeated {
            self.counted.push(Counted::Decided(**observation));
        }
        self.push((
            nanoseconds(&convert::instant(outcome.decided_at)),
            declaration.customs_office.as_str().parse().unwrap_or_default(),
            outcome.decision.lane.number(),
            DECIDED,
        ));
    }

    fn push(&mut self, (at, office, lane, kind): (i64, u16, u8, u8)) {
        self.hashes.sort_unstable();
        self.hashes.dedup();
        self.keys.append(&mut self.hashes);
        self.records.push(Noted {
            at,
            keys_end: count(self.keys.len()),
            office,
            lane,
            kind,
        });
    }

    /// Each record with its keys.
    fn each(&self) -> impl Iterator<Item = (&Noted, &[u64])> {
        let mut begin = 0;
        self.records.iter().map(move |noted| {
            let end = noted.keys_end as usize;
            let keys = self.keys.get(begin..end).unwrap_or_default();
            begin = end;
            (noted, keys)
        })
    }

    /// Adds those of a group; what counts in it is told to `counts`.
    fn add(&mut self, group: &Self, counts: &RateTable) {
        let before = count(self.keys.len());
        self.keys.extend_from_slice(&group.keys);
        self.records.extend(group.records.iter().map(|noted| Noted {
            keys_end: before.saturating_add(noted.keys_end),
            ..*noted
        }));
        group.counted.iter().for_each(|counted| counts.add(counted));
    }
}

/// Notes of a whole segment.
#[derive(Debug)]
pub struct SegmentNotes {
    pub(super) first_sequence: u64,
    /// Where its last group ends.
    pub(super) bytes: u64,
    /// Where each group begins in the file, and the number of its records.
    groups: Vec<(u64, u32)>,
    notes: Notes,
    counts: RateTable,
}

impl SegmentNotes {
    /// Of a segment without a record.
    pub(in crate::audit) fn of(first_sequence: u64) -> Self {
        Self {
            first_sequence,
            bytes: segment::HEADER as u64,
            groups: Vec::new(),
            notes: Notes::default(),
            counts: RateTable::of_segment(),
        }
    }

    /// Reads a segment.
    pub fn read(segment: &Path) -> Result<Self, ReadError> {
        let mut reader = SegmentReader::open(segment)?.reading_ahead();
        let (mut own, mut notes) = (Self::of(reader.header.first_sequence), Notes::default());
        while let Some(group) = reader.next_group()? {
            notes.clear();
            for (in_group, (_, record)) in (0..).zip(group.records()) {
                notes.read(record);
                if in_group % AT_ONCE == 0 {
                    background::give_way();
                }
            }
            own.add(group.offset..group.end(), &notes);
        }
        Ok(own)
    }

    /// Adds the group that lies there in the file.
    pub(in crate::audit) fn add(&mut self, bytes: Range<u64>, group: &Notes) {
        self.groups.push((bytes.start, count(group.records.len())));
        self.bytes = bytes.end;
        self.notes.add(group, &self.counts);
    }

    /// What its records add to the realized rates.
    pub fn counts(&self) -> &RateTable {
        &self.counts
    }

    /// Number of records.
    pub(super) fn len(&self) -> usize {
        self.notes.records.len()
    }

    /// Number of keys, each once a record.
    pub(super) fn keys(&self) -> usize {
        self.notes.keys.len()
    }

    /// Each record with where its group begins, its number in it, and its keys.
    pub(super) fn each(&self) -> impl Iterator<Item = (u64, u32, &Noted, &[u64])> {
        let places = self
            .groups
            .iter()
            .flat_map(|&(offset, records)| (0..records).map(move |in_group| (offset, in_group)));
        places
            .zip(self.notes.each())
            .map(|((offset, in_group), (noted, keys))| (offset, in_group, noted, keys))
    }
}

fn nanoseconds(at: &prost_types::Timestamp) -> i64 {
    at.seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(i64::from(at.nanos))
}

/// A segment has fewer records, and fewer keys.
fn count(entries: usize) -> u32 {
    u32::try_from(entries).unwrap_or(u32::MAX)
}
