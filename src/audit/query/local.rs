//! Decisions in the segments of one log. A sealed segment is searched by its index; another is scanned, and of the one that
//! is being written what was scanned is remembered.

mod candidate;
mod records;
mod scan;

pub(super) use self::{
    candidate::{After, Candidate, Place},
    records::Records,
    scan::{RecordPlace, read_on},
};

use std::{
    collections::BinaryHeap,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use jiff::Timestamp;

use self::{
    candidate::{Searched, Wanted},
    scan::Scanned,
};
use super::{OwnLog, QueryError, nanoseconds};
use crate::{
    audit::{decision, index::SegmentIndex},
    upstream::archive::{Bound, DecisionFilter, DecisionKey, FoundRecord},
};

/// Candidates that are looked for beyond those that are wanted: now and then one is none.
const SPARE: usize = 64;

/// The segments of one log.
#[derive(Debug)]
pub(super) struct LocalLog {
    own: OwnLog,
    /// The segment that is being written.
    growing: Mutex<Option<(u64, Arc<Scanned>)>>,
}

impl LocalLog {
    pub(super) fn new(own: OwnLog) -> Self {
        Self {
            own,
            growing: Mutex::default(),
        }
    }

    pub(super) fn replica(&self) -> &str {
        &self.own.replica
    }

    /// The decisions that pass a filter, in order of (`decided_at`, sequence), from a record of the log on.
    pub(super) fn list(
        &self,
        filter: &DecisionFilter,
        mut after: Option<After>,
        from_sequence: u64,
        bound: Bound,
        given_up: &AtomicBool,
    ) -> Result<Vec<FoundRecord>, QueryError> {
        let mut segments = self.own.segments()?;
        let kept = segments
            .partition_point(|(first, _)| *first <= from_sequence)
            .max(1)
            - 1;
        segments.drain(..kept.min(segments.len()));
        let mut opened = Vec::new();
        for (index, (first, path)) in segments.iter().enumerate() {
            let searched = self.open(*first, path, given_up)?;
            if let Some(decided) = searched.decided() {
                opened.push((decided, index, searched));
            }
        }
        opened.sort_by_key(|(decided, index, _)| (decided.0, *index));
        let (mut found, mut bytes) = (Vec::new(), 0);
        loop {
            let most = bound.records - found.len() + SPARE;
            let wanted = Wanted::of(filter, after, from_sequence);
            let mut nearest = BinaryHeap::with_capacity(most + 1);
            for ((earliest, latest), index, searched) in &opened {
                check(given_up)?;
                if *latest < wanted.from || *earliest >= wanted.to {
                    continue;
                }
                let full = nearest.len() == most;
                if full && nearest.peek().is_some_and(|last: &Candidate| last.at < *earliest) {
                    break;
                }
                searched.candidates(&wanted, *index, &mut |candidate| {
                    nearest.push(candidate);
                    if nearest.len() > most {
                        nearest.pop();
                    }
                })?;
            }
            let all = nearest.len() < most;
            let mut reader = Records::default();
            for candidate in nearest.into_sorted_vec() {
                check(given_up)?;
                after = Some(After {
                    at: candidate.at,
                    sequence: candidate.sequence,
                });
                let (_, path) = &segments[candidate.segment];
                let record = reader.read(path, &candidate)?;
                let passes =
                    decision::of_record(&record).is_some_and(|entry| decision::passes(filter, &entry));
                if passes {
                    bytes += record.len();
                    found.push(self.found(&candidate, record));
                    if found.len() >= bound.records || bytes >= bound.bytes {
                        return Ok(found);
                    }
                }
            }
            if all {
                return Ok(found);
            }
        }
    }

    /// The latest decision on a declaration.
    pub(super) fn latest(
        &self,
        declaration_number: &str,
        given_up: &AtomicBool,
    ) -> Result<Option<FoundRecord>, QueryError> {
        let filter = DecisionFilter {
            declaration_number: Some(declaration_number.to_owned()),
            ..DecisionFilter::default()
        };
        let accept = |record: &Bytes| {
            decision::of_record(record).is_some_and(|entry| decision::passes(&filter, &entry))
        };
        let wanted = Wanted::of(&filter, None, 0);
        let mut best: Option<FoundRecord> = None;
        for (first, path) in self.own.segments()?.iter().rev() {
            check(given_up)?;
            let searched = self.open(*first, path, given_up)?;
            let Some((_, latest)) = searched.decided() else {
                continue;
            };
            // Clocks may be set back: an older segment may hold a later decision.
            if best
                .as_ref()
                .is_some_and(|best| nanoseconds(best.key.decided_at) > latest)
            {
                continue;
            }
            let mut candidates = Vec::new();
            searched.candidates(&wanted, 0, &mut |candidate| candidates.push(candidate))?;
            candidates.sort_unstable();
            let mut reader = Records::default();
            for candidate in candidates.iter().rev() {
                let record = reader.read(path, candidate)?;
                if accept(&record) {
                    let found = self.found(candidate, record);
                    if best.as_ref().is_none_or(|best| found.key > best.key) {
                        best = Some(found);
                    }
                    break;
                }
            }
        }
        Ok(best)
    }

    /// A decision by its UUID; that of a version that tells the time passes over segments of other times.
    pub(super) fn find(
        &self,
        id: &uuid::Uuid,
        text: &str,
        given_up: &AtomicBool,
    ) -> Result<Option<FoundRecord>, QueryError> {
        let told = id.get_timestamp().filter(|_| id.get_version_num() == 7);
        let told = told.map(|told| told.to_unix());
        let told = told.and_then(|(seconds, nanos)| {
            let seconds = i64::try_from(seconds).ok()?;
            seconds.checked_mul(1_000_000_000)?.checked_add(nanos.into())
        });
        let filter = DecisionFilter::default();
        let wanted = Wanted::decision(&filter, text);
        for (first, path) in self.own.segments()?.iter().rev() {
            check(given_up)?;
            let searched = self.open(*first, path, given_up)?;
            let Some((earliest, latest)) = searched.decided() else {
                continue;
            };
            // Ids have milliseconds.
            let elsewhere = |told: i64| told > latest || told.saturating_add(1_000_000) < earliest;
            if told.is_some_and(elsewhere) {
                continue;
            }
            let mut candidates = Vec::new();
            searched.candidates(&wanted, 0, &mut |candidate| candidates.push(candidate))?;
            let mut reader = Records::default();
            for candidate in candidates {
                let record = reader.read(path, &candidate)?;
                let entry = decision::of_record(&record).and_then(|entry| entry.decision);
                if entry.is_some_and(|entry| entry.decision_id == text) {
                    return Ok(Some(self.found(&candidate, record)));
                }
            }
        }
        Ok(None)
    }

    fn open(&self, first: u64, path: &Path, given_up: &AtomicBool) -> Result<Searched, QueryError> {
        check(given_up)?;
        if path.with_extension("seal").exists() {
            return Ok(Searched::Indexed(SegmentIndex::open_or_build(path)?));
        }
        let head = *self.own.head.borrow();
        if head.segment != first {
            let mut scanned = Scanned::default();
            scanned.go_on(path, None)?;
            return Ok(Searched::Scanned(Arc::new(scanned)));
        }
        let mut growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scanned = match growing.take() {
            Some((own, scanned)) if own == first => scanned,
            _ => Arc::default(),
        };
        // Copied only where another search is under way.
        Arc::make_mut(&mut scanned).go_on(path, Some(head.offset))?;
        *growing = Some((first, Arc::clone(&scanned)));
        Ok(Searched::Scanned(scanned))
    }

    fn found(&self, candidate: &Candidate, record: Bytes) -> FoundRecord {
        FoundRecord {
            key: DecisionKey {
                decided_at: Timestamp::from_nanosecond(candidate.at.into()).unwrap_or_default(),
                replica: self.own.replica.clone(),
                sequence: candidate.sequence,
            },
            record,
        }
    }
}

fn check(given_up: &AtomicBool) -> Result<(), QueryError> {
    if given_up.load(Ordering::Relaxed) {
        Err(QueryError::GivenUp)
    } else {
        Ok(())
    }
}
