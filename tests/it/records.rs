use greenlane::{
    audit::{
        index::notes::{NotedDecision, Notes},
        rates::Observation,
    },
    facilitation::Outcome,
    wire::{
        encode, pb,
        record::{Entry, LoggedFacts, LoggedOutcome, entry_of},
    },
};
use proptest::prelude::*;
use prost::Message as _;

use crate::{
    properties::world,
    support::{
        cases,
        records::{Answered, DECISION_ID, outcome, plausible, request, write},
    },
};

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn an_answer_written_directly_has_the_bytes_of_its_message(world in world()) {
        let (facts, request) = (world.facts(), request(&world.declaration));
        let outcome = outcome(&world, &facts);
        let mut written = Vec::new();
        encode::decision(&mut written, DECISION_ID, &request, &outcome);
        let mut of_declaration = Vec::new();
        encode::decision(&mut of_declaration, DECISION_ID, &world.declaration, &outcome);
        prop_assert_eq!(&of_declaration, &written);
        let message = Answered::of(&world).decision;
        prop_assert_eq!(pb::Decision::decode(written.as_slice()).unwrap(), message.clone());
        prop_assert_eq!(written, message.encode_to_vec());
    }

    #[test]
    fn what_everybody_may_see_is_the_answer_without_its_confidential_texts(world in world(), told in any::<bool>()) {
        let mut world = world;
        for order in &mut world.orders {
            order.confidential_reason = told.then(|| "PLANTED".to_owned());
        }
        let (facts, request) = (world.facts(), request(&world.declaration));
        let outcome = outcome(&world, &facts);
        let mut written = Vec::new();
        encode::public_decision(&mut written, DECISION_ID, &request, &outcome);
        let mut message = Answered::of(&world).decision;
        let whole = message.reasons.iter().any(|reason| !reason.confidential_text.is_empty());
        prop_assert_eq!(outcome.decision.is_confidential(), whole);
        for reason in &mut message.reasons {
            reason.confidential_text.clear();
        }
        prop_assert_eq!(written, message.encode_to_vec());
    }

    #[test]
    fn a_record_written_directly_has_the_bytes_of_its_message(world in world()) {
        let answered = Answered::of(&plausible(world));
        let message = pb::AuditRecord::decode(answered.record.as_slice()).unwrap();
        prop_assert_eq!(&message.encode_to_vec(), &answered.record);
        let entry = answered.entry();
        prop_assert_eq!(entry.request, Some(answered.request));
        prop_assert_eq!(entry.decision, Some(answered.decision));
        prop_assert_eq!(entry.caller.as_str(), "anonymous");
    }

    #[test]
    fn a_record_names_the_lane_that_the_decision_improves(world in world()) {
        let entry = Answered::of(&plausible(world)).entry();
        let lane = entry.decision.unwrap().lane;
        let improves = lane == pb::Lane::Green as i32 || lane == pb::Lane::Blue as i32;
        let expected = if improves { pb::Lane::Yellow } else { pb::Lane::Unspecified };
        prop_assert_eq!(entry.improved_from, i32::from(expected), "from YELLOW to {}", lane);
    }

    #[test]
    fn what_a_record_adds_to_the_realized_rates_is_what_its_decision_did(world in world()) {
        let world = plausible(world);
        let facts = world.facts();
        let outcome = outcome(&world, &facts);
        let made = Observation::made(&outcome, world.declaration.customs_office);
        prop_assert_eq!(Observation::logged(&Answered::of(&world).record), Some(made));
    }

    #[test]
    fn what_is_noted_of_a_decision_for_the_index_is_what_is_read_from_its_record(world in world(), repeated: bool) {
        let world = plausible(world);
        let facts = world.facts();
        let outcome = Outcome { repeated, ..outcome(&world, &facts) };
        let (mut noted, mut read) = (Notes::default(), Notes::default());
        noted.decided(&NotedDecision {
            id: DECISION_ID,
            declaration: &world.declaration,
            outcome: &outcome,
            observation: &Observation::made(&outcome, world.declaration.customs_office),
        });
        let mut record = Vec::new();
        write(&mut record, &world, &outcome);
        read.read(Some(&record));
        prop_assert_eq!(noted, read);
    }

    #[test]
    fn what_is_read_from_a_record_decides_as_what_was_written(world in world()) {
        let world = plausible(world);
        let answered = Answered::of(&world);
        let entry = Entry::read(entry_of(&answered.record).unwrap().unwrap().1).unwrap();
        let request = pb::DecideRequest::decode(entry.request).unwrap();
        let facts = pb::DecisionFacts::decode(entry.facts).unwrap();
        let logged = LoggedOutcome::decode(entry.decision).unwrap();
        let read = LoggedFacts::read(&request, facts, logged.decided_at.as_ref()).unwrap();
        prop_assert_eq!(&read.declaration, &world.declaration);
        let facts = read.facts();
        prop_assert_eq!((facts.accepted_on, facts.decided_at), (world.accepted_on, world.decided_at));
        prop_assert_eq!(facts.freshness, world.freshness);
        prop_assert_eq!(&read.orders, &world.orders);
        prop_assert_eq!(&read.arrangements, &world.arrangements);
        let draw = read.drawn.map(|drawn| drawn.draw);
        let decision = greenlane::policy::decide(world.policy, &world.parameters, &facts, draw);
        prop_assert_eq!(decision, world.decide());
    }
}
