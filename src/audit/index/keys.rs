//! What a record is looked up by.

use super::{Kind, hash, notes::NotedDecision};
use crate::{audit::outline::Outline, domain::identifier::ContainerNumber};

/// Gives the hash of a key, unless it is missing.
fn present(mut give: impl FnMut(u64)) -> impl FnMut(Kind, &[u8]) {
    move |kind, text| {
        if !text.is_empty() {
            give(hash(kind, text));
        }
    }
}

/// Gives the hash of every key that a shipment is looked up by, in a decision or an inspection of it; some more than once.
pub(in crate::audit) fn shipment_keys(record: &Outline<'_>, give: impl FnMut(u64)) {
    let mut give = present(give);
    if let Some(entry) = &record.decision {
        if let Some(decision) = &entry.decision {
            give(Kind::Declaration, decision.declaration_number);
        }
        let sent = entry
            .request
            .iter()
            .flat_map(|request| &request.container_numbers);
        // As it is asked for, however it was sent.
        for number in sent.filter_map(|sent| ContainerNumber::try_from(*sent).ok()) {
            give(Kind::Container, number.as_bytes());
        }
    }
    if let Some(entry) = &record.inspection {
        give(Kind::Declaration, entry.declaration_number.as_bytes());
    }
}

/// Gives the hash of every key that the record names; some more than once.
pub(super) fn keys(record: &Outline<'_>, mut give: impl FnMut(u64)) {
    shipment_keys(record, &mut give);
    let mut give = present(give);
    if let Some(entry) = &record.decision {
        if let Some(decision) = &entry.decision {
            give(Kind::Decision, decision.decision_id);
            for party in &decision.parties {
                // As sent, normalised, and the customs code that it leads to.
                give(Kind::Enterprise, party.enterprise_id);
                give(Kind::Enterprise, party.customs_code);
            }
        }
        if let Some(request) = &entry.request {
            give(Kind::TransportDocument, request.transport_document_number);
            for party in &request.parties {
                give(Kind::Enterprise, party.customs_code);
                give(Kind::Enterprise, party.social_credit_code);
                give(Kind::Enterprise, party.aeo_code);
            }
        }
        for party in entry.facts.iter().flat_map(|facts| &facts.parties) {
            if let Some(enterprise) = &party.enterprise {
                give(Kind::Enterprise, enterprise.first);
                give(Kind::Enterprise, enterprise.second);
            }
            if let Some(operator) = &party.operator {
                give(Kind::Enterprise, operator.first);
            }
        }
    }
    if let Some(entry) = &record.inspection {
        give(Kind::Decision, entry.decision_id.as_bytes());
    }
}

/// The same of a decision whose record need not be read.
pub(super) fn decision_keys(decision: &NotedDecision<'_>, give: impl FnMut(u64)) {
    let mut give = present(give);
    let NotedDecision {
        id,
        declaration,
        outcome,
        ..
    } = decision;
    give(Kind::Decision, id.as_bytes());
    give(Kind::Declaration, declaration.number.as_bytes());
    for number in &declaration.containers {
        give(Kind::Container, number.as_bytes());
    }
    if let Some(number) = &declaration.transport_document {
        give(Kind::TransportDocument, number.as_bytes());
    }
    for party in &declaration.parties {
        give(Kind::Enterprise, party.id.as_str().as_bytes());
    }
    for party in &outcome.decision.parties {
        if let Some(code) = &party.customs_code {
            give(Kind::Enterprise, code.as_bytes());
        }
    }
    for party in outcome.parties {
        if let Some(enterprise) = &party.enterprise {
            give(Kind::Enterprise, enterprise.customs_code.as_bytes());
            if let Some(code) = &enterprise.social_credit_code {
                give(Kind::Enterprise, code.as_bytes());
            }
        }
        if let Some(operator) = &party.operator {
            give(Kind::Enterprise, operator.aeo_code.as_str().as_bytes());
        }
    }
}
