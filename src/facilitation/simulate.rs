//! What-if: the same evaluation over altered facts, never drawn, never recorded.

use std::sync::Arc;

use jiff::Timestamp;

use super::{DecideError, Facilitation, Moment, Outcome, Parties, facts, look_up};
use crate::{
    domain::{
        CreditTier, Date,
        declaration::Declaration,
        enterprise::{CreditRecord, Enterprise, RegisteredEnterprise, Schedule},
        identifier::{CustomsCode, EnterpriseId},
    },
    policy::{PartyFacts, Policy, decide},
    registry::{FreshnessClock, View},
};

/// The facts to alter.
#[derive(Debug, Clone, Default)]
pub struct Simulation {
    /// The policy to apply; else the one that the acceptance date chooses.
    pub policy: Option<Arc<Policy>>,
    /// Tiers to assume.
    pub overrides: Vec<Override>,
    /// Enterprise rows to assume, one for each party; else today's.
    pub known: Option<Vec<Option<Enterprise>>>,
}

/// A tier to assume of an enterprise: it is known, of that tier and in date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Override {
    /// Which enterprise.
    pub customs_code: CustomsCode,
    /// The tier to assume.
    pub credit_tier: CreditTier,
}

impl Facilitation {
    /// Evaluates a declaration as if it were decided at `decided_at` on altered facts.
    pub fn simulate<T>(
        &self,
        declaration: &Declaration,
        (accepted_at, decided_at): (Timestamp, Timestamp),
        simulation: &Simulation,
        clock: &FreshnessClock,
        moment: &Moment,
        answer: impl FnOnce(Outcome<'_>) -> T,
    ) -> Result<T, DecideError> {
        let generation = self.registry.borrowed();
        let generation = generation.as_ref().ok_or(DecideError::NotReady)?;
        let book = self.policies.load();
        let accepted_on = Date::of(accepted_at);
        let policy = simulation
            .policy
            .as_ref()
            .or_else(|| book.on(accepted_on))
            .ok_or(DecideError::NoPolicy)?;
        let mut parties = Parties::new();
        let (rules, sequence) = generation.read(|view| {
            look_up(view, declaration, &mut parties);
            for (index, (sent, party)) in declaration.parties.iter().zip(&mut parties).enumerate() {
                simulation.alter(view, index, &sent.id, party);
            }
            view.rules()
        });
        let age = clock.age(moment.monotonic, moment.wall);
        let freshness = self.freshness.of(age);
        let facts = facts(declaration, parties, &rules, accepted_on, decided_at, freshness);
        Ok(answer(Outcome {
            decision: decide(policy, &book.parameters, &facts, None),
            policy,
            parameters: &book.parameters,
            epoch: generation.epoch(),
            sequence,
            age,
            freshness,
            decided_at,
            drawn: None,
            first: None,
            accepted_at,
            limits: self.freshness,
            parties: &facts.parties,
            arrangements: &facts.arrangements,
            orders: &facts.orders,
            repeated: false,
            former_lane: None,
            limit: None,
        }))
    }
}

impl Simulation {
    fn alter(&self, view: View<'_>, index: usize, id: &EnterpriseId, party: &mut PartyFacts) {
        if let Some(known) = &self.known
            && !matches!(id, EnterpriseId::Foreign(_))
        {
            party.enterprise = known
                .get(index)
                .and_then(Option::as_ref)
                .map(|row| RegisteredEnterprise {
                    customs_code: row.customs_code,
                    social_credit_code: row.social_credit_code,
                    credit: row.credit,
                    schedule: view.schedule(row.customs_code),
                });
        }
        let customs_code = match (&party.enterprise, id) {
            (Some(enterprise), _) => enterprise.customs_code,
            (None, EnterpriseId::Customs(code)) => *code,
            (None, EnterpriseId::SocialCredit(_) | EnterpriseId::Foreign(_)) => return,
        };
        if let Some(assumed) = self
            .overrides
            .iter()
            .rev()
            .find(|own| own.customs_code == customs_code)
        {
            let registered = party.enterprise.as_ref();
            party.enterprise = Some(RegisteredEnterprise {
                customs_code,
                social_credit_code: registered.and_then(|own| own.social_credit_code),
                credit: CreditRecord {
                    credit_tier: assumed.credit_tier,
                    tier_effective_from: Date::MIN,
                    tier_valid_until: None,
                    suspended: registered.is_some_and(|own| own.credit.suspended),
                },
                schedule: Schedule::new(),
            });
        }
    }
}
