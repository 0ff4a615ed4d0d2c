//! The gRPC side: the only place that knows tonic and the wire messages.
//!
//! ```text
//! bytes -> codec -> validate (wire -> domain, all violations at once) -> facilitation -> convert (domain -> wire)
//! ```

pub mod codec;
pub mod convert;
pub mod deadline;
pub mod dispatch;
pub mod facilitation;
mod items;
pub mod json;
pub mod lenient;
pub mod registry;
pub mod status;
pub mod validate;

/// The wire contract, package `greenlane.v1`, as generated from `proto/`.
#[allow(clippy::all, clippy::pedantic, reason = "generated code is not ours to lint")]
pub mod pb {
    tonic::include_proto!("greenlane.v1");

    pub use super::lenient::{BatchDecideRequest, DecideStreamRequest};

    /// The contract's descriptors, for reflection and JSON.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/greenlane.descriptors"));
}
