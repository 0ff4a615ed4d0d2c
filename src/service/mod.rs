//! The gRPC side: the only place that knows tonic.
//!
//! ```text
//! bytes -> codec -> validate (wire -> domain, all violations at once) -> facilitation -> convert (domain -> wire)
//! ```

pub mod audit;
pub mod codec;
pub mod deadline;
pub mod dispatch;
pub mod facilitation;
mod items;
pub mod registry;
pub mod status;
