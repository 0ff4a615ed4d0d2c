//! Evaluates a shipment on what the registry holds now, and finds out what it hangs on.

use std::hash::BuildHasher as _;

use bytes::Bytes;
use foldhash::fast::FixedState;
use jiff::Timestamp;
use prost::Message as _;
use smallvec::SmallVec;

use super::shipment::{Decided, Outlook, Version};
use crate::{
    domain::{
        Freshness,
        date::later,
        declaration::Declaration,
        identifier::{ContainerNumber, EnterpriseId},
        order::Selectors,
    },
    facilitation::{DecideError, Facilitation, Outcome, identifiers},
    policy::PartyFacts,
    wire::{pb, validate, violations::Violations},
};

/// What a shipment hangs on, hashed: the identifiers of its parties, the countries of foreign ones, its containers. Two that
/// share a hash cost an evaluation too many, never one too few.
pub type Ties = SmallVec<[u64; 8]>;

/// What an evaluation came to.
#[derive(Debug, Clone)]
pub(super) struct Evaluated {
    /// What the shipment says by it.
    pub outlook: Outlook,
    /// The registry that it was made on.
    pub version: Version,
    /// What the shipment hangs on by now.
    pub ties: Ties,
}

fn tie(kind: u8, text: &str) -> u64 {
    // Within this process alone: never written anywhere.
    FixedState::default().hash_one((kind, text))
}

/// The tie to an enterprise by one of its identifiers.
pub(super) fn enterprise_tie(identifier: &str) -> u64 {
    tie(0, identifier)
}

/// The tie to every party of a country.
pub(super) fn country_tie(country: &str) -> u64 {
    tie(1, country)
}

/// The tie to a container.
pub(super) fn container_tie(container: &str) -> u64 {
    tie(2, container)
}

/// The tie to a declaration.
pub(super) fn declaration_tie(number: &str) -> u64 {
    tie(3, number)
}

/// What a decided declaration hangs on.
pub(super) fn ties(declaration: &Declaration, parties: &[PartyFacts]) -> Ties {
    let mut ties = Ties::new();
    let mut add = |tie| {
        if !ties.contains(&tie) {
            ties.push(tie);
        }
    };
    for party in &identifiers(declaration, parties) {
        party
            .each()
            .for_each(|identifier| add(enterprise_tie(identifier)));
        if let EnterpriseId::Foreign(code) = &party.sent {
            add(country_tie(&code.as_str()[..2]));
        }
    }
    let containers = declaration.containers.iter().map(ContainerNumber::as_str);
    containers.for_each(|container| add(container_tie(container)));
    ties
}

/// What an outcome says of a shipment.
pub(super) fn outlook(outcome: &Outcome<'_>) -> Outlook {
    let decision = &outcome.decision;
    Outlook {
        lane: decision.lane,
        class: decision.priority_class,
        rank: decision.rank,
        valid_until: decision.valid_until,
        orders: outcome
            .orders
            .iter()
            .map(|order| order.id.as_str().into())
            .collect(),
    }
}

/// As much of a `DecideRequest` as an order without an enterprise or a container is held against.
#[derive(Clone, PartialEq, prost::Message)]
struct RequestedGoods {
    #[prost(message, repeated, tag = "4")]
    goods: Vec<RequestedItem>,
}

/// `GoodsItem`.
#[derive(Clone, PartialEq, prost::Message)]
struct RequestedItem {
    #[prost(bytes = "bytes", tag = "1")]
    hs_code: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    origin_country: Bytes,
}

/// Whether an order may concern a shipment, by its office and its goods: where it does not, the order never did.
pub(super) fn may_concern(selectors: &Selectors, decided: &Decided) -> bool {
    if selectors
        .customs_office
        .is_some_and(|office| office != decided.office)
    {
        return false;
    }
    let (prefix, origin) = (selectors.hs_prefix, selectors.origin_country);
    if prefix.is_none() && origin.is_none() {
        return true;
    }
    let requested = RequestedGoods::decode(decided.request.clone()).unwrap_or_default();
    requested.goods.iter().any(|item| {
        prefix.is_none_or(|prefix| item.hs_code.starts_with(prefix.as_str().as_bytes()))
            && origin.is_none_or(|origin| item.origin_country == origin.as_str().as_bytes())
    })
}

/// How long what a decision says is valid, whatever is evaluated later: for as long as it said itself, and where it was the
/// end of an order that cut that short, for as long as it would have been without.
pub(super) fn valid_at_most(outcome: &Outcome<'_>) -> Timestamp {
    let valid_until = outcome.decision.valid_until;
    let is_cut = outcome
        .orders
        .iter()
        .any(|order| order.valid_to == Some(valid_until));
    if is_cut {
        later(outcome.decided_at, outcome.parameters.valid_for)
    } else {
        valid_until
    }
}

/// What was declared; `None` for what this program would not have decided.
pub(super) fn declaration(request: &[u8]) -> Option<Declaration> {
    let request = pb::DecideRequest::decode(request).ok()?;
    let mut violations = Violations::default();
    validate::declaration(&request, &mut violations).filter(|_| violations.is_empty())
}

/// Evaluates a shipment at an instant, as if the registry's data were that fresh. `None` for what this program would not
/// have decided.
pub(super) fn evaluate(
    facilitation: &Facilitation,
    decided: &Decided,
    freshness: Freshness,
    at: Timestamp,
) -> Result<Option<Evaluated>, DecideError> {
    let Some(declaration) = declaration(&decided.request) else {
        return Ok(None);
    };
    let instants = (decided.accepted_at, at);
    facilitation
        .reevaluate(&declaration, instants, decided.first, freshness, |outcome| {
            Evaluated {
                outlook: outlook(&outcome),
                version: Version::new(outcome.epoch, outcome.sequence),
                ties: ties(&declaration, outcome.parties),
            }
        })
        .map(Some)
}
