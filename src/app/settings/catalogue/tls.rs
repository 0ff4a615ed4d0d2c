//! The keys of `[tls]` and `[client]`.

use super::{
    super::{ClientSettings, TlsSettings},
    Entry, entry,
};

pub(super) fn tls_entries(tls: &TlsSettings) -> Vec<Entry> {
    let TlsSettings {
        certificate_file,
        key_file,
        client_ca_file,
        client_certificates,
        client_crl_file,
        reload_interval,
    } = tls;
    vec![
        entry("tls.certificate_file", certificate_file),
        entry("tls.key_file", key_file),
        entry("tls.client_ca_file", client_ca_file),
        entry("tls.client_certificates", client_certificates),
        entry("tls.client_crl_file", client_crl_file),
        entry("tls.reload_interval", reload_interval),
    ]
}

pub(super) fn client_entries(client: &ClientSettings) -> Vec<Entry> {
    let ClientSettings {
        address,
        tls_ca_file,
        tls_certificate_file,
        tls_key_file,
        tls_name,
        token_file,
    } = client;
    vec![
        entry("client.address", address),
        entry("client.tls_ca_file", tls_ca_file),
        entry("client.tls_certificate_file", tls_certificate_file),
        entry("client.tls_key_file", tls_key_file),
        entry("client.tls_name", tls_name),
        entry("client.token_file", token_file),
    ]
}
