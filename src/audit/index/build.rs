//! Makes an index of a segment's notes.

use std::collections::BTreeSet;

use super::{
    HEAD, KEY, MAGIC, Place, RECORD, lane_bit,
    notes::{DECIDED, SegmentNotes},
    table,
};
use crate::background;

/// Records that are added at once.
const AT_ONCE: usize = 64;
/// Lists of keys, a power of two.
const LISTS: usize = 1024;

/// The bytes of the index of a segment.
pub(super) fn index_of(notes: &SegmentNotes) -> Vec<u8> {
    // By the first bits of their hashes: so many short lists are sorted faster than a long one.
    let room = notes.keys() / LISTS * 5 / 4;
    let mut lists: Vec<Vec<(u64, u32)>> = (0..LISTS).map(|_| Vec::with_capacity(room)).collect();
    // Of a segment without a decision the earliest is the later.
    let (mut earliest, mut latest, mut lanes) = (1, 0, 0);
    let mut offices = BTreeSet::new();
    let mut records = Vec::with_capacity(notes.len());
    for (number, (group_offset, in_group, noted, keys)) in (0_u32..).zip(notes.each()) {
        records.push(
            Place {
                group_offset,
                at: noted.at,
                in_group,
                office: noted.office,
                lane: noted.lane,
                kind: noted.kind,
            }
            .to_bytes(),
        );
        if noted.kind == DECIDED {
            (earliest, latest) = if earliest > latest {
                (noted.at, noted.at)
            } else {
                (earliest.min(noted.at), latest.max(noted.at))
            };
            lanes |= lane_bit(noted.lane.into());
            offices.insert(noted.office);
        }
        for &hash in keys {
            let [high, low, ..] = hash.to_be_bytes();
            // Less than the number of lists.
            let list = usize::from(u16::from_be_bytes([high, low])) >> (u16::BITS - LISTS.ilog2());
            lists[list].push((hash, number));
        }
        if records.len() % AT_ONCE == 0 {
            background::give_way();
        }
    }
    for list in &mut lists {
        list.sort_unstable();
        background::give_way();
    }
    let count = |entries: usize| u32::try_from(entries).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = Vec::with_capacity(HEAD + (records.len() * RECORD) + (notes.keys() * KEY));
    bytes.extend(MAGIC);
    bytes.extend(notes.first_sequence.to_le_bytes());
    bytes.extend(notes.bytes.to_le_bytes());
    bytes.extend(earliest.to_le_bytes());
    bytes.extend(latest.to_le_bytes());
    bytes.extend(lanes.to_le_bytes());
    bytes.extend(count(records.len()));
    bytes.extend(count(notes.keys()));
    bytes.extend(count(offices.len()));
    bytes.extend(offices.iter().flat_map(|office: &u16| office.to_le_bytes()));
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    table::write(&mut bytes, records.iter().copied());
    table::write(&mut bytes, lists.iter().flatten().map(key_entry));
    bytes
}

fn key_entry((hash, record): &(u64, u32)) -> [u8; KEY] {
    let mut entry = [0; KEY];
    entry[..8].copy_from_slice(&hash.to_le_bytes());
    entry[8..].copy_from_slice(&record.to_le_bytes());
    entry
}
