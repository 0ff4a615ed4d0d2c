//! From the domain to wire messages.

use jiff::Timestamp;
use prost_types::Duration;

use super::pb::{self, party::Identifier};
use crate::{
    domain::{
        CreditTier, Direction, Freshness,
        decision::{
            Decision, DocumentReview, InspectionBasis, Lane, PartyAssessment, PriorityClass, Reason,
            ReasonCode,
        },
        identifier::{Country, CustomsCode, CustomsOffice, HsPrefix},
        measure::{Measure, MeasureSet},
        order::ControlOrder,
    },
    facilitation::Outcome,
    policy::{Parameters, Policy},
    registry::{Age, Position},
};

/// The answer to a request; the request's own strings move into it.
pub fn decision(decision_id: String, request: pb::DecideRequest, outcome: &Outcome<'_>) -> pb::Decision {
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
    pb::Decision {
        decision_id,
        declaration_number: request.declaration_number,
        credit_tier: (*credit_tier).into(),
        parties: request
            .parties
            .into_iter()
            .zip(parties)
            .map(|(sent, found)| party(sent, found))
            .collect(),
        governing_party: (*governing_party).into(),
        inspection: Some(pb::Inspection {
            rate_ppm: inspection.rate.0,
            selected: inspection.selected,
            basis: inspection.basis.into(),
            draw_epoch: outcome
                .drawn
                .as_ref()
                .map(|drawn| drawn.epoch.name().to_string())
                .unwrap_or_default(),
        }),
        document_review: (*document_review).into(),
        priority: Some(pb::Priority {
            priority_class: (*priority_class).into(),
            rank: *rank,
        }),
        green_channel: Some(pb::GreenChannel {
            eligible: blocked_by.is_empty(),
            blocked_by: blocked_by.iter().map(i32::from).collect(),
        }),
        lane: (*lane).into(),
        measures: numbers(*measures),
        reasons: reasons.iter().map(reason).collect(),
        policy: Some(policy(outcome.policy, outcome.parameters)),
        registry_version: Some(pb::RegistryVersion {
            epoch: outcome.epoch.to_owned(),
            sequence: outcome.sequence,
        }),
        data_age: Some(age(outcome.age)),
        freshness: outcome.freshness.into(),
        decided_at: Some(instant(outcome.decided_at)),
        valid_until: Some(instant(*valid_until)),
    }
}

fn party(sent: pb::Party, found: &PartyAssessment) -> pb::PartyAssessment {
    let enterprise_id = match sent.identifier {
        Some(Identifier::CustomsCode(id) | Identifier::SocialCreditCode(id) | Identifier::AeoCode(id)) => id,
        None => String::new(),
    };
    pb::PartyAssessment {
        role: sent.role,
        enterprise_id,
        customs_code: found
            .customs_code
            .map(|code: CustomsCode| code.to_string())
            .unwrap_or_default(),
        known: found.known,
        suspended: found.suspended,
        counted: found.counted,
        registered_tier: tier(found.registered_tier),
        standing: tier(found.standing),
        enterprise_measures: numbers(found.enterprise_measures),
    }
}

fn reason(reason: &Reason<'_>) -> pb::Reason {
    pb::Reason {
        code: reason.code.into(),
        article: reason.article.to_owned(),
        party: reason.party.map(u32::from),
        text: reason.text.to_owned(),
        confidential_text: reason.confidential_text.to_owned(),
    }
}

/// A control order with its columns as the store has them; an absent one is empty.
pub fn control_order(order: &ControlOrder) -> pb::ControlOrder {
    let ControlOrder {
        id,
        kind,
        basis,
        selectors,
        valid_from,
        valid_to,
        legal_basis,
        public_reason,
        confidential_reason,
    } = order;
    let text = |column: Option<&str>| column.unwrap_or_default().to_owned();
    pb::ControlOrder {
        id: id.clone(),
        kind: kind.name().to_owned(),
        basis: basis.name().to_owned(),
        enterprise_id: text(selectors.enterprise_id.as_deref()),
        hs_prefix: text(selectors.hs_prefix.as_ref().map(HsPrefix::as_str)),
        origin_country: text(selectors.origin_country.as_ref().map(Country::as_str)),
        customs_office: text(selectors.customs_office.as_ref().map(CustomsOffice::as_str)),
        container_number: text(selectors.container_number.as_deref()),
        direction: text(selectors.direction.map(Direction::name)),
        valid_from: Some(instant(*valid_from)),
        valid_to: valid_to.map(instant),
        legal_basis: legal_basis.clone(),
        public_reason: public_reason.clone(),
        confidential_reason: text(confidential_reason.as_deref()),
    }
}

/// The wire number of a tier, 0 for none.
pub fn tier(tier: Option<CreditTier>) -> i32 {
    tier.map_or(0, i32::from)
}

/// The wire numbers of measures, ascending.
pub fn numbers(measures: MeasureSet) -> Vec<i32> {
    if measures.is_empty() {
        Vec::new()
    } else {
        measures.iter().map(i32::from).collect()
    }
}

/// A policy as an answer names it.
pub fn policy(policy: &Policy, parameters: &Parameters) -> pb::PolicyRef {
    pb::PolicyRef {
        id: policy.id().to_owned(),
        digest: policy.digest.clone(),
        provisional: policy.document.provisional,
        parameters_digest: parameters.digest.clone(),
    }
}

/// A position as an answer names it.
pub fn version(position: &Position) -> pb::RegistryVersion {
    pb::RegistryVersion {
        epoch: position.epoch.to_string(),
        sequence: position.sequence,
    }
}

/// An age as an answer names it.
pub fn age(age: Age) -> Duration {
    duration(age.0)
}

/// A duration, at most the longest that `google.protobuf.Duration` can say, which then stands for "never".
pub fn duration(duration: std::time::Duration) -> Duration {
    let seconds = i64::try_from(duration.as_secs())
        .unwrap_or(i64::MAX)
        .min(315_576_000_000);
    Duration {
        seconds,
        nanos: duration.subsec_nanos().cast_signed(),
    }
}

/// An instant as an answer names it.
pub fn instant(at: Timestamp) -> prost_types::Timestamp {
    // A protobuf timestamp counts nanoseconds forward from its second, jiff towards zero.
    let (mut seconds, mut nanos) = (at.as_second(), at.subsec_nanosecond());
    if nanos < 0 {
        seconds -= 1;
        nanos += 1_000_000_000;
    }
    prost_types::Timestamp { seconds, nanos }
}

macro_rules! wire_numbers {
    ($($term:ty),+) => {
        $(impl From<$term> for i32 {
            fn from(term: $term) -> Self { term.number().into() }
        })+
    };
}

wire_numbers!(
    CreditTier,
    InspectionBasis,
    DocumentReview,
    PriorityClass,
    ReasonCode,
    Lane,
    Measure,
    Freshness
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Direction, PartyRole, TradeMode, TransportMode};

    /// Holds every name and number of the domain against the contract's.
    macro_rules! same_as_contract {
        ($term:ty, $wire:ty, $prefix:literal) => {
            for &term in <$term>::ALL {
                let wire = <$wire>::try_from(i32::from(term.number())).expect("a number of the contract");
                assert_eq!(wire.as_str_name(), format!("{}{}", $prefix, term.name()));
            }
            let next = i32::from(<$term>::ALL.last().expect("a member").number()) + 1;
            assert!(
                <$wire>::try_from(next).is_err(),
                "the contract has more than the domain"
            );
        };
    }

    #[test]
    fn the_domain_has_the_contracts_names_and_numbers() {
        same_as_contract!(CreditTier, pb::CreditTier, "CREDIT_TIER_");
        same_as_contract!(Direction, pb::Direction, "DIRECTION_");
        same_as_contract!(TransportMode, pb::TransportMode, "TRANSPORT_MODE_");
        same_as_contract!(TradeMode, pb::TradeMode, "TRADE_MODE_");
        same_as_contract!(PartyRole, pb::PartyRole, "PARTY_ROLE_");
        same_as_contract!(InspectionBasis, pb::InspectionBasis, "INSPECTION_BASIS_");
        same_as_contract!(DocumentReview, pb::DocumentReview, "DOCUMENT_REVIEW_");
        same_as_contract!(PriorityClass, pb::PriorityClass, "PRIORITY_CLASS_");
        same_as_contract!(Lane, pb::Lane, "LANE_");
        same_as_contract!(Freshness, pb::Freshness, "FRESHNESS_");
        same_as_contract!(Measure, pb::Measure, "MEASURE_");
        same_as_contract!(ReasonCode, pb::ReasonCode, "REASON_CODE_");
    }

    #[test]
    fn instants_before_1970_count_forward() {
        let at: Timestamp = "1969-12-31T23:59:59.25Z".parse().expect("an instant");
        assert_eq!(
            instant(at),
            prost_types::Timestamp {
                seconds: -1,
                nanos: 250_000_000
            }
        );
    }
}
