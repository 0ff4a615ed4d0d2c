//! Values that can each be read, but together are not served.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::super::callers::KeyAddress;
use super::{
    AuthSettings, FreshnessSettings, Given, LimitSettings, Problem, ServerSettings, Settings, SettingsError,
    ShipmentSettings, Source,
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
    /// are served on loopback only, and that every limit lets something through.
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
    [
        ("server.grpc_addr", server.grpc_addr),
        ("server.http_addr", server.http_addr),
    ]
    .into_iter()
    .filter(|(_, address)| !is_loopback(*address))
    .map(|(key, _)| {
        let reason =
            format!("without authentication only loopback is served; set {key} to a loopback address");
        Refusal::new(&[key], reason)
    })
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
    [
        ("limits.max_message_bytes", limits.max_message_bytes == 0),
        ("limits.max_header_bytes", limits.max_header_bytes == 0),
        (
            "limits.max_concurrent_streams",
            limits.max_concurrent_streams == 0,
        ),
        ("limits.max_concurrent_calls", limits.max_concurrent_calls == 0),
        ("limits.max_connections", limits.max_connections == 0),
        ("limits.max_stream_resets", limits.max_stream_resets == 0),
        ("limits.max_control_frames", limits.max_control_frames == 0),
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
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Settings)) -> String {
        let mut settings = Settings::default();
        change(&mut settings);
        settings
            .validate()
            .expect_err("the settings were taken")
            .to_string()
    }

    #[test]
    fn defaults_are_served() {
        assert!(Settings::default().validate().is_ok());
    }

    #[test]
    fn relief_above_decision_is_refused_naming_both_keys() {
        let text = refused(|settings| settings.freshness.relief_max_age = "25h".parse().unwrap());
        assert!(
            text.contains("freshness.relief_max_age = 25h, freshness.decision_max_age = 24h: "),
            "{text}"
        );
    }

    #[test]
    fn relief_equal_to_decision_is_served() {
        let mut settings = Settings::default();
        settings.freshness.relief_max_age = settings.freshness.decision_max_age;
        assert!(settings.validate().is_ok());
    }

    #[test]
    fn address_that_is_not_loopback_is_refused_for_each_listener() {
        let text = refused(|settings| {
            settings.server.grpc_addr = "0.0.0.0:50051".parse().unwrap();
            settings.server.http_addr = "[::]:8080".parse().unwrap();
        });
        let reason = "without authentication only loopback is served; set";
        assert!(
            text.contains(&format!("{reason} server.grpc_addr to a loopback address")),
            "{text}"
        );
        assert!(
            text.contains(&format!("{reason} server.http_addr to a loopback address")),
            "{text}"
        );
    }

    #[test]
    fn remote_address_is_served_when_anonymous_callers_are_allowed() {
        let mut settings = Settings::default();
        settings.server.grpc_addr = "0.0.0.0:50051".parse().unwrap();
        settings.server.allow_anonymous_remote = true;
        assert!(settings.validate().is_ok());
    }

    #[test]
    fn remote_address_is_served_when_callers_are_known() {
        let mut settings = Settings::default();
        settings.server.grpc_addr = "0.0.0.0:50051".parse().unwrap();
        settings.auth.callers_file = "callers.toml".into();
        assert!(settings.validate().is_ok());
    }

    #[test]
    fn authentication_that_would_not_hold_is_refused() {
        let with = |change: fn(&mut AuthSettings)| {
            refused(|settings| {
                settings.auth.callers_file = "callers.toml".into();
                settings.auth.jwks_file = "keys.json".into();
                settings.auth.issuer = "https://id.customs.example".to_owned();
                settings.auth.audience = "greenlane".to_owned();
                change(&mut settings.auth);
            })
        };
        for (change, reason) in [
            (
                (|auth| auth.callers_file.clear()) as fn(&mut AuthSettings),
                "keys alone ask nobody",
            ),
            (
                |auth| auth.jwks_url = "https://a/keys".to_owned(),
                "keys come from one place",
            ),
            (|auth| auth.issuer.clear(), "of one issuer and for one audience"),
            (|auth| auth.audience.clear(), "of one issuer and for one audience"),
            (|auth| auth.clock_skew = "301s".parse().unwrap(), "at most 5m"),
            (|auth| auth.jwks_url = "http://a/keys".to_owned(), "must be https"),
        ] {
            let text = with(change);
            assert!(text.contains(reason), "{text}");
        }
    }

    #[test]
    fn loopback_is_known_in_each_of_its_forms() {
        for address in ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(is_loopback(address.parse().unwrap()), "{address}");
        }
        for address in ["0.0.0.0:1", "[::]:1", "192.168.0.1:1", "[::ffff:10.0.0.1]:1"] {
            assert!(!is_loopback(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn limit_of_zero_is_refused_for_each_limit() {
        let text = refused(|settings| {
            settings.limits.max_message_bytes = 0;
            settings.limits.max_concurrent_streams = 0;
            settings.limits.max_connections = 0;
            settings.limits.max_header_bytes = 0;
            settings.limits.max_concurrent_calls = 0;
            settings.limits.max_stream_resets = 0;
            settings.limits.max_control_frames = 0;
        });
        assert_eq!(
            text.lines()
                .filter(|line| line.contains(" = 0: a limit of 0"))
                .count(),
            7,
            "{text}"
        );
    }

    #[test]
    fn every_refusal_names_keys_that_exist() {
        let mut settings = Settings::default();
        settings.server.grpc_addr = "0.0.0.0:1".parse().unwrap();
        settings.server.http_addr = "0.0.0.0:1".parse().unwrap();
        settings.freshness.relief_max_age = "25h".parse().unwrap();
        settings.limits.max_message_bytes = 0;
        settings.limits.max_concurrent_streams = 0;
        settings.limits.max_connections = 0;
        settings.limits.max_header_bytes = 0;

        let known: Vec<_> = settings.entries().into_iter().map(|entry| entry.key).collect();

        for key in settings.refusals().into_iter().flat_map(|refusal| refusal.keys) {
            assert!(known.contains(&key), "{key}");
        }
    }
}
