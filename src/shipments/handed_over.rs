//! A decision on its way into memory.

use bytes::Bytes;
use uuid::Uuid;

use super::{
    evaluation::{self, Ties},
    shipment::{Decided, Outlook, Version},
};
use crate::{domain::declaration::Declaration, facilitation::Outcome};

/// A decision that was given, handed over by who gave it.
#[derive(Debug)]
pub struct NewDecision {
    /// The decision.
    pub decided: Decided,
    /// What it says.
    pub outlook: Outlook,
    /// On which registry data.
    pub evaluated: Version,
    /// What it hangs on.
    pub ties: Ties,
}

impl NewDecision {
    /// A decision on a declaration, of which `request` are the bytes. `None` of a simulation, which is none.
    pub fn of(
        declaration: &Declaration,
        request: &Bytes,
        decision_id: Uuid,
        outcome: &Outcome<'_>,
    ) -> Option<Self> {
        Some(Self {
            outlook: evaluation::outlook(outcome),
            evaluated: Version::new(outcome.epoch, outcome.sequence),
            ties: evaluation::ties(declaration, outcome.parties),
            decided: Decided {
                number: declaration.number,
                request: request.clone(),
                containers: declaration.containers.iter().copied().collect(),
                office: declaration.customs_office,
                accepted_at: outcome.accepted_at,
                decided_at: outcome.decided_at,
                decision_id,
                first: outcome.first?,
                credit_tier: outcome.decision.credit_tier,
                valid_at_most: evaluation::valid_at_most(outcome),
            },
        })
    }
}
