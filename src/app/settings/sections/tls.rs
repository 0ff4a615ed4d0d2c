//! `[tls]` and `[client]`: what both listeners show and whom they trust, and the same of the commands that connect to them.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::super::Span;

/// `[tls]`: what both listeners show and whom they trust; files in PEM, looked at again while the service runs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSettings {
    /// The certificate and those between it and an authority; empty serves plaintext.
    pub certificate_file: PathBuf,
    /// The private key of the certificate, in a file that others may not read.
    pub key_file: PathBuf,
    /// Authorities of client certificates; empty asks for none.
    pub client_ca_file: PathBuf,
    /// Whether a gRPC client must show a certificate, where there are authorities. Over HTTP it never must, because probes
    /// and scrapers may have none.
    pub client_certificates: ClientCertificates,
    /// What those authorities have revoked; empty is nothing. A certificate whose state no list tells is not trusted.
    pub client_crl_file: PathBuf,
    /// Time between two looks for changed files.
    pub reload_interval: Span,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            certificate_file: PathBuf::new(),
            key_file: PathBuf::new(),
            client_ca_file: PathBuf::new(),
            client_certificates: ClientCertificates::default(),
            client_crl_file: PathBuf::new(),
            reload_interval: Span::new(Duration::from_secs(5)),
        }
    }
}

impl TlsSettings {
    /// Whether TLS is served.
    #[must_use]
    pub fn is_set(&self) -> bool {
        !self.certificate_file.as_os_str().is_empty()
    }
}

/// Whether a gRPC client must show a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// One that is trusted, or none.
    Optional,
    /// One that is trusted.
    #[default]
    Required,
}

/// `[client]`: how commands reach a running server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientSettings {
    /// `https://host:port`, or `http://host:port` for plaintext; empty is `server.grpc_addr`, over TLS where `[tls]` is set.
    pub address: String,
    /// Authorities by which the server is trusted; empty is the system's.
    pub tls_ca_file: PathBuf,
    /// A certificate for servers that ask for one; empty is none.
    pub tls_certificate_file: PathBuf,
    /// The private key of that certificate; empty: it stands in the same file.
    pub tls_key_file: PathBuf,
    /// The name that the server's certificate must have; empty is the address's.
    pub tls_name: String,
    /// A file with a token by which the server knows who calls; empty is none. It is read anew for each connection.
    pub token_file: PathBuf,
}
