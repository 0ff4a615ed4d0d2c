//! RPCs of the contract as JSON, under `/v1/`: the same messages in canonical proto3 JSON, answered by the same code.
//!
//! | request | answers as |
//! |---|---|
//! | `POST /v1/decide` | `Decide` |
//! | `POST /v1/batch-decide` | `BatchDecide` |
//! | `POST /v1/simulate` | `Simulate` |
//! | `GET /v1/priority/{declaration or container}` | `GetPriority` |
//! | `GET /v1/enterprises/{customs, social credit or AEO code}` | `GetEnterprise` |
//! | `GET /v1/status` | `GetRegistryStatus` |
//!
//! ```text
//! HTTP thread: head, body (bounded in time and memory) -> JSON thread: read, decide, log, write -> HTTP thread: the answer
//! ```
//!
//! Reading a large body as JSON takes longer than a probe waits, and a lane of the audit log belongs to one thread: hence
//! the thread. Answers hold fields at their default too, because one that is missing may be read as consent. Errors are
//! `google.rpc.Status` with the HTTP code that goes with theirs. Nothing may be cached: a right may be revoked at any time.

mod body;
mod calls;
mod route;

pub use calls::Worker;

use std::{pin::Pin, sync::Arc, time::Duration};

use http::{HeaderMap, Request, StatusCode, header};
use hyper::body::Incoming;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::Instant,
};
use tonic::Code;

use self::{
    body::{Body, Unread},
    calls::{Asked, Call},
    route::Route,
};
use super::response::{Answer, answered, internal, problem, refused};
use crate::{
    access::{Caller, Peer},
    metrics::{Metrics, Shed},
    service::{
        admission::{Accounts, over_quota},
        authentication::Authentication,
        deadline::{Deadline, within},
        facilitation::FacilitationRpc,
        health::Health,
        priority::PriorityRpc,
        registry::RegistryRpc,
        status::Refusal,
    },
    wire::{enterprise_key, pb, shipment_key, violations::Violations},
};

/// What every path of the gateway begins with.
pub(super) const PATH: &str = "/v1/";

/// Calls at once: while they wait for a store or a body that is slow, probes shall have connections left.
const MAX_CALLS: usize = 128;
/// How many bodies of the largest size may be held at once, all of them together.
const MAX_BODIES: usize = 4;
/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The HTTP side of the gateway.
#[derive(Debug)]
pub struct Gateway {
    registry: RegistryRpc,
    priority: PriorityRpc,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    callers: Callers,
    calls: mpsc::UnboundedSender<Call>,
    permits: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    max_message_bytes: usize,
}

/// Who may call, and how much.
#[derive(Debug)]
pub struct Callers {
    /// Tells what a caller may call.
    pub authentication: Arc<Authentication>,
    /// What callers have left of their quotas, on either port.
    pub accounts: Arc<Accounts>,
}

impl Gateway {
    /// A gateway, and what answers its calls on a thread of its own: with `facilitation`, whose lane of the audit log
    /// `beside` writes there.
    pub fn new(
        facilitation: FacilitationRpc,
        beside: Pin<Box<dyn Future<Output = ()> + Send>>,
        registry: RegistryRpc,
        priority: PriorityRpc,
        health: Arc<Health>,
        callers: Callers,
        max_message_bytes: usize,
    ) -> (Self, Worker) {
        let (calls, handed_over) = mpsc::unbounded_channel();
        let bytes = max_message_bytes.saturating_mul(MAX_BODIES);
        let gateway = Self {
            registry,
            priority,
            health,
            metrics: Arc::clone(&facilitation.metrics),
            callers,
            calls,
            permits: Arc::new(Semaphore::new(MAX_CALLS)),
            bodies: Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))),
            max_message_bytes,
        };
        (gateway, Worker::new(handed_over, facilitation, beside))
    }

    /// The answer to a request of the caller's.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        caller: Arc<Caller>,
        peer: &Peer,
    ) -> Answer {
        let Some(route) = Route::of(request.uri().path()) else {
            return problem(StatusCode::NOT_FOUND, Code::NotFound, route::WHAT_THERE_IS);
        };
        if !route.methods().contains(request.method()) {
            return route::wrong_method(route.methods());
        }
        let Callers {
            authentication,
            accounts,
        } = &self.callers;
        if let Err(refusal) = authentication.permitted_method(&caller, route.method()) {
            return refused(&refusal);
        }
        let deadline = match Deadline::from_headers(request.headers(), Instant::now()) {
            Ok(deadline) => deadline,
            Err(bad) => return refused(&bad.into()),
        };
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            return self.shed();
        };
        let known = (!Arc::ptr_eq(&caller, Caller::anonymous())).then_some(&*caller);
        let account = accounts.of_peer(known, peer.address.ip());
        let charged = match account.begin(Instant::now().into_std()) {
            Ok(charged) => charged,
            Err(refusal) => {
                if let Some(cause) = over_quota(&refusal) {
                    self.metrics.shed(cause, 1);
                }
                return refused(&refusal);
            }
        };
        match &route {
            Route::Call(rpc) => {
                let asked = Asked {
                    rpc: *rpc,
                    deadline,
                    caller,
                    account,
                    held: (permit, charged),
                };
                self.call(asked, request).await
            }
            Route::Status => {
                let status = async { Ok(self.registry.status()) };
                answered("GetRegistryStatusResponse", within(deadline, status).await)
            }
            Route::Enterprise(id) => {
                let enterprise = within(deadline, async { self.enterprise(id) });
                answered("GetEnterpriseResponse", enterprise.await)
            }
            Route::Priority(key) => {
                let request = pb::GetPriorityRequest {
                    key: Some(shipment_key::written(key)),
                };
                let found = within(deadline, self.priority.get(&request));
                answered("GetPriorityResponse", found.await)
            }
        }
    }

    fn shed(&self) -> Answer {
        self.metrics.shed(Shed::HttpCalls, 1);
        refused(&Refusal::TooManyCalls)
    }

    fn enterprise(&self, id: &str) -> Result<pb::GetEnterpriseResponse, Refusal> {
        if !self.health.has_started() {
            return Err(Refusal::NotReady);
        }
        let id = enterprise_key::written(id)
            .map_err(|bad| Refusal::Invalid(Violations::of("identifier", bad.to_string())))?;
        self.registry.enterprise(&id)
    }

    async fn call(&self, asked: Asked, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        // Whatever is wrong, the body is read first: a client that still writes would miss the answer.
        let body = self.read(body, asked.deadline).await;
        if !self.health.has_started() {
            return refused(&Refusal::NotReady);
        }
        if !is_json(&head.headers) {
            let rule = "the body must be application/json, and not compressed";
            return problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument, rule);
        }
        let body = match body {
            Ok(body) => body,
            Err(answer) => return answer,
        };
        let (answer, answered) = oneshot::channel();
        let call = Call { asked, body, answer };
        if self.calls.send(call).is_err() {
            return refused(&Refusal::Draining);
        }
        answered.await.unwrap_or_else(|_| internal())
    }

    /// The body, or the answer to one that cannot be taken.
    async fn read(&self, body: Incoming, deadline: Option<Deadline>) -> Result<Body, Answer> {
        let limit = Instant::now() + BODY_TIMEOUT;
        let until = deadline.map_or(limit, |deadline| deadline.0.min(limit));
        let reading = body::read(body, self.max_message_bytes, &self.bodies);
        let Ok(read) = tokio::time::timeout_at(until, reading).await else {
            return Err(if until < limit {
                refused(&Refusal::DeadlineExceeded)
            } else {
                let rule = format!("the body took more than {} s", BODY_TIMEOUT.as_secs());
                problem(StatusCode::REQUEST_TIMEOUT, Code::DeadlineExceeded, &rule)
            });
        };
        read.map_err(|unread| match unread {
            Unread::TooLarge => {
                let limit = self.max_message_bytes;
                let rule = format!("the body is larger than limits.max_message_bytes, {limit} bytes");
                // What gRPC answers.
                problem(StatusCode::PAYLOAD_TOO_LARGE, Code::OutOfRange, &rule)
            }
            Unread::TooMuchHeld => self.shed(),
            Unread::Broken => problem(
                StatusCode::BAD_REQUEST,
                Code::InvalidArgument,
                "the body ends before its end",
            ),
        })
    }
}

/// A page of another origin cannot have a browser send that type without being asked first.
fn is_json(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let media_type = text(header::CONTENT_TYPE).and_then(|value| value.split(';').next());
    let plain = match headers.get(header::CONTENT_ENCODING) {
        None => true,
        Some(encoding) => encoding.as_bytes().eq_ignore_ascii_case(b"identity"),
    };
    plain && media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
}
