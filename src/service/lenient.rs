//! Requests that hold other requests, on the wire the same messages as the contract's.
//!
//! The inner requests stay bytes until their turn comes, so that one that is no valid protobuf is answered with an
//! error of its own and the others are decided.

use bytes::Bytes;

/// `greenlane.v1.BatchDecideRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BatchDecideRequest {
    /// Each an encoded `DecideRequest`.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub requests: Vec<Bytes>,
}

/// `greenlane.v1.DecideStreamRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DecideStreamRequest {
    /// Comes back with the answer.
    #[prost(uint64, tag = "1")]
    pub correlation_id: u64,
    /// An encoded `DecideRequest`.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub request: Option<Bytes>,
}
