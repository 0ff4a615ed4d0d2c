//! The direct way of the one call that matters: a unary `Decide`, between hyper and the decision, without the generated server.
//!
//! ```text
//! body --one message, whole, as most are--> decide --> log --> frame around the decision, OK behind it
//!    \--anything else--> the generated server, which knows what to answer to it
//! ```

use std::{convert::Infallible, pin::pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use tokio::time::timeout_at;
use tonic::Status;
use tower_service::Service as _;

use super::{
    admission::{Gatekeeper, Turn},
    body::AnswerBody,
    calling,
    calls::Call,
    deadline::Deadline,
    dispatch::its_turn,
    facilitation::{Answered, FacilitationRpc},
    intake::Intake,
    served::facilitation_service_server::FacilitationServiceServer,
    status::Refusal,
};

/// What answers the unary calls of one serving thread.
#[derive(Debug)]
pub struct Unary {
    facilitation: Arc<FacilitationRpc>,
    server: FacilitationServiceServer<FacilitationRpc>,
    max_message_bytes: usize,
    gatekeeper: Arc<Gatekeeper>,
}

/// A call that may be worked on.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) request: Request<Intake>,
    pub(super) call: Call,
    pub(super) turn: Turn,
    pub(super) deadline: Option<Deadline>,
}

/// How a call is answered.
enum Answer {
    Decided(Answered),
    Tonic(Response<tonic::body::Body>),
}

impl Unary {
    /// Messages of at most so many bytes are taken.
    pub fn new(facilitation: FacilitationRpc, max_message_bytes: usize, gatekeeper: Arc<Gatekeeper>) -> Self {
        let facilitation = Arc::new(facilitation);
        Self {
            server: FacilitationServiceServer::from_arc(Arc::clone(&facilitation))
                .max_decoding_message_size(max_message_bytes)
                .max_encoding_message_size(usize::MAX),
            facilitation,
            max_message_bytes,
            gatekeeper,
        }
    }

    /// What answers what is not answered here.
    pub fn server(&self) -> &FacilitationServiceServer<FacilitationRpc> {
        &self.server
    }

    /// Answers a call, and has it counted.
    pub(super) async fn answered(
        self: Arc<Self>,
        admitted: Admitted,
    ) -> Result<Response<AnswerBody>, Infallible> {
        let Admitted {
            request,
            call,
            turn,
            deadline,
        } = admitted;
        let answer = {
            let answer = pin!(self.answer(request, &call, turn, deadline));
            match deadline {
                None => answer.await,
                Some(Deadline(at)) => timeout_at(at, answer)
                    .await
                    .unwrap_or(Err(Refusal::DeadlineExceeded)),
            }
        };
        Ok(match answer {
            Ok(Answer::Decided(answered)) => {
                call.decided(&answered.given);
                whole(answered.framed())
            }
            Ok(Answer::Tonic(response)) => call.answered(response),
            Err(refusal) => call.answered(Status::from(refusal).into_http()),
        })
    }

    async fn answer(
        &self,
        request: Request<Intake>,
        call: &Call,
        turn: Turn,
        deadline: Option<Deadline>,
    ) -> Result<Answer, Refusal> {
        its_turn(turn, deadline, &self.gatekeeper).await?;
        // Before the message is read: while loading, the answer is the same whatever the request.
        self.facilitation.ready()?;
        let (head, mut body) = request.into_parts();
        let message = if head.headers.contains_key(ENCODING) {
            None
        } else {
            body.usual_message(self.max_message_bytes).await
        };
        let Some(message) = message else {
            let answer = self.server.clone().call(Request::from_parts(head, body));
            let Ok(response) = calling::of(call.caller().cloned(), answer).await;
            return Ok(Answer::Tonic(response));
        };
        // What is behind the message is nothing.
        drop((head, body));
        let caller = call.caller().ok_or(Refusal::Internal)?;
        let answered = self.facilitation.answer(message, deadline, caller).await?;
        Ok(Answer::Decided(answered))
    }
}

/// How a message may be compressed, which none of ours is.
const ENCODING: &str = "grpc-encoding";

/// The response with a whole answer.
fn whole(message: Bytes) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Message(message));
    let headers = response.headers_mut();
    // This one, and the date.
    headers.reserve(2);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
