//! Values that can each be read, but together are not served.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{
    FreshnessSettings, Given, LimitSettings, Problem, ServerSettings, Settings, SettingsError,
    ShipmentSettings, Source,
};

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
        let mut refusals = anonymous_remote(&self.server);
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

/// There is no authentication to configure yet, so that every caller is anonymous and has every role.
fn anonymous_remote(server: &ServerSettings) -> Vec<Refusal> {
    if server.allow_anonymous_remote {
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
