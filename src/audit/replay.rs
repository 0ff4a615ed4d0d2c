//! Replay: decides again from what was logged, with the policy of the logged digest, and compares.
//!
//! The registry is not asked, nor any clock: a replay needs the record and the policies alone. What was decided is encoded
//! as the answer was, and held against the logged bytes; only where they differ are both decoded.

use std::sync::{PoisonError, RwLock};

use prost::Message as _;

use super::{
    archive::{InForce, PolicyArchive},
    read::{Group, ReadError},
    scan::{self, Selection},
};
use crate::wire::{
    difference::differing_fields,
    pb,
    record::{BadRecord, Entry, LoggedDecision, LoggedOutcome, LoggedPolicy},
};

/// Decisions that a summary names.
pub const NAMED: usize = 20;

/// What came of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// The same decision, field by field.
    Equal,
    /// Another decision; the paths within `Decision` that differ.
    Differs(Vec<String>),
    /// Something it needs is missing or cannot be read.
    NotReplayable(String),
}

impl Replayed {
    /// The answer to `ReplayDecision`.
    pub fn message(self) -> pb::ReplayDecisionResponse {
        let (outcome, differing_fields, explanation) = match self {
            Self::Equal => (
                pb::ReplayOutcome::Equal,
                Vec::new(),
                "the same decision, field by field".to_owned(),
            ),
            Self::Differs(paths) => (
                pb::ReplayOutcome::Differs,
                paths,
                "the logged facts and policy give another decision".to_owned(),
            ),
            Self::NotReplayable(why) => (pb::ReplayOutcome::NotReplayable, Vec::new(), why),
        };
        pb::ReplayDecisionResponse {
            outcome: outcome.into(),
            differing_fields,
            explanation,
        }
    }
}

/// Replays one decision after another. Keeps its buffers, and the policy that was last found.
#[derive(Debug)]
pub struct Replayer<'a> {
    archive: &'a RwLock<PolicyArchive>,
    last: Option<(LoggedPolicy, InForce)>,
    bytes: Vec<u8>,
}

impl<'a> Replayer<'a> {
    /// One that finds policies there.
    pub fn new(archive: &'a RwLock<PolicyArchive>) -> Self {
        Self {
            archive,
            last: None,
            bytes: Vec::with_capacity(4096),
        }
    }

    /// Replays an encoded `DecisionEntry`.
    pub fn replay(&mut self, entry: &[u8]) -> Replayed {
        match LoggedDecision::read(entry) {
            Ok(logged) => self.replay_logged(&logged),
            Err(error) => unreadable(&error),
        }
    }

    /// Replays a decision that was read already.
    pub fn replay_logged(&mut self, logged: &LoggedDecision<'_>) -> Replayed {
        let Some(named) = &logged.given.policy else {
            return Replayed::NotReplayable("the decision names no policy".to_owned());
        };
        let in_force = match find(self.archive, &mut self.last, named) {
            Ok(in_force) => in_force,
            Err(problem) => return Replayed::NotReplayable(problem),
        };
        let facts = logged.facts.facts();
        let Some(policy) = in_force.on(facts.accepted_on) else {
            // The program would have refused it.
            return Replayed::Differs(vec!["policy".to_owned()]);
        };
        let outcome = logged.decide(&facts, policy, &in_force.parameters);
        self.bytes.clear();
        logged.encode(&outcome, &mut self.bytes);
        if self.bytes == logged.decision {
            return Replayed::Equal;
        }
        match differing_fields("Decision", logged.decision, &self.bytes) {
            Ok(paths) if paths.is_empty() => Replayed::Equal,
            Ok(paths) => Replayed::Differs(paths),
            Err(error) => Replayed::NotReplayable(format!("the decision cannot be read: {error}")),
        }
    }
}

fn unreadable(error: &BadRecord) -> Replayed {
    Replayed::NotReplayable(format!("the record cannot be read: {error}"))
}

/// What came of the decisions of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// The same decision.
    pub equal: u64,
    /// Another decision.
    pub differs: u64,
    /// Something was missing.
    pub not_replayable: u64,
    /// The first [`NAMED`] that are not equal, in the order of the log.
    pub named: Vec<Named>,
}

/// A decision that could not be confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its place in the log.
    pub sequence: u64,
    /// Its identifier; empty where it cannot be read.
    pub decision_id: String,
    /// What came of it.
    pub replayed: Replayed,
}

impl Summary {
    fn add(&mut self, sequence: u64, decision_id: &str, replayed: Replayed) {
        match &replayed {
            Replayed::Equal => {
                self.equal += 1;
                return;
            }
            Replayed::Differs(_) => self.differs += 1,
            Replayed::NotReplayable(_) => self.not_replayable += 1,
        }
        if self.named.len() < NAMED {
            let decision_id = decision_id.to_owned();
            self.named.push(Named {
                sequence,
                decision_id,
                replayed,
            });
        }
    }

    /// Both together. Every worker meets records in the order of the log, so that none of the first is lost.
    fn and(mut self, other: Self) -> Self {
        self.equal += other.equal;
        self.differs += other.differs;
        self.not_replayable += other.not_replayable;
        self.named.extend(other.named);
        self.named.sort_by_key(|named| named.sequence);
        self.named.truncate(NAMED);
        self
    }
}

/// Replays the decisions of a log that are meant; see [`scan::decisions`].
pub fn replay_log(
    groups: impl Iterator<Item = Result<Group, ReadError>>,
    archive: &RwLock<PolicyArchive>,
    selection: &Selection,
    read: impl FnMut(u64),
) -> Result<Summary, ReadError> {
    let start = || (Replayer::new(archive), Summary::default());
    let visit = |(replayer, summary): &mut (Replayer<'_>, Summary), sequence, entry: &[u8]| {
        match LoggedDecision::read(entry) {
            Ok(logged) if selection.has(&logged) => {
                let replayed = replayer.replay_logged(&logged);
                summary.add(sequence, &logged.given.decision_id, replayed);
            }
            Ok(_) => {}
            Err(error) => {
                let given = Entry::read(entry).map(|entry| LoggedOutcome::decode(entry.decision));
                let id = given
                    .ok()
                    .and_then(Result::ok)
                    .map(|given| given.decision_id)
                    .unwrap_or_default();
                if selection.decision_id.as_ref().is_none_or(|wanted| *wanted == id) {
                    summary.add(sequence, &id, unreadable(&error));
                }
            }
        }
    };
    let workers = scan::decisions(groups, archive, read, start, visit)?;
    let summaries = workers.into_iter().map(|(_, summary)| summary);
    Ok(summaries.fold(Summary::default(), Summary::and))
}

/// Finds policy and parameters, most of the time those that were last found.
pub(super) fn find<'l>(
    archive: &RwLock<PolicyArchive>,
    last: &'l mut Option<(LoggedPolicy, InForce)>,
    named: &LoggedPolicy,
) -> Result<&'l InForce, String> {
    let found = match last.take() {
        Some(found) if found.0 == *named => found,
        _ => {
            let archive = archive.read().unwrap_or_else(PoisonError::into_inner);
            (
                named.clone(),
                archive.find(&named.digest, &named.parameters_digest)?,
            )
        }
    };
    Ok(&last.insert(found).1)
}
