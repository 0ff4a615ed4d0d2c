//! What the page shows, at one instant.

use jiff::Timestamp;
use serde_json::{Value, json};
use tonic::{Request, Status};

use super::Console;
use crate::{
    audit::rates::{Scope, over_all_offices, report},
    domain::{CreditTier, Date},
    facilitation::Moment,
    policy::draw::Epoch,
    service::served::registry_service_server::RegistryService as _,
    upstream::status::Event,
    wire::{json as wire_json, pb},
};

impl Console {
    /// Every figure now, with the history after that instant.
    pub(super) async fn read(&self, since: i64) -> Result<Value, Status> {
        let now = Moment::now().timestamp;
        let status = self
            .registry
            .get_registry_status(Request::new(pb::GetRegistryStatusRequest {}))
            .await?
            .into_inner();
        let policies = self
            .registry
            .list_policies(Request::new(pb::ListPoliciesRequest {}))
            .await?
            .into_inner();
        let limits = self.registry.facilitation.freshness_limits();
        let events: Vec<_> = self.registry.feed.events().iter().map(event).collect();
        Ok(json!({
            "at": now.as_millisecond(),
            "replica": self.replica,
            "version": self.version,
            "startedAt": self.started_at,
            "serving": self.health.is_serving(),
            "draining": self.health.is_draining(),
            "reliefMaxAge": limits.relief_max_age.as_secs_f64(),
            "decisionMaxAge": limits.decision_max_age.as_secs_f64(),
            "status": whole("GetRegistryStatusResponse", &status)?,
            "policies": whole("ListPoliciesResponse", &policies)?["policies"],
            "nextPolicy": self.next_policy(now),
            "decisions": self.decisions(),
            "rates": self.realized_rates(now),
            "events": events,
            "audit": self.audit(),
            "shipments": self.shipments(),
            "history": self.history.rows(since),
        }))
    }

    /// The policy that comes in force next, and when.
    fn next_policy(&self, now: Timestamp) -> Option<Value> {
        let book = self.registry.facilitation.policies();
        let begins = |policy: &crate::policy::Policy| policy.document.effective_from.midnight();
        let next = book.policies().iter().find(|policy| begins(policy) > now)?;
        Some(json!({"id": next.id(), "at": begins(next).as_millisecond()}))
    }

    /// Decisions so far, by tier and lane.
    fn decisions(&self) -> Value {
        let series = self.metrics.decisions().map(
            |(tier, lane, count)| json!({"creditTier": tier.name(), "lane": lane.name(), "count": count}),
        );
        series.collect()
    }

    /// Each tier over all offices in the current month.
    fn realized_rates(&self, now: Timestamp) -> Value {
        let month = Epoch::of(Date::of(now));
        let readings = self.rates.reading(month);
        let all = over_all_offices(&self.rates.month(month));
        let row = |&tier: &CreditTier| {
            let counts = all.get(&(month, tier)).copied().unwrap_or_default();
            let report = report(tier, &counts, Scope::AllOffices);
            json!({
                "creditTier": tier.name(),
                "decided": counts.decided,
                "drawn": counts.drawn,
                "selected": counts.drawn_selected,
                "mandated": counts.selected_mandated,
                "targeted": counts.selected_targeted,
                "realizedPpm": report.realized.0,
                "lowerPpm": report.bounds.lower_ppm,
                "upperPpm": report.bounds.upper_ppm,
                "limitPpm": report.limit.map(|limit| limit.0),
                "breached": report.breached,
                "breachedOffices": readings[tier.index()].breached_offices,
            })
        };
        json!({
            "month": month.name().to_string(),
            "tiers": CreditTier::ALL.iter().map(row).collect::<Vec<_>>(),
        })
    }

    fn audit(&self) -> Value {
        let (records, lag) = self.metrics.audit.counts();
        json!({
            "logging": self.log.is_some(),
            "failing": self.log.as_ref().is_some_and(|log| log.is_failing()),
            "records": records,
            "sequence": self.log.as_ref().map_or(0, |log| log.head().borrow().sequence),
            "lag": lag,
        })
    }

    fn shipments(&self) -> Value {
        let [held, unsaved, watches] = self.metrics.shipments.counts();
        json!({"held": held, "unsaved": unsaved, "watches": watches})
    }
}

fn event(event: &Event) -> Value {
    let at = Timestamp::try_from(event.at).unwrap_or_default();
    json!({
        "kind": event.kind.name(),
        "cause": event.cause,
        "text": event.text,
        "at": at.as_millisecond(),
        "times": event.times,
    })
}

fn whole(name: &str, message: &impl prost::Message) -> Result<Value, Status> {
    wire_json::to_whole_value(name, message).map_err(|error| Status::internal(error.to_string()))
}
