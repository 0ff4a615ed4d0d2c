//! What a scan of a segment without an index finds, and goes on finding as it grows.

use std::{hash::BuildHasher as _, path::Path};

use foldhash::fast::FixedState;
use smallvec::SmallVec;

use super::candidate::{Candidate, Place, Wanted};
use crate::audit::{
    decision, frame,
    index::Key,
    query::nanoseconds,
    read::{ReadError, SegmentReader},
};

/// Where a record stands in a segment's file.
#[derive(Debug, Clone, Copy)]
pub(in crate::audit::query) struct RecordPlace {
    pub(in crate::audit::query) sequence: u64,
    offset: u64,
    length: u32,
}

impl RecordPlace {
    /// As one that is looked for, of that time, in that one of several segments.
    pub(in crate::audit::query) fn candidate(self, at: i64, segment: usize) -> Candidate {
        Candidate {
            at,
            sequence: self.sequence,
            segment,
            place: Place::Record {
                offset: self.offset,
                length: self.length,
            },
        }
    }
}

/// Shows the records of a segment, from a group's place and its first record on (`None`: from the beginning) to the end, or
/// to a place that is known to be written; `at` is then where to go on. Passes over what is damaged.
pub(in crate::audit::query) fn read_on(
    path: &Path,
    at: &mut Option<(u64, u64)>,
    until: Option<u64>,
    mut show: impl FnMut(RecordPlace, &[u8]),
) -> Result<(), ReadError> {
    let mut reader = match SegmentReader::open(path) {
        Ok(reader) => reader,
        // A segment that was just made, or lost its beginning.
        Err(ReadError::NoSegment { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    if let Some((offset, sequence)) = *at {
        reader = reader.at(offset, sequence);
    }
    while until.is_none_or(|until| reader.place().0 < until) {
        let group = match reader.next_group() {
            Ok(Some(group)) => group,
            Ok(None) => break,
            Err(ReadError::Damaged { .. }) if until.is_none() => match reader.skip_damage()? {
                Some(_) => continue,
                None => break,
            },
            Err(error) => return Err(error),
        };
        let mut offset = group.offset + frame::HEADER as u64;
        for (sequence, record) in group.records() {
            let Some(record) = record else { break };
            let bytes = record.len();
            offset += prost::length_delimiter_len(bytes) as u64;
            let place = RecordPlace {
                sequence,
                offset,
                length: u32::try_from(bytes).unwrap_or(u32::MAX),
            };
            show(place, record);
            offset += bytes as u64;
        }
        *at = Some(reader.place());
    }
    Ok(())
}

/// The decisions of a segment, as far as it was scanned.
#[derive(Debug, Clone, Default)]
pub(super) struct Scanned {
    /// Where the scan goes on: a group's place and its first record; `None` at the beginning.
    at: Option<(u64, u64)>,
    decided: Option<(i64, i64)>,
    decisions: Vec<Scan>,
}

#[derive(Debug, Clone)]
struct Scan {
    at: i64,
    place: RecordPlace,
    office: u16,
    lane: u8,
    /// Hashes of what it can be looked up by.
    keys: SmallVec<[u64; 4]>,
}

impl Scanned {
    /// Scans on to the end, or to a place that is known to be written. Passes over what is damaged.
    pub(super) fn go_on(&mut self, path: &Path, until: Option<u64>) -> Result<(), ReadError> {
        let mut at = self.at;
        let read = read_on(path, &mut at, until, |place, record| {
            if let Some(entry) = decision::of_record(record) {
                self.put(&entry, place);
            }
        });
        self.at = at;
        read
    }

    fn put(&mut self, entry: &crate::wire::pb::DecisionEntry, place: RecordPlace) {
        let at = nanoseconds(decision::decided_at(entry));
        let own = entry.decision.as_ref();
        let office = entry
            .request
            .as_ref()
            .and_then(|request| request.customs_office.parse().ok());
        let mut keys: SmallVec<[u64; 4]> = decision::customs_codes(entry)
            .into_iter()
            .map(|code| hash(Key::Enterprise(code)))
            .collect();
        if let Some(own) = own {
            keys.push(hash(Key::Decision(&own.decision_id)));
            keys.push(hash(Key::Declaration(&own.declaration_number)));
        }
        let (earliest, latest) = self.decided.unwrap_or((at, at));
        self.decided = Some((earliest.min(at), latest.max(at)));
        self.decisions.push(Scan {
            at,
            place,
            office: office.unwrap_or_default(),
            lane: own.map_or(0, |own| u8::try_from(own.lane).unwrap_or_default()),
            keys,
        });
    }

    /// When the first and the last decision were made.
    pub(super) fn decided(&self) -> Option<(i64, i64)> {
        self.decided
    }

    /// Gives what may be wanted.
    pub(super) fn candidates(&self, wanted: &Wanted<'_>, segment: usize, give: &mut dyn FnMut(Candidate)) {
        let key = wanted.key.map(hash);
        for scan in &self.decisions {
            if key.is_none_or(|key| scan.keys.contains(&key))
                && wanted.admits(scan.at, scan.place.sequence, scan.office, scan.lane)
            {
                give(scan.place.candidate(scan.at, segment));
            }
        }
    }
}

fn hash(key: Key<'_>) -> u64 {
    FixedState::with_seed(0).hash_one(key)
}
