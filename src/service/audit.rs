//! `AuditService`: what auditors ask. Each method's work is in a file of its own.

mod draws;

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::{
    audit::draw::commitment::Commitment, facilitation::Facilitation, upstream::commitments::Commitments,
    wire::pb,
};

/// The service.
#[derive(Debug, Clone)]
pub struct AuditRpc {
    /// Holds the keys of the draw.
    pub facilitation: Arc<Facilitation>,
    /// Commitments to them.
    pub commitments: Commitments,
}

impl AuditRpc {
    /// A logged decision.
    #[expect(clippy::unused_async, reason = "the log's index is to be asked")]
    async fn find(&self, _decision_id: &str) -> Result<Option<pb::DecisionEntry>, Status> {
        Err(Status::unimplemented("not served yet"))
    }
}

#[tonic::async_trait]
impl super::served::audit_service_server::AuditService for AuditRpc {
    async fn get_decision(
        &self,
        _request: Request<pb::GetDecisionRequest>,
    ) -> Result<Response<pb::GetDecisionResponse>, Status> {
        Err(Status::unimplemented("not served yet"))
    }

    async fn list_decisions(
        &self,
        _request: Request<pb::ListDecisionsRequest>,
    ) -> Result<Response<pb::ListDecisionsResponse>, Status> {
        Err(Status::unimplemented("not served yet"))
    }

    async fn replay_decision(
        &self,
        _request: Request<pb::ReplayDecisionRequest>,
    ) -> Result<Response<pb::ReplayDecisionResponse>, Status> {
        Err(Status::unimplemented("not served yet"))
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
        let entry = entry.ok_or_else(|| Status::not_found("the log does not hold the decision"))?;
        Ok(Response::new(self.draw_of(&entry).await?))
    }

    async fn record_inspection(
        &self,
        _request: Request<pb::RecordInspectionRequest>,
    ) -> Result<Response<pb::RecordInspectionResponse>, Status> {
        Err(Status::unimplemented("not served yet"))
    }

    async fn list_realized_rates(
        &self,
        _request: Request<pb::ListRealizedRatesRequest>,
    ) -> Result<Response<pb::ListRealizedRatesResponse>, Status> {
        Err(Status::unimplemented("not served yet"))
    }
}
