//! Policies and operating parameters that were ever active, by digest.

use std::{collections::HashMap, path::Path, sync::Arc};

use prost::Message as _;

use super::read::{ReadError, SegmentReader, segments};
use crate::{
    domain::Date,
    policy::{Parameters, Policy, PolicyBook},
    wire::{
        pb,
        record::{ACTIVATION, entry_of},
    },
};

/// What a log, a directory or this program knows of policies. What a log says of a digest goes before what the others know.
#[derive(Debug, Default)]
pub struct PolicyArchive {
    policies: HashMap<String, Known<Policy>>,
    parameters: HashMap<String, Known<Parameters>>,
    /// Sets that were in force together.
    sets: Vec<PolicySet>,
}

/// A document, or why what stands under its digest cannot be used.
type Known<T> = Result<Arc<T>, String>;

#[derive(Debug, PartialEq)]
struct PolicySet {
    /// Ascending by date of effect.
    policies: Vec<Arc<Policy>>,
    parameters: String,
}

/// A policy and parameters found by digest.
#[derive(Debug, Clone)]
pub struct InForce {
    /// The policy.
    pub policy: Arc<Policy>,
    /// The parameters.
    pub parameters: Arc<Parameters>,
    /// The policies of each set that has both, ascending by date of effect.
    sets: Vec<Vec<Arc<Policy>>>,
}

impl InForce {
    /// The policy that the acceptance date chose beside these parameters: the one found, unless no set chooses it on that
    /// date, which shows that the date or the digest is not what it was. `None` before the first policy.
    pub fn on(&self, accepted_on: Date) -> Option<&Arc<Policy>> {
        let mut chosen = self.sets.iter().map(|set| last_due(set, accepted_on));
        let own =
            |policy: Option<&Arc<Policy>>| policy.is_some_and(|policy| policy.digest == self.policy.digest);
        match self.sets.first() {
            _ if chosen.any(own) => Some(&self.policy),
            Some(set) => last_due(set, accepted_on),
            None => last_due(std::slice::from_ref(&self.policy), accepted_on),
        }
    }
}

impl InForce {
    /// The policy that the acceptance date would choose if `candidate` stood in place of its namesake, or beside the others.
    pub fn on_with<'c>(&'c self, candidate: &'c Arc<Policy>, accepted_on: Date) -> Option<&'c Arc<Policy>> {
        let own = std::slice::from_ref(&self.policy);
        let set = self.sets.first().map_or(own, Vec::as_slice);
        let others = set.iter().filter(|policy| policy.id() != candidate.id());
        let due = others
            .chain([candidate])
            .filter(|policy| policy.document.effective_from <= accepted_on);
        // Of equal dates the candidate, which comes last.
        due.max_by_key(|policy| policy.document.effective_from)
    }
}

fn last_due(policies: &[Arc<Policy>], accepted_on: Date) -> Option<&Arc<Policy>> {
    let mut latest_first = policies.iter().rev();
    latest_first.find(|policy| policy.document.effective_from <= accepted_on)
}

/// The record of a set of policies that comes in force.
pub fn activation(book: &PolicyBook) -> pb::PolicyActivation {
    let document = |id: &str, digest: &str, canonical: &str| pb::PolicyDocument {
        id: id.to_owned(),
        digest: digest.to_owned(),
        canonical: canonical.to_owned(),
    };
    let policies = book.policies().iter();
    pb::PolicyActivation {
        policies: policies
            .map(|policy| document(policy.id(), &policy.digest, policy.canonical()))
            .collect(),
        parameters: Some(document("", &book.parameters.digest, book.parameters.canonical())),
    }
}

impl PolicyArchive {
    /// Adds what a log says: every segment begins with the whole set, and the last one may hold more.
    pub fn admit_log(&mut self, directory: &Path) -> Result<(), ReadError> {
        let segments = segments(directory)?;
        let last = segments.len().saturating_sub(1);
        for (at, (_, path)) in segments.iter().enumerate() {
            let mut segment = SegmentReader::open(path)?;
            let groups = std::iter::from_fn(|| segment.next_group().ok().flatten());
            for group in groups.take(if at == last { usize::MAX } else { 1 }) {
                for (_, record) in group.records() {
                    self.admit_record(record.unwrap_or_default());
                }
            }
        }
        Ok(())
    }

    /// Adds what an encoded `AuditRecord` says, where it is one of an activation.
    pub fn admit_record(&mut self, record: &[u8]) {
        if let Ok(Some((ACTIVATION, activation))) = entry_of(record)
            && let Ok(activation) = pb::PolicyActivation::decode(activation)
        {
            self.admit(&activation);
        }
    }

    /// One that knows the embedded policies.
    pub fn embedded() -> Self {
        let mut archive = Self::default();
        // They are proven by the tests of every release.
        if let Ok(book) = PolicyBook::embedded() {
            archive.add(&book);
        }
        archive
    }

    /// Adds a set of policies, where nothing else is known of their digests.
    pub fn add(&mut self, book: &PolicyBook) {
        for policy in book.policies() {
            let known = self.policies.entry(policy.digest.clone());
            known.or_insert_with(|| Ok(Arc::clone(policy)));
        }
        let parameters = &book.parameters;
        let known = self.parameters.entry(parameters.digest.clone());
        known.or_insert_with(|| Ok(Arc::clone(parameters)));
        self.add_set(PolicySet {
            policies: book.policies().to_vec(),
            parameters: parameters.digest.clone(),
        });
    }

    /// Adds what a log says: a document that does not have its digest makes the digest unusable, until the log holds it
    /// whole again.
    pub fn admit(&mut self, activation: &pb::PolicyActivation) {
        let mut policies = Vec::with_capacity(activation.policies.len());
        for pb::PolicyDocument {
            id,
            digest,
            canonical,
        } in &activation.policies
        {
            let read = || Policy::from_canonical(canonical, digest).map_err(|error| format!("{id}: {error}"));
            policies.extend(admit(
                &mut self.policies,
                digest,
                canonical,
                Policy::canonical,
                read,
            ));
        }
        let Some(pb::PolicyDocument {
            digest, canonical, ..
        }) = &activation.parameters
        else {
            return;
        };
        let read =
            || Parameters::from_canonical(canonical, digest).map_err(|error| format!("parameters: {error}"));
        let parameters = admit(
            &mut self.parameters,
            digest,
            canonical,
            Parameters::canonical,
            read,
        );
        if parameters.is_some() {
            policies.sort_by_key(|policy| policy.document.effective_from);
            self.add_set(PolicySet {
                policies,
                parameters: digest.clone(),
            });
        }
    }

    fn add_set(&mut self, set: PolicySet) {
        if !self.sets.contains(&set) {
            self.sets.push(set);
        }
    }

    /// The policy and the parameters of two digests, or why there are none.
    pub fn find(&self, policy: &str, parameters: &str) -> Result<InForce, String> {
        let policy = known(&self.policies, "policy", policy)?;
        let parameters = known(&self.parameters, "operating parameters", parameters)?;
        let sets = self.sets.iter().filter(|set| {
            set.parameters == parameters.digest && set.policies.iter().any(|own| own.digest == policy.digest)
        });
        Ok(InForce {
            sets: sets.map(|set| set.policies.clone()).collect(),
            policy,
            parameters,
        })
    }
}

/// Reads a document that a log has under a digest, unless it is known already; gives it where it is good.
fn admit<T>(
    documents: &mut HashMap<String, Known<T>>,
    digest: &str,
    canonical: &str,
    known_canonical: fn(&T) -> &str,
    read: impl FnOnce() -> Result<T, String>,
) -> Option<Arc<T>> {
    if let Some(Ok(known)) = documents.get(digest)
        && known_canonical(known) == canonical
    {
        return Some(Arc::clone(known));
    }
    let read = read().map(Arc::new);
    let good = read.as_ref().ok().cloned();
    documents.insert(digest.to_owned(), read);
    good
}

fn known<T>(documents: &HashMap<String, Known<T>>, what: &str, digest: &str) -> Result<Arc<T>, String> {
    match documents.get(digest) {
        Some(Ok(document)) => Ok(Arc::clone(document)),
        Some(Err(problem)) => Err(format!("the {what} of digest {digest} cannot be used: {problem}")),
        None => Err(format!("no {what} of digest {digest} is known")),
    }
}
