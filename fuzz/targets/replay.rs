//! A record of a decision: whatever is in it, replay comes to an end; and the decision that it leads to replays as equal.

use greenlane::{
    audit::{
        archive::{PolicyArchive, activation},
        decision::{customs_codes, decided_at, lane, of_record, passes},
        draw::check::{accepted_in, accepted_on},
        replay::{Replayed, Replayer},
    },
    upstream::archive::DecisionFilter,
    wire::{
        pb,
        record::{ACTIVATION, DECISION, Entry, LoggedDecision, entry_of},
    },
};
use prost::Message as _;

use super::{Seed, decide};
use crate::world::WORLD;

pub(crate) fn run(data: &[u8]) -> bool {
    let Ok(Some((kind, entry))) = entry_of(data) else {
        return false;
    };
    if let Ok(record) = pb::AuditRecord::decode(data) {
        looked_at(data, &record);
    }
    match kind {
        DECISION => replayed(entry),
        ACTIVATION => admitted(data),
        _ => false,
    }
}

/// What a log says of policies is taken where each text has its digest.
fn admitted(record: &[u8]) -> bool {
    let mut archive = PolicyArchive::default();
    archive.admit_record(record);
    let Ok(pb::AuditRecord {
        entry: Some(pb::audit_record::Entry::Activation(sent)),
        ..
    }) = pb::AuditRecord::decode(record)
    else {
        return false;
    };
    let parameters = sent.parameters.unwrap_or_default();
    let found = sent
        .policies
        .iter()
        .filter_map(|own| archive.find(&own.digest, &parameters.digest).ok());
    let found: Vec<_> = found.collect();
    for in_force in &found {
        assert_eq!(in_force.parameters.digest, parameters.digest);
        assert!(
            sent.policies
                .iter()
                .any(|own| own.canonical == in_force.policy.canonical())
        );
    }
    !found.is_empty()
}

/// What lists and checks of draws make of it.
fn looked_at(data: &[u8], record: &pb::AuditRecord) {
    let Some(pb::audit_record::Entry::Decision(entry)) = &record.entry else {
        assert!(of_record(data).is_none());
        return;
    };
    assert_eq!(of_record(data).as_ref(), Some(entry));
    assert!(customs_codes(entry).iter().all(|code| code.len() == 10));
    let filter = DecisionFilter {
        decided_from: Some(decided_at(entry)),
        lane: Some(lane(entry).to_owned()),
        ..DecisionFilter::default()
    };
    assert!(passes(&filter, entry));
    assert!(accepted_in(entry).is_some() || accepted_on(entry).is_none());
}

fn replayed(entry: &[u8]) -> bool {
    let mut replayer = Replayer::new(&WORLD.archive);
    let first = replayer.replay(entry);
    if let Replayed::NotReplayable(why) = &first {
        assert!(!why.is_empty());
        return false;
    }
    let logged = LoggedDecision::read(entry).expect("it was replayed");
    let named = logged.given.policy.as_ref().expect("it was found");
    let archive = WORLD.archive.read().expect("nobody panics");
    let in_force = archive
        .find(&named.digest, &named.parameters_digest)
        .expect("it was found");
    drop(archive);
    let facts = logged.facts.facts();
    let Some(policy) = in_force.on(facts.accepted_on) else {
        return true;
    };
    let outcome = logged.decide(&facts, policy, &in_force.parameters);
    let mut decision = Vec::new();
    logged.encode(&outcome, &mut decision);
    let facts = Entry::read(entry).expect("it was read").facts.to_vec();
    let own = Parts {
        request: logged.request_bytes.to_vec(),
        decision,
        facts,
    };
    assert_eq!(
        replayer.replay(&own.encode_to_vec()),
        Replayed::Equal,
        "{first:?}"
    );
    true
}

/// `DecisionEntry`, its parts as their bytes.
#[derive(Clone, PartialEq, prost::Message)]
struct Parts {
    #[prost(bytes = "vec", tag = "1")]
    request: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    decision: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    facts: Vec<u8>,
}

/// The encoded records of a decision of every kind.
pub(crate) fn records() -> Vec<Seed> {
    let made = decide::requests().into_iter().map(|(name, request)| {
        let record = decide::record_of(&request.encode_to_vec(), &WORLD.moment(0));
        (name.to_owned(), record.expect("a valid request"))
    });
    made.collect()
}

pub(crate) fn seeds() -> Vec<Seed> {
    let mut seeds = records();
    let mut policies = activation(&WORLD.book);
    policies.policies.drain(..3);
    let record = pb::AuditRecord {
        recorded_at: None,
        entry: Some(pb::audit_record::Entry::Activation(policies)),
    };
    seeds.push(("activation".to_owned(), record.encode_to_vec()));
    seeds
}
