//! Which records of a segment may be ones that are looked for, as far as an index or a scan knows.

use std::sync::Arc;

use super::{
    super::{QueryError, nanoseconds},
    scan::Scanned,
};
use crate::{
    audit::index::{self, Key, SegmentIndex},
    upstream::archive::{DecisionFilter, DecisionKey},
    wire::pb::Lane,
};

/// The number of a decision's field in `AuditRecord`.
const DECISION: u8 = 2;

/// Behind which place of this log a list begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::audit::query) struct After {
    pub(super) at: i64,
    pub(super) sequence: u64,
}

impl After {
    /// Behind a key that may be another replica's.
    pub(in crate::audit::query) fn of(key: &DecisionKey, replica: &str) -> Self {
        Self {
            at: nanoseconds(key.decided_at),
            sequence: match replica.cmp(&key.replica) {
                std::cmp::Ordering::Less => u64::MAX,
                std::cmp::Ordering::Equal => key.sequence,
                std::cmp::Ordering::Greater => 0,
            },
        }
    }
}

/// A record that may be one that is looked for: what a list is ordered by, and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::audit::query) struct Candidate {
    pub(in crate::audit::query) at: i64,
    pub(in crate::audit::query) sequence: u64,
    /// The segment, by its place in the list of them.
    pub(in crate::audit::query) segment: usize,
    pub(in crate::audit::query) place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::audit::query) enum Place {
    /// Its bytes in the file.
    Record { offset: u64, length: u32 },
    /// Its number in the group that begins there.
    InGroup { offset: u64, number: u32 },
}

/// What is looked for, as far as an index knows.
pub(super) struct Wanted<'a> {
    pub(super) key: Option<Key<'a>>,
    office: Option<u16>,
    lane: Option<Lane>,
    /// The first instant, and the first one behind.
    pub(super) from: i64,
    pub(super) to: i64,
    after: Option<After>,
    /// Records before it are not wanted.
    from_sequence: u64,
}

impl<'a> Wanted<'a> {
    pub(super) fn of(filter: &'a DecisionFilter, after: Option<After>, from_sequence: u64) -> Self {
        let key = filter
            .declaration_number
            .as_deref()
            .map(Key::Declaration)
            .or(filter.customs_code.as_deref().map(Key::Enterprise));
        let lane = filter.lane.as_deref();
        let from = filter.decided_from.map_or(i64::MIN, nanoseconds);
        Self {
            key,
            office: filter
                .customs_office
                .as_deref()
                .and_then(|office| office.parse().ok()),
            lane: lane.and_then(|lane| Lane::from_str_name(&format!("LANE_{lane}"))),
            from: after.map_or(from, |after| from.max(after.at)),
            to: filter.decided_to.map_or(i64::MAX, nanoseconds),
            after,
            from_sequence,
        }
    }

    /// One decision.
    pub(super) fn decision(filter: &'a DecisionFilter, id: &'a str) -> Self {
        Self {
            key: Some(Key::Decision(id)),
            ..Self::of(filter, None, 0)
        }
    }

    pub(super) fn admits(&self, at: i64, sequence: u64, office: u16, lane: u8) -> bool {
        at >= self.from
            && at < self.to
            && sequence >= self.from_sequence
            && self.office.is_none_or(|wanted| wanted == office)
            && self.lane.is_none_or(|wanted| i32::from(lane) == wanted as i32)
            && self.after.is_none_or(|after| After { at, sequence } > after)
    }
}

/// A segment, ready to be searched.
#[derive(Debug)]
pub(super) enum Searched {
    Indexed(SegmentIndex),
    Scanned(Arc<Scanned>),
}

impl Searched {
    /// When its first and its last decision were made; `None` without any.
    pub(super) fn decided(&self) -> Option<(i64, i64)> {
        match self {
            Self::Indexed(index) => index.summary.decided,
            Self::Scanned(scanned) => scanned.decided(),
        }
    }

    /// Gives what may be wanted.
    pub(super) fn candidates(
        &self,
        wanted: &Wanted<'_>,
        segment: usize,
        give: &mut dyn FnMut(Candidate),
    ) -> Result<(), QueryError> {
        match self {
            Self::Indexed(index) => in_index(index, wanted, segment, give),
            Self::Scanned(scanned) => {
                scanned.candidates(wanted, segment, give);
                Ok(())
            }
        }
    }
}

fn in_index(
    index: &SegmentIndex,
    wanted: &Wanted<'_>,
    segment: usize,
    give: &mut dyn FnMut(Candidate),
) -> Result<(), QueryError> {
    let summary = &index.summary;
    let holds_none = wanted.office.is_some_and(|office| !summary.has_office(office))
        || wanted.lane.is_some_and(|lane| !summary.has_lane(lane));
    if holds_none {
        return Ok(());
    }
    let mut visit = |number: u32, place: index::Place| {
        let sequence = index.first_sequence + u64::from(number);
        if place.kind == DECISION && wanted.admits(place.at, sequence, place.office, place.lane) {
            give(Candidate {
                at: place.at,
                sequence,
                segment,
                place: Place::InGroup {
                    offset: place.group_offset,
                    number: place.in_group,
                },
            });
        }
    };
    let Some(key) = wanted.key else {
        return Ok(index.each_record(visit)?);
    };
    for number in index.find(key)? {
        if let Some(place) = index.record(number)? {
            visit(number, place);
        }
    }
    Ok(())
}
