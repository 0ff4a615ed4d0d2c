//! A party's standing: what its registered tier is worth on the acceptance date (design step 4).

use super::{Policy, facts::PartyFacts};
use crate::domain::{CreditTier, Date, Freshness, enterprise::TierOnDate};

/// The standing of a counted party, and what moved it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four independent causes, each a reason of its own"
)]
pub struct Standing {
    /// After dates, suspension, the policy's mapping and freshness.
    pub tier: CreditTier,
    /// The register does not hold it.
    pub unknown: bool,
    /// The tier fell because its certification begins later.
    pub not_yet_effective: bool,
    /// The tier fell because its certification has ended.
    pub expired: bool,
    /// It is suspended, whether or not the tier fell.
    pub suspended: bool,
    /// The tier that the policy took for another one.
    pub mapped_from: Option<CreditTier>,
}

/// Assesses a counted party.
///
/// Strictness does not lapse by itself: a tier worse than REGULAR stays although its dates have passed.
pub fn assess(policy: &Policy, party: &PartyFacts, accepted_on: Date, freshness: Freshness) -> Standing {
    let mut standing = Standing {
        tier: CreditTier::Regular,
        unknown: party.enterprise.is_none() && party.operator.is_none(),
        not_yet_effective: false,
        expired: false,
        suspended: party.is_suspended(),
        mapped_from: None,
    };
    if let Some(enterprise) = &party.enterprise {
        let on_date = enterprise.tier_on(accepted_on);
        standing.tier = match on_date {
            TierOnDate::InForce(tier) => tier,
            TierOnDate::NotYetEffective(tier) | TierOnDate::Expired(tier) => tier.at_best_regular(),
        };
        let fell = standing.tier != on_date.tier();
        standing.not_yet_effective = fell && matches!(on_date, TierOnDate::NotYetEffective(_));
        standing.expired = fell && matches!(on_date, TierOnDate::Expired(_));
    }
    if standing.suspended {
        standing.tier = standing.tier.at_best_regular();
    }
    let (mapped, _) = policy.mapped(standing.tier);
    if mapped != standing.tier {
        standing.mapped_from = Some(standing.tier);
        standing.tier = mapped;
    }
    if freshness != Freshness::Fresh {
        standing.tier = standing.tier.at_best_regular();
    }
    standing
}

impl PartyFacts {
    /// Whether the register or a partner's list holds it.
    pub fn is_known(&self) -> bool {
        self.enterprise.is_some() || self.operator.is_some()
    }

    /// Whether the row that was found says so.
    pub fn is_suspended(&self) -> bool {
        self.enterprise
            .as_ref()
            .is_some_and(|enterprise| enterprise.credit.suspended)
            || self.operator.as_ref().is_some_and(|operator| operator.suspended)
    }
}
