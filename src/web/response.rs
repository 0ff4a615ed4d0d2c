//! Responses: text, documents, and refusals as `google.rpc.Status` in JSON.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use prost::Message;
use serde_json::{Map, Value, json};
use tonic::Code;

use crate::{
    access::Cause,
    service::status::{ERROR_DOMAIN, Info, Refusal},
    wire::{convert, json as wire_json},
};

/// What is answered to a request.
pub(super) type Answer = Response<Full<Bytes>>;

pub(super) fn text(status: StatusCode, text: &'static str) -> Answer {
    body(
        status,
        "text/plain; charset=utf-8",
        Bytes::from_static(text.as_bytes()),
    )
}

pub(super) fn body(status: StatusCode, media_type: &'static str, body: Bytes) -> Answer {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let media_type = HeaderValue::from_static(media_type);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

/// A JSON document, which nobody may keep.
pub(super) fn document(code: StatusCode, value: &Value) -> Answer {
    let mut response = body(code, "application/json", value.to_string().into());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A message of the contract in canonical JSON, with the fields at their default too, or why there is none.
pub(super) fn answered(message: &str, answered: Result<impl Message, Refusal>) -> Answer {
    match answered {
        Ok(given) => wire_json::to_whole_value(message, &given)
            .map_or_else(|_| internal(), |value| document(StatusCode::OK, &value)),
        Err(refusal) => refused(&refusal),
    }
}

/// A `google.rpc.Status` with an HTTP code of its own.
pub(super) fn problem(http_code: StatusCode, code: Code, message: &str) -> Answer {
    document(http_code, &status(code, message, &[]))
}

/// A fault of the server.
pub(super) fn internal() -> Answer {
    refused(&Refusal::Internal)
}

/// A refusal, with the HTTP code that goes with it.
pub(super) fn refused(refusal: &Refusal) -> Answer {
    let mut details = Vec::new();
    if let Refusal::Invalid(violations) = refusal {
        let violation = |(field, rule): &(String, String)| json!({"field": field, "description": rule});
        let violations: Vec<_> = violations.0.iter().map(violation).collect();
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": violations,
        }));
    }
    let wait = refusal.retry_after();
    if let Some(wait) = wait {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": convert::duration(wait).to_string(),
        }));
    }
    if let Some(Info { reason, metadata }) = refusal.info() {
        let metadata: Map<_, _> = metadata
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Value::String(value)))
            .collect();
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason,
            "domain": ERROR_DOMAIN,
            "metadata": metadata,
        }));
    }
    let code = refusal.code();
    let mut response = document(http_code(code), &status(code, &refusal.message(), &details));
    if let Some(wait) = wait {
        // HTTP knows whole seconds.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    if let Refusal::Unauthenticated(cause) = refusal {
        let asks = HeaderValue::from_static(asks_for_token(*cause));
        response.headers_mut().insert(header::WWW_AUTHENTICATE, asks);
    }
    response
}

/// What asks for a token (RFC 6750, 3): who sent none is not told what is wrong with it.
const fn asks_for_token(cause: Cause) -> &'static str {
    if matches!(cause, Cause::Missing) {
        "Bearer realm=\"greenlane\""
    } else {
        "Bearer realm=\"greenlane\", error=\"invalid_token\""
    }
}

/// A `google.rpc.Status`.
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
