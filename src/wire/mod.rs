//! The contract's messages, and the ways between them and the domain. Knows no transport.
//!
//! ```text
//! pb::DecideRequest -> validate (every rule at once) -> domain::Declaration     facilitation::Outcome -> convert -> pb::Decision
//! bytes of a usual one -> usual ----------------------------^                                         -> encode  -> its bytes
//! ```

pub mod convert;
pub mod difference;
pub mod encode;
pub mod enterprise_key;
mod fields;
pub mod json;
pub mod lenient;
pub mod raw;
pub mod reading;
pub mod record;
pub mod shipment_key;
pub mod usual;
pub mod validate;
pub mod violations;

/// The wire contract, package `greenlane.v1`, as generated from `proto/`.
#[allow(clippy::all, clippy::pedantic, reason = "generated code is not ours to lint")]
pub mod pb {
    tonic::include_proto!("greenlane.v1");

    pub use super::lenient::{BatchDecideRequest, DecideStreamRequest};

    /// The contract's descriptors, for reflection and JSON.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/greenlane.descriptors"));
}
