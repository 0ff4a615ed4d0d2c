//! Requests and answers of the hot path as their bytes, on the wire the same messages as the contract's.
//!
//! A decision is encoded once: the same bytes go into the audit log and to the caller. A request is logged as it was received.

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError,
    encoding::{DecodeContext, WireType, skip_field},
};

use super::pb;

/// `greenlane.v1.DecideRequest`, not decoded yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DecideRequest(pub Bytes);

impl prost::Message for DecideRequest {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        buffer.put_slice(&self.0);
    }

    /// Never called by [`Self::decode`], which takes the message whole.
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        skip_field(wire_type, tag, buffer, context)
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn decode(mut buffer: impl Buf) -> Result<Self, DecodeError> {
        Ok(Self(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// `greenlane.v1.DecideResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DecideResponse {
    /// An encoded `Decision`.
    #[prost(bytes = "bytes", tag = "1")]
    pub decision: Bytes,
}

/// An answer to one item: an encoded `Decision`, or why there is none.
pub type Answered = Result<Bytes, pb::ItemError>;

/// `greenlane.v1.BatchDecideResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BatchDecideResponse {
    /// One for each request.
    #[prost(message, repeated, tag = "1")]
    pub results: Vec<BatchDecideResult>,
}

/// `greenlane.v1.BatchDecideResult`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BatchDecideResult {
    /// An encoded `Decision`; empty where there is an error.
    #[prost(bytes = "bytes", tag = "1")]
    pub decision: Bytes,
    /// Why there is none.
    #[prost(message, optional, tag = "2")]
    pub error: Option<pb::ItemError>,
}

impl From<Answered> for BatchDecideResult {
    fn from(answered: Answered) -> Self {
        let (decision, error) = split(answered);
        Self { decision, error }
    }
}

/// `greenlane.v1.DecideStreamResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DecideStreamResponse {
    /// That of the message answered.
    #[prost(uint64, tag = "1")]
    pub correlation_id: u64,
    /// An encoded `Decision`; empty where there is an error.
    #[prost(bytes = "bytes", tag = "2")]
    pub decision: Bytes,
    /// Why there is none.
    #[prost(message, optional, tag = "3")]
    pub error: Option<pb::ItemError>,
}

impl DecideStreamResponse {
    /// The answer to one message of a stream.
    pub fn new(correlation_id: u64, answered: Answered) -> Self {
        let (decision, error) = split(answered);
        Self {
            correlation_id,
            decision,
            error,
        }
    }
}

fn split(answered: Answered) -> (Bytes, Option<pb::ItemError>) {
    match answered {
        Ok(decision) => (decision, None),
        Err(error) => (Bytes::new(), Some(error)),
    }
}
