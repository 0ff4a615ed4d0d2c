//! Logged decisions: one of them, and lists of them page by page.

use std::{fmt::Display, str::FromStr};

use jiff::Timestamp;

use super::{super::status::Refusal, AuditRpc};
use crate::{
    audit::query::{DEFAULT_PAGE, DecisionFilter, Found, MAX_PAGE, page_token, read_page_token},
    domain::identifier::{CustomsCode, CustomsOffice, DeclarationNumber},
    wire::{
        pb::{self, get_decision_request::Key},
        validate,
        violations::Violations,
    },
};

impl AuditRpc {
    /// One logged decision, by its id or the latest on a declaration.
    pub(super) async fn decision(
        &self,
        request: &pb::GetDecisionRequest,
    ) -> Result<pb::GetDecisionResponse, Refusal> {
        let found = match &request.key {
            Some(Key::DecisionId(id)) => self.decisions.find(&decision_id(id)?).await,
            Some(Key::DeclarationNumber(number)) => {
                if let Err(rule) = number.parse::<DeclarationNumber>() {
                    return Err(Refusal::Invalid(Violations::of(
                        "declaration_number",
                        rule.to_string(),
                    )));
                }
                self.decisions.latest(number).await
            }
            None => return Err(Refusal::Invalid(Violations::of("key", "is required"))),
        };
        let found = found.map_err(|problem| Refusal::unread(&problem))?;
        let found = found.ok_or(Refusal::NotFound("the log does not hold such a decision".into()))?;
        Ok(pb::GetDecisionResponse {
            record: Some(audited(found)),
        })
    }

    /// One page of the decisions that pass the filters.
    pub(super) async fn list(
        &self,
        request: &pb::ListDecisionsRequest,
    ) -> Result<pb::ListDecisionsResponse, Refusal> {
        let filter = filter(request).map_err(Refusal::Invalid)?;
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(read_page_token(&filter, token).ok_or_else(|| {
                let rule = "must be the next_page_token of a page with the same filters";
                Refusal::Invalid(Violations::of("page_token", rule))
            })?),
        };
        let size = match usize::try_from(request.page_size).unwrap_or(MAX_PAGE) {
            0 => DEFAULT_PAGE,
            size => size,
        };
        let page = self.decisions.list(&filter, after.as_ref(), size).await;
        let page = page.map_err(|problem| Refusal::unread(&problem))?;
        Ok(pb::ListDecisionsResponse {
            next_page_token: page
                .next
                .map_or_else(String::new, |next| page_token(&filter, &next)),
            records: page.decisions.into_iter().map(audited).collect(),
        })
    }
}

/// A decision's id, if it is one.
pub(super) fn decision_id(text: &str) -> Result<String, Refusal> {
    let id = uuid::Uuid::try_parse(text);
    let id = id.map_err(|_| Refusal::Invalid(Violations::of("decision_id", "must be a UUID")))?;
    Ok(id.hyphenated().to_string())
}

fn audited(found: Found) -> pb::AuditedDecision {
    pb::AuditedDecision {
        request: found.record.request,
        decision: found.record.decision,
        caller: found.record.caller,
        replica: found.replica,
        sequence: found.sequence,
    }
}

/// Every rule at once.
fn filter(request: &pb::ListDecisionsRequest) -> Result<DecisionFilter, Violations> {
    let mut violations = Violations::default();
    let mut instant = |field: &str, sent: &Option<prost_types::Timestamp>| {
        let sent = sent.as_ref()?;
        validate::instant(field, sent, &mut violations)
    };
    let from: Option<Timestamp> = instant("decided_from", &request.decided_from);
    let to = instant("decided_to", &request.decided_to);
    if from.zip(to).is_some_and(|(from, to)| to < from) {
        violations.add("decided_to", "must not be before decided_from");
    }
    let lane = match pb::Lane::try_from(request.lane) {
        Ok(pb::Lane::Unspecified) => None,
        Ok(lane) => Some(lane),
        Err(_) => {
            violations.add("lane", "must be a lane of the contract");
            None
        }
    };
    let filter = DecisionFilter {
        decided_from: from,
        decided_to: to,
        customs_office: parsed::<CustomsOffice>("customs_office", &request.customs_office, &mut violations),
        customs_code: parsed::<CustomsCode>("customs_code", &request.customs_code, &mut violations),
        declaration_number: parsed::<DeclarationNumber>(
            "declaration_number",
            &request.declaration_number,
            &mut violations,
        ),
        lane: lane.map(|lane| {
            let name = lane.as_str_name();
            name.strip_prefix("LANE_").unwrap_or(name).to_owned()
        }),
    };
    if violations.is_empty() {
        Ok(filter)
    } else {
        Err(violations)
    }
}

/// A text that keeps its rule; empty is none.
fn parsed<T: FromStr<Err: Display>>(field: &str, text: &str, violations: &mut Violations) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    if let Err(rule) = text.parse::<T>() {
        violations.add(field, rule.to_string());
    }
    Some(text.to_owned())
}
