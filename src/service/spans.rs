//! A span for each call, where traces are on: what was called, how it ended, who called, and which decision was given. Nothing of what
//! was asked, and no reason.

use http::HeaderMap;
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{Span as _, SpanKind, Status, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider, Span},
};
use tonic::Code;

use super::given::Given;

/// Begins spans.
#[derive(Debug, Clone)]
pub struct Spans {
    tracer: SdkTracer,
}

impl Spans {
    /// Spans that go where the provider sends them.
    pub fn new(provider: &SdkTracerProvider) -> Self {
        Self {
            tracer: provider.tracer("greenlane"),
        }
    }

    /// A span below the caller's, whose decision on sampling stands; `None` when it is not sampled.
    pub(super) fn begin(&self, headers: &HeaderMap, service: &str, method: &str) -> Option<CallSpan> {
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers));
        let builder = self
            .tracer
            .span_builder(format!("{service}/{method}"))
            .with_kind(SpanKind::Server);
        let mut span = self.tracer.build_with_context(builder, &parent);
        if !span.is_recording() {
            return None;
        }
        span.set_attribute(KeyValue::new("rpc.system", "grpc"));
        span.set_attribute(KeyValue::new("rpc.service", service.to_owned()));
        span.set_attribute(KeyValue::new("rpc.method", method.to_owned()));
        Some(CallSpan(Box::new(span)))
    }
}

/// The span of a call under way.
#[derive(Debug)]
pub(super) struct CallSpan(Box<Span>);

impl CallSpan {
    /// Ends it with the call.
    pub(super) fn end(mut self, code: Code, given: Option<&Given>, caller: Option<&str>) {
        let number = i64::from(i32::from(code));
        self.0
            .set_attribute(KeyValue::new("rpc.grpc.status_code", number));
        if let Some(caller) = caller {
            self.0
                .set_attribute(KeyValue::new("greenlane.caller", caller.to_owned()));
        }
        if let Some(given) = given {
            let (id, lane) = (given.decision.to_string(), given.lane.name());
            self.0.set_attribute(KeyValue::new("greenlane.decision_id", id));
            self.0.set_attribute(KeyValue::new("greenlane.lane", lane));
        }
        // As OpenTelemetry's conventions for servers have it: what a caller did wrong is no error of ours.
        if matches!(
            code,
            Code::Unknown
                | Code::DeadlineExceeded
                | Code::Unimplemented
                | Code::Internal
                | Code::Unavailable
                | Code::DataLoss
        ) {
            self.0.set_status(Status::error(""));
        }
        self.0.end();
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
