//! The other end of a connection.

use core::net::SocketAddr;
use std::sync::Arc;

/// The other end of a connection, as far as the connection tells.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where it calls from.
    pub address: SocketAddr,
    /// Its certificate, where it has shown one that is trusted.
    pub certificate: Option<Arc<PeerCertificate>>,
}

/// What counts of a client certificate that is trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Its subject alternative names of the kind URI, as they stand there (RFC 5280, 4.2.1.6).
    pub uris: Vec<String>,
}
