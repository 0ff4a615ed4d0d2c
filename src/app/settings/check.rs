//! Values that can each be read, but together are not served.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::super::callers::KeyAddress;
use super::{
    AuthSettings, ClientSettings, FreshnessSettings, Given, LimitSettings, Problem, ServerSettings, Settings,
    SettingsError, ShipmentSettings, Source, TlsSettings,
};

/// The most that an issuer's clock may differ: a token that has expired is not to be taken for long.
const MAX_CLOCK_SKEW: Duration = Duration::from_mins(5);

/// What is refused, by key, and why.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) keys: Vec<&'static str>,
    reason: String,
}

impl Settings {
    /// Checks what no single value shows: that relief expires before strictness, that anonymous callers
    /// and plaintext are served on loopback only, that files of TLS that belong together are all named, and that every limit
    /// lets something through.
    ///
    /// [`load`](super::load) has done this already; it is for settings that were built or changed by hand.
    ///
    /// # Errors
    ///
    /// Every value that is refused, not only the first.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let refusals = self.refusals();
        if refusals.is_empty() {
            return Ok(());
        }
        let problems = refusals
            .into_iter()
            .map(|refusal| refusal.into_problem(self, None))
            .collect();
        Err(SettingsError { problems })
    }

    pub(super) fn refusals(&self) -> Vec<Refusal> {
        let mut refusals = anonymous_remote(&self.server, &self.auth);
        refusals.extend(authentication(&self.auth));
        refusals.extend(plaintext_remote(&self.server, &self.tls));
        refusals.extend(half_of_tls(&self.tls, &self.client));
        refusals.extend(relief_after_decision(&self.freshness));
        refusals.extend(limits_of_zero(&self.limits, &self.shipments));
        refusals
    }
}

// === impl Refusal ===

impl Refusal {
    fn new(keys: &[&'static str], reason: impl Into<String>) -> Self {
        Self {
            keys: keys.to_vec(),
            reason: reason.into(),
        }
    }

    /// Tells the refusal with the values concerned and, where known, their sources.
    pub(super) fn into_problem(
        self,
        settings: &Settings,
        sources: Option<&BTreeMap<String, Source>>,
    ) -> Problem {
        let Self { keys, reason } = self;
        let given = settings
            .entries()
            .into_iter()
            .filter(|entry| keys.contains(&entry.key))
            .map(|entry| Given {
                key: entry.key.to_owned(),
                value: entry.form.may_be_shown().then_some(entry.shown),
                origin: sources.and_then(|sources| sources.get(entry.key)).cloned(),
            })
            .collect();
        Problem::Refused { given, reason }
    }
}

/// Without a callers file everybody is anonymous and has every role.
fn anonymous_remote(server: &ServerSettings, auth: &AuthSettings) -> Vec<Refusal> {
    if server.allow_anonymous_remote || auth.callers_file().is_some() {
        return Vec::new();
    }
    let remote = remote_addresses(server).map(|key| {
        let reason =
            format!("without authentication only loopback is served; set {key} to a loopback address");
        Refusal::new(&[key], reason)
    });
    remote.collect()
}

/// Whoever is on the way could read decisions with their reasons, and alter them.
fn plaintext_remote(server: &ServerSettings, tls: &TlsSettings) -> Vec<Refusal> {
    if server.allow_plaintext_remote || tls.is_set() {
        return Vec::new();
    }
    let remote = remote_addresses(server).map(|key| {
        let reason = format!(
            "plaintext is served on loopback only; set tls.certificate_file and tls.key_file, or {key} to a loopback \
             address, or server.allow_plaintext_remote where something else encrypts"
        );
        Refusal::new(&[key], reason)
    });
    remote.collect()
}

/// The keys of the addresses that are not loopback.
fn remote_addresses(server: &ServerSettings) -> impl Iterator<Item = &'static str> {
    let addresses = [
        ("server.grpc_addr", server.grpc_addr),
        ("server.http_addr", server.http_addr),
    ];
    let remote = addresses
        .into_iter()
        .filter(|(_, address)| !is_loopback(*address));
    remote.map(|(key, _)| key)
}

fn half_of_tls(tls: &TlsSettings, client: &ClientSettings) -> Vec<Refusal> {
    let is_set = |path: &Path| !path.as_os_str().is_empty();
    let (certificate, key) = (is_set(&tls.certificate_file), is_set(&tls.key_file));
    let (authority, list) = (is_set(&tls.client_ca_file), is_set(&tls.client_crl_file));
    [
        (
            certificate != key,
            ["tls.certificate_file", "tls.key_file"],
            "a certificate is served with its key; set both or neither",
        ),
        (
            authority && !certificate,
            ["tls.client_ca_file", "tls.certificate_file"],
            "client certificates are shown over TLS; set tls.certificate_file and tls.key_file too",
        ),
        (
            list && !authority,
            ["tls.client_crl_file", "tls.client_ca_file"],
            "a list tells what an authority has revoked; set tls.client_ca_file too",
        ),
        (
            is_set(&client.tls_key_file) && !is_set(&client.tls_certificate_file),
            ["client.tls_key_file", "client.tls_certificate_file"],
            "a key is shown with its certificate; set client.tls_certificate_file too",
        ),
    ]
    .into_iter()
    .filter(|(is_half, ..)| *is_half)
    .map(|(_, keys, reason)| Refusal::new(&keys, reason))
    .collect()
}

/// Settings that would leave open what they look like closing.
fn authentication(auth: &AuthSettings) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let mut refuse = |keys: &[&'static str], reason: &str| refusals.push(Refusal::new(keys, reason));
    if auth.takes_tokens() && auth.callers_file().is_none() {
        let keys = ["auth.callers_file", "auth.jwks_file", "auth.jwks_url"];
        refuse(
            &keys,
            "keys alone ask nobody who they are; set auth.callers_file too",
        );
    }
    if auth.jwks_file().is_some() && !auth.jwks_url.is_empty() {
        refuse(
            &["auth.jwks_file", "auth.jwks_url"],
            "keys come from one place; set one of them",
        );
    }
    if auth.takes_tokens() && (auth.issuer.is_empty() || auth.audience.is_empty()) {
        let reason = "tokens are taken of one issuer and for one audience; set both";
        refuse(&["auth.issuer", "auth.audience"], reason);
    }
    if !auth.jwks_url.is_empty()
        && let Err(problem) = auth.jwks_url.parse::<KeyAddress>()
    {
        refuse(&["auth.jwks_url"], &problem.to_string());
    }
    if auth.clock_skew.get() > MAX_CLOCK_SKEW {
        refuse(
            &["auth.clock_skew"],
            "set it to at most 5m: that long a token is taken that has expired",
        );
    }
    refusals
}

/// Sees through an IPv4 address written as IPv6.
fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn relief_after_decision(freshness: &FreshnessSettings) -> Option<Refusal> {
    let FreshnessSettings {
        relief_max_age,
        decision_max_age,
    } = freshness;
    (relief_max_age > decision_max_age).then(|| {
        Refusal::new(
            &["freshness.relief_max_age", "freshness.decision_max_age"],
            "relief must expire before strictness; set freshness.relief_max_age to at most \
             freshness.decision_max_age",
        )
    })
}

fn limits_of_zero(limits: &LimitSettings, shipments: &ShipmentSettings) -> Vec<Refusal> {
    // Durations have no lower bound.
    let LimitSettings {
        max_message_bytes,
        max_concurrent_streams,
        max_connections,
        max_header_bytes,
        handshake_timeout: _,
        keepalive_interval: _,
        keepalive_timeout: _,
        max_connection_age: _,
        max_connection_age_grace: _,
    } = limits;
    [
        ("limits.max_message_bytes", *max_message_bytes == 0),
        ("limits.max_concurrent_streams", *max_concurrent_streams == 0),
        ("limits.max_connections", *max_connections == 0),
        ("limits.max_header_bytes", *max_header_bytes == 0),
        ("shipments.max_bytes", shipments.max_bytes == 0),
        ("shipments.max_containers", shipments.max_containers == 0),
        ("shipments.max_unsaved", shipments.max_unsaved == 0),
        ("shipments.max_watches", shipments.max_watches == 0),
    ]
    .into_iter()
    .filter(|(_, is_zero)| *is_zero)
    .map(|(key, _)| Refusal::new(&[key], "a limit of 0 serves nobody; set it to 1 or more"))
    .collect()
}

#[cfg(test)]
mod tests;
