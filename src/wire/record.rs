//! A decision's record for the audit log: what prost makes of an `AuditRecord`, to the byte, written straight from the
//! outcome; and the way back, for replay.

mod entry;
mod logged;
mod read;

pub use entry::{ACTIVATION, BadRecord, DECISION, Entry, INSPECTION, LoggedOutcome, LoggedPolicy, entry_of};
pub use logged::LoggedDecision;
pub use read::LoggedFacts;

use jiff::Timestamp;

use super::fields::Fields;
use crate::{
    domain::TransportMode,
    domain::{
        Date,
        decision::Lane,
        enterprise::{RegisteredEnterprise, ScheduledTier},
        order::ControlOrder,
        recognition::{Arrangement, RecognisedOperator, TransportModes},
    },
    facilitation::Outcome,
    policy::{PartyFacts, draw::Drawn},
};

/// An answered decision, ready to be recorded.
#[derive(Debug, Clone, Copy)]
pub struct DecisionRecord<'a> {
    /// When it was made.
    pub recorded_at: Timestamp,
    /// The request as it was received: an encoded `DecideRequest`.
    pub request: &'a [u8],
    /// The answer as it is given: an encoded `Decision` (see [`super::encode`]).
    pub decision: &'a [u8],
    /// What the answer was made of.
    pub outcome: &'a Outcome<'a>,
    /// Identity of the caller.
    pub caller: &'a str,
}

/// Appends the `AuditRecord` of a decision. Allocates nothing but the buffer's growth.
pub fn decision(buffer: &mut Vec<u8>, record: &DecisionRecord<'_>) {
    let mut fields = Fields(buffer);
    fields.instant(1, record.recorded_at);
    // Every decision has more than 127 bytes, and few have more than 16383.
    fields.sized_message(DECISION, 2, |fields| {
        fields.embedded(1, record.request);
        fields.embedded(2, record.decision);
        fields.sized_message(3, 2, |fields| facts(fields, record.outcome));
        fields.text(4, record.caller);
        fields.number(5, record.outcome.repeated);
        fields.number(6, record.outcome.limit.map_or(0, |limit| limit.0));
        let improved = record
            .outcome
            .former_lane
            .filter(|former| *former > record.outcome.decision.lane);
        fields.number(7, improved.map_or(0, Lane::number));
    });
}

fn facts(fields: &mut Fields<'_>, outcome: &Outcome<'_>) {
    fields.instant(1, outcome.accepted_at);
    for own in outcome.parties {
        fields.message(2, |fields| party(fields, own));
    }
    for own in outcome.arrangements.iter().copied().flatten() {
        fields.message(3, |fields| arrangement(fields, own));
    }
    for own in outcome.orders {
        fields.sized_message(4, 2, |fields| order(fields, own));
    }
    if let Some(drawn) = &outcome.drawn {
        fields.message(5, |fields| draw(fields, drawn));
    }
    fields.duration(6, outcome.age.0);
    fields.duration(7, outcome.limits.relief_max_age);
    fields.duration(8, outcome.limits.decision_max_age);
}

fn party(fields: &mut Fields<'_>, party: &PartyFacts) {
    if let Some(own) = &party.enterprise {
        fields.message(1, |fields| enterprise(fields, own));
    }
    if let Some(own) = &party.operator {
        fields.message(2, |fields| operator(fields, own));
    }
}

/// The number of an end, 0 where there is none.
fn end(date: Option<Date>) -> u32 {
    date.map_or(0, Date::number)
}

fn enterprise(fields: &mut Fields<'_>, enterprise: &RegisteredEnterprise) {
    let credit = &enterprise.credit;
    fields.text(1, enterprise.customs_code.as_str());
    if let Some(code) = &enterprise.social_credit_code {
        fields.text(2, code.as_str());
    }
    fields.number(3, credit.credit_tier.number());
    fields.number(4, credit.tier_effective_from.number());
    fields.number(5, end(credit.tier_valid_until));
    fields.number(6, credit.suspended);
    for &ScheduledTier {
        effective_from,
        credit_tier,
    } in &enterprise.schedule
    {
        fields.message(7, |fields| {
            fields.number(1, effective_from.number());
            fields.number(2, credit_tier.number());
        });
    }
}

fn operator(fields: &mut Fields<'_>, operator: &RecognisedOperator) {
    fields.text(1, operator.aeo_code.as_str());
    fields.text(2, operator.country.as_str());
    fields.text(3, &operator.programme);
    fields.number(4, operator.valid_from.number());
    fields.number(5, end(operator.valid_until));
    fields.number(6, operator.suspended);
}

fn arrangement(fields: &mut Fields<'_>, arrangement: &Arrangement) {
    fields.text(1, arrangement.country.as_str());
    fields.text(2, &arrangement.programme);
    if let Some(direction) = arrangement.direction {
        fields.number(3, direction.number());
    }
    let modes = arrangement.transport_modes;
    if modes != TransportModes::ALL {
        let modes = TransportMode::ALL
            .iter()
            .filter(|&&mode| modes.covers(Some(mode)));
        fields.packed(4, modes.map(|mode| mode.number()));
    }
    fields.number(5, arrangement.effective_from.number());
    fields.number(6, end(arrangement.effective_to));
}

fn order(fields: &mut Fields<'_>, order: &ControlOrder) {
    let about = &order.selectors;
    fields.text(1, &order.id);
    fields.text(2, order.kind.name());
    fields.text(3, order.basis.name());
    fields.text(4, about.enterprise_id.as_deref().unwrap_or_default());
    if let Some(prefix) = &about.hs_prefix {
        fields.text(5, prefix.as_str());
    }
    if let Some(country) = &about.origin_country {
        fields.text(6, country.as_str());
    }
    if let Some(office) = &about.customs_office {
        fields.text(7, office.as_str());
    }
    fields.text(8, about.container_number.as_deref().unwrap_or_default());
    if let Some(direction) = about.direction {
        fields.text(9, direction.name());
    }
    fields.instant(10, order.valid_from);
    if let Some(end) = order.valid_to {
        fields.instant(11, end);
    }
    fields.text(12, &order.legal_basis);
    fields.text(13, &order.public_reason);
    fields.text(14, order.confidential_reason.as_deref().unwrap_or_default());
}

fn draw(fields: &mut Fields<'_>, drawn: &Drawn) {
    fields.text(1, &drawn.epoch.name());
    fields.text(2, drawn.subject.kind());
    fields.text(3, drawn.subject.value());
    fields.fixed(4, drawn.draw.0);
}
