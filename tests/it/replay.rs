use std::sync::RwLock;

use bytes::Bytes;
use greenlane::{
    audit::{
        archive::{PolicyArchive, activation},
        frame::{GroupHeader, push_record},
        read::{Group, ReadError},
        replay::{Replayed, Replayer, Summary, replay_log},
        scan::Selection,
    },
    domain::{
        CreditTier, Freshness, PartyRole, TransportMode,
        declaration::Party,
        enterprise::ScheduledTier,
        identifier::{EnterpriseId, ParsedAeoCode},
        order::{ControlOrder, OrderBasis, OrderKind, Selectors},
        recognition::{Arrangement, RecognisedOperator, TransportModes},
    },
    policy::{PartyFacts, PolicyBook, draw::Draw},
    wire::pb::{self, audit_record},
};
use jiff::SignedDuration;
use proptest::prelude::*;
use prost::Message as _;

use crate::{
    properties::world,
    support::{
        cases,
        facts::{BOOK, World},
        records::{Answered, plausible},
    },
};

/// What is altered in a message, and where that shows.
type Forgery<M> = (fn(&mut M), &'static str);

fn archive(activations: &[pb::PolicyActivation]) -> RwLock<PolicyArchive> {
    let mut archive = PolicyArchive::default();
    for activation in activations {
        archive.admit(activation);
    }
    RwLock::new(archive)
}

fn replay(entry: &pb::DecisionEntry) -> Replayed {
    Replayer::new(&archive(&[activation(&BOOK)])).replay(&entry.encode_to_vec())
}

fn group(first_sequence: u64, records: &[Vec<u8>]) -> Group {
    let mut payload = Vec::new();
    for record in records {
        push_record(&mut payload, |buffer| buffer.extend(record));
    }
    Group {
        header: GroupHeader {
            length: u32::try_from(payload.len()).unwrap(),
            records: u32::try_from(records.len()).unwrap(),
            payload_crc: 0,
            first_sequence,
            written_at: 0,
            chain: [0; 32],
        },
        offset: 0,
        payload: Bytes::from(payload),
    }
}

fn record(entry: audit_record::Entry) -> Vec<u8> {
    pb::AuditRecord {
        recorded_at: Some(prost_types::Timestamp::default()),
        entry: Some(entry),
    }
    .encode_to_vec()
}

// === whatever was decided replays ===

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn whatever_was_decided_replays_as_equal_and_a_turned_selection_does_not(world in world()) {
        let world = plausible(world);
        // In force together were the policies up to that one, and the generated parameters.
        let mut in_force = activation(&BOOK);
        let last = BOOK.policies().iter().position(|policy| policy.digest == world.policy.digest).unwrap();
        in_force.policies.truncate(last + 1);
        let parameters = in_force.parameters.as_mut().unwrap();
        parameters.digest = world.parameters.digest.clone();
        parameters.canonical = world.parameters.canonical().to_owned();
        let archive = archive(&[in_force]);
        let mut entry = Answered::of(&world).entry();
        prop_assert_eq!(Replayer::new(&archive).replay(&entry.encode_to_vec()), Replayed::Equal);
        let inspection = entry.decision.as_mut().unwrap().inspection.as_mut().unwrap();
        inspection.selected = !inspection.selected;
        let differs = Replayed::Differs(vec!["inspection.selected".to_owned()]);
        prop_assert_eq!(Replayer::new(&archive).replay(&entry.encode_to_vec()), differs);
    }
}

// === one altered fact ===

/// A recognised import, drawn at random: an advanced certified consignee whose tier ends in 2027, a certified declarant,
/// an operator of Singapore, on the 20th of November 2026.
fn drawn() -> World {
    let mut world = World::import(
        "2026-11-20",
        &[CreditTier::AdvancedCertified, CreditTier::Certified],
    );
    let credit = &mut world.found[0].enterprise.as_mut().unwrap().credit;
    credit.tier_effective_from = "2020-01-01".parse().unwrap();
    credit.tier_valid_until = Some("2027-01-01".parse().unwrap());
    let Ok(ParsedAeoCode::Foreign(aeo_code)) = "SG201234567".parse() else {
        panic!("a foreign code");
    };
    world.declaration.parties.push(Party {
        role: PartyRole::ForeignParty,
        id: EnterpriseId::Foreign(aeo_code),
    });
    world.found.push(PartyFacts {
        enterprise: None,
        operator: Some(std::sync::Arc::new(RecognisedOperator {
            aeo_code,
            country: "SG".parse().unwrap(),
            programme: "STP-Plus".to_owned(),
            name: "Operator".to_owned(),
            valid_from: "2020-01-01".parse().unwrap(),
            valid_until: Some("2027-01-01".parse().unwrap()),
            suspended: false,
        })),
    });
    world.declaration.transport_mode = Some(TransportMode::Sea);
    world.arrangements.push(Arrangement {
        country: "SG".parse().unwrap(),
        programme: "STP-Plus".to_owned(),
        direction: Some(world.declaration.direction),
        transport_modes: TransportModes::from_iter([TransportMode::Sea]),
        effective_from: "2013-06-01".parse().unwrap(),
        effective_to: Some("2027-01-01".parse().unwrap()),
    });
    world.draw = Some(Draw(u64::MAX / 2));
    world
}

/// The same, held until three hours after the decision.
fn ordered(kind: OrderKind) -> World {
    let mut world = drawn();
    world.orders.push(ControlOrder {
        id: "O-1".to_owned(),
        kind,
        basis: OrderBasis::Mandated,
        selectors: Selectors {
            customs_office: Some(world.declaration.customs_office),
            ..Selectors::default()
        },
        valid_from: world.decided_at - SignedDuration::from_hours(1),
        valid_to: Some(world.decided_at + SignedDuration::from_hours(3)),
        legal_basis: "Customs Law Art 28".to_owned(),
        public_reason: "Held".to_owned(),
        confidential_reason: Some("Informer".to_owned()),
    });
    world
}

fn facts(entry: &mut pb::DecisionEntry) -> &mut pb::DecisionFacts {
    entry.facts.as_mut().unwrap()
}

fn enterprise(entry: &mut pb::DecisionEntry, at: usize) -> &mut pb::EnterpriseFacts {
    facts(entry).parties[at].enterprise.as_mut().unwrap()
}

fn operator(entry: &mut pb::DecisionEntry) -> &mut pb::OperatorFacts {
    facts(entry).parties[2].operator.as_mut().unwrap()
}

fn order(entry: &mut pb::DecisionEntry) -> &mut pb::ControlOrder {
    &mut facts(entry).orders[0]
}

/// A fact, what is done to it, and the fields of the decision that it moves, as the contract says.
type Alteration = (&'static str, fn(&mut pb::DecisionEntry), &'static [&'static str]);

const RATE: &[&str] = &["inspection.rate_ppm"];
const UNRECOGNISED: &[&str] = &["inspection.rate_ppm", "measures[3]", "reasons[2].code"];

#[rustfmt::skip]
const DRAWN: &[Alteration] = &[
    // The lower tier governs: certified before, of the declarant, rate 12200; then recognised at 80 %.
    ("the tier of the governing party", |e| enterprise(e, 1).credit_tier = 3, &["credit_tier", "parties[1].registered_tier", "parties[1].standing", "inspection.rate_ppm", "lane", "green_channel.eligible"]),
    ("the tier of another party", |e| enterprise(e, 0).credit_tier = 4, &["credit_tier", "governing_party", "parties[0].registered_tier", "parties[0].standing", "inspection.rate_ppm"]),
    ("the first day of a tier", |e| enterprise(e, 0).tier_effective_from = 20_261_121, &["parties[0].standing", "governing_party", "credit_tier"]),
    ("the last day of a tier", |e| enterprise(e, 0).tier_valid_until = 20_261_120, &["parties[0].standing", "governing_party", "credit_tier"]),
    ("a suspension", |e| enterprise(e, 1).suspended = true, &["parties[1].suspended", "parties[1].standing", "credit_tier", "green_channel.eligible", "green_channel.blocked_by[0]"]),
    ("a scheduled tier", |e| enterprise(e, 1).scheduled.push(pb::ScheduledTierFacts { effective_from: 20_261_120, credit_tier: 5 }), &["parties[1].registered_tier", "parties[1].standing", "credit_tier", "inspection.rate_ppm"]),
    ("a customs code", |e| enterprise(e, 0).customs_code = "1101919199".to_owned(), &["parties[0].customs_code"]),
    ("a registration that is gone", |e| facts(e).parties[1].enterprise = None, &["parties[1].known", "parties[1].customs_code", "parties[1].registered_tier", "parties[1].standing", "green_channel.eligible"]),
    ("an operator that is gone", |e| facts(e).parties[2].operator = None, &["parties[2].known", "inspection.rate_ppm"]),
    ("an operator's first day", |e| operator(e).valid_from = 20_261_121, RATE),
    ("an operator's last day", |e| operator(e).valid_until = 20_261_120, RATE),
    ("an operator's suspension", |e| operator(e).suspended = true, &["parties[2].suspended", "inspection.rate_ppm"]),
    ("an operator's country", |e| operator(e).country = "KR".to_owned(), RATE),
    ("an operator's programme", |e| operator(e).programme = "AEO".to_owned(), RATE),
    ("an arrangement that is gone", |e| facts(e).arrangements.clear(), UNRECOGNISED),
    ("an arrangement's country", |e| facts(e).arrangements[0].country = "KR".to_owned(), UNRECOGNISED),
    ("an arrangement's programme", |e| facts(e).arrangements[0].programme = "AEO".to_owned(), UNRECOGNISED),
    ("an arrangement's direction", |e| facts(e).arrangements[0].direction = 2, UNRECOGNISED),
    ("an arrangement's modes", |e| facts(e).arrangements[0].transport_modes = vec![2], UNRECOGNISED),
    ("an arrangement's first day", |e| facts(e).arrangements[0].effective_from = 20_261_121, UNRECOGNISED),
    ("an arrangement's last day", |e| facts(e).arrangements[0].effective_to = 20_261_120, UNRECOGNISED),
    ("the draw's value", |e| facts(e).draw.as_mut().unwrap().value = 0, &["inspection.selected", "lane"]),
    ("the draw's epoch", |e| facts(e).draw.as_mut().unwrap().epoch = "2026-10".to_owned(), &["inspection.draw_epoch"]),
    ("a draw that is gone", |e| facts(e).draw = None, &["inspection.basis", "inspection.draw_epoch"]),
    ("the acceptance date, to before a tier", |e| facts(e).accepted_at.as_mut().unwrap().seconds -= 9 * 365 * 86_400, &["parties[0].standing", "policy.id", "policy.digest"]),
    ("the acceptance date, to another policy", |e| facts(e).accepted_at.as_mut().unwrap().seconds -= 300 * 86_400, &["policy.id", "policy.digest", "inspection.rate_ppm"]),
    ("the acceptance date, to before any policy", |e| facts(e).accepted_at.as_mut().unwrap().seconds = 0, &["policy"]),
    ("the acceptance date, to after a tier", |e| facts(e).accepted_at.as_mut().unwrap().seconds += 60 * 86_400, &["parties[0].standing"]),
    ("the age of the data, still fresh", |e| facts(e).data_age.as_mut().unwrap().seconds += 1, &["data_age.seconds"]),
    ("the age of the data, stale", |e| facts(e).data_age.as_mut().unwrap().seconds = 301, &["data_age.seconds", "freshness", "credit_tier", "inspection.rate_ppm", "green_channel.eligible"]),
    ("the age of the data, expired", |e| facts(e).data_age.as_mut().unwrap().seconds = 86_401, &["freshness", "lane", "inspection.basis"]),
    ("the limit of relief", |e| facts(e).relief_max_age.as_mut().unwrap().seconds = 0, &["freshness", "credit_tier"]),
    ("the limit of decisions", |e| { facts(e).relief_max_age.as_mut().unwrap().seconds = 0; facts(e).decision_max_age.as_mut().unwrap().seconds = 0; }, &["freshness", "lane"]),
    ("an order from nowhere", |e| { let held = Answered::of(&ordered(OrderKind::Hold)).entry().facts.unwrap(); facts(e).orders = held.orders; }, &["lane", "inspection.basis", "green_channel.eligible"]),
    ("the role of a party", |e| e.request.as_mut().unwrap().parties[1].role = 6, &["parties[1].role", "parties[1].counted", "credit_tier"]),
    ("the office", |e| e.request.as_mut().unwrap().declaration_number = "222520261000000002".to_owned(), &["declaration_number"]),
    ("the identifier of a party", |e| e.request.as_mut().unwrap().parties[1].identifier = Some(pb::party::Identifier::CustomsCode("1101919177".to_owned())), &["parties[1].enterprise_id"]),
    ("the decision time", |e| e.decision.as_mut().unwrap().decided_at.as_mut().unwrap().seconds += 60, &["valid_until.seconds"]),
];

#[rustfmt::skip]
const ORDERED: &[Alteration] = &[
    ("an order's kind", |e| order(e).kind = "DOCUMENTS".to_owned(), &["lane", "green_channel.blocked_by[0]", "document_review"]),
    ("an order that begins later", |e| order(e).valid_from.as_mut().unwrap().seconds += 7_200, &["lane", "green_channel.eligible"]),
    ("an order that has ended", |e| order(e).valid_to.as_mut().unwrap().seconds -= 4 * 3_600, &["lane", "green_channel.eligible"]),
    ("an order that ends sooner", |e| order(e).valid_to.as_mut().unwrap().seconds -= 3_600, &["valid_until.seconds"]),
    ("an order's office", |e| order(e).customs_office = "0101".to_owned(), &["lane", "green_channel.eligible"]),
    ("an order without any selector", |e| order(e).customs_office.clear(), &["lane", "green_channel.eligible"]),
    ("an order's enterprise", |e| order(e).enterprise_id = "9999999999".to_owned(), &["lane", "green_channel.eligible"]),
    ("an order's goods", |e| order(e).hs_prefix = "99".to_owned(), &["lane", "green_channel.eligible"]),
    ("an order's origin", |e| order(e).origin_country = "US".to_owned(), &["lane", "green_channel.eligible"]),
    ("an order's container", |e| order(e).container_number = "CSQU3054383".to_owned(), &["lane", "green_channel.eligible"]),
    ("an order's direction", |e| order(e).direction = "EXPORT".to_owned(), &["lane", "green_channel.eligible"]),
    ("an order's article", |e| order(e).legal_basis = "Art 1".to_owned(), &["reasons[0].article"]),
    ("an order's reason", |e| order(e).public_reason = "Other".to_owned(), &["reasons[0].text"]),
    ("an order's confidential reason", |e| order(e).confidential_reason.clear(), &["reasons[0].confidential_text"]),
    ("an order that is gone", |e| facts(e).orders.clear(), &["lane", "green_channel.eligible"]),
];

#[rustfmt::skip]
const INSPECTED: &[Alteration] = &[
    ("an order's basis", |e| order(e).basis = "TARGETED".to_owned(), &["inspection.basis", "green_channel.blocked_by[0]", "reasons[0].code"]),
    ("an order's kind", |e| order(e).kind = "HOLD".to_owned(), &["lane", "inspection.selected", "inspection.basis"]),
];

#[test]
fn one_altered_fact_differs_in_the_fields_that_it_moves() {
    for (world, alterations) in [
        (drawn(), DRAWN),
        (ordered(OrderKind::Hold), ORDERED),
        (ordered(OrderKind::Inspect), INSPECTED),
    ] {
        let answered = Answered::of(&world);
        assert_eq!(world.freshness, Freshness::Fresh);
        assert_eq!(replay(&answered.entry()), Replayed::Equal);
        for (what, alter, moved) in alterations {
            let mut entry = answered.entry();
            alter(&mut entry);
            let Replayed::Differs(paths) = replay(&entry) else {
                panic!("{what}: {:?}", replay(&entry));
            };
            for path in *moved {
                assert!(
                    paths.iter().any(|found| found == path),
                    "{what}: {path} is not among {paths:?}"
                );
            }
            let given = [
                "decision_id",
                "registry_version",
                "decided_at",
                "policy.parameters_digest",
            ];
            assert!(
                !paths.iter().any(|found| given.contains(&found.as_str())),
                "{what}: {paths:?}"
            );
        }
    }
}

#[test]
fn an_altered_answer_differs_in_that_field_alone() {
    let answered = Answered::of(&drawn());
    #[rustfmt::skip]
    let alterations: [Forgery<pb::Decision>; 8] = [
        (|d| d.lane = 4, "lane"),
        (|d| d.parties[1].standing = 1, "parties[1].standing"),
        (|d| d.reasons[0].text.push('.'), "reasons[0].text"),
        (|d| d.priority.as_mut().unwrap().rank += 1, "priority.rank"),
        (|d| d.inspection.as_mut().unwrap().rate_ppm -= 1, "inspection.rate_ppm"),
        (|d| d.measures.push(50), "measures[4]"),
        (|d| d.policy.as_mut().unwrap().provisional = false, "policy.provisional"),
        (|d| d.valid_until.as_mut().unwrap().nanos = 1, "valid_until.nanos"),
    ];
    for (alter, path) in alterations {
        let mut entry = answered.entry();
        alter(entry.decision.as_mut().unwrap());
        assert_eq!(replay(&entry), Replayed::Differs(vec![path.to_owned()]));
    }
}

#[test]
fn a_scheduled_tier_that_is_gone_differs() {
    let mut world = drawn();
    let schedule = &mut world.found[1].enterprise.as_mut().unwrap().schedule;
    schedule.push(ScheduledTier {
        effective_from: "2026-11-01".parse().unwrap(),
        credit_tier: CreditTier::Discredited,
    });
    let mut entry = Answered::of(&world).entry();
    assert_eq!(replay(&entry), Replayed::Equal);
    enterprise(&mut entry, 1).scheduled.clear();
    let Replayed::Differs(paths) = replay(&entry) else {
        panic!("differs");
    };
    assert!(paths.contains(&"credit_tier".to_owned()), "{paths:?}");
}

// === what cannot be replayed ===

#[test]
fn an_unknown_policy_is_told_by_its_digest() {
    let mut entry = Answered::of(&drawn()).entry();
    let unknown = "ab".repeat(32);
    entry.decision.as_mut().unwrap().policy.as_mut().unwrap().digest = unknown.clone();
    let Replayed::NotReplayable(why) = replay(&entry) else {
        panic!("not replayable");
    };
    assert!(why.contains("policy") && why.contains(&unknown), "{why}");

    let mut entry = Answered::of(&drawn()).entry();
    let policy = entry.decision.as_mut().unwrap().policy.as_mut().unwrap();
    policy.parameters_digest = unknown.clone();
    let Replayed::NotReplayable(why) = replay(&entry) else {
        panic!("not replayable");
    };
    assert!(why.contains("parameters") && why.contains(&unknown), "{why}");
}

#[test]
fn a_policy_whose_canonical_form_has_another_digest_cannot_be_replayed_even_if_the_program_knows_better() {
    let entry = Answered::of(&drawn()).entry();
    let digest = &entry.decision.as_ref().unwrap().policy.as_ref().unwrap().digest;
    let mut activation = activation(&BOOK);
    let document = activation
        .policies
        .iter_mut()
        .find(|own| own.digest == *digest)
        .unwrap();
    document.canonical = document.canonical.replace("800000", "700000");
    let mut archive = PolicyArchive::embedded();
    archive.admit(&activation);
    let archive = RwLock::new(archive);
    let Replayed::NotReplayable(why) = Replayer::new(&archive).replay(&entry.encode_to_vec()) else {
        panic!("not replayable");
    };
    assert!(
        why.contains(digest.as_str()) && why.contains("canonical form"),
        "{why}"
    );
}

#[test]
fn facts_that_are_none_cannot_be_replayed_and_say_where() {
    #[rustfmt::skip]
    let alterations: [Forgery<pb::DecisionEntry>; 6] = [
        (|e| enterprise(e, 1).tier_effective_from = 20_261_301, "facts.parties[1].enterprise.tier_effective_from"),
        (|e| enterprise(e, 0).credit_tier = 9, "facts.parties[0].enterprise.credit_tier"),
        (|e| facts(e).draw.as_mut().unwrap().epoch = "November".to_owned(), "facts.draw.epoch"),
        (|e| { facts(e).parties.pop(); }, "facts.parties"),
        (|e| facts(e).accepted_at = None, "facts.accepted_at"),
        (|e| e.request.as_mut().unwrap().customs_office.clear(), "customs_office"),
    ];
    for (alter, path) in alterations {
        let mut entry = Answered::of(&drawn()).entry();
        alter(&mut entry);
        let Replayed::NotReplayable(why) = replay(&entry) else {
            panic!("{path}: {:?}", replay(&entry));
        };
        assert!(why.contains(path), "{why}");
    }
}

// === a log ===

#[test]
fn a_log_across_a_change_of_policies_is_replayed_by_all_workers_and_names_the_first_that_differ() {
    // The operating parameters change half-way.
    let mut document = BOOK.parameters.document.clone();
    document.default_baseline_ppm.0 *= 2;
    let parameters = greenlane::policy::Parameters::compile(document).unwrap();
    let later = PolicyBook::new(BOOK.policies().to_vec(), std::sync::Arc::new(parameters.clone())).unwrap();

    let mut groups = vec![group(
        1,
        &[record(audit_record::Entry::Activation(activation(&BOOK)))],
    )];
    let mut sequence = 2;
    for half in 0..2 {
        let mut world = drawn();
        if half == 1 {
            groups.push(group(
                sequence,
                &[record(audit_record::Entry::Activation(activation(&later)))],
            ));
            sequence += 1;
            world.parameters = parameters.clone();
        }
        for number in 0..200_u64 {
            let records: Vec<_> = (0..10_u64)
                .map(|at| {
                    world.draw = Some(Draw((number * 10 + at).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
                    let mut answered = Answered::of(&world);
                    if half == 1 && number >= 150 && at == 0 {
                        let mut entry = answered.entry();
                        enterprise(&mut entry, 1).credit_tier = 3;
                        answered.record = record(audit_record::Entry::Decision(entry));
                    }
                    answered.record
                })
                .collect();
            groups.push(group(sequence, &records));
            sequence += 10;
        }
    }
    let bytes: u64 = groups.iter().map(|group| group.payload.len() as u64).sum();
    let groups = groups.into_iter().map(Ok::<_, ReadError>);
    let archive = RwLock::default();
    let mut read = 0;
    let summary = replay_log(groups, &archive, &Selection::default(), |more| read += more).unwrap();
    let Summary {
        equal,
        differs,
        not_replayable,
        named,
    } = summary;
    assert_eq!((equal, differs, not_replayable), (3_950, 50, 0));
    assert_eq!(read, bytes);
    let sequences: Vec<_> = named.iter().map(|named| named.sequence).collect();
    let first = 2 + 2_000 + 1 + 1_500;
    assert_eq!(sequences, (0..20).map(|at| first + at * 10).collect::<Vec<_>>());
}
