//! What was decided on the same declaration, or under the same transport document, before.

use std::collections::{HashMap, hash_map};

use ring::digest::{SHA256, digest};

use super::Kind;
use crate::{policy::draw::Epoch, wire::pb};

/// The numbers that were met, each with what came with it first.
#[derive(Debug)]
pub(super) struct Consignments {
    month: Epoch,
    declarations: HashMap<u64, Seen>,
    documents: HashMap<u64, Seen>,
}

/// What is remembered of a number, in 8 bytes: the beginning of the digest that first went with it, and the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    high: u32,
    low: u16,
    /// Months from the one checked, and 64; 0 where nothing was drawn.
    epoch: u8,
    /// By a decision of the month.
    of_month: bool,
}

impl Consignments {
    /// None met yet.
    pub(super) fn new(month: Epoch) -> Self {
        Self {
            month,
            declarations: HashMap::new(),
            documents: HashMap::new(),
        }
    }

    /// Holds a decision against the first one on the same declaration, and the first one under the same document; gives
    /// what does not go together, where either is of the month.
    pub(super) fn met(&mut self, entry: &pb::DecisionEntry, of_month: bool) -> Vec<(Kind, String)> {
        let mut found = Vec::new();
        let Some(request) = &entry.request else {
            return found;
        };
        let number = &request.declaration_number;
        let draw = entry.facts.as_ref().and_then(|facts| facts.draw.as_ref());
        let epoch = draw.map_or(0, |draw| self.months_from(&draw.epoch));
        if let Some(draw) = draw {
            let subject = short(&format!("{}\u{1f}{}", draw.subject_kind, draw.subject));
            let seen = Seen::new(subject, epoch, of_month);
            if let Some(first) = first(&mut self.declarations, short(number), seen) {
                if first.epoch != seen.epoch {
                    let what = format!("{number} was drawn in another epoch before");
                    found.push((Kind::TwoEpochs, what));
                }
                if !first.is(seen) {
                    let what = format!("{number} was drawn on another subject before");
                    found.push((Kind::TwoSubjects, what));
                }
            }
        }
        if !request.transport_document_number.is_empty() {
            let document = request.transport_document_number.to_ascii_uppercase();
            let seen = Seen::new(short(number), epoch, of_month);
            if let Some(first) = first(&mut self.documents, short(&document), seen) {
                let drawn = first.epoch != 0 && seen.epoch != 0;
                if drawn && first.epoch != seen.epoch {
                    let what = format!("the transport document {document} was drawn in another epoch before");
                    found.push((Kind::TwoEpochs, what));
                }
                if !first.is(seen) {
                    let what =
                        format!("{document} came under another declaration number than {number} before");
                    found.push((Kind::TwoNumbers, what));
                }
            }
        }
        found
    }

    /// Months from the one checked, and 64; what is no month or out of reach is the last one.
    fn months_from(&self, epoch: &str) -> u8 {
        let months = |name: &str| {
            let (year, month) = name.split_once('-')?;
            Some(year.parse::<i32>().ok()? * 12 + month.parse::<i32>().ok()?)
        };
        let own = months(&self.month.name()).unwrap_or_default();
        let distance = months(epoch).map_or(i32::MAX, |other| other.saturating_sub(own));
        u8::try_from(distance.saturating_add(64).clamp(1, 127)).unwrap_or(127)
    }
}

impl Seen {
    fn new(digest: u64, epoch: u8, of_month: bool) -> Self {
        let [.., a, b, c, d, e, f] = digest.to_be_bytes();
        Self {
            high: u32::from_be_bytes([a, b, c, d]),
            low: u16::from_be_bytes([e, f]),
            epoch,
            of_month,
        }
    }

    fn is(self, other: Self) -> bool {
        (self.high, self.low) == (other.high, other.low)
    }
}

/// What was seen first with a number, if it was seen before, and either was of the month.
fn first(map: &mut HashMap<u64, Seen>, number: u64, seen: Seen) -> Option<Seen> {
    match map.entry(number) {
        hash_map::Entry::Occupied(mut place) => {
            let first = *place.get();
            if first.epoch == 0 {
                // The first draw is what later ones are held against.
                place.get_mut().epoch = seen.epoch;
            }
            (first.of_month || seen.of_month).then_some(first)
        }
        hash_map::Entry::Vacant(place) => {
            place.insert(seen);
            None
        }
    }
}

/// The first 8 bytes of a number's SHA-256.
fn short(number: &str) -> u64 {
    let digest = digest(&SHA256, number.as_bytes());
    digest
        .as_ref()
        .first_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
