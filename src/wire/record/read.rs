//! From a record back to what the decision was made of.

use std::sync::Arc;

use arrayvec::{ArrayString, ArrayVec};
use jiff::Timestamp;

use super::BadRecord;
use crate::{
    domain::{
        CreditTier, Date, Direction, TransportMode,
        declaration::{Declaration, MAX_PARTIES},
        enterprise::{CreditRecord, RegisteredEnterprise, ScheduledTier},
        identifier::ParsedAeoCode,
        order::{ControlOrder, Selectors},
        recognition::{Arrangement, RecognisedOperator, TransportModes},
    },
    facilitation::identifiers,
    policy::{
        Facts, PartyFacts,
        draw::{Draw, Drawn, Subject},
    },
    registry::{Age, FreshnessLimits},
    wire::{pb, validate, violations::Violations},
};

/// Everything that a decision was made of besides policy and parameters.
#[derive(Debug, Clone)]
pub struct LoggedFacts {
    /// What was sent.
    pub declaration: Declaration,
    /// The acceptance time that was taken.
    pub accepted_at: Timestamp,
    /// The decision time.
    pub decided_at: Timestamp,
    /// One for each party.
    pub parties: ArrayVec<PartyFacts, MAX_PARTIES>,
    /// The arrangements with the countries of the operators found.
    pub arrangements: Vec<Arrangement>,
    /// The orders, ascending by id.
    pub orders: Vec<ControlOrder>,
    /// The draw, where the basis was RANDOM.
    pub drawn: Option<Drawn>,
    /// Age of the registry's data.
    pub age: Age,
    /// What that age meant there.
    pub limits: FreshnessLimits,
}

impl LoggedFacts {
    /// Reads the parts of a `DecisionEntry`. Boxed: it is some kilobytes, and is handed on several times.
    ///
    /// # Errors
    /// A request that breaks a rule of this program, other facts than the request has parties, a value that is none.
    pub fn read(
        request: &pb::DecideRequest,
        facts: pb::DecisionFacts,
        decided_at: Option<&prost_types::Timestamp>,
    ) -> Result<Box<Self>, BadRecord> {
        let mut violations = Violations::default();
        let declaration = validate::declaration(request, &mut violations);
        let declaration = declaration
            .filter(|_| violations.is_empty())
            .ok_or_else(|| BadRecord::new("request", violations.message()))?;
        let pb::DecisionFacts {
            accepted_at,
            parties,
            arrangements,
            orders,
            draw,
            data_age,
            relief_max_age,
            decision_max_age,
        } = facts;
        if parties.len() != declaration.parties.len() {
            return Err(BadRecord::new(
                "facts.parties",
                "must be one for each party of the request",
            ));
        }
        Ok(Box::new(Self {
            accepted_at: instant("facts.accepted_at", accepted_at.as_ref())?,
            decided_at: instant("decision.decided_at", decided_at)?,
            parties: read_each("facts.parties", parties, party)?,
            arrangements: read_each("facts.arrangements", arrangements, arrangement)?,
            orders: read_each("facts.orders", orders, order)?,
            drawn: draw.as_ref().map(drawn).transpose()?,
            age: Age(duration("facts.data_age", data_age)?),
            limits: FreshnessLimits {
                relief_max_age: duration("facts.relief_max_age", relief_max_age)?,
                decision_max_age: duration("facts.decision_max_age", decision_max_age)?,
            },
            declaration,
        }))
    }

    /// The facts as the evaluation takes them. Orders that are not in force at the decision time, or do not match the
    /// declaration, are no facts of it: a record that lists one was altered.
    pub fn facts(&self) -> Facts<'_> {
        let identifiers = identifiers(&self.declaration, &self.parties);
        let is_party = |id: &str| identifiers.iter().any(|party| party.each().any(|own| own == id));
        let matches = |order: &&ControlOrder| {
            order.in_force(self.decided_at)
                && !order.selectors.is_empty()
                && order.selectors.match_declaration(&self.declaration, is_party)
        };
        Facts {
            declaration: &self.declaration,
            parties: self.parties.clone(),
            arrangements: [self.arrangements.as_slice()].into_iter().collect(),
            orders: self.orders.iter().filter(matches).collect(),
            accepted_on: Date::of(self.accepted_at),
            decided_at: self.decided_at,
            freshness: self.limits.of(self.age),
        }
    }
}

/// Reads the elements of a list; the path of one that is bad begins with its place.
fn read_each<T, U, C: FromIterator<U>>(
    list: &str,
    sent: Vec<T>,
    read: impl Fn(T) -> Result<U, BadRecord>,
) -> Result<C, BadRecord> {
    let each = sent.into_iter().enumerate();
    each.map(|(at, own)| {
        read(own).map_err(|error| BadRecord {
            field: format!("{list}[{at}].{}", error.field),
            ..error
        })
    })
    .collect()
}

fn instant(field: &str, sent: Option<&prost_types::Timestamp>) -> Result<Timestamp, BadRecord> {
    let sent = sent.ok_or_else(|| BadRecord::new(field, "is missing"))?;
    Timestamp::new(sent.seconds, sent.nanos).map_err(|error| BadRecord::new(field, error.to_string()))
}

fn duration(field: &str, sent: Option<prost_types::Duration>) -> Result<std::time::Duration, BadRecord> {
    let sent = sent.ok_or_else(|| BadRecord::new(field, "is missing"))?;
    sent.try_into().map_err(|_| BadRecord::new(field, "is negative"))
}

/// Reads a text that is there in any case.
fn parse<T: std::str::FromStr<Err: ToString>>(field: &str, text: &str) -> Result<T, BadRecord> {
    text.parse()
        .map_err(|error: T::Err| BadRecord::new(field, error.to_string()))
}

/// Reads a text that is empty where there is none.
fn parse_some<T: std::str::FromStr<Err: ToString>>(field: &str, text: &str) -> Result<Option<T>, BadRecord> {
    (!text.is_empty()).then(|| parse(field, text)).transpose()
}

/// Reads a text of bounded length that is empty where there is none.
fn short<const N: usize>(field: &str, text: &str) -> Result<Option<ArrayString<N>>, BadRecord> {
    let read = || ArrayString::from(text).map_err(|_| BadRecord::new(field, "is too long"));
    (!text.is_empty()).then(read).transpose()
}

fn date(field: &str, number: u32) -> Result<Date, BadRecord> {
    Date::from_number(number).ok_or_else(|| BadRecord::new(field, format!("{number} is no date YYYYMMDD")))
}

fn end(field: &str, number: u32) -> Result<Option<Date>, BadRecord> {
    (number != 0).then(|| date(field, number)).transpose()
}

fn tier(field: &str, number: i32) -> Result<CreditTier, BadRecord> {
    CreditTier::from_number(number)
        .ok_or_else(|| BadRecord::new(field, format!("{number} is no credit tier")))
}

fn party(sent: pb::PartyFacts) -> Result<PartyFacts, BadRecord> {
    Ok(PartyFacts {
        enterprise: sent.enterprise.map(enterprise).transpose()?,
        operator: sent.operator.map(operator).transpose()?.map(Arc::new),
    })
}

fn enterprise(sent: pb::EnterpriseFacts) -> Result<RegisteredEnterprise, BadRecord> {
    let scheduled = |change: pb::ScheduledTierFacts| {
        Ok(ScheduledTier {
            effective_from: date("effective_from", change.effective_from)?,
            credit_tier: tier("credit_tier", change.credit_tier)?,
        })
    };
    Ok(RegisteredEnterprise {
        customs_code: parse("enterprise.customs_code", &sent.customs_code)?,
        social_credit_code: parse_some("enterprise.social_credit_code", &sent.social_credit_code)?,
        credit: CreditRecord {
            credit_tier: tier("enterprise.credit_tier", sent.credit_tier)?,
            tier_effective_from: date("enterprise.tier_effective_from", sent.tier_effective_from)?,
            tier_valid_until: end("enterprise.tier_valid_until", sent.tier_valid_until)?,
            suspended: sent.suspended,
        },
        schedule: read_each("enterprise.scheduled", sent.scheduled, scheduled)?,
    })
}

fn operator(sent: pb::OperatorFacts) -> Result<RecognisedOperator, BadRecord> {
    let aeo_code = match parse("operator.aeo_code", &sent.aeo_code)? {
        ParsedAeoCode::Foreign(code) => code,
        ParsedAeoCode::Chinese(_) => return Err(BadRecord::new("operator.aeo_code", "is a Chinese code")),
    };
    Ok(RecognisedOperator {
        aeo_code,
        country: parse("operator.country", &sent.country)?,
        programme: sent.programme,
        name: String::new(),
        valid_from: date("operator.valid_from", sent.valid_from)?,
        valid_until: end("operator.valid_until", sent.valid_until)?,
        suspended: sent.suspended,
    })
}

fn direction(field: &str, number: i32) -> Result<Option<Direction>, BadRecord> {
    let read = |number| {
        Direction::from_number(number)
            .ok_or_else(|| BadRecord::new(field, format!("{number} is no direction")))
    };
    (number != 0).then(|| read(number)).transpose()
}

fn arrangement(sent: pb::ArrangementFacts) -> Result<Arrangement, BadRecord> {
    let mode = |&number: &i32| {
        TransportMode::from_number(number)
            .ok_or_else(|| BadRecord::new("transport_modes", format!("{number} is no transport mode")))
    };
    Ok(Arrangement {
        country: parse("country", &sent.country)?,
        direction: direction("direction", sent.direction)?,
        transport_modes: if sent.transport_modes.is_empty() {
            TransportModes::ALL
        } else {
            sent.transport_modes.iter().map(mode).collect::<Result<_, _>>()?
        },
        programme: sent.programme,
        effective_from: date("effective_from", sent.effective_from)?,
        effective_to: end("effective_to", sent.effective_to)?,
    })
}

/// Reads a control order as a record has it.
fn order(sent: pb::ControlOrder) -> Result<ControlOrder, BadRecord> {
    Ok(ControlOrder {
        kind: parse("kind", &sent.kind)?,
        basis: parse("basis", &sent.basis)?,
        selectors: Selectors {
            enterprise_id: short("enterprise_id", &sent.enterprise_id)?,
            hs_prefix: parse_some("hs_prefix", &sent.hs_prefix)?,
            origin_country: parse_some("origin_country", &sent.origin_country)?,
            customs_office: parse_some("customs_office", &sent.customs_office)?,
            container_number: short("container_number", &sent.container_number)?,
            direction: parse_some("direction", &sent.direction)?,
        },
        valid_from: instant("valid_from", sent.valid_from.as_ref())?,
        valid_to: sent
            .valid_to
            .as_ref()
            .map(|end| instant("valid_to", Some(end)))
            .transpose()?,
        id: sent.id,
        legal_basis: sent.legal_basis,
        public_reason: sent.public_reason,
        confidential_reason: Some(sent.confidential_reason).filter(|text| !text.is_empty()),
    })
}

fn drawn(sent: &pb::DrawFacts) -> Result<Drawn, BadRecord> {
    Ok(Drawn {
        epoch: parse("facts.draw.epoch", &sent.epoch)?,
        subject: Subject::new(&sent.subject_kind, &sent.subject)
            .ok_or_else(|| BadRecord::new("facts.draw.subject_kind", "is no subject that can be drawn on"))?,
        draw: Draw(sent.value),
    })
}
