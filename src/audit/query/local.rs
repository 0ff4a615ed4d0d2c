//! Decisions in the segments of one log. A sealed segment is searched by its index; another is scanned, and of the one that
//! is being written what was scanned is remembered.

mod scan;

use std::{
    collections::BinaryHeap,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::watch;

use self::scan::Scanned;
use super::{QueryError, nanoseconds};
use crate::{
    audit::{
        decision,
        index::{Key, SegmentIndex},
        read::{Group, ReadError, SegmentReader},
        segment,
        writer::Head,
    },
    upstream::archive::{Bound, DecisionFilter, DecisionKey, FoundRecord},
    wire::pb::Lane,
};

/// Candidates that are looked for beyond those that are wanted: now and then one is none.
const SPARE: usize = 64;
/// The number of a decision's field in `AuditRecord`.
const DECISION: u8 = 2;

/// The segments of one log.
#[derive(Debug)]
pub(super) struct LocalLog {
    directory: PathBuf,
    replica: String,
    /// Where it ends, while it is written.
    head: Option<watch::Receiver<Head>>,
    /// The segment that is being written.
    growing: Mutex<Option<(u64, Arc<Scanned>)>>,
}

/// Behind which place of this log a list begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct After {
    at: i64,
    sequence: u64,
}

impl After {
    /// Behind a key that may be another replica's.
    pub(super) fn of(key: &DecisionKey, replica: &str) -> Self {
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
struct Candidate {
    at: i64,
    sequence: u64,
    /// The segment, by its place in the list of them.
    segment: usize,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Its bytes in the file.
    Record { offset: u64, length: u32 },
    /// Its number in the group that begins there.
    InGroup { offset: u64, number: u32 },
}

/// What is looked for, as far as an index knows.
struct Wanted<'a> {
    filter: &'a DecisionFilter,
    key: Option<Key<'a>>,
    office: Option<u16>,
    lane: Option<Lane>,
    /// The first instant, and the first one behind.
    from: i64,
    to: i64,
    after: Option<After>,
    /// Records before it are not wanted.
    from_sequence: u64,
}

impl<'a> Wanted<'a> {
    fn of(filter: &'a DecisionFilter, after: Option<After>, from_sequence: u64) -> Self {
        let key = filter
            .declaration_number
            .as_deref()
            .map(Key::Declaration)
            .or(filter.customs_code.as_deref().map(Key::Enterprise));
        let lane = filter.lane.as_deref();
        let from = filter.decided_from.map_or(i64::MIN, nanoseconds);
        Self {
            filter,
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

    fn admits(&self, at: i64, sequence: u64, office: u16, lane: u8) -> bool {
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
enum Searched {
    Indexed(SegmentIndex),
    Scanned(Arc<Scanned>),
}

impl Searched {
    /// When its first and its last decision were made; `None` without any.
    fn decided(&self) -> Option<(i64, i64)> {
        match self {
            Self::Indexed(index) => index.summary.decided,
            Self::Scanned(scanned) => scanned.decided(),
        }
    }

    /// Gives what may be wanted.
    fn candidates(
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

impl LocalLog {
    pub(super) fn new(directory: PathBuf, replica: String, head: Option<watch::Receiver<Head>>) -> Self {
        Self {
            directory,
            replica,
            head,
            growing: Mutex::default(),
        }
    }

    pub(super) fn replica(&self) -> &str {
        &self.replica
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
        let mut segments = self.segments()?;
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
        for (first, path) in self.segments()?.iter().rev() {
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
        let wanted = Wanted {
            key: Some(Key::Decision(text)),
            ..Wanted::of(&filter, None, 0)
        };
        for (first, path) in self.segments()?.iter().rev() {
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

    fn segments(&self) -> Result<Vec<(u64, PathBuf)>, QueryError> {
        match segment::list(&self.directory) {
            Ok(segments) => Ok(segments),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(ReadError::Io {
                path: self.directory.clone(),
                error,
            }
            .into()),
        }
    }

    fn open(&self, first: u64, path: &PathBuf, given_up: &AtomicBool) -> Result<Searched, QueryError> {
        check(given_up)?;
        if path.with_extension("seal").exists() {
            return Ok(Searched::Indexed(SegmentIndex::open_or_build(path)?));
        }
        let written = self.head.as_ref().map(|head| *head.borrow());
        let is_growing = written.is_some_and(|head| head.segment == first);
        let until = written.filter(|_| is_growing).map(|head| head.offset);
        if !is_growing {
            let mut scanned = Scanned::default();
            scanned.go_on(path, until)?;
            return Ok(Searched::Scanned(Arc::new(scanned)));
        }
        let mut growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scanned = match growing.take() {
            Some((own, scanned)) if own == first => scanned,
            _ => Arc::default(),
        };
        // Copied only where another search is under way.
        Arc::make_mut(&mut scanned).go_on(path, until)?;
        *growing = Some((first, Arc::clone(&scanned)));
        Ok(Searched::Scanned(scanned))
    }

    fn found(&self, candidate: &Candidate, record: Bytes) -> FoundRecord {
        FoundRecord {
            key: DecisionKey {
                decided_at: Timestamp::from_nanosecond(candidate.at.into()).unwrap_or_default(),
                replica: self.replica.clone(),
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
    let mut visit = |number: u32, place: crate::audit::index::Place| {
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

/// Reads records; neighbours are often of one group.
#[derive(Debug, Default)]
struct Records {
    file: Option<(PathBuf, File)>,
    group: Option<(PathBuf, Group)>,
}

impl Records {
    fn read(&mut self, path: &PathBuf, candidate: &Candidate) -> Result<Bytes, QueryError> {
        let io = |error| ReadError::Io {
            path: path.clone(),
            error,
        };
        match candidate.place {
            Place::Record { offset, length } => {
                let file = match self.file.take() {
                    Some((own, file)) if own == *path => file,
                    _ => File::open(path).map_err(io)?,
                };
                let mut record = vec![0; length as usize];
                file.read_exact_at(&mut record, offset).map_err(io)?;
                self.file = Some((path.clone(), file));
                Ok(record.into())
            }
            Place::InGroup { offset, number } => {
                let group = match self.group.take() {
                    Some((own, group)) if own == *path && group.offset == offset => group,
                    _ => {
                        let begins = candidate.sequence.saturating_sub(number.into());
                        let group = SegmentReader::open(path)?.at(offset, begins).next_group()?;
                        group.ok_or_else(|| ReadError::Damaged {
                            path: path.clone(),
                            offset,
                            sequence: candidate.sequence,
                            what: "its index says that there is one",
                        })?
                    }
                };
                let record = group
                    .records()
                    .nth(number as usize)
                    .and_then(|(_, record)| record);
                self.group = Some((path.clone(), group));
                Ok(record.unwrap_or_default())
            }
        }
    }
}
