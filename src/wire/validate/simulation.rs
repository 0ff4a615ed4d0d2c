//! The rules of what-if questions.

use jiff::Timestamp;

use super::{ValidRequest, declaration, instant, no_policy_before, parse, required};
use crate::{
    domain::{CreditTier, Date},
    facilitation::Override,
    wire::{pb, violations::Violations},
};

/// What a simulation alters, once valid.
#[derive(Debug, Clone)]
pub struct ValidSimulation {
    /// The declaration, with the acceptance time that applies.
    pub request: ValidRequest,
    /// The decision time.
    pub decided_at: Timestamp,
    /// The tiers to assume.
    pub overrides: Vec<Override>,
    /// When enterprise rows are to be taken as known.
    pub known_at: Option<Timestamp>,
}

/// Checks a simulation against every rule. `policy_known` says whether its `policy_id`, where one is sent, exists.
pub fn simulation(
    sent: &pb::SimulateRequest,
    now: Timestamp,
    first_policy: Date,
    policy_known: bool,
) -> Result<ValidSimulation, Violations> {
    let mut violations = Violations::default();
    if !policy_known {
        violations.add("policy_id", format!("{:?} is no policy in force", sent.policy_id));
    }
    let as_of = match &sent.as_of {
        None => Some(now),
        Some(as_of) => instant("as_of", as_of, &mut violations),
    };
    let known_at = sent
        .known_at
        .as_ref()
        .and_then(|known_at| instant("known_at", known_at, &mut violations));
    let overrides = overrides(&sent.tier_overrides, &mut violations);
    let Some(inner) = &sent.request else {
        violations.add("request", "is required");
        return Err(violations);
    };
    let mut inside = Violations::default();
    let accepted_at = match &inner.accepted_at {
        None => as_of,
        Some(accepted_at) => instant("accepted_at", accepted_at, &mut inside),
    };
    if sent.policy_id.is_empty()
        && let Some(accepted_at) = accepted_at
        && Date::of(accepted_at) < first_policy
    {
        match inner.accepted_at {
            None => violations.add("as_of", no_policy_before(first_policy)),
            Some(_) => inside.add("accepted_at", no_policy_before(first_policy)),
        }
    }
    let declaration = declaration(inner, &mut inside);
    violations.0.extend(inside.under("request.").0);
    match (declaration, accepted_at, as_of) {
        (Some(declaration), Some(accepted_at), Some(decided_at)) if violations.is_empty() => {
            Ok(ValidSimulation {
                request: ValidRequest {
                    declaration,
                    accepted_at,
                },
                decided_at,
                overrides,
                known_at,
            })
        }
        _ => Err(violations),
    }
}

fn overrides(sent: &[pb::TierOverride], violations: &mut Violations) -> Vec<Override> {
    const MAX_OVERRIDES: usize = 1_000;
    if sent.len() > MAX_OVERRIDES {
        violations.add("tier_overrides", "must be at most 1000");
    }
    let each = sent.iter().take(MAX_OVERRIDES).enumerate();
    each.filter_map(|(index, own)| {
        let customs_code = format!("tier_overrides[{index}].customs_code");
        let customs_code = parse(&customs_code, &own.customs_code, violations);
        let credit_tier = format!("tier_overrides[{index}].credit_tier");
        let credit_tier = required::<CreditTier>(&credit_tier, own.credit_tier, violations);
        Some(Override {
            customs_code: customs_code?,
            credit_tier: credit_tier?,
        })
    })
    .collect()
}
