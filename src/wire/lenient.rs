//! Requests that hold other requests, on the wire the same messages as the contract's.
//!
//! The inner requests stay bytes until their turn comes, so that one that is no valid protobuf is answered with an
//! error of its own and the others are decided.

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError,
    encoding::{self, DecodeContext, WireType},
};

/// Most requests in a batch.
pub const MAX_BATCH: usize = 1000;

/// `greenlane.v1.BatchDecideRequest`. Of more requests than there may be, one is kept, so that it shows: a request takes two
/// bytes on the wire, and sixteen times that here.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct BatchDecideRequest {
    /// Each an encoded `DecideRequest`.
    pub requests: Vec<Bytes>,
}

impl prost::Message for BatchDecideRequest {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        encoding::bytes::encode_repeated(1, &self.requests, buffer);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        if tag != 1 || self.requests.len() > MAX_BATCH {
            return encoding::skip_field(wire_type, tag, buffer, context);
        }
        encoding::bytes::merge_repeated(wire_type, &mut self.requests, buffer, context).map_err(
            |mut error| {
                error.push("BatchDecideRequest", "requests");
                error
            },
        )
    }

    fn encoded_len(&self) -> usize {
        encoding::bytes::encoded_len_repeated(1, &self.requests)
    }

    fn clear(&mut self) {
        self.requests.clear();
    }
}

/// `greenlane.v1.DecideStreamRequest`. Decoding it never fails, because a failure would end the stream: a frame that is
/// no such message says so in [`Self::undecodable`].
#[derive(Clone, PartialEq, Debug, Default)]
pub struct DecideStreamRequest {
    /// Comes back with the answer.
    pub correlation_id: u64,
    /// An encoded `DecideRequest`.
    pub request: Option<Bytes>,
    /// Why the frame could not be decoded. Never sent.
    pub undecodable: Option<DecodeError>,
}

/// The fields of the message on the wire.
#[derive(Clone, PartialEq, prost::Message)]
struct Frame {
    #[prost(uint64, tag = "1")]
    correlation_id: u64,
    #[prost(bytes = "bytes", optional, tag = "2")]
    request: Option<Bytes>,
}

impl DecideStreamRequest {
    fn frame(&self) -> Frame {
        Frame {
            correlation_id: self.correlation_id,
            request: self.request.clone(),
        }
    }

    fn set(&mut self, frame: Frame) {
        (self.correlation_id, self.request) = (frame.correlation_id, frame.request);
    }
}

impl prost::Message for DecideStreamRequest {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        self.frame().encode_raw(buffer);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        let mut frame = self.frame();
        let merged = frame.merge_field(tag, wire_type, buffer, context);
        self.set(frame);
        merged
    }

    fn encoded_len(&self) -> usize {
        self.frame().encoded_len()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }

    fn decode(buffer: impl Buf) -> Result<Self, DecodeError> {
        let mut message = Self::default();
        match Frame::decode(buffer) {
            Ok(frame) => message.set(frame),
            Err(error) => message.undecodable = Some(error),
        }
        Ok(message)
    }
}
