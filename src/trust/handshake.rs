//! Handshakes: a socket becomes a connection in time, or ends alone.

use std::{io, net::SocketAddr, sync::Arc};

use rustls::{Error, HandshakeKind, ServerConfig, pki_types::CertificateDer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::debug;

use super::{ServerTrust, Standing, certificate::Facts, material::Material};
use crate::{access::PeerCertificate, metrics::TlsHandshake};

/// What is spoken over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/2, which a client must ask for by ALPN (RFC 7301; RFC 9113, 3.2).
    Grpc,
    /// HTTP/1.1, which is also what a client speaks that does not say.
    Http,
}

impl Protocol {
    fn config(self, material: &Material) -> Arc<ServerConfig> {
        Arc::clone(match self {
            Self::Grpc => &material.grpc,
            Self::Http => &material.http,
        })
    }
}

/// Makes connections of sockets. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Acceptor {
    trust: Arc<ServerTrust>,
    protocol: Protocol,
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Established<Io> {
    /// What is said over it.
    pub stream: TlsStream<Io>,
    /// The client's certificate, where it has shown one; it is trusted.
    pub certificate: Option<Arc<PeerCertificate>>,
    /// Tells when that is trusted no longer.
    pub standing: Standing,
}

/// Why a handshake failed, with what the library says.
#[derive(Debug)]
struct Failure(TlsHandshake, String);

impl Acceptor {
    pub(super) fn new(trust: Arc<ServerTrust>, protocol: Protocol) -> Self {
        Self { trust, protocol }
    }

    /// Shakes hands, within `limits.handshake_timeout`. Nothing where that fails, which is counted and ends this socket alone.
    pub async fn accept<Io>(&self, socket: Io, address: SocketAddr) -> Option<Established<Io>>
    where
        Io: AsyncRead + AsyncWrite + Unpin,
    {
        let shaken = timeout(self.trust.handshake_timeout(), self.shake(socket)).await;
        let shaken = shaken.unwrap_or_else(|_| {
            let told = "limits.handshake_timeout has passed".to_owned();
            Err(Failure(TlsHandshake::Timeout, told))
        });
        match shaken {
            Ok(established) => {
                self.trust.metrics().tls.shaken(TlsHandshake::Done);
                Some(established)
            }
            Err(Failure(outcome, why)) => {
                self.trust.metrics().tls.shaken(outcome);
                debug!(peer = %address, outcome = outcome.as_str(), why, "a TLS handshake failed");
                None
            }
        }
    }

    async fn shake<Io>(&self, socket: Io) -> Result<Established<Io>, Failure>
    where
        Io: AsyncRead + AsyncWrite + Unpin,
    {
        let material = self.trust.in_force();
        let acceptor = TlsAcceptor::from(self.protocol.config(&material));
        let stream = acceptor.accept(socket).await.map_err(|error| failure(&error))?;
        let (_, session) = stream.get_ref();
        if self.protocol == Protocol::Grpc && session.alpn_protocol() != Some(b"h2") {
            let told = "the client does not offer h2 by ALPN".to_owned();
            return Err(Failure(TlsHandshake::Incompatible, told));
        }
        let Some(chain) = session.peer_certificates() else {
            return Ok(Established {
                stream,
                certificate: None,
                standing: Standing::of_nobody(),
            });
        };
        let bad = |why: &str| Failure(TlsHandshake::BadCertificate, why.to_owned());
        // Whoever resumes a session was verified when that began.
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        if resumed && !self.trust.vouches_for(chain) {
            return Err(bad("a certificate of a resumed session is trusted no longer"));
        }
        let own = chain.first().and_then(|own| Facts::read(own).ok());
        let own = own.ok_or_else(|| bad("a certificate is trusted but cannot be read"))?;
        let chain: Vec<CertificateDer<'static>> = chain.to_vec();
        Ok(Established {
            stream,
            certificate: Some(Arc::new(PeerCertificate { uris: own.uris })),
            standing: Standing::of(Arc::clone(&self.trust), chain, material.generation),
        })
    }
}

/// What a failure of the library is counted as.
fn failure(error: &io::Error) -> Failure {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let outcome = match tls {
        None => TlsHandshake::Left,
        Some(Error::InvalidMessage(_) | Error::InappropriateMessage { .. }) => TlsHandshake::NotTls,
        Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => TlsHandshake::Incompatible,
        Some(Error::NoCertificatesPresented) => TlsHandshake::NoCertificate,
        Some(Error::InvalidCertificate(_) | Error::InvalidCertRevocationList(_)) => {
            TlsHandshake::BadCertificate
        }
        Some(Error::AlertReceived(_)) => TlsHandshake::Rejected,
        Some(_) => TlsHandshake::Misbehaved,
    };
    Failure(outcome, error.to_string())
}
