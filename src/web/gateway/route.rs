//! Which path is answered how.

use std::borrow::Cow;

use http::{HeaderValue, Method, StatusCode, header};
use percent_encoding::percent_decode_str;
use tonic::Code;

use crate::web::response::{Answer, problem};

/// Said where a path leads nowhere.
pub(super) const WHAT_THERE_IS: &str = "there are POST /v1/decide, /v1/batch-decide and /v1/simulate, GET /v1/priority/{declaration or container}, \
     /v1/enterprises/{customs, social credit or AEO code} and /v1/status";

/// What is asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route<'p> {
    /// An RPC whose request is the body.
    Call(Rpc),
    /// `GetPriority` of a declaration or container.
    Priority(Cow<'p, str>),
    /// `GetEnterprise` of a code.
    Enterprise(Cow<'p, str>),
    /// `GetRegistryStatus`.
    Status,
}

/// The RPCs that take a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rpc {
    Decide,
    BatchDecide,
    Simulate,
}

impl<'p> Route<'p> {
    /// The route of a path; a slash at its end is as none.
    pub(super) fn of(path: &'p str) -> Option<Self> {
        let path = path.strip_prefix(super::PATH)?;
        let path = path.strip_suffix('/').unwrap_or(path);
        let (what, of) = path
            .split_once('/')
            .map_or((path, None), |(what, of)| (what, Some(of)));
        // Bytes that are no UTF-8 are in no code, as little as what is put in their place.
        let decoded = || percent_decode_str(of.unwrap_or_default()).decode_utf8_lossy();
        match (what, of) {
            ("decide", None) => Some(Self::Call(Rpc::Decide)),
            ("batch-decide", None) => Some(Self::Call(Rpc::BatchDecide)),
            ("simulate", None) => Some(Self::Call(Rpc::Simulate)),
            ("status", None) => Some(Self::Status),
            ("priority", _) => Some(Self::Priority(decoded())),
            ("enterprises", _) => Some(Self::Enterprise(decoded())),
            _ => None,
        }
    }

    /// The path of the RPC that answers it, by which it is somebody's.
    pub(super) const fn method(&self) -> &'static str {
        match self {
            Self::Call(Rpc::Decide) => "/greenlane.v1.FacilitationService/Decide",
            Self::Call(Rpc::BatchDecide) => "/greenlane.v1.FacilitationService/BatchDecide",
            Self::Call(Rpc::Simulate) => "/greenlane.v1.FacilitationService/Simulate",
            Self::Priority(_) => "/greenlane.v1.PriorityService/GetPriority",
            Self::Enterprise(_) => "/greenlane.v1.RegistryService/GetEnterprise",
            Self::Status => "/greenlane.v1.RegistryService/GetRegistryStatus",
        }
    }

    /// The methods that it is asked by.
    pub(super) const fn methods(&self) -> &'static [Method] {
        match self {
            Self::Call(_) => &[Method::POST],
            Self::Priority(_) | Self::Enterprise(_) | Self::Status => &[Method::GET, Method::HEAD],
        }
    }
}

/// The answer to another method than those.
pub(super) fn wrong_method(methods: &[Method]) -> Answer {
    let allow = if methods.contains(&Method::POST) {
        HeaderValue::from_static("POST")
    } else {
        HeaderValue::from_static("GET, HEAD")
    };
    let mut answer = problem(
        StatusCode::METHOD_NOT_ALLOWED,
        Code::Unimplemented,
        "the path is asked by another method: see Allow",
    );
    answer.headers_mut().insert(header::ALLOW, allow);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_their_rpc_with_a_slash_at_the_end_too_and_decoded() {
        let found = |path| Route::of(path);
        assert_eq!(found("/v1/decide"), Some(Route::Call(Rpc::Decide)));
        assert_eq!(found("/v1/batch-decide/"), Some(Route::Call(Rpc::BatchDecide)));
        assert_eq!(found("/v1/status/"), Some(Route::Status));
        let enterprise = |id: &'static str| Some(Route::Enterprise(id.into()));
        assert_eq!(found("/v1/enterprises/1101919107"), enterprise("1101919107"));
        assert_eq!(found("/v1/enterprises/AEO%20CN%3C1/"), enterprise("AEO CN<1"));
        assert_eq!(found("/v1/enterprises/%2F%ff"), enterprise("/\u{fffd}"));
        assert_eq!(found("/v1/priority/"), Some(Route::Priority("".into())));
        for nowhere in [
            "/v1/",
            "/v1",
            "/v1/decide/1",
            "/v1/Decide",
            "/v1/decide//",
            "/v2/decide",
        ] {
            assert_eq!(found(nowhere), None, "{nowhere}");
        }
    }
}
