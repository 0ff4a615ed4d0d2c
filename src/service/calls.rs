//! Every call, counted by how it ends: by its status, with its duration, once. Where that is asked for, it is told in a span,
//! and each so many in the log.
//!
//! Method names come from the descriptors, so that a path made up by a caller never becomes a label.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use foldhash::HashMap;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use prost::{DecodeError, Message as _};
use prost_types::FileDescriptorSet;
use tonic::{Code, Status, body::Body};

use super::{
    admission::{Charged, Class, Conduct},
    body::AnswerBody,
    given::{self, Given, Progress},
    intake::Kind,
    spans::{CallSpan, Spans},
};
use crate::{
    access::{Access, Caller, permission},
    metrics::{CODES, Calls, Metrics},
    wire::pb,
};

/// What stands for the service and the method of a path that is not served.
const UNKNOWN: &str = "unknown";

/// Counts the calls of one serving thread.
#[derive(Debug)]
pub struct Counting {
    /// By path.
    methods: HashMap<String, Method>,
    unknown: Method,
    /// A service and a method, by place.
    names: Arc<[(String, String)]>,
    calls: Calls,
    spans: Option<Spans>,
    /// One call in so many is logged; 0 for none.
    logged: u64,
    counted: AtomicU64,
}

impl Clone for Counting {
    fn clone(&self) -> Self {
        let Self {
            methods,
            unknown,
            names,
            calls,
            spans,
            logged,
            counted: _,
        } = self;
        Self {
            methods: methods.clone(),
            unknown: *unknown,
            names: Arc::clone(names),
            calls: calls.clone(),
            spans: spans.clone(),
            logged: *logged,
            counted: AtomicU64::new(0),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Method {
    /// Where the metrics have it.
    place: usize,
    /// It answers with a stream, whose end tells the status.
    streams: bool,
    /// What it is asked by.
    kind: Kind,
    class: Class,
    /// It is the one that matters.
    decides: bool,
    /// Who may call it. `None`: nobody, as if it were not there.
    access: Option<Access>,
}

impl Counting {
    /// Counts the calls of every method that is served, and logs one in so many of each thread's (0: none). To be made once a
    /// process, and cloned for each thread.
    pub fn new(metrics: &Metrics, spans: Option<Spans>, logged: u64) -> Result<Self, DecodeError> {
        let mut named = vec![(UNKNOWN.to_owned(), UNKNOWN.to_owned(), (false, false))];
        for descriptors in [
            pb::DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ] {
            for file in FileDescriptorSet::decode(descriptors)?.file {
                for service in &file.service {
                    let name = format!("{}.{}", file.package(), service.name());
                    for method in &service.method {
                        let streams = (method.server_streaming(), method.client_streaming());
                        named.push((name.clone(), method.name().to_owned(), streams));
                    }
                }
            }
        }
        let calls = metrics.calls(named.iter().map(|(service, method, _)| (&**service, &**method)));
        let method = |(place, (service, method, streams)): (usize, &(String, String, (bool, bool)))| {
            let (streams, uploads) = *streams;
            let path = format!("/{service}/{method}");
            let method_of = Method {
                place,
                streams,
                kind: match &**method {
                    "BatchDecide" => Kind::Batch,
                    _ if uploads => Kind::Stream,
                    _ => Kind::One,
                },
                class: class(service, method),
                decides: service == "greenlane.v1.FacilitationService" && method == "Decide",
                access: permission::of_method(&path),
            };
            (path, method_of)
        };
        Ok(Self {
            methods: named.iter().enumerate().skip(1).map(method).collect(),
            unknown: Method {
                place: 0,
                streams: false,
                kind: Kind::One,
                class: Class::Other,
                decides: false,
                access: None,
            },
            calls,
            names: named
                .into_iter()
                .map(|(service, method, _)| (service, method))
                .collect(),
            spans,
            logged,
            counted: AtomicU64::new(0),
        })
    }

    /// A call began.
    pub(super) fn begin<B>(
        self: &Arc<Self>,
        request: &Request<B>,
        begun: Instant,
        conduct: &Arc<Conduct>,
    ) -> Call {
        let method = *self.methods.get(request.uri().path()).unwrap_or(&self.unknown);
        let span = self.spans.as_ref().and_then(|spans| {
            let (service, name) = &self.names[method.place];
            spans.begin(request.headers(), service, name)
        });
        Call {
            counting: Arc::clone(self),
            method,
            begun,
            span,
            caller: None,
            ended: false,
            answered: false,
            charged: None,
            conduct: Arc::clone(conduct),
        }
    }

    /// Whether this call's turn to be logged has come.
    fn is_logged(&self) -> bool {
        self.logged > 0
            && self
                .counted
                .fetch_add(1, Ordering::Relaxed)
                .is_multiple_of(self.logged)
    }
}

/// A call under way. Dropped before it ended, it counts as CANCELLED: the caller has gone.
#[derive(Debug)]
pub(super) struct Call {
    counting: Arc<Counting>,
    method: Method,
    begun: Instant,
    span: Option<CallSpan>,
    /// `None` where nobody is known, or asked.
    caller: Option<Arc<Caller>>,
    ended: bool,
    /// Its headers have gone.
    answered: bool,
    /// Counts as one of its caller's.
    charged: Option<Charged>,
    conduct: Arc<Conduct>,
}

impl Call {
    /// Has the log and the span tell whose it is.
    pub(super) fn is_of(&mut self, caller: Option<Arc<Caller>>) {
        self.caller = caller;
    }

    /// What goes before it.
    pub(super) const fn class(&self) -> Class {
        self.method.class
    }

    /// Whether it answers with a stream.
    pub(super) const fn streams(&self) -> bool {
        self.method.streams
    }

    /// What it is asked by.
    pub(super) const fn kind(&self) -> Kind {
        self.method.kind
    }

    /// Who may call it; `None`: nobody.
    pub(super) const fn access(&self) -> Option<Access> {
        self.method.access
    }

    /// Whether it is a unary `Decide`.
    pub(super) const fn decides(&self) -> bool {
        self.method.decides
    }

    /// Whose it is, where somebody is known.
    pub(super) const fn caller(&self) -> Option<&Arc<Caller>> {
        self.caller.as_ref()
    }

    /// Keeps what it is charged with until it ends.
    pub(super) fn charge(&mut self, charged: Option<Charged>) {
        self.charged = charged;
    }

    /// Counts a unary call that is answered with that decision.
    pub(super) fn decided(mut self, given: &Given) {
        self.answered = true;
        self.end(Code::Ok, Some(given));
        given::tell(Progress::HandedOut);
    }

    /// Counts the call when it ends: now, unless the answer is a stream.
    pub(super) fn answered(mut self, response: Response<Body>) -> Response<AnswerBody> {
        let given = given::take().filter(|given| given.at >= self.begun);
        self.answered = true;
        let status = status(response.headers());
        // Without a status in the headers the answer of a unary method is whole, and OK stands behind it.
        if self.method.streams && status.is_none() {
            return response.map(|body| Body::new(Counted { body, call: self }).into());
        }
        self.end(status.unwrap_or(Code::Ok), given.as_ref());
        given::tell(Progress::HandedOut);
        response.map(AnswerBody::from)
    }

    fn end(&mut self, code: Code, given: Option<&Given>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let at = given.map_or_else(Instant::now, |given| given.at);
        let after = at.saturating_duration_since(self.begun);
        let number = usize::try_from(i32::from(code)).unwrap_or_default();
        self.counting.calls.ended(self.method.place, number, after);
        if let Some(span) = self.span.take() {
            span.end(code, given, self.caller.as_ref().map(|caller| &*caller.name));
        }
        if self.counting.is_logged() {
            self.log(number, after, given);
        }
    }

    fn log(&self, code: usize, after: Duration, given: Option<&Given>) {
        let (service, method) = &self.counting.names[self.method.place];
        let decision = given.map(|given| tracing::field::display(given.decision));
        let (code, seconds) = (CODES.get(code).copied(), after.as_secs_f64());
        let caller = self.caller.as_ref().map(|caller| &*caller.name);
        tracing::info!(service, method, code, seconds, decision, caller, "call");
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Code::Cancelled, None);
        }
        if !self.answered {
            self.conduct.reset();
        }
    }
}

fn class(service: &str, method: &str) -> Class {
    match (service.rsplit('.').next().unwrap_or_default(), method) {
        ("Health", _) => Class::Health,
        (_, "RecordInspection") => Class::Decision,
        (_, "Simulate") | ("AuditService" | "ServerReflection", _) => Class::Other,
        _ => Class::Decision,
    }
}

fn status(headers: &HeaderMap) -> Option<Code> {
    let status = headers.get(Status::GRPC_STATUS)?;
    Some(Code::from_bytes(status.as_bytes()))
}

/// The body of a stream, whose trailers tell how it ended.
#[derive(Debug)]
struct Counted {
    body: Body,
    call: Call,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let code = match &polled {
            Poll::Ready(Some(Ok(frame))) => frame
                .trailers_ref()
                .map(|trailers| status(trailers).unwrap_or(Code::Unknown)),
            Poll::Ready(Some(Err(status))) => Some(status.code()),
            Poll::Ready(None) => Some(Code::Ok),
            Poll::Pending => None,
        };
        if let Some(code) = code
            && !self.call.ended
        {
            self.call.end(code, None);
        }
        // A watch has a bound of its own.
        if self.call.method.kind == Kind::Stream {
            given::tell(match &polled {
                Poll::Ready(Some(_)) => Progress::HandedOut,
                Poll::Ready(None) | Poll::Pending => Progress::Taken,
            });
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
