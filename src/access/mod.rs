//! Who calls, and what a caller may ask and see. Knows no transport: connections and headers are read elsewhere.
//!
//! ```text
//! certificate of the connection, or token of the call -> Caller (name, roles) -> may it call this method? what may it see?
//! ```
//!
//! A token is believed by a [`KeySet`] and [`TokenRules`]; certificates have been believed by TLS before. [`Callers`] tells whose
//! either is, and [`permission`] which role may call what.

mod caller;
mod callers;
mod cause;
mod identity;
mod keys;
mod peer;
pub mod permission;
mod role;
pub mod token;

pub use caller::{Caller, Quota};
pub use callers::{Callers, CallersError};
pub use cause::Cause;
pub use identity::{BadIdentity, Identity};
pub use keys::{Algorithm, KeySet, KeySetError, MAX_BYTES as MAX_KEY_SET_BYTES};
pub use peer::{Peer, PeerCertificate};
pub use permission::Access;
pub use role::{Role, Roles};
pub use token::{TokenRules, Verified};
