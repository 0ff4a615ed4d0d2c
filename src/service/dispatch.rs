//! Routes a call to its service by path, under the caller's deadline, and has it counted.

use std::{cell::RefCell, convert::Infallible, future::Future, pin::Pin, sync::Arc};

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};
use tonic::{Status, body::Body, server::NamedService};
use tower_service::Service;

use super::{
    admission::{Account, Accounts, Admitted, Conduct, Gatekeeper, Turn},
    authentication::Credentials,
    calling,
    calls::{Call, Counting},
    deadline::Deadline,
    ending::Ending,
    intake::{Intake, Intakes, Kind},
    served::{
        audit_service_server::AuditServiceServer, facilitation_service_server::FacilitationServiceServer,
        priority_service_server::PriorityServiceServer, registry_service_server::RegistryServiceServer,
    },
    status::Refusal,
};
use crate::{
    access::{Access, Caller, permission},
    shipments::Shipments,
    upstream::status::FeedStatus,
};

/// The methods whose streams end only with their caller, or with the connection.
const STREAMS: [&str; 3] = ["DecideStream", "WatchPriorities", "Watch"];

/// What a service answers, as tonic's generated servers give it.
pub type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// Every service of one process. A clone a connection.
#[derive(Debug, Clone)]
pub struct Dispatch<F, R, A, P, H, V1, V1Alpha> {
    /// Counts every call.
    pub counting: Arc<Counting>,
    /// Tells whether there is data to decide on.
    pub feed: Arc<FeedStatus>,
    /// `FacilitationService`.
    pub facilitation: FacilitationServiceServer<F>,
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
    /// Whom calls are counted for that are of nobody who is known.
    pub address: Arc<Account>,
    /// Of everybody else.
    pub accounts: Arc<Accounts>,
    /// Whoever called last: most calls of a connection are of one caller.
    pub last: RefCell<Option<(Arc<Caller>, Arc<Account>)>>,
    /// Lets calls begin on this thread.
    pub gatekeeper: Arc<Gatekeeper>,
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

impl<F, R, A, P, H, V1, V1Alpha> hyper::service::Service<Request<Incoming>>
    for Dispatch<F, R, A, P, H, V1, V1Alpha>
where
    FacilitationServiceServer<F>: GrpcService,
    RegistryServiceServer<R>: GrpcService,
    AuditServiceServer<A>: GrpcService,
    PriorityServiceServer<P>: GrpcService,
    H: GrpcService,
    V1: GrpcService,
    V1Alpha: GrpcService,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, mut request: Request<Incoming>) -> Answer {
        let begun = Instant::now();
        let mut call = self.counting.begin(&request, begun.into_std(), &self.conduct);
        // Before anything else: who is not known learns nothing of the request, the data or the deadline.
        let caller = match self.admitted(&request) {
            Ok(caller) => caller,
            Err(refusal) => {
                self.gatekeeper
                    .slow_down(&self.address, &self.conduct, begun.into_std());
                return answered_with(call, refusal);
            }
        };
        let account = self.account(caller.as_ref());
        let admitted = self
            .gatekeeper
            .admit(call.class(), &account, &self.conduct, begun.into_std());
        let Admitted { turn, charged } = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => return answered_with(call, refusal),
        };
        call.charge(charged);
        if call.streams() && is_stream(request.uri().path()) {
            let standing = caller
                .as_ref()
                .map(|caller| self.credentials.standing(caller, request.headers()));
            request.extensions_mut().insert(self.ending.with(standing));
        }
        call.is_of(caller.clone());
        let deadline = match Deadline::from_headers(request.headers(), begun) {
            Ok(deadline) => deadline,
            Err(bad) => return answered_with(call, bad.into()),
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
        let answer = self.route(request);
        let late = deadline.map(|deadline| (deadline, Arc::clone(&self.gatekeeper)));
        let answer = async move {
            if let Turn::Later(come) = turn {
                // Its sender goes only with the thread; whether the deadline has passed is looked at below.
                let _come = match deadline {
                    Some(Deadline(at)) => timeout_at(at, come).await.is_ok(),
                    None => come.await.is_ok(),
                };
            }
            if let Some((Deadline(at), gatekeeper)) = late
                && at <= Instant::now()
            {
                gatekeeper.count_late();
                return Ok(Status::from(Refusal::DeadlineExceeded).into_http());
            }
            answer.await
        };
        let answer = calling::of(caller, answer);
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

impl<F, R, A, P, H, V1, V1Alpha> Dispatch<F, R, A, P, H, V1, V1Alpha>
where
    FacilitationServiceServer<F>: GrpcService,
    RegistryServiceServer<R>: GrpcService,
    AuditServiceServer<A>: GrpcService,
    PriorityServiceServer<P>: GrpcService,
    H: GrpcService,
    V1: GrpcService,
    V1Alpha: GrpcService,
{
    /// Who calls, if that may call the method; `None` where anybody may.
    fn admitted(&self, request: &Request<Incoming>) -> Result<Option<Arc<Caller>>, Refusal> {
        let path = request.uri().path();
        let access = permission::of_method(path);
        if access == Some(Access::Open) {
            return Ok(None);
        }
        let caller = self
            .credentials
            .caller(request.headers())
            .map_err(Refusal::Unauthenticated)?;
        let Some(Access::Of(roles)) = access else {
            return Err(Refusal::NotServed);
        };
        self.credentials
            .authentication()
            .permitted(&caller, roles, path)?;
        Ok(Some(caller))
    }

    /// Whom its calls are counted for.
    fn account(&self, caller: Option<&Arc<Caller>>) -> Arc<Account> {
        let Some(caller) = caller.filter(|_| self.credentials.authentication().is_on()) else {
            return Arc::clone(&self.address);
        };
        let mut last = self.last.borrow_mut();
        if let Some((known, account)) = &*last
            && Arc::ptr_eq(known, caller)
        {
            return Arc::clone(account);
        }
        let account = self.accounts.of_caller(&caller.name);
        *last = Some((Arc::clone(caller), Arc::clone(&account)));
        account
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
        if service == FacilitationServiceServer::<F>::NAME {
            // Before the message is decoded: while loading, the answer is the same whatever the request.
            if !self.feed.is_ready() {
                return refused(Refusal::NotReady.into());
            }
            call(&self.facilitation, request)
        } else if service == PriorityServiceServer::<P>::NAME {
            if !self.shipments.is_ready() {
                return refused(Refusal::NoShipments.into());
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

fn is_stream(path: &str) -> bool {
    path.rsplit('/')
        .next()
        .is_some_and(|method| STREAMS.contains(&method))
}

fn answered_with(call: Call, refusal: Refusal) -> Answer {
    Box::pin(std::future::ready(Ok(
        call.answered(Status::from(refusal).into_http())
    )))
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
    use crate::{access::Roles, wire::pb};

    #[test]
    fn every_stream_of_the_contract_hears_of_the_end_of_its_connection() {
        let contracts = [pb::DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET];
        let mut streams = 0;
        for file in contracts
            .into_iter()
            .flat_map(|bytes| FileDescriptorSet::decode(bytes).unwrap().file)
        {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    assert_eq!(is_stream(&path), method.server_streaming(), "{path}");
                    streams += usize::from(method.server_streaming());
                }
            }
        }
        assert_eq!(streams, STREAMS.len());
    }

    #[test]
    fn every_method_that_is_served_is_somebodys() {
        let contracts = [
            pb::DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        for file in contracts
            .into_iter()
            .flat_map(|bytes| FileDescriptorSet::decode(bytes).unwrap().file)
        {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let is_health = file.package() == "grpc.health.v1";
                    match permission::of_method(&path) {
                        Some(Access::Open) => assert!(is_health, "{path}"),
                        Some(Access::Of(roles)) => assert!(!is_health && roles != Roles::NONE, "{path}"),
                        None => panic!("{path} is nobody's"),
                    }
                }
            }
        }
    }
}
