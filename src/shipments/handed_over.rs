//! A decision on its way into memory.

use bytes::Bytes;
use uuid::Uuid;

use super::{
    asked::{self, Keys},
    evaluation::{self, Ties},
    memory::Shipments,
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

/// What becomes of a decision once it is in the log.
#[derive(Debug)]
pub enum HandedOver {
    /// It is taken in.
    Whole(Box<NewDecision>),
    /// The log has it for whoever asks for one of the keys.
    InLog(Keys),
}

impl Shipments {
    /// What is handed over once a decision is logged; see [`NewDecision::of`]. `None` too where nobody may ask.
    pub fn hand_over(
        &self,
        declaration: &Declaration,
        request: &Bytes,
        decision_id: Uuid,
        outcome: &Outcome<'_>,
    ) -> Option<HandedOver> {
        if !self.served {
            return None;
        }
        if let Some(asked) = &self.asked {
            let keys = asked::keys(declaration);
            if !asked.has_any(&keys) {
                return Some(HandedOver::InLog(keys));
            }
        }
        let decision = NewDecision::of(declaration, request, decision_id, outcome)?;
        Some(HandedOver::Whole(Box::new(decision)))
    }

    /// Takes what was handed over: the log has it, and it is about to be given.
    pub fn given(&self, handed_over: HandedOver) {
        match handed_over {
            HandedOver::Whole(decision) => self.decided(*decision),
            HandedOver::InLog(keys) => {
                if let Some(asked) = &self.asked
                    && asked.has_any(&keys)
                {
                    asked.note_unseen(&keys);
                }
            }
        }
    }
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
