//! The gRPC side: the only place that knows tonic.
//!
//! ```text
//! bytes -> codec -> validate (wire -> domain, all violations at once) -> facilitation -> convert (domain -> wire)
//! bytes -> unary -> usual    (the same of most requests to decide)    -> facilitation -> encode  (domain -> bytes)
//! ```

pub mod admission;
pub mod audit;
pub mod authentication;
pub mod body;
mod calling;
pub mod calls;
pub mod codec;
pub mod deadline;
pub mod dispatch;
pub mod ending;
pub mod facilitation;
pub mod given;
pub mod health;
pub mod intake;
mod items;
pub mod priority;
pub mod registry;
pub mod spans;
pub mod status;
pub mod unary;

/// The generated servers.
#[allow(
    clippy::all,
    clippy::pedantic,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    reason = "generated code is not ours to lint"
)]
pub mod served {
    include!(concat!(env!("OUT_DIR"), "/served/greenlane.v1.rs"));
}
