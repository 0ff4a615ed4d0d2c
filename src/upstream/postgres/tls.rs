//! TLS to the database: whatever uses it verifies the server.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};

use super::super::UpstreamError;

/// Files in PEM; an empty path is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// By which the server is trusted; empty is the system's.
    pub ca: PathBuf,
    /// The client's certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What of a server's certificate is verified. There is no "nothing".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verification {
    /// Who issued it.
    Issuer,
    /// Who issued it, and that it is of the host.
    IssuerAndHost,
}

/// The client's side of TLS, from files that are read anew for each connection: they are replaced while we run.
pub(super) fn client_config(
    files: &TlsFiles,
    verification: Verification,
) -> Result<ClientConfig, UpstreamError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Arc::new(roots(&files.ca)?);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    let builder = match verification {
        Verification::IssuerAndHost => builder.with_root_certificates(roots),
        Verification::Issuer => {
            let inner = WebPkiServerVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(unusable)?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(IssuerOnly(inner)))
        }
    };
    if files.certificate.as_os_str().is_empty() {
        return Ok(builder.with_no_client_auth());
    }
    let key = if files.key.as_os_str().is_empty() {
        &files.certificate
    } else {
        &files.key
    };
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, error))?;
    builder
        .with_client_auth_cert(certificates(&files.certificate)?, key)
        .map_err(unusable)
}

fn roots(ca: &Path) -> Result<RootCertStore, UpstreamError> {
    let mut roots = RootCertStore::empty();
    if ca.as_os_str().is_empty() {
        // A system's store may hold certificates that cannot be read; the others count.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    }
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| unreadable(ca, error))?;
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, UpstreamError> {
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(file, error))?;
    if certificates.is_empty() {
        return Err(unreadable(file, "holds no certificate"));
    }
    Ok(certificates)
}

fn unreadable(file: &Path, error: impl std::fmt::Display) -> UpstreamError {
    UpstreamError::Unavailable(format!("{}: {error}", file.display()))
}

fn unusable(error: impl std::fmt::Display) -> UpstreamError {
    UpstreamError::Unavailable(format!("TLS: {error}"))
}

/// Verifies the issuer and lets any host name pass: `sslmode=verify-ca`.
#[derive(Debug)]
struct IssuerOnly(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for IssuerOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self
            .0
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The name is looked at last, when all else is well.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
