//! What changes for whom between two policies.

use super::{Policy, decree::RateRule};
use crate::domain::{
    CreditTier, Ppm,
    measure::{Measure, MeasureSet},
};

/// One change for one tier.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// For whom.
    pub credit_tier: CreditTier,
    /// What: a column of the table, or a measure with its scope.
    pub what: String,
    /// Under the first policy.
    pub before: String,
    /// Under the second policy.
    pub after: String,
}

/// Lists the changes from one policy to another, tier by tier; the rates at a baseline.
pub fn diff(before: &Policy, after: &Policy, baseline: Ppm) -> Vec<Change> {
    let mut changes = Vec::new();
    for &tier in CreditTier::ALL {
        let (old, new) = (before.row(tier), after.row(tier));
        let mut change = |what: &str, before: String, after: String| {
            if before != after {
                changes.push(Change {
                    credit_tier: tier,
                    what: what.to_owned(),
                    before,
                    after,
                });
            }
        };
        change(
            "taken as",
            before.mapped(tier).0.to_string(),
            after.mapped(tier).0.to_string(),
        );
        change("name", old.name.en.clone(), new.name.en.clone());
        change(
            "inspection rate",
            rate(old.rate, baseline),
            rate(new.rate, baseline),
        );
        change(
            "document review",
            old.document_review.to_string(),
            new.document_review.to_string(),
        );
        change(
            "priority class",
            old.priority_class.to_string(),
            new.priority_class.to_string(),
        );
        change("green channel", yes(old.green), yes(new.green));
        let scopes = [
            ("shipment", old.shipment, new.shipment),
            ("shipment, exports", old.shipment_export, new.shipment_export),
            (
                "shipment, processing trade",
                old.shipment_processing,
                new.shipment_processing,
            ),
            ("enterprise", old.enterprise, new.enterprise),
        ];
        for (scope, old, new) in scopes {
            for measure in old.without(new).union(new.without(old)).iter() {
                change(
                    &format!("{measure} ({scope})"),
                    listed(old, measure),
                    listed(new, measure),
                );
            }
        }
    }
    changes
}

/// A rate rule in words, with the figure it gives at a baseline.
pub fn rate(rule: RateRule, baseline: Ppm) -> String {
    let figure = rule.apply(baseline).0;
    match rule {
        RateRule::Baseline => format!("the baseline ({figure} ppm)"),
        RateRule::AtMost(share) => format!("at most {} ppm of the baseline ({figure} ppm)", share.0),
        RateRule::StrictlyBelow(share) => {
            format!("strictly below {} ppm of the baseline ({figure} ppm)", share.0)
        }
        RateRule::AtLeast(least) => format!("at least {} ppm ({figure} ppm)", least.0),
    }
}

fn yes(holds: bool) -> String {
    if holds { "yes" } else { "no" }.to_owned()
}

fn listed(measures: MeasureSet, measure: Measure) -> String {
    yes(measures.contains(measure))
}
