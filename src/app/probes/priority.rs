//! `GET /v1/priority/{declaration or container}`: `GetPriority` over HTTP.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tonic::Code;

use super::body;
use crate::{
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
}

impl PriorityRoute {
    /// The route to a service.
    pub fn new(priority: PriorityRpc) -> Self {
        Self {
            priority,
            lookups: Semaphore::new(MAX_LOOKUPS),
        }
    }

    pub(super) async fn answer(&self, key: &str) -> Response<Full<Bytes>> {
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
            return Err(Refusal::TooManyLookups);
        };
        let request = pb::GetPriorityRequest {
            key: Some(shipment_key::written(key)),
        };
        self.priority.get(&request).await
    }
}

fn document(code: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    body(code, "application/json", value.to_string().into())
}

fn refused(refusal: &Refusal) -> Response<Full<Bytes>> {
    let mut details = Vec::new();
    if let Refusal::Invalid(violations) = refusal {
        let violation = |(field, rule): &(String, String)| json!({"field": field, "description": rule});
        let violations: Vec<_> = violations.0.iter().map(violation).collect();
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": violations,
        }));
    }
    let wait = refusal.retry_after().map(|wait| wait.as_secs());
    if let Some(seconds) = wait {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{seconds}s"),
        }));
    }
    let code = refusal.code();
    let mut response = document(http_code(code), &status(code, &refusal.message(), &details));
    if let Some(seconds) = wait {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn status(code: Code, message: &str, details: &[Value]) -> Value {
    json!({"code": i32::from(code), "message": message, "details": details})
}

/// The HTTP code that `google.rpc.Code` maps to.
const fn http_code(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        // Nobody is left to read the code of a call that was cancelled.
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}
