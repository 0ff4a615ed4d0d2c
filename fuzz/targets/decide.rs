//! A request, as the service takes it: decoded, checked, decided, answered, logged, replayed.
//!
//! The first byte says how old the data is, and with 4 added that the rest is a `SimulateRequest`.

use greenlane::{
    audit::{
        decision::of_record,
        index::notes::{NotedDecision, Notes},
        outline::Outline,
        rates::Observation,
        replay::{Replayed, Replayer},
    },
    domain::{
        Freshness, Ppm,
        decision::{Decision, InspectionBasis, Lane, ReasonCode},
        declaration::Declaration,
    },
    facilitation::{Moment, Outcome, Simulation},
    wire::{
        convert,
        encode::{self, Asked as _},
        pb::{self, party::Identifier},
        record::{self, DECISION, DecisionRecord, entry_of},
        usual, validate,
        violations::undecodable_field,
    },
};
use prost::Message as _;

use super::Seed;
use crate::{
    contract::names_fields,
    world::{DECISION_ID, WORLD, now},
};

const SIMULATE: u8 = 4;

pub(crate) fn run(data: &[u8]) -> bool {
    let Some((&options, bytes)) = data.split_first() else {
        return false;
    };
    let moment = WORLD.moment(options % SIMULATE);
    if options & SIMULATE == 0 {
        let Some(record) = record_of(bytes, &moment) else {
            return false;
        };
        replays(&record);
        true
    } else {
        simulate(bytes, &moment)
    }
}

/// Decodes and checks a request; what is refused names the field.
pub(crate) fn valid(bytes: &[u8]) -> Option<(pb::DecideRequest, validate::ValidRequest)> {
    let request = match pb::DecideRequest::decode(bytes) {
        Ok(request) => request,
        Err(error) => {
            names_fields("DecideRequest", &undecodable_field(&error));
            assert_eq!(usual::request(bytes, &WORLD.window), None);
            return None;
        }
    };
    let again = pb::DecideRequest::decode(request.encode_to_vec().as_slice());
    assert_eq!(again.as_ref(), Ok(&request), "it encodes to another request");
    let read = usual::request(bytes, &WORLD.window);
    match validate::request(&request, &WORLD.window) {
        Ok(valid) => {
            if let Some(read) = read {
                assert_eq!(read, valid, "two ways to read one request");
                assert!(request.min_registry_version.is_none(), "what waits is not usual");
                assert!(request.parties().eq(valid.declaration.parties()));
            }
            Some((request, valid))
        }
        Err(violations) => {
            assert_eq!(read, None, "a request that breaks a rule was read");
            names_fields("DecideRequest", &violations);
            None
        }
    }
}

/// The record of the decision on an encoded request, where that is one.
pub(crate) fn record_of(bytes: &[u8], moment: &Moment) -> Option<Vec<u8>> {
    let (request, valid) = valid(bytes)?;
    let facilitation = &WORLD.facilitation;
    let record = facilitation.decide(
        &valid.declaration,
        valid.accepted_at,
        &WORLD.clock,
        moment,
        |outcome| {
            let record = record(bytes, &request, &outcome);
            if usual::request(bytes, &WORLD.window).is_some() {
                noted_as_read(&valid.declaration, &outcome, &record);
            }
            record
        },
    );
    // Every input by itself: the declaration of one is not remembered for another.
    facilitation.draws().forget(&valid.declaration.number);
    Some(record.expect("a valid request is decided"))
}

fn record(bytes: &[u8], request: &pb::DecideRequest, outcome: &Outcome<'_>) -> Vec<u8> {
    let decision = encoded(request, outcome);
    let mut record = Vec::new();
    record::decision(
        &mut record,
        &DecisionRecord {
            recorded_at: now(),
            request: bytes,
            decision: &decision,
            outcome,
            caller: "fuzz",
        },
    );
    let message = pb::AuditRecord::decode(record.as_slice()).expect("a record");
    if request.encode_to_vec() == bytes {
        assert_eq!(message.encode_to_vec(), record, "prost writes another record");
    }
    record
}

/// What the index has of a usual request's decision is noted of it as it is read from its record.
fn noted_as_read(declaration: &Declaration, outcome: &Outcome<'_>, record: &[u8]) {
    let (mut noted, mut read) = (Notes::default(), Notes::default());
    noted.decided(&NotedDecision {
        id: DECISION_ID,
        declaration,
        outcome,
        observation: &Observation::made(outcome, declaration.customs_office),
    });
    read.read(Some(record));
    assert_eq!(noted, read, "two ways to note one decision");
}

/// The answer; written in two ways, it is the same to the byte.
fn encoded(request: &pb::DecideRequest, outcome: &Outcome<'_>) -> Vec<u8> {
    sound(&outcome.decision, outcome.freshness);
    let mut decision = Vec::new();
    encode::decision(&mut decision, DECISION_ID, request, outcome);
    let message = convert::decision(DECISION_ID.to_owned(), request.clone(), outcome);
    assert_eq!(decision, message.encode_to_vec(), "two ways to write one answer");
    decision
}

/// What holds of every decision, whatever was asked.
fn sound(decision: &Decision<'_>, freshness: Freshness) {
    let inspection = &decision.inspection;
    assert!(inspection.rate <= Ppm::ALWAYS, "{:?}", inspection.rate);
    let holds = freshness == Freshness::Expired
        || decision
            .blocked_by
            .iter()
            .any(|code| code == ReasonCode::HoldOrder);
    assert_eq!(holds, decision.lane == Lane::Manual, "{decision:?}");
    assert!(!holds || !inspection.selected, "{decision:?}");
    if decision.lane == Lane::Green {
        assert!(
            decision.blocked_by.is_empty() && !inspection.selected,
            "{decision:?}"
        );
    }
    if inspection.basis == InspectionBasis::NotDrawn {
        assert!(!inspection.selected, "{decision:?}");
    }
    assert!(!decision.reasons.is_empty(), "{decision:?}");
}

/// The record leads to the same decision again.
fn replays(record: &[u8]) {
    let (kind, entry) = entry_of(record).expect("a record").expect("an entry");
    assert_eq!(kind, DECISION);
    let replayed = Replayer::new(&WORLD.archive).replay(entry);
    assert_eq!(replayed, Replayed::Equal);
    assert!(of_record(record).is_some());
    Outline::of(record).expect("an outline");
}

fn simulate(bytes: &[u8], moment: &Moment) -> bool {
    let request = match pb::SimulateRequest::decode(bytes) {
        Ok(request) => request,
        Err(error) => {
            names_fields("SimulateRequest", &undecodable_field(&error));
            return false;
        }
    };
    let policy = WORLD.book.by_id(&request.policy_id).cloned();
    let policy_known = request.policy_id.is_empty() || policy.is_some();
    let first = WORLD.window.first_policy;
    let valid = match validate::simulation(&request, now(), first, policy_known) {
        Ok(valid) => valid,
        Err(violations) => {
            let (inner, own) = violations
                .0
                .into_iter()
                .partition(|(field, _)| field.starts_with("request."));
            for (message, violations) in [("SimulateRequest", own), ("SimulateRequest", inner)] {
                let violations = greenlane::wire::violations::Violations(violations);
                if !violations.is_empty() {
                    names_fields(message, &violations);
                }
            }
            return false;
        }
    };
    let simulation = Simulation {
        policy,
        overrides: valid.overrides,
        known: valid
            .known_at
            .map(|_| vec![None; valid.request.declaration.parties.len()]),
    };
    let request = request.request.unwrap_or_default();
    let instants = (valid.request.accepted_at, valid.decided_at);
    let declaration = &valid.request.declaration;
    let simulated = WORLD.facilitation.simulate(
        declaration,
        instants,
        &simulation,
        &WORLD.clock,
        moment,
        |outcome| {
            assert!(outcome.drawn.is_none(), "a simulation draws nothing");
            encoded(&request, &outcome);
        },
    );
    simulated.expect("a valid simulation is evaluated");
    true
}

pub(crate) fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (name, request) in requests() {
        for (age, word) in [(0, "fresh"), (1, "stale"), (2, "expired")] {
            if age == 0 || name == "import" {
                let bytes = [&[age][..], &request.encode_to_vec()].concat();
                seeds.push((format!("{name}-{word}"), bytes));
            }
        }
    }
    let simulation = pb::SimulateRequest {
        request: Some(import()),
        policy_id: "CN-GACC-251".to_owned(),
        tier_overrides: vec![pb::TierOverride {
            customs_code: "1101919201".to_owned(),
            credit_tier: 1,
        }],
        as_of: Some(instant("2026-11-20T00:00:00Z")),
        known_at: Some(instant("2026-11-01T00:00:00Z")),
    };
    seeds.push((
        "simulation".to_owned(),
        [&[SIMULATE][..], &simulation.encode_to_vec()].concat(),
    ));
    seeds
}

fn instant(text: &str) -> prost_types::Timestamp {
    convert::instant(text.parse().expect("an instant"))
}

fn party(role: pb::PartyRole, identifier: Identifier) -> pb::Party {
    pb::Party {
        role: role.into(),
        identifier: Some(identifier),
    }
}

fn customs(role: pb::PartyRole, code: &str) -> pb::Party {
    party(role, Identifier::CustomsCode(code.to_owned()))
}

fn item(hs_code: &str, origin_country: &str) -> pb::GoodsItem {
    pb::GoodsItem {
        hs_code: hs_code.to_owned(),
        origin_country: origin_country.to_owned(),
    }
}

/// An import with everything that a request can have.
fn import() -> pb::DecideRequest {
    let foreign = Identifier::AeoCode("AEO<SG 201234567890>".to_owned());
    let social = Identifier::SocialCreditCode("91110000600037341L".to_owned());
    pb::DecideRequest {
        declaration_number: "222520261000000001".to_owned(),
        direction: pb::Direction::Import.into(),
        parties: vec![
            party(pb::PartyRole::Consignee, social),
            customs(pb::PartyRole::Declarant, "1101919107"),
            party(pb::PartyRole::ForeignParty, foreign),
        ],
        goods: vec![item("8471300000", "SG"), item("870323", "DE")],
        customs_office: "2225".to_owned(),
        transport_mode: pb::TransportMode::Sea.into(),
        trade_mode: pb::TradeMode::General.into(),
        transport_document_number: "COSU6212345670".to_owned(),
        container_numbers: vec!["CSQU3054383".to_owned(), "MSCU6639870".to_owned()],
        accepted_at: Some(instant("2026-11-23T01:00:00Z")),
        min_registry_version: None,
    }
}

/// Requests that lead to every kind of decision.
pub(crate) fn requests() -> Vec<(&'static str, pb::DecideRequest)> {
    let of = |code: &str| pb::DecideRequest {
        parties: vec![customs(pb::PartyRole::Consignee, code)],
        goods: Vec::new(),
        container_numbers: Vec::new(),
        transport_document_number: String::new(),
        ..import()
    };
    let export = pb::DecideRequest {
        declaration_number: "530120260000000001".to_owned(),
        direction: pb::Direction::Export.into(),
        customs_office: "5301".to_owned(),
        trade_mode: pb::TradeMode::Processing.into(),
        ..of("1101919103")
    };
    let on = |text: &str, code: &str| pb::DecideRequest {
        accepted_at: Some(instant(text)),
        ..of(code)
    };
    vec![
        ("import", import()),
        ("export", export),
        ("suspended", of("1101919104")),
        ("certified", of("1101919107")),
        ("regular", of("1101919201")),
        ("discredited", of("1101919202")),
        ("held", of("1101919203")),
        ("unreadable", of("1101919204")),
        ("unknown", of("9999999999")),
        ("of-225", on("2015-01-01T00:00:00Z", "1101919107")),
        ("of-237", on("2019-01-01T00:00:00Z", "1101919107")),
        ("of-251", on("2022-01-01T00:00:00Z", "1101919103")),
        (
            "mandated",
            pb::DecideRequest {
                goods: vec![item("2204210000", "FR"), item("0303140000", "KP")],
                ..of("1101919201")
            },
        ),
        (
            "waits",
            pb::DecideRequest {
                min_registry_version: Some(pb::RegistryVersion {
                    epoch: crate::world::EPOCH.to_owned(),
                    sequence: 3,
                }),
                accepted_at: None,
                ..of("1101919201")
            },
        ),
    ]
}
