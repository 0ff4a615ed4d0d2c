//! Routes a call to its service by path, under the caller's deadline, and has it counted.

use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::{Status, body::Body, server::NamedService};
use tower_service::Service;

use super::{
    admission::{Admitted, Conduct, Gatekeeper, Holding, Turn},
    authentication::Credentials,
    body::AnswerBody,
    calling,
    calls::{Call, Counting},
    deadline::Deadline,
    ending::Ending,
    facilitation::FacilitationRpc,
    intake::{Intake, Intakes, Kind},
    priority,
    served::{
        audit_service_server::AuditServiceServer, facilitation_service_server::FacilitationServiceServer,
        priority_service_server::PriorityServiceServer, registry_service_server::RegistryServiceServer,
    },
    status::Refusal,
    unary::{self, Unary},
};
use crate::{
    access::{Access, Caller},
    shipments::Shipments,
    upstream::status::FeedStatus,
};

/// Bytes of a refused request that are passed over, at most: as much as its sender may have sent without being asked.
const MOST_PASSED_OVER: usize = 64 * 1024;

/// What a service answers, as tonic's generated servers give it.
pub type Answer<B = Body> = Pin<Box<dyn Future<Output = Result<Response<B>, Infallible>> + Send>>;

/// Every service of one process. A clone a connection.
#[derive(Debug, Clone)]
pub struct Dispatch<R, A, P, H, V1, V1Alpha> {
    /// Counts every call.
    pub counting: Arc<Counting>,
    /// Tells whether there is data to decide on.
    pub feed: Arc<FeedStatus>,
    /// `FacilitationService`.
    pub facilitation: Arc<Unary>,
    /// `RegistryService`.
    pub registry: RegistryServiceServer<R>,
    /// `AuditService`.
    pub audit: AuditServiceServer<A>,
    /// Tell whether they are loaded.
    pub shipments: Arc<Shipments>,
    /// `PriorityService`.
    pub priority: PriorityServiceServer<P>,
    /// `grpc.health.v1.Health`
    pub health: H,
    /// `grpc.reflection.v1.ServerReflection`
    pub reflection: V1,
    /// `grpc.reflection.v1alpha.ServerReflection`, for clients that know only that.
    pub reflection_v1alpha: V1Alpha,
    /// The end of the connection that is served.
    pub ending: Ending,
    /// What the connection's calls are known by.
    pub credentials: Credentials,
    /// Lets calls begin on this thread.
    pub gatekeeper: Arc<Gatekeeper>,
    /// Whom the calls of the connection are counted for.
    pub holding: Holding,
    /// What the connection does.
    pub conduct: Arc<Conduct>,
    /// Bounds requests that are not whole.
    pub intakes: Arc<Intakes>,
}

/// A tonic service over hyper's body.
pub trait GrpcService:
    Service<Request<Intake>, Response = Response<Body>, Error = Infallible, Future = Answer>
    + NamedService
    + Clone
    + Send
    + 'static
{
}

impl<S> GrpcService for S where
    S: Service<Request<Intake>, Response = Response<Body>, Error = Infallible, Future = Answer>
        + NamedService
        + Clone
        + Send
        + 'static
{
}

impl<R, A, P, H, V1, V1Alpha> hyper::service::Service<Request<Incoming>> for Dispatch<R, A, P, H, V1, V1Alpha>
where
    RegistryServiceServer<R>: GrpcService,
    AuditServiceServer<A>: GrpcService,
    PriorityServiceServer<P>: GrpcService,
    H: GrpcService,
    V1: GrpcService,
    V1Alpha: GrpcService,
{
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Answer<AnswerBody>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let begun = Instant::now();
        let mut call = self.counting.begin(&request, begun.into_std(), &self.conduct);
        // Before anything else: who is not known learns nothing of the request, the data or the deadline.
        let caller = match self.admitted(&call, &request) {
            Ok(caller) => caller,
            Err(refusal) => {
                let account = self.holding.of_address();
                self.gatekeeper
                    .turned_away(account, &self.conduct, begun.into_std());
                return self.refuse(call, refusal, request);
            }
        };
        let named = caller
            .as_ref()
            .filter(|caller| !self.credentials.is_anonymous(caller));
        let account = self.holding.of(named);
        let admitted = self
            .gatekeeper
            .admit(call.class(), &account, &self.conduct, begun.into_std());
        let Admitted { turn, charged } = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => return self.refuse(call, refusal, request),
        };
        call.charge(charged);
        if call.streams() {
            let standing = caller
                .as_ref()
                .map(|caller| self.credentials.standing(caller, request.headers()));
            request.extensions_mut().insert(self.ending.with(standing));
        }
        call.is_of(caller);
        let deadline = match Deadline::from_headers(request.headers(), begun) {
            Ok(deadline) => deadline,
            Err(bad) => return self.refuse(call, bad.into(), request),
        };
        if let Some(deadline) = deadline {
            // Streams outlive this future; they take the deadline from here.
            request.extensions_mut().insert(deadline);
        }
        if call.kind() != Kind::One && account.is_metered() {
            request.extensions_mut().insert(account);
        }
        let (kind, conduct) = (call.kind(), Arc::clone(&self.conduct));
        let request = request.map(|body| Intake::new(body, Arc::clone(&self.intakes), conduct, kind, begun));
        if call.decides() {
            let admitted = unary::Admitted {
                request,
                call,
                turn,
                deadline,
            };
            return Box::pin(Arc::clone(&self.facilitation).answered(admitted));
        }
        let answer = self.route(request);
        let gatekeeper = Arc::clone(&self.gatekeeper);
        let answer = async move {
            match its_turn(turn, deadline, &gatekeeper).await {
                Ok(()) => answer.await,
                Err(refusal) => Ok(Status::from(refusal).into_http()),
            }
        };
        let answer = calling::of(call.caller().cloned(), answer);
        Box::pin(async move {
            let response = match deadline {
                None => answer.await?,
                Some(Deadline(at)) => match timeout_at(at, answer).await {
                    Ok(answered) => answered?,
                    Err(_) => Status::from(Refusal::DeadlineExceeded).into_http(),
                },
            };
            Ok(call.answered(response))
        })
    }
}

impl<R, A, P, H, V1, V1Alpha> Dispatch<R, A, P, H, V1, V1Alpha>
where
    RegistryServiceServer<R>: GrpcService,
    AuditServiceServer<A>: GrpcService,
    PriorityServiceServer<P>: GrpcService,
    H: GrpcService,
    V1: GrpcService,
    V1Alpha: GrpcService,
{
    /// Who calls, if that may call the method; `None` where anybody may.
    fn admitted(&self, call: &Call, request: &Request<Incoming>) -> Result<Option<Arc<Caller>>, Refusal> {
        let access = call.access();
        if access == Some(Access::Open) {
            return Ok(None);
        }
        let caller = self
            .credentials
            .caller(request.headers())
            .map_err(Refusal::Unauthenticated)?;
        self.credentials
            .authentication()
            .permitted_access(&caller, access, request.uri().path())?;
        Ok(Some(caller))
    }

    /// Refuses a call, before anything else is done.
    fn refuse(&self, call: Call, refusal: Refusal, request: Request<Incoming>) -> Answer<AnswerBody> {
        self.conduct.refuse();
        answered_with(call, refusal, request.into_body(), self.intakes.timeout)
    }

    fn route(&self, request: Request<Intake>) -> Answer {
        let service = request
            .uri()
            .path()
            .trim_start_matches('/')
            .split('/')
            .next()
            .unwrap_or_default();
        // The one that matters stands first.
        if service == FacilitationServiceServer::<FacilitationRpc>::NAME {
            // Before the message is decoded: while loading, the answer is the same whatever the request.
            if !self.feed.is_ready() {
                return refused(Refusal::NotReady.into());
            }
            call(self.facilitation.server(), request)
        } else if service == PriorityServiceServer::<P>::NAME {
            if let Err(refusal) = priority::served(&self.shipments) {
                return refused(refusal.into());
            }
            call(&self.priority, request)
        } else if service == RegistryServiceServer::<R>::NAME {
            call(&self.registry, request)
        } else if service == AuditServiceServer::<A>::NAME {
            call(&self.audit, request)
        } else if service == H::NAME {
            call(&self.health, request)
        } else if service == V1::NAME {
            call(&self.reflection, request)
        } else if service == V1Alpha::NAME {
            call(&self.reflection_v1alpha, request)
        } else {
            refused(Refusal::NotServed.into())
        }
    }
}

/// Completes when a call may begin, unless its deadline has passed by then.
pub(super) async fn its_turn(
    turn: Turn,
    deadline: Option<Deadline>,
    gatekeeper: &Gatekeeper,
) -> Result<(), Refusal> {
    if let Turn::Later(come) = turn {
        // Its sender goes only with the thread; whether the deadline has passed is looked at below.
        let _come = match deadline {
            Some(Deadline(at)) => timeout_at(at, come).await.is_ok(),
            None => come.await.is_ok(),
        };
    }
    if deadline.is_some_and(|Deadline(at)| at <= Instant::now()) {
        gatekeeper.count_late();
        return Err(Refusal::DeadlineExceeded);
    }
    Ok(())
}

/// Refuses a call. What is answered before its request was whole is reset behind the answer, and a connection may have few
/// resets: so the rest of a message is passed over first. Where calls are refused it may be long on its way, behind those of many
/// others and on a connection that is read slowly, so that it may take as long as one that is not refused; zero: any time.
fn answered_with(call: Call, refusal: Refusal, mut body: Incoming, within: Duration) -> Answer<AnswerBody> {
    Box::pin(async move {
        if call.kind() != Kind::Stream {
            let mut passed = 0;
            let rest = async {
                while passed < MOST_PASSED_OVER
                    && let Some(Ok(frame)) = body.frame().await
                {
                    passed += frame.data_ref().map_or(0, Bytes::len);
                }
            };
            if within.is_zero() {
                rest.await;
            } else {
                // Whoever does not send it is not waited for.
                let _sent = timeout(within, rest).await;
            }
        }
        Ok(call.answered(Status::from(refusal).into_http()))
    })
}

fn call<S: GrpcService>(service: &S, request: Request<Intake>) -> Answer {
    // Generated services are always ready: they have no queue of their own.
    service.clone().call(request)
}

fn refused(status: Status) -> Answer {
    Box::pin(std::future::ready(Ok(status.into_http())))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::{
        access::{Roles, permission},
        metrics::Metrics,
        wire::pb,
    };

    /// Every method that is served: its path, and whether it answers with a stream.
    fn methods() -> Vec<(String, bool)> {
        let contracts = [
            pb::DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let files = contracts
            .into_iter()
            .flat_map(|bytes| FileDescriptorSet::decode(bytes).unwrap().file);
        let mut methods = Vec::new();
        for file in files {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    methods.push((path, method.server_streaming()));
                }
            }
        }
        methods
    }

    #[test]
    fn every_stream_of_the_contract_hears_of_the_end_of_its_connection() {
        let counting = Arc::new(Counting::new(&Metrics::default(), None, 0).unwrap());
        let conduct = Arc::new(Conduct::new(Arc::default(), 1));
        let mut streams = Vec::new();
        for (path, answers_with_a_stream) in methods() {
            let request = Request::builder().uri(&path).body(()).unwrap();
            let call = counting.begin(&request, std::time::Instant::now(), &conduct);
            assert_eq!(call.streams(), answers_with_a_stream, "{path}");
            if answers_with_a_stream && !path.contains("reflection") {
                streams.push(path);
            }
        }
        assert_eq!(
            streams,
            [
                "/greenlane.v1.FacilitationService/DecideStream",
                "/greenlane.v1.PriorityService/WatchPriorities",
                "/grpc.health.v1.Health/Watch",
            ]
        );
    }

    #[test]
    fn every_method_that_is_served_is_somebodys() {
        for (path, _) in methods() {
            let is_health = path.starts_with("/grpc.health.v1.");
            match permission::of_method(&path) {
                Some(Access::Open) => assert!(is_health, "{path}"),
                Some(Access::Of(roles)) => assert!(!is_health && roles != Roles::NONE, "{path}"),
                None => panic!("{path} is nobody's"),
            }
        }
    }
}
