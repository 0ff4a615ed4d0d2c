//! The other side: TLS to a server whose certificate is verified.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use zeroize::Zeroizing;

use super::{
    files::{Kept, NamedFile, TrustError},
    material::provider,
};

/// The files that a client's TLS is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// The authorities by which servers are trusted; the system's without.
    pub ca: NamedFile,
    /// Its own certificate, for servers that ask for one; none without.
    pub certificate: NamedFile,
    /// The private key of its certificate; without, it stands in the certificate's file.
    pub key: NamedFile,
}

/// A certificate and its key in PEM, which belong together. Never shown.
pub struct ClientPair {
    /// The certificate, and those between it and an authority.
    pub certificate: Vec<u8>,
    /// The private key.
    pub key: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for ClientPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientPair").finish_non_exhaustive()
    }
}

impl ClientFiles {
    /// The authorities by which servers are trusted.
    pub fn roots(&self) -> Result<RootCertStore, TrustError> {
        let mut roots = RootCertStore::empty();
        if self.ca.is_set() {
            for authority in self.ca.certificates(&self.ca.read(Kept::Unaltered)?)? {
                roots.add(authority).map_err(|error| self.ca.problem(error))?;
            }
        } else {
            // A system's store may hold certificates that cannot be read; the others count.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Ok(roots)
    }

    /// The client's own certificate and key, where there is one.
    pub fn pair(&self) -> Result<Option<ClientPair>, TrustError> {
        if !self.certificate.is_set() {
            return Ok(None);
        }
        let file = if self.key.is_set() {
            &self.key
        } else {
            &self.certificate
        };
        let pair = ClientPair {
            certificate: self.certificate.read(Kept::Unaltered)?,
            key: Zeroizing::new(file.read(Kept::Secret)?),
        };
        let chain = self.certificate.certificates(&pair.certificate)?;
        let key = file.private_key(&pair.key)?;
        CertifiedKey::from_der(chain, key, &provider()).map_err(|error| file.problem(error))?;
        Ok(Some(pair))
    }

    /// A configuration for HTTP/2 that verifies the server, and shows the client's own certificate where there is one.
    pub fn http2(&self) -> Result<ClientConfig, TrustError> {
        let builder = builder().map_err(|error| self.ca.problem(error))?;
        let builder = builder.with_root_certificates(self.roots()?);
        let mut config = match self.pair()? {
            None => builder.with_no_client_auth(),
            Some(pair) => builder
                .with_client_auth_cert(
                    self.certificate.certificates(&pair.certificate)?,
                    self.certificate.private_key(&pair.key)?,
                )
                .map_err(|error| self.certificate.problem(error))?,
        };
        config.alpn_protocols.push(b"h2".to_vec());
        Ok(config)
    }

    /// A configuration for HTTP/1.1 that verifies the server. Shows no certificate.
    pub fn http(&self) -> Result<ClientConfig, TrustError> {
        let builder = builder().map_err(|error| self.ca.problem(error))?;
        Ok(builder
            .with_root_certificates(self.roots()?)
            .with_no_client_auth())
    }
}

/// A configuration for HTTP/1.1 that takes any server: only for who tells it nothing and asks for what is no secret, as the
/// probes of an orchestrator do.
pub fn unverified() -> Result<ClientConfig, Error> {
    let any = Arc::new(AnyServer(provider()));
    let builder = builder()?.dangerous().with_custom_certificate_verifier(any);
    Ok(builder.with_no_client_auth())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Error> {
    ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13, &TLS12])
}

/// Takes any certificate; the handshake is still held against its key.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
