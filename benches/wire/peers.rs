//! What the product is held against: servers that read the same request and build and encode a decision of the same size.
//! They look nothing up, decide nothing and count nothing.

use std::{
    convert::Infallible,
    future::ready,
    sync::Arc,
    task::{Context, Poll},
};

use greenlane::wire::pb;
use prost::Message as _;
use tokio::net::TcpListener;
use tonic::{
    body::Body,
    codegen::BoxFuture,
    server::{Grpc, NamedService, UnaryService},
    transport::server::TcpIncoming,
};

/// A service as `tonic-build` generates it, with one method.
#[derive(Debug, Clone)]
pub(crate) struct Constant(Arc<pb::Decision>);

impl Constant {
    /// Answers with that encoded decision.
    pub(crate) fn new(decision: &[u8]) -> Self {
        Self(Arc::new(pb::Decision::decode(decision).expect("a decision")))
    }

    /// Serves on that socket, for ever.
    pub(crate) async fn serve(self, listener: TcpListener) {
        let sockets = TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = tonic::transport::Server::builder().add_service(self);
        server.serve_with_incoming(sockets).await.expect("it serves");
    }
}

impl UnaryService<pb::DecideRequest> for Constant {
    type Response = pb::DecideResponse;
    type Future = BoxFuture<tonic::Response<Self::Response>, tonic::Status>;

    fn call(&mut self, request: tonic::Request<pb::DecideRequest>) -> Self::Future {
        let decision = Arc::clone(&self.0);
        Box::pin(async move {
            let mut decision = pb::Decision::clone(&decision);
            decision.declaration_number = request.into_inner().declaration_number;
            Ok(tonic::Response::new(pb::DecideResponse {
                decision: Some(decision),
            }))
        })
    }
}

impl tower_service::Service<http::Request<Body>> for Constant {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != "/greenlane.v1.FacilitationService/Decide" {
            let status = tonic::Status::unimplemented("a constant answers Decide alone");
            return Box::pin(ready(Ok(status.into_http())));
        }
        let own = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(tonic_prost::ProstCodec::default());
            Ok(grpc.unary(own, request).await)
        })
    }
}

impl NamedService for Constant {
    const NAME: &'static str = "greenlane.v1.FacilitationService";
}
