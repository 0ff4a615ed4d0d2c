//! What a replica would have logged of a world's decision.

use std::time::Duration;

use greenlane::{
    domain::{
        Direction, Freshness,
        decision::{InspectionBasis, Lane},
        declaration::Declaration,
        identifier::EnterpriseId,
    },
    facilitation::Outcome,
    policy::{
        Facts, decide,
        draw::{Draw, Drawn, Epoch, Subject},
    },
    registry::{Age, FreshnessLimits},
    wire::{
        convert, encode,
        pb::{self, party::Identifier},
        record::{self, DecisionRecord},
    },
};
use jiff::SignedDuration;
use prost::Message as _;

use super::facts::World;

pub(crate) const DECISION_ID: &str = "019ab0f0-7c00-7000-8000-000000000000";

/// The message that a declaration was read from.
pub(crate) fn request(declaration: &Declaration) -> pb::DecideRequest {
    let party = |party: &greenlane::domain::declaration::Party| {
        let text = party.id.as_str().to_owned();
        pb::Party {
            role: party.role.number().into(),
            identifier: Some(match party.id {
                EnterpriseId::Customs(_) => Identifier::CustomsCode(text),
                EnterpriseId::SocialCredit(_) => Identifier::SocialCreditCode(text),
                EnterpriseId::Foreign(_) => Identifier::AeoCode(text),
            }),
        }
    };
    pb::DecideRequest {
        declaration_number: declaration.number.to_string(),
        direction: declaration.direction.number().into(),
        parties: declaration.parties.iter().map(party).collect(),
        goods: declaration
            .goods
            .iter()
            .map(|item| pb::GoodsItem {
                hs_code: item.hs_code.as_str().to_owned(),
                origin_country: item.origin_country.to_string(),
            })
            .collect(),
        customs_office: declaration.customs_office.to_string(),
        transport_mode: declaration.transport_mode.map_or(0, |mode| mode.number().into()),
        trade_mode: declaration.trade_mode.map_or(0, |mode| mode.number().into()),
        transport_document_number: declaration
            .transport_document
            .map(|number| number.to_string())
            .unwrap_or_default(),
        container_numbers: declaration.containers.iter().map(ToString::to_string).collect(),
        accepted_at: None,
        min_registry_version: None,
    }
}

/// A generated world as one that a replica could have met: orders that match and are in force, a number that agrees with
/// the direction.
pub(crate) fn plausible(mut world: World) -> World {
    let export = world.declaration.direction == Direction::Export;
    let number = if export {
        "222520260000000001"
    } else {
        "222520261000000001"
    };
    world.declaration.number = number.parse().unwrap();
    for order in &mut world.orders {
        order.selectors.customs_office = Some(world.declaration.customs_office);
    }
    let decided_at = world.decided_at;
    world.orders.retain(|order| order.in_force(decided_at));
    world
}

/// What the use case would hand on of a world's decision.
pub(crate) fn outcome<'f, 'a: 'f>(world: &'a World, facts: &'f Facts<'a>) -> Outcome<'f> {
    let decision = decide(world.policy, &world.parameters, facts, world.draw);
    let random = decision.inspection.basis == InspectionBasis::Random;
    let baseline = world.parameters.baseline(&world.declaration);
    let limit = world.policy.limit(decision.credit_tier, baseline);
    Outcome {
        decision,
        policy: world.policy,
        parameters: &world.parameters,
        epoch: "0d8cb6de-3c38-4b2f-a8b3-6a2c4f1e9b77",
        sequence: 1_234_567,
        age: Age(match world.freshness {
            Freshness::Fresh => Duration::from_millis(120),
            Freshness::Stale => Duration::from_mins(6),
            Freshness::Expired => Duration::from_hours(25),
        }),
        freshness: world.freshness,
        decided_at: world.decided_at,
        drawn: random.then(|| Drawn {
            epoch: Epoch::of(world.accepted_on),
            subject: Subject::of(&world.declaration),
            draw: world.draw.unwrap_or(Draw(0)),
        }),
        accepted_at: world.accepted_on.midnight() + SignedDuration::from_hours(11),
        limits: FreshnessLimits {
            relief_max_age: Duration::from_mins(5),
            decision_max_age: Duration::from_hours(24),
        },
        parties: &facts.parties,
        arrangements: &facts.arrangements,
        orders: &facts.orders,
        first: None,
        former_lane: Some(Lane::Yellow),
        repeated: false,
        limit: limit.filter(|_| random),
    }
}

/// Appends the record of an outcome.
pub(crate) fn write(record: &mut Vec<u8>, world: &World, outcome: &Outcome<'_>) {
    let request = request(&world.declaration);
    let mut decision = Vec::new();
    encode::decision(&mut decision, DECISION_ID, &request, outcome);
    record::decision(
        record,
        &DecisionRecord {
            recorded_at: world.decided_at,
            request: &request.encode_to_vec(),
            decision: &decision,
            outcome,
            caller: "anonymous",
        },
    );
}

/// An answered decision in every form.
pub(crate) struct Answered {
    pub(crate) request: pb::DecideRequest,
    pub(crate) decision: pb::Decision,
    /// An encoded `AuditRecord`.
    pub(crate) record: Vec<u8>,
}

impl Answered {
    /// Decides, answers and records.
    pub(crate) fn of(world: &World) -> Self {
        let facts = world.facts();
        let outcome = outcome(world, &facts);
        let request = request(&world.declaration);
        let mut record = Vec::new();
        write(&mut record, world, &outcome);
        Self {
            decision: convert::decision(DECISION_ID.to_owned(), request.clone(), &outcome),
            request,
            record,
        }
    }

    /// The record as its generated type.
    pub(crate) fn entry(&self) -> pb::DecisionEntry {
        let record = pb::AuditRecord::decode(self.record.as_slice()).unwrap();
        let Some(pb::audit_record::Entry::Decision(entry)) = record.entry else {
            panic!("a decision's record");
        };
        entry
    }
}
