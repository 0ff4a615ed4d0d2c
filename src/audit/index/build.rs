//! Makes an index by reading a segment.

use std::{collections::BTreeSet, path::Path};

use prost::Message as _;

use super::{HEAD, KEY, Key, MAGIC, Place, RECORD, Summary, lane_bit, table};
use crate::{
    audit::read::{ReadError, SegmentReader},
    wire::pb::{self, audit_record::Entry, party::Identifier},
};

/// The bytes of the index of a segment.
pub(super) fn index_of(segment: &Path) -> Result<Vec<u8>, ReadError> {
    let mut reader = SegmentReader::open(segment)?;
    let mut building = Building::default();
    while let Some(group) = reader.next_group()? {
        for (in_group, (_, record)) in (0..).zip(group.records()) {
            let record = record.and_then(|bytes| pb::AuditRecord::decode(bytes).ok());
            building.add(group.offset, in_group, record.as_ref());
        }
    }
    Ok(building.finish(reader.header.first_sequence, reader.place().0))
}

#[derive(Default)]
struct Building {
    records: Vec<[u8; RECORD]>,
    keys: Vec<(u64, u32)>,
    summary: Summary,
    offices: BTreeSet<u16>,
}

impl Building {
    /// Adds the next record; one that is none takes its place all the same.
    fn add(&mut self, group_offset: u64, in_group: u32, record: Option<&pb::AuditRecord>) {
        let number = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        let mut place = Place {
            group_offset,
            in_group,
            ..Place::default()
        };
        if let Some(record) = record {
            place.at = record.recorded_at.as_ref().map_or(0, nanoseconds);
            place.kind = record.entry.as_ref().map_or(0, kind);
            if let Some(Entry::Decision(entry)) = &record.entry
                && let Some(decision) = &entry.decision
            {
                self.summarize(&mut place, entry, decision);
            }
            let mut hashes = Vec::new();
            keys(record, |key| hashes.push(key.hash()));
            hashes.sort_unstable();
            hashes.dedup();
            self.keys.extend(hashes.into_iter().map(|hash| (hash, number)));
        }
        self.records.push(place.to_bytes());
    }

    fn summarize(&mut self, place: &mut Place, entry: &pb::DecisionEntry, decision: &pb::Decision) {
        place.at = decision.decided_at.as_ref().map_or(place.at, nanoseconds);
        place.lane = u8::try_from(decision.lane).unwrap_or_default();
        let office = entry
            .request
            .as_ref()
            .and_then(|request| request.customs_office.parse().ok());
        place.office = office.unwrap_or_default();
        let (earliest, latest) = self.summary.decided.unwrap_or((place.at, place.at));
        self.summary.decided = Some((earliest.min(place.at), latest.max(place.at)));
        self.summary.lanes |= lane_bit(decision.lane);
        self.offices.insert(place.office);
    }

    fn finish(mut self, first_sequence: u64, segment_bytes: u64) -> Vec<u8> {
        self.keys.sort_unstable();
        let keys: Vec<[u8; KEY]> = self.keys.iter().map(key_entry).collect();
        // Of a segment without a decision the earliest is the later.
        let (earliest, latest) = self.summary.decided.unwrap_or((1, 0));
        let count = |entries: usize| u32::try_from(entries).unwrap_or(u32::MAX).to_le_bytes();
        let mut bytes = Vec::with_capacity(HEAD + (self.records.len() * RECORD) + (keys.len() * KEY));
        bytes.extend(MAGIC);
        bytes.extend(first_sequence.to_le_bytes());
        bytes.extend(segment_bytes.to_le_bytes());
        bytes.extend(earliest.to_le_bytes());
        bytes.extend(latest.to_le_bytes());
        bytes.extend(self.summary.lanes.to_le_bytes());
        bytes.extend(count(self.records.len()));
        bytes.extend(count(keys.len()));
        bytes.extend(count(self.offices.len()));
        bytes.extend(self.offices.iter().flat_map(|office| office.to_le_bytes()));
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        table::write(&mut bytes, &self.records);
        table::write(&mut bytes, &keys);
        bytes
    }
}

fn key_entry((hash, record): &(u64, u32)) -> [u8; KEY] {
    let mut entry = [0; KEY];
    entry[..8].copy_from_slice(&hash.to_le_bytes());
    entry[8..].copy_from_slice(&record.to_le_bytes());
    entry
}

/// The number of an entry's field in `AuditRecord`.
fn kind(entry: &Entry) -> u8 {
    match entry {
        Entry::Decision(_) => 2,
        Entry::Opened(_) => 3,
        Entry::Activation(_) => 4,
        Entry::OrderChange(_) => 5,
        Entry::Inspection(_) => 6,
        Entry::Unlogged(_) => 7,
        Entry::Commitment(_) => 8,
    }
}

/// Gives every key that a record names; some more than once.
fn keys<'a>(record: &'a pb::AuditRecord, mut give: impl FnMut(Key<'a>)) {
    let mut give = |key: fn(&'a str) -> Key<'a>, text: &'a str| {
        if !text.is_empty() {
            give(key(text));
        }
    };
    match &record.entry {
        Some(Entry::Decision(entry)) => {
            if let Some(decision) = &entry.decision {
                give(Key::Decision, &decision.decision_id);
                give(Key::Declaration, &decision.declaration_number);
                for party in &decision.parties {
                    // As sent, normalised, and the customs code that it leads to.
                    give(Key::Enterprise, &party.enterprise_id);
                    give(Key::Enterprise, &party.customs_code);
                }
            }
            if let Some(request) = &entry.request {
                give(Key::TransportDocument, &request.transport_document_number);
                for party in &request.parties {
                    let Some(
                        Identifier::CustomsCode(sent)
                        | Identifier::SocialCreditCode(sent)
                        | Identifier::AeoCode(sent),
                    ) = &party.identifier
                    else {
                        continue;
                    };
                    give(Key::Enterprise, sent);
                }
            }
            for party in entry.facts.iter().flat_map(|facts| &facts.parties) {
                if let Some(enterprise) = &party.enterprise {
                    give(Key::Enterprise, &enterprise.customs_code);
                    give(Key::Enterprise, &enterprise.social_credit_code);
                }
                if let Some(operator) = &party.operator {
                    give(Key::Enterprise, &operator.aeo_code);
                }
            }
        }
        Some(Entry::Inspection(entry)) => {
            give(Key::Decision, &entry.decision_id);
            give(Key::Declaration, &entry.declaration_number);
        }
        Some(
            Entry::Opened(_)
            | Entry::Activation(_)
            | Entry::OrderChange(_)
            | Entry::Unlogged(_)
            | Entry::Commitment(_),
        )
        | None => {}
    }
}

fn nanoseconds(at: &prost_types::Timestamp) -> i64 {
    at.seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(i64::from(at.nanos))
}
