//! What-if: the same way as a decision, but for the draw and the log.

use super::FacilitationRpc;
use crate::{
    access::Caller,
    domain::identifier::EnterpriseId,
    facilitation::{Moment, Simulation},
    service::{deadline::Deadline, status::Refusal},
    wire::{
        convert, pb,
        validate::{self, ValidRequest},
    },
};

impl FacilitationRpc {
    /// The answer to a what-if question, as the caller may see it.
    pub async fn answer_simulation(
        &self,
        request: pb::SimulateRequest,
        deadline: Option<Deadline>,
        caller: &Caller,
    ) -> Result<pb::SimulateResponse, Refusal> {
        self.ready()?;
        let mut moment = Moment::now();
        let book = self.facilitation.policies();
        let policy = book.by_id(&request.policy_id).cloned();
        let first_policy = self.first_policy();
        drop(book);
        let policy_known = request.policy_id.is_empty() || policy.is_some();
        let valid = validate::simulation(&request, moment.timestamp, first_policy, policy_known)
            .map_err(Refusal::Invalid)?;
        // Validation has seen that there is one.
        let inner = request.request.unwrap_or_default();
        if let Some(wanted) = &inner.min_registry_version {
            self.reach(wanted, deadline).await?;
            moment = Moment::now();
        }
        let known = match valid.known_at {
            None => None,
            Some(known_at) => {
                let ids: Vec<EnterpriseId> = valid
                    .request
                    .declaration
                    .parties
                    .iter()
                    .map(|party| party.id)
                    .collect();
                let history = self.history.clone().ok_or(Refusal::NoHistory)?;
                let rows = history.at(known_at, ids).await;
                Some(rows.map_err(|error| {
                    tracing::warn!(%error, "history could not be read");
                    Refusal::HistoryUnread
                })?)
            }
        };
        // Without as_of the decision time is now, and now is after the wait.
        let decided_at = if request.as_of.is_some() {
            valid.decided_at
        } else {
            moment.timestamp
        };
        let simulation = Simulation {
            policy,
            overrides: valid.overrides,
            known,
        };
        let ValidRequest {
            declaration,
            accepted_at,
        } = valid.request;
        let times = (accepted_at, decided_at);
        let clock = &self.feed.clock;
        let decision =
            self.facilitation
                .simulate(&declaration, times, &simulation, clock, &moment, |outcome| {
                    convert::decision(String::new(), inner, &outcome)
                });
        let mut decision = decision?;
        if !caller.sees_confidential() {
            for reason in &mut decision.reasons {
                reason.confidential_text.clear();
            }
        }
        Ok(pb::SimulateResponse {
            decision: Some(decision),
        })
    }
}
