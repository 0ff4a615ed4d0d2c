//! `AuditService`: what auditors ask. Each method's work is in a file of its own.

mod draws;
mod inspection;
mod query;
mod rates;
mod replay;

use std::{path::PathBuf, sync::Arc};

use jiff::Timestamp;
use tonic::{Request, Response, Status};

use super::{calling, status::Refusal};
use crate::{
    audit::{
        draw::commitment::Commitment,
        log::{AuditLog, record},
        query::Decisions,
        rates::RateTable,
    },
    domain::identifier::DeclarationNumber,
    facilitation::Facilitation,
    shipments::Shipments,
    upstream::commitments::Commitments,
    wire::pb::{self, audit_record::Entry},
};

/// The service.
#[derive(Debug, Clone)]
pub struct AuditRpc {
    /// Realized rates.
    pub rates: Arc<RateTable>,
    /// Where inspections are recorded; `None` where nothing is logged.
    pub log: Option<Arc<AuditLog>>,
    /// Where the log lies; `None` where nothing is logged.
    pub directory: Option<PathBuf>,
    /// Holds the keys of the draw, and the policies in force.
    pub facilitation: Arc<Facilitation>,
    /// Commitments to them.
    pub commitments: Commitments,
    /// Looks logged decisions up.
    pub decisions: Decisions,
    /// What an inspection clears.
    pub shipments: Arc<Shipments>,
}

impl AuditRpc {
    /// The latest decision on a declaration.
    async fn latest(&self, number: &DeclarationNumber) -> Result<Option<pb::DecisionEntry>, Status> {
        let found = self.decisions.latest(number.as_str()).await;
        let found = found.map_err(|problem| Refusal::unread(&problem))?;
        Ok(found.map(|found| found.record))
    }

    /// A logged decision.
    async fn find(&self, decision_id: &str) -> Result<pb::DecisionEntry, Refusal> {
        let found = self.decisions.find(&query::decision_id(decision_id)?).await;
        let found = found.map_err(|problem| Refusal::unread(&problem))?;
        let found = found.ok_or(Refusal::NotFound("the log does not hold the decision".into()))?;
        Ok(found.record)
    }
}

#[tonic::async_trait]
impl super::served::audit_service_server::AuditService for AuditRpc {
    async fn get_decision(
        &self,
        request: Request<pb::GetDecisionRequest>,
    ) -> Result<Response<pb::GetDecisionResponse>, Status> {
        Ok(Response::new(self.decision(request.get_ref()).await?))
    }

    async fn list_decisions(
        &self,
        request: Request<pb::ListDecisionsRequest>,
    ) -> Result<Response<pb::ListDecisionsResponse>, Status> {
        Ok(Response::new(self.list(request.get_ref()).await?))
    }

    async fn replay_decision(
        &self,
        request: Request<pb::ReplayDecisionRequest>,
    ) -> Result<Response<pb::ReplayDecisionResponse>, Status> {
        let entry = self.find(&request.get_ref().decision_id).await?;
        let replayed = replay::replay(&entry, &self.facilitation, self.directory.clone()).await?;
        Ok(Response::new(replayed))
    }

    async fn list_draw_commitments(
        &self,
        _request: Request<pb::ListDrawCommitmentsRequest>,
    ) -> Result<Response<pb::ListDrawCommitmentsResponse>, Status> {
        let commitments = self.commitments().await?;
        Ok(Response::new(pb::ListDrawCommitmentsResponse {
            commitments: commitments.iter().map(Commitment::message).collect(),
        }))
    }

    async fn verify_draw(
        &self,
        request: Request<pb::VerifyDrawRequest>,
    ) -> Result<Response<pb::VerifyDrawResponse>, Status> {
        let entry = self.find(&request.get_ref().decision_id).await?;
        Ok(Response::new(self.draw_of(&entry).await?))
    }

    async fn record_inspection(
        &self,
        request: Request<pb::RecordInspectionRequest>,
    ) -> Result<Response<pb::RecordInspectionResponse>, Status> {
        let caller = calling::caller()?;
        let inspection = inspection::valid(request.get_ref(), Timestamp::now()).map_err(Refusal::Invalid)?;
        let number = inspection.declaration_number;
        let shipment = self.shipments.find(number).await;
        let decided = match &shipment {
            Ok(Some(decided)) => Some(decided.into()),
            // The log knows declarations that no terminal asks for any more.
            _ => self.latest(&number).await?.as_ref().map(Into::into),
        };
        let decided = decided
            .ok_or_else(|| Status::not_found(format!("there is no decision on declaration {number}")))?;
        let entry = inspection.entry(decided, caller.name.to_string());
        if let Some(log) = &self.log {
            log.append(&[record(Entry::Inspection(entry.clone()))])
                .map_err(|_| Refusal::NotLogged)?;
        }
        self.rates.count_inspection(&entry);
        if matches!(shipment, Ok(Some(_))) {
            // It is in memory; what the log has, the next start finds.
            let _unreachable = self.shipments.inspect(number, inspection.inspected()).await;
        }
        Ok(Response::new(pb::RecordInspectionResponse {}))
    }

    async fn list_realized_rates(
        &self,
        request: Request<pb::ListRealizedRatesRequest>,
    ) -> Result<Response<pb::ListRealizedRatesResponse>, Status> {
        let response = rates::list(&self.rates, request.get_ref()).await?;
        Ok(Response::new(response))
    }
}
