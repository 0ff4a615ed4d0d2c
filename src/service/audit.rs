//! `AuditService`: what auditors ask. Each method's work is in a file of its own.

use tonic::{Request, Response, Status};

use crate::wire::pb;

/// The service.
#[derive(Debug, Clone)]
pub struct AuditRpc {}

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
        Err(Status::unimplemented("not served yet"))
    }

    async fn verify_draw(
        &self,
        _request: Request<pb::VerifyDrawRequest>,
    ) -> Result<Response<pb::VerifyDrawResponse>, Status> {
        Err(Status::unimplemented("not served yet"))
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
