//! `RegistryService`: what officers and operators ask.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use tonic::{Request, Response, Status};

use super::status::Refusal;
use crate::{
    domain::{
        CreditTier, Date, Freshness,
        enterprise::ScheduledTier,
        identifier::{EnterpriseId, ParsedAeoCode},
    },
    facilitation::{Facilitation, Moment},
    policy::{PartyFacts, standing},
    registry::{Age, Generation, Registry},
    upstream::status::FeedStatus,
    wire::{
        convert,
        pb::{self, get_enterprise_request::Identifier},
        violations::Violations,
    },
};

/// Quarantined rows that a status lists; it counts them all.
const MAX_QUARANTINE_LISTED: usize = 100;

/// The service.
#[derive(Debug, Clone)]
pub struct RegistryRpc {
    /// Holds the policies in force and the freshness limits.
    pub facilitation: Arc<Facilitation>,
    /// What is asked about.
    pub registry: Arc<Registry>,
    /// How far it is.
    pub feed: Arc<FeedStatus>,
}

impl RegistryRpc {
    /// One enterprise, or operator of another country.
    pub fn enterprise(&self, id: &EnterpriseId) -> Result<pb::GetEnterpriseResponse, Refusal> {
        let generation = self.generation()?;
        let unknown =
            || Refusal::NotFound(format!("the registry holds no enterprise {}", id.as_str()).into());
        Ok(pb::GetEnterpriseResponse {
            enterprise: Some(self.found(&generation, id).ok_or_else(unknown)?),
            registry_version: Some(convert::version(&generation.position())),
        })
    }

    /// The state of the registry. It does not wait for readiness: an operator asks just when there is none.
    pub fn status(&self) -> pb::GetRegistryStatusResponse {
        let age = self.age(&Moment::now());
        let (state, since) = self.state(age);
        let told = self.feed.told();
        let mut status = pb::GetRegistryStatusResponse {
            state: state.into(),
            state_since: since
                .and_then(|at| Timestamp::try_from(at).ok())
                .map(convert::instant),
            source: told.source.to_owned(),
            last_error: told.last_error,
            ..pb::GetRegistryStatusResponse::default()
        };
        if let Some(generation) = self.registry.current() {
            let count = |(&tier, enterprises): (&CreditTier, u64)| pb::TierCount {
                credit_tier: tier.into(),
                enterprises,
            };
            status.registry_version = Some(convert::version(&generation.position()));
            status.data_age = Some(convert::age(age));
            status.tiers = CreditTier::ALL
                .iter()
                .zip(generation.tier_counts())
                .map(count)
                .collect();
            status.control_orders = generation.order_count() as u64;
            status.recognised_operators = generation.operator_count() as u64;
            status.quarantined_rows = generation.quarantined_count() as u64;
            status.digest = generation.digest();
            let quarantined = generation.quarantined().into_iter().take(MAX_QUARANTINE_LISTED);
            status.quarantine = quarantined
                .map(|row| pb::QuarantinedRow {
                    entity: row.entity.name().to_owned(),
                    key: row.key,
                    reason: row.reason,
                })
                .collect();
        }
        status
    }

    fn age(&self, moment: &Moment) -> Age {
        self.feed.clock.age(moment.monotonic, moment.wall)
    }

    fn generation(&self) -> Result<Arc<Generation>, Refusal> {
        self.registry
            .current()
            .filter(|_| self.feed.is_ready())
            .ok_or(Refusal::NotReady)
    }

    fn found(&self, generation: &Generation, id: &EnterpriseId) -> Option<pb::Enterprise> {
        if let EnterpriseId::Foreign(code) = id {
            let (operator, _) = generation.read(|view| view.operator(code));
            return operator.map(|operator| pb::Enterprise {
                name: operator.name.clone(),
                tier_effective_from: operator.valid_from.to_string(),
                tier_valid_until: operator
                    .valid_until
                    .map(|end| end.to_string())
                    .unwrap_or_default(),
                suspended: operator.suspended,
                ..pb::Enterprise::default()
            });
        }
        let entry = generation.enterprise(id)?;
        let moment = Moment::now();
        let today = Date::of(moment.timestamp);
        let book = self.facilitation.policies();
        let party = PartyFacts {
            enterprise: Some(entry.registered.clone()),
            operator: None,
        };
        let freshness = self.facilitation.freshness(self.age(&moment));
        let standing = book.on(today).map(|policy| {
            let tier = standing::assess(policy, &party, today, freshness).tier;
            (tier, policy.row(tier).all_measures())
        });
        let scheduled = |change: &ScheduledTier| pb::ScheduledTier {
            credit_tier: change.credit_tier.into(),
            effective_from: change.effective_from.to_string(),
        };
        let registered = &entry.registered;
        Some(pb::Enterprise {
            customs_code: registered.customs_code.to_string(),
            social_credit_code: registered
                .social_credit_code
                .map(|code| code.to_string())
                .unwrap_or_default(),
            name: entry.name,
            credit_tier: registered.credit.credit_tier.into(),
            tier_effective_from: registered.credit.tier_effective_from.to_string(),
            tier_valid_until: registered
                .credit
                .tier_valid_until
                .map(|end| end.to_string())
                .unwrap_or_default(),
            suspended: registered.credit.suspended,
            scheduled: registered.schedule.iter().map(scheduled).collect(),
            standing: convert::tier(standing.map(|(tier, _)| tier)),
            measures: standing
                .map(|(_, measures)| convert::numbers(measures))
                .unwrap_or_default(),
        })
    }

    /// The state and since when: ages pass their limits at instants that can be told afterwards.
    fn state(&self, age: Age) -> (pb::RegistryState, Option<SystemTime>) {
        let since = Some(self.feed.told().since);
        if !self.feed.is_ready() {
            return (pb::RegistryState::Loading, since);
        }
        let limits = self.facilitation.freshness_limits();
        let confirmed = self.feed.clock.confirmed_at();
        let passed = |limit: Duration| confirmed.and_then(|at| at.checked_add(limit));
        match limits.of(age) {
            Freshness::Fresh => (pb::RegistryState::Live, since),
            Freshness::Stale => (pb::RegistryState::Stale, passed(limits.relief_max_age)),
            Freshness::Expired => (pb::RegistryState::Expired, passed(limits.decision_max_age)),
        }
    }
}

fn identifier(sent: Option<&Identifier>) -> Result<EnterpriseId, Violations> {
    let (field, parsed) = match sent {
        None => return Err(Violations::of("identifier", "is required")),
        Some(Identifier::CustomsCode(text)) => ("customs_code", text.parse().map(EnterpriseId::Customs)),
        Some(Identifier::SocialCreditCode(text)) => {
            ("social_credit_code", text.parse().map(EnterpriseId::SocialCredit))
        }
        Some(Identifier::AeoCode(text)) => {
            ("aeo_code", text.parse::<ParsedAeoCode>().map(EnterpriseId::from))
        }
    };
    parsed.map_err(|error| Violations::of(field, error.to_string()))
}

#[tonic::async_trait]
impl super::served::registry_service_server::RegistryService for RegistryRpc {
    async fn get_enterprise(
        &self,
        request: Request<pb::GetEnterpriseRequest>,
    ) -> Result<Response<pb::GetEnterpriseResponse>, Status> {
        self.generation()?;
        let id = identifier(request.into_inner().identifier.as_ref()).map_err(Refusal::Invalid)?;
        Ok(Response::new(self.enterprise(&id)?))
    }

    async fn get_registry_status(
        &self,
        _: Request<pb::GetRegistryStatusRequest>,
    ) -> Result<Response<pb::GetRegistryStatusResponse>, Status> {
        Ok(Response::new(self.status()))
    }

    async fn list_policies(
        &self,
        _: Request<pb::ListPoliciesRequest>,
    ) -> Result<Response<pb::ListPoliciesResponse>, Status> {
        let book = self.facilitation.policies();
        let in_force = book
            .on(Date::of(Moment::now().timestamp))
            .map(|policy| policy.id().to_owned());
        let summary = |policy: &Arc<crate::policy::Policy>| pb::PolicySummary {
            policy: Some(convert::policy(policy, &book.parameters)),
            title: policy.document.title.en.clone(),
            effective_from: policy.document.effective_from.to_string(),
            in_force: in_force.as_deref() == Some(policy.id()),
        };
        let policies = book.policies().iter().map(summary).collect();
        Ok(Response::new(pb::ListPoliciesResponse { policies }))
    }
}
