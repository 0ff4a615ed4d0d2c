//! The body of an answer, as hyper sends it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Frame, SizeHint};
use tonic::{Status, body::Body};

use super::given::{self, Progress};

/// Bytes of a frame at most. Shorter ones are gathered by the library, so that many answers leave in one write; a longer one
/// takes a write of its own (`Guarded::is_write_vectored`).
const FRAME: usize = 1023;

/// Bytes of a part of a longer answer. What HTTP/2 has been given it keeps until the caller's window lets it go, whatever
/// becomes of the call: parts that the caller is to take first are not given yet.
const PART: usize = 16 << 10;

/// The body of an answer.
#[derive(Debug)]
pub enum AnswerBody {
    /// One message, or what is left of it, and that all is well.
    Message(Bytes),
    /// Everything was sent.
    Sent,
    /// As tonic makes it, and what is left of the part that it gave last.
    Tonic(Body, Bytes),
}

impl From<Body> for AnswerBody {
    fn from(body: Body) -> Self {
        Self::Tonic(body, Bytes::new())
    }
}

/// That all is well.
fn ok() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
    trailers
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = match &mut *self {
            Self::Message(rest) if rest.is_empty() => {
                *self = Self::Sent;
                Frame::trailers(ok())
            }
            Self::Message(rest) if rest.len() <= FRAME => Frame::data(std::mem::take(rest)),
            Self::Message(rest) => Frame::data(rest.split_to(FRAME)),
            Self::Sent => return Poll::Ready(None),
            Self::Tonic(body, rest) => {
                if rest.is_empty() {
                    match Pin::new(body).poll_frame(context) {
                        Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                            Ok(data) => *rest = data,
                            Err(frame) => return Poll::Ready(Some(Ok(frame))),
                        },
                        other @ (Poll::Ready(_) | Poll::Pending) => return other,
                    }
                }
                let part = rest.split_to(rest.len().min(PART));
                if !rest.is_empty() {
                    // The time in which it is to be taken begins anew.
                    given::tell(Progress::HandedOut);
                }
                Frame::data(part)
            }
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Message(_) => false,
            Self::Sent => true,
            Self::Tonic(body, rest) => rest.is_empty() && body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            // gRPC's messages have lengths of their own.
            Self::Message(_) | Self::Sent => SizeHint::default(),
            Self::Tonic(body, _) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, task::Waker};

    use http_body::Body as _;

    use super::*;

    #[test]
    fn a_long_answer_of_tonics_is_given_in_parts() {
        let whole: Bytes = (0..=u8::MAX).cycle().take(2 * PART + 1).collect();
        let mut body = pin!(AnswerBody::from(Body::new(http_body_util::Full::new(
            whole.clone()
        ))));
        let mut context = Context::from_waker(Waker::noop());
        let mut sent = Vec::new();
        let mut lengths = Vec::new();
        while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut context) {
            let data = frame.unwrap().into_data().unwrap();
            sent.extend_from_slice(&data);
            lengths.push(data.len());
            assert_eq!(body.is_end_stream(), sent.len() == whole.len());
        }
        assert!(sent == whole);
        assert_eq!(lengths, [PART, PART, 1]);
    }

    #[test]
    fn a_message_is_sent_in_frames_that_are_gathered_and_ends_with_its_status() {
        for length in [1, FRAME, FRAME + 1, 5 * FRAME] {
            let message: Bytes = (0..=u8::MAX).cycle().take(length).collect();
            let mut body = pin!(AnswerBody::Message(message.clone()));
            let mut context = Context::from_waker(Waker::noop());
            let (mut sent, mut trailers) = (Vec::new(), None);
            while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut context) {
                assert!(trailers.is_none(), "nothing follows on trailers");
                match frame.unwrap().into_data() {
                    Ok(data) => {
                        assert!(!data.is_empty() && data.len() <= FRAME);
                        sent.extend_from_slice(&data);
                    }
                    Err(frame) => trailers = frame.into_trailers().ok(),
                }
            }
            assert!(sent == message && body.is_end_stream());
            assert_eq!(trailers.unwrap()["grpc-status"], "0");
        }
    }
}
