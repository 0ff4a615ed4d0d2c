//! Who calls, and what a caller may ask and see. Knows no transport: connections and headers are read elsewhere.
//!
//! ```text
//! certificate of the connection, or token of the call -> Caller (name, roles) -> may it call this method? what may it see?
//! ```

mod caller;
mod peer;
mod role;

pub use caller::Caller;
pub use peer::{Peer, PeerCertificate};
pub use role::{Role, Roles};
