//! TLS as the settings ask for it.

use std::{path::Path, sync::Arc};

use super::settings::{ClientCertificates, ClientSettings, Settings, TlsSettings};
use crate::{
    metrics::Metrics,
    trust::{NamedFile, ServerFiles, ServerTrust, TrustError, WantedOfClients, client::ClientFiles},
};

/// The TLS of both listeners; `None` where plaintext is served.
pub(super) fn server(
    settings: &Settings,
    metrics: &Arc<Metrics>,
) -> Result<Option<Arc<ServerTrust>>, TrustError> {
    let TlsSettings {
        certificate_file,
        key_file,
        client_ca_file,
        client_certificates,
        client_crl_file,
        reload_interval,
    } = &settings.tls;
    if !settings.tls.is_set() {
        return Ok(None);
    }
    let files = ServerFiles {
        certificate: NamedFile::new("tls.certificate_file", certificate_file),
        key: NamedFile::new("tls.key_file", key_file),
        client_ca: NamedFile::new("tls.client_ca_file", client_ca_file),
        client_crl: NamedFile::new("tls.client_crl_file", client_crl_file),
    };
    let wanted = match client_certificates {
        ClientCertificates::Optional => WantedOfClients::MayShow,
        ClientCertificates::Required => WantedOfClients::MustShow,
    };
    let (handshake_timeout, interval) = (settings.limits.handshake_timeout.get(), reload_interval.get());
    ServerTrust::load(files, wanted, handshake_timeout, interval, Arc::clone(metrics)).map(Some)
}

/// The files of a command's TLS to a server.
pub fn client_files(client: &ClientSettings) -> ClientFiles {
    let file = |setting, path: &Path| NamedFile::new(setting, path);
    ClientFiles {
        ca: file("client.tls_ca_file", &client.tls_ca_file),
        certificate: file("client.tls_certificate_file", &client.tls_certificate_file),
        key: file("client.tls_key_file", &client.tls_key_file),
    }
}
