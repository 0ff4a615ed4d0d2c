//! An answer as bytes, straight from the outcome: what prost makes of [`convert::decision`](super::convert::decision),
//! to the byte, without the message and its strings.

use super::{
    fields::Fields,
    pb::{self, party::Identifier},
};
use crate::{
    domain::{
        CreditTier,
        decision::{Decision, PartyAssessment, Reason},
        declaration::Declaration,
    },
    facilitation::Outcome,
};

/// What an answer repeats of what was asked.
pub trait Asked {
    /// The declaration's number.
    fn declaration_number(&self) -> &str;

    /// Each party's role, as its number, and its identifier as it was sent; an empty one where none was.
    fn parties(&self) -> impl Iterator<Item = (i32, &str)>;
}

impl Asked for pb::DecideRequest {
    fn declaration_number(&self) -> &str {
        &self.declaration_number
    }

    fn parties(&self) -> impl Iterator<Item = (i32, &str)> {
        self.parties.iter().map(|party| {
            let text = match &party.identifier {
                Some(
                    Identifier::CustomsCode(id) | Identifier::SocialCreditCode(id) | Identifier::AeoCode(id),
                ) => id,
                None => "",
            };
            (party.role, text)
        })
    }
}

/// Of a declaration whose identifiers were sent in their normal form, as those of [`usual`](super::usual) requests are.
impl Asked for Declaration {
    fn declaration_number(&self) -> &str {
        self.number.as_str()
    }

    fn parties(&self) -> impl Iterator<Item = (i32, &str)> {
        let parties = self.parties.iter();
        parties.map(|party| (party.role.number().into(), party.id.as_str()))
    }
}

/// Appends a `Decision`. Allocates nothing but the buffer's growth.
pub fn decision(buffer: &mut Vec<u8>, decision_id: &str, asked: &impl Asked, outcome: &Outcome<'_>) {
    written(buffer, decision_id, asked, outcome, reason);
}

/// The same without what only officers and auditors may read.
pub fn public_decision(buffer: &mut Vec<u8>, decision_id: &str, asked: &impl Asked, outcome: &Outcome<'_>) {
    written(buffer, decision_id, asked, outcome, public_reason);
}

fn written(
    buffer: &mut Vec<u8>,
    decision_id: &str,
    asked: &impl Asked,
    outcome: &Outcome<'_>,
    reason: impl Fn(&mut Fields<'_>, &Reason<'_>),
) {
    let Decision {
        credit_tier,
        parties,
        governing_party,
        inspection,
        document_review,
        priority_class,
        rank,
        blocked_by,
        lane,
        measures,
        reasons,
        valid_until,
    } = &outcome.decision;
    let mut fields = Fields(buffer);
    fields.text(1, decision_id);
    fields.text(2, asked.declaration_number());
    fields.number(3, credit_tier.number());
    for (sent, found) in asked.parties().zip(parties) {
        fields.message(4, |fields| party(fields, sent, found));
    }
    fields.number(5, *governing_party);
    fields.message(6, |fields| {
        fields.number(1, inspection.rate.0);
        fields.number(2, inspection.selected);
        fields.number(3, inspection.basis.number());
        if let Some(drawn) = &outcome.drawn {
            fields.text(4, &drawn.epoch.name());
        }
    });
    fields.number(7, document_review.number());
    fields.message(8, |fields| {
        fields.number(1, priority_class.number());
        fields.number(2, *rank);
    });
    fields.message(9, |fields| {
        fields.number(1, blocked_by.is_empty());
        fields.packed(2, blocked_by.numbers());
    });
    fields.number(10, lane.number());
    fields.packed(11, measures.numbers());
    for own in reasons {
        // An article and a sentence or two.
        fields.sized_message(12, 1, |fields| reason(fields, own));
    }
    // Two digests of 64 characters.
    fields.sized_message(13, 2, |fields| {
        fields.text(1, outcome.policy.id());
        fields.text(2, &outcome.policy.digest);
        fields.number(3, outcome.policy.document.provisional);
        fields.text(4, &outcome.parameters.digest);
    });
    fields.message(14, |fields| {
        fields.text(1, outcome.epoch);
        fields.number(2, outcome.sequence);
    });
    fields.duration(15, outcome.age.0);
    fields.number(16, outcome.freshness.number());
    fields.instant(17, outcome.decided_at);
    fields.instant(18, *valid_until);
}

fn party(fields: &mut Fields<'_>, (role, identifier): (i32, &str), found: &PartyAssessment) {
    let tier = |tier: Option<CreditTier>| tier.map_or(0, CreditTier::number);
    fields.number(1, i64::from(role).cast_unsigned());
    fields.text(2, identifier);
    if let Some(code) = &found.customs_code {
        fields.text(3, code.as_str());
    }
    fields.number(4, found.known);
    fields.number(5, found.suspended);
    fields.number(6, found.counted);
    fields.number(7, tier(found.registered_tier));
    fields.number(8, tier(found.standing));
    fields.packed(9, found.enterprise_measures.numbers());
}

fn reason(fields: &mut Fields<'_>, reason: &Reason<'_>) {
    public_reason(fields, reason);
    fields.text(5, reason.confidential_text);
}

fn public_reason(fields: &mut Fields<'_>, reason: &Reason<'_>) {
    fields.number(1, reason.code.number());
    fields.text(2, reason.article);
    if let Some(party) = reason.party {
        fields.present_number(3, party);
    }
    fields.text(4, reason.text);
}
