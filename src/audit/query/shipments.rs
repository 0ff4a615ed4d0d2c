//! Everything that a log tells of shipments: decisions and inspections by declaration and by container.
//!
//! A sealed segment is searched by its index. Of one that has no seal yet, what it names is remembered, and read on from there
//! as it grows: what is asked for soon after it was decided costs one pass over what came meanwhile.

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use foldhash::HashMap;
use jiff::Timestamp;
use smallvec::SmallVec;

use super::{
    OwnLog, QueryError,
    local::{Candidate, Place, RecordPlace, Records, read_on},
    nanoseconds,
};
use crate::audit::{
    index::{Key, SegmentIndex, keys::shipment_keys},
    outline::Outline,
    read::ReadError,
};

/// Finds what the log tells of shipments.
#[derive(Debug)]
pub struct LoggedShipments {
    log: OwnLog,
    /// By their first sequence.
    unsealed: BTreeMap<u64, Named>,
}

/// What a segment without a seal names, as far as it was read.
#[derive(Debug, Default)]
struct Named {
    /// Where reading goes on: a group's place and its first record; `None` at the beginning.
    at: Option<(u64, u64)>,
    by_key: HashMap<u64, SmallVec<[RecordPlace; 1]>>,
}

impl Named {
    /// Reads on to the end, or to a place that is known to be written.
    fn read_on(&mut self, path: &Path, until: Option<u64>) -> Result<(), ReadError> {
        read_on(path, &mut self.at, until, |place, record| {
            if let Some(outline) = Outline::of(record) {
                shipment_keys(&outline, |key| self.by_key.entry(key).or_default().push(place));
            }
        })
    }
}

impl LoggedShipments {
    /// Of that log.
    pub fn new(log: OwnLog) -> Self {
        Self {
            log,
            unsealed: BTreeMap::new(),
        }
    }

    /// Records of the log, in its order, that name one of the keys; now and then one that does not. Segments that hold
    /// decisions, but none since that time, are passed over.
    pub fn find(&mut self, keys: &[Key<'_>], since: Timestamp) -> Result<Vec<Bytes>, QueryError> {
        let hashes: Vec<u64> = keys.iter().map(Key::hash).collect();
        let segments = self.log.segments()?;
        self.unsealed
            .retain(|own, _| segments.iter().any(|(first, _)| first == own));
        let (mut found, mut records) = (Vec::new(), Records::default());
        for (first, path) in &segments {
            let mut candidates = if path.with_extension("seal").exists() {
                self.unsealed.remove(first);
                let index = SegmentIndex::open_or_build(path)?;
                let is_old = |(_, latest)| latest < nanoseconds(since);
                if index.summary.decided.is_some_and(is_old) {
                    continue;
                }
                in_index(&index, keys)?
            } else {
                let head = *self.log.head.borrow();
                let named = self.unsealed.entry(*first).or_default();
                named.read_on(path, (head.segment == *first).then_some(head.offset))?;
                let places = hashes.iter().filter_map(|hash| named.by_key.get(hash)).flatten();
                places.map(|place| place.candidate(0, 0)).collect()
            };
            candidates.sort_unstable_by_key(|candidate| candidate.sequence);
            candidates.dedup_by_key(|candidate| candidate.sequence);
            for candidate in &candidates {
                found.push(records.read(path, candidate)?);
            }
        }
        Ok(found)
    }
}

fn in_index(index: &SegmentIndex, keys: &[Key<'_>]) -> Result<Vec<Candidate>, QueryError> {
    let mut candidates = Vec::new();
    for key in keys {
        for number in index.find(*key)? {
            if let Some(place) = index.record(number)? {
                candidates.push(Candidate {
                    at: place.at,
                    sequence: index.first_sequence + u64::from(number),
                    segment: 0,
                    place: Place::InGroup {
                        offset: place.group_offset,
                        number: place.in_group,
                    },
                });
            }
        }
    }
    Ok(candidates)
}
