//! `GET /v1/priority/{declaration or container}`: `GetPriority` over HTTP.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use tokio::sync::Semaphore;
use tonic::Code;

use super::response::{Answer, document, refused, status};
use crate::{
    metrics::{Metrics, Shed},
    service::{priority::PriorityRpc, status::Refusal},
    wire::{json as wire_json, pb, shipment_key},
};

/// What the path begins with.
pub(super) const PATH: &str = "/v1/priority/";

/// Look-ups at once: while each waits for a store that is slow, probes shall have connections left.
const MAX_LOOKUPS: usize = 128;

/// Answers `GetPriorityResponse` in canonical proto3 JSON, with `hold` and `revoked` also where they are false; errors
/// are `google.rpc.Status` with the HTTP code that goes with theirs. Nothing may be cached: a right may be revoked at any time.
#[derive(Debug)]
pub struct PriorityRoute {
    priority: PriorityRpc,
    lookups: Semaphore,
    metrics: Arc<Metrics>,
}

impl PriorityRoute {
    /// The route to a service; look-ups turned away are counted.
    pub fn new(priority: PriorityRpc, metrics: Arc<Metrics>) -> Self {
        Self {
            priority,
            lookups: Semaphore::new(MAX_LOOKUPS),
            metrics,
        }
    }

    pub(super) async fn answer(&self, key: &str) -> Answer {
        let mut response = match self.look_up(key).await {
            Ok(found) => wire_json::to_whole_value("GetPriorityResponse", &found).map_or_else(
                |_| {
                    document(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        &status(Code::Internal, "internal error", &[]),
                    )
                },
                |value| document(StatusCode::OK, &value),
            ),
            Err(refusal) => refused(&refusal),
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    async fn look_up(&self, key: &str) -> Result<pb::GetPriorityResponse, Refusal> {
        let Ok(_permit) = self.lookups.try_acquire() else {
            self.metrics.shed(Shed::HttpLookups, 1);
            return Err(Refusal::TooManyLookups);
        };
        let request = pb::GetPriorityRequest {
            key: Some(shipment_key::written(key)),
        };
        self.priority.get(&request).await
    }
}
