//! What a case expects, and how an answer differs from it.

use std::fmt::Debug;

use jiff::Timestamp;
use serde::Deserialize;

use crate::domain::{
    CreditTier,
    decision::{Decision, DocumentReview, InspectionBasis, Lane, PartyAssessment, PriorityClass, ReasonCode},
    measure::Measure,
};

/// Any subset of an answer; lists are compared whole.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expectation {
    credit_tier: Option<CreditTier>,
    governing_party: Option<u8>,
    rate_ppm: Option<u32>,
    selected: Option<bool>,
    basis: Option<InspectionBasis>,
    document_review: Option<DocumentReview>,
    priority_class: Option<PriorityClass>,
    rank: Option<u32>,
    eligible: Option<bool>,
    blocked_by: Option<Vec<ReasonCode>>,
    lane: Option<Lane>,
    measures: Option<Vec<Measure>>,
    reasons: Option<Vec<ReasonCode>>,
    valid_until: Option<String>,
    parties: Option<Vec<ExpectedParty>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedParty {
    standing: Option<String>,
    registered_tier: Option<String>,
    known: Option<bool>,
    suspended: Option<bool>,
    counted: Option<bool>,
    enterprise_measures: Option<Vec<Measure>>,
}

impl Expectation {
    /// What of the decision is not as expected, a line each.
    pub(super) fn compare(&self, decision: &Decision<'_>) -> Vec<String> {
        let Self {
            credit_tier,
            governing_party,
            rate_ppm,
            selected,
            basis,
            document_review,
            priority_class,
            rank,
            eligible,
            blocked_by,
            lane,
            measures,
            reasons,
            valid_until,
            parties,
        } = self;
        let inspection = &decision.inspection;
        let mut differences = Differences(Vec::new());
        differences.check("credit_tier", credit_tier.as_ref(), &decision.credit_tier);
        differences.check(
            "governing_party",
            governing_party.as_ref(),
            &decision.governing_party,
        );
        differences.check("rate_ppm", rate_ppm.as_ref(), &inspection.rate.0);
        differences.check("selected", selected.as_ref(), &inspection.selected);
        differences.check("basis", basis.as_ref(), &inspection.basis);
        differences.check(
            "document_review",
            document_review.as_ref(),
            &decision.document_review,
        );
        differences.check(
            "priority_class",
            priority_class.as_ref(),
            &decision.priority_class,
        );
        differences.check("rank", rank.as_ref(), &decision.rank);
        differences.check("eligible", eligible.as_ref(), &decision.blocked_by.is_empty());
        differences.check(
            "blocked_by",
            blocked_by.as_ref(),
            &decision.blocked_by.iter().collect(),
        );
        differences.check("lane", lane.as_ref(), &decision.lane);
        differences.check("measures", measures.as_ref(), &decision.measures.iter().collect());
        differences.check(
            "reasons",
            reasons.as_ref(),
            &decision.reasons.iter().map(|reason| reason.code).collect(),
        );
        if let Some(text) = valid_until {
            differences.check(
                "valid_until",
                Some(&text.parse::<Timestamp>().ok()),
                &Some(decision.valid_until),
            );
        }
        if let Some(parties) = parties {
            differences.check("parties", Some(&parties.len()), &decision.parties.len());
            for (index, (expected, found)) in parties.iter().zip(&decision.parties).enumerate() {
                expected.compare(index, found, &mut differences);
            }
        }
        differences.0
    }
}

impl ExpectedParty {
    fn compare(&self, index: usize, found: &PartyAssessment, differences: &mut Differences) {
        let Self {
            standing,
            registered_tier,
            known,
            suspended,
            counted,
            enterprise_measures,
        } = self;
        let name = |tier: Option<CreditTier>| tier.map_or_else(String::new, |tier| tier.name().to_owned());
        let key = |field: &str| format!("parties[{index}].{field}");
        differences.check(&key("standing"), standing.as_ref(), &name(found.standing));
        differences.check(
            &key("registered_tier"),
            registered_tier.as_ref(),
            &name(found.registered_tier),
        );
        differences.check(&key("known"), known.as_ref(), &found.known);
        differences.check(&key("suspended"), suspended.as_ref(), &found.suspended);
        differences.check(&key("counted"), counted.as_ref(), &found.counted);
        let measures = found.enterprise_measures.iter().collect();
        differences.check(
            &key("enterprise_measures"),
            enterprise_measures.as_ref(),
            &measures,
        );
    }
}

struct Differences(Vec<String>);

impl Differences {
    fn check<T: PartialEq + Debug>(&mut self, field: &str, expected: Option<&T>, found: &T) {
        if let Some(expected) = expected.filter(|&expected| expected != found) {
            self.0
                .push(format!("{field}: expected {expected:?}, got {found:?}"));
        }
    }
}
