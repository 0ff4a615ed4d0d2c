//! TLS: what we show, whom we trust, and how both are renewed without a restart.
//!
//! ```text
//! files --read whole, proven--> Material --swapped--> ServerTrust --> Acceptor: handshakes, in time
//!   ^                                                      |
//!   '------ looked at every tls.reload_interval            '--> Standing: a client's certificate that is trusted no longer
//! ```
//!
//! **Invariants.** A set of files is taken whole or not at all, and a bad one leaves the last good one in force. What a
//! connection was trusted for is asked again whenever the authorities or revocation lists change, and when a certificate of
//! its chain expires. New material has session storage of its own, so that no resumed session outlives what it was verified by.
//! A private key is in no error, no log and no `Debug`.

pub mod certificate;
pub mod client;
mod files;
mod handshake;
mod material;
pub mod secret_file;
mod server;
mod standing;
#[cfg(test)]
pub(crate) mod testing;

pub use files::{NamedFile, TrustError};
pub use handshake::{Acceptor, Established};
pub use material::{ServerFiles, WantedOfClients};
pub use server::ServerTrust;
pub use standing::Standing;
