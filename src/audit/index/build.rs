//! Makes an index by reading a segment.

use std::{collections::BTreeSet, path::Path};

use super::{HEAD, KEY, MAGIC, Place, RECORD, Summary, keys::keys, lane_bit, table};
use crate::{
    audit::{
        outline::{DecisionEntry, Outline},
        read::{ReadError, SegmentReader},
    },
    background,
};

/// The bytes of the index of a segment; each record is shown to `visit` too.
pub(super) fn index_of(segment: &Path, mut visit: impl FnMut(&Outline<'_>)) -> Result<Vec<u8>, ReadError> {
    let mut reader = SegmentReader::open(segment)?.reading_ahead();
    let mut building = Building::of(reader.length()?);
    while let Some(group) = reader.next_group()? {
        for (in_group, (_, record)) in (0..).zip(group.records()) {
            let record = record.and_then(Outline::of);
            record.iter().for_each(&mut visit);
            building.add(group.offset, in_group, record.as_ref());
            if in_group % AT_ONCE == 0 {
                background::give_way();
            }
        }
    }
    Ok(building.finish(reader.header.first_sequence, reader.place().0))
}

/// Bytes of a decision's record, about, and the keys that it has: so much room is taken before it is needed.
const USUAL_RECORD: u64 = 1024;
/// The same for keys.
const USUAL_KEYS: usize = 8;
/// Records of a group that are read at once.
const AT_ONCE: u32 = 8;
/// Lists of keys, a power of two.
const LISTS: usize = 1024;

struct Building {
    records: Vec<[u8; RECORD]>,
    /// By the first bits of their hashes: so many short lists are sorted faster than a long one.
    keys: Vec<Vec<(u64, u32)>>,
    /// Those of one record.
    hashes: Vec<u64>,
    summary: Summary,
    offices: BTreeSet<u16>,
}

impl Building {
    /// Of a segment of so many bytes.
    fn of(bytes: u64) -> Self {
        let records = usize::try_from(bytes / USUAL_RECORD).unwrap_or_default();
        Self {
            records: Vec::with_capacity(records),
            keys: (0..LISTS)
                .map(|_| Vec::with_capacity(records * USUAL_KEYS / LISTS))
                .collect(),
            hashes: Vec::new(),
            summary: Summary::default(),
            offices: BTreeSet::new(),
        }
    }

    /// Adds the next record; one that is none takes its place all the same.
    fn add(&mut self, group_offset: u64, in_group: u32, record: Option<&Outline<'_>>) {
        let number = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        let mut place = Place {
            group_offset,
            in_group,
            ..Place::default()
        };
        if let Some(record) = record {
            place.at = record.recorded_at.as_ref().map_or(0, nanoseconds);
            place.kind = record.kind();
            if let Some(entry) = &record.decision {
                self.summarize(&mut place, entry);
            }
            let hashes = &mut self.hashes;
            keys(record, |hash| hashes.push(hash));
            hashes.sort_unstable();
            hashes.dedup();
            for hash in hashes.drain(..) {
                let [high, low, ..] = hash.to_be_bytes();
                // Less than the number of lists.
                let list = usize::from(u16::from_be_bytes([high, low])) >> (u16::BITS - LISTS.ilog2());
                self.keys[list].push((hash, number));
            }
        }
        self.records.push(place.to_bytes());
    }

    fn summarize(&mut self, place: &mut Place, entry: &DecisionEntry<'_>) {
        let decision = entry.decision.as_ref();
        // As a scan and the store have it, whatever is missing: a list must not order a record otherwise once it is sealed.
        let decided_at = decision.and_then(|decision| decision.decided_at.as_ref());
        place.at = decided_at.map_or(0, nanoseconds);
        let lane = decision.map_or(0, |decision| decision.lane);
        place.lane = u8::try_from(lane).unwrap_or_default();
        let office = entry.request.as_ref().and_then(|request| {
            let digits = std::str::from_utf8(request.customs_office).ok()?;
            digits.parse().ok()
        });
        place.office = office.unwrap_or_default();
        let (earliest, latest) = self.summary.decided.unwrap_or((place.at, place.at));
        self.summary.decided = Some((earliest.min(place.at), latest.max(place.at)));
        self.summary.lanes |= lane_bit(lane);
        self.offices.insert(place.office);
    }

    fn finish(mut self, first_sequence: u64, segment_bytes: u64) -> Vec<u8> {
        for list in &mut self.keys {
            list.sort_unstable();
            background::give_way();
        }
        let keys = self.keys.iter().map(Vec::len).sum();
        // Of a segment without a decision the earliest is the later.
        let (earliest, latest) = self.summary.decided.unwrap_or((1, 0));
        let count = |entries: usize| u32::try_from(entries).unwrap_or(u32::MAX).to_le_bytes();
        let mut bytes = Vec::with_capacity(HEAD + (self.records.len() * RECORD) + (keys * KEY));
        bytes.extend(MAGIC);
        bytes.extend(first_sequence.to_le_bytes());
        bytes.extend(segment_bytes.to_le_bytes());
        bytes.extend(earliest.to_le_bytes());
        bytes.extend(latest.to_le_bytes());
        bytes.extend(self.summary.lanes.to_le_bytes());
        bytes.extend(count(self.records.len()));
        bytes.extend(count(keys));
        bytes.extend(count(self.offices.len()));
        bytes.extend(self.offices.iter().flat_map(|office| office.to_le_bytes()));
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        table::write(&mut bytes, self.records.iter().copied());
        table::write(&mut bytes, self.keys.iter().flatten().map(key_entry));
        bytes
    }
}

fn key_entry((hash, record): &(u64, u32)) -> [u8; KEY] {
    let mut entry = [0; KEY];
    entry[..8].copy_from_slice(&hash.to_le_bytes());
    entry[8..].copy_from_slice(&record.to_le_bytes());
    entry
}

fn nanoseconds(at: &prost_types::Timestamp) -> i64 {
    at.seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(i64::from(at.nanos))
}
