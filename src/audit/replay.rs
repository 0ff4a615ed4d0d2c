//! Replay: decides again from what was logged, with the policy of the logged digest, and compares.
//!
//! The registry is not asked, nor any clock: a replay needs the record and the policies alone. What was decided is encoded
//! as the answer was, and held against the logged bytes; only where they differ are both decoded.

use std::sync::{PoisonError, RwLock};

use super::archive::{InForce, PolicyArchive};
use crate::wire::{
    difference::differing_fields,
    record::{LoggedDecision, LoggedPolicy},
};

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
            Err(error) => Replayed::NotReplayable(format!("the record cannot be read: {error}")),
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
            (named.clone(), archive.find(&named.digest, &named.parameters_digest)?)
        }
    };
    Ok(&last.insert(found).1)
}
