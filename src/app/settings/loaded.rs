//! The configuration in effect, with where each value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::Settings;

/// The configuration in effect, with where each value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Where the value of each key (as in `server.grpc_addr`) came from; every key is here.
    pub sources: BTreeMap<String, Source>,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The program.
    Default,
    /// The configuration file at this path.
    File(PathBuf),
    /// The environment variable of this name.
    Environment(String),
    /// The command line.
    Flag,
}

impl Loaded {
    /// Gives every key, its value fit for printing, and where that came from, section by section.
    ///
    /// This is what `--check-config` prints. The order is that of the documentation and does not
    /// change with the values; an empty value is shown as `""`.
    #[must_use]
    pub fn rows(&self) -> Vec<(&'static str, String, String)> {
        self.settings
            .entries()
            .into_iter()
            .map(|entry| {
                let shown = if entry.shown.is_empty() {
                    "\"\"".to_owned()
                } else {
                    entry.shown
                };
                let source = self.sources.get(entry.key).unwrap_or(&Source::Default);
                (entry.key, shown, source.to_string())
            })
            .collect()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a row a line")]
    fn rows_of_the_defaults_are_the_documented_ones_in_their_order() {
        let loaded = Loaded {
            settings: Settings::default(),
            sources: BTreeMap::new(),
        };

        let rows: Vec<_> = loaded
            .rows()
            .into_iter()
            .map(|(key, value, _)| format!("{key} {value}"))
            .collect();

        let documented = [
            "server.grpc_addr 127.0.0.1:50051",
            "server.http_addr 127.0.0.1:8080",
            "server.data_dir ./greenlane-data",
            "server.workers 0",
            "server.acceptance_max_ahead 5m",
            "server.acceptance_max_behind 7d",
            "server.allow_anonymous_remote false",
            "server.allow_plaintext_remote false",
            "tls.certificate_file \"\"",
            "tls.key_file \"\"",
            "tls.client_ca_file \"\"",
            "tls.client_certificates required",
            "tls.client_crl_file \"\"",
            "tls.reload_interval 5s",
            "client.address \"\"",
            "client.tls_ca_file \"\"",
            "client.tls_certificate_file \"\"",
            "client.tls_key_file \"\"",
            "client.tls_name \"\"",
            "client.token_file \"\"",
            "upstream.url sqlite://./greenlane-data/greenlane.db",
            "upstream.poll_interval 20ms",
            "upstream.heartbeat_interval 1s",
            "upstream.timeout 5s",
            "upstream.min_enterprises 1",
            "upstream.change_log_retention 7d",
            "upstream.max_drift_ppm 200000",
            "upstream.max_drift_rows 500",
            "upstream.snapshot_interval 5m",
            "upstream.compare_interval 10m",
            "upstream.tls_ca_file \"\"",
            "upstream.tls_certificate_file \"\"",
            "upstream.tls_key_file \"\"",
            "upstream.password_file \"\"",
            "upstream.credentials_file \"\"",
            "upstream.nats_prefix greenlane",
            "policy.directory \"\"",
            "policy.reload_interval 250ms",
            "freshness.relief_max_age 5m",
            "freshness.decision_max_age 24h",
            "draw.master_secret_file \"\"",
            "draw.master_secret (not set)",
            "draw.reveal_after 90d",
            "audit.durability process",
            "audit.on_failure refuse",
            "audit.directory \"\"",
            "audit.replica \"\"",
            "audit.signing_key_file \"\"",
            "audit.segment_bytes 67108864",
            "audit.head_interval 1s",
            "audit.max_age 0s",
            "audit.max_bytes 0",
            "audit.delete_unshipped false",
            "audit.ship true",
            "shipments.serve true",
            "shipments.max_bytes 536870912",
            "shipments.max_containers 500000",
            "shipments.max_unsaved 100000",
            "shipments.save_all false",
            "shipments.retention 30d",
            "shipments.max_watches 20000",
            "shipments.watch_stall 30s",
            "shipments.heartbeat_interval 10s",
            "auth.callers_file \"\"",
            "auth.jwks_file \"\"",
            "auth.jwks_url \"\"",
            "auth.jwks_ca_file \"\"",
            "auth.issuer \"\"",
            "auth.audience \"\"",
            "auth.clock_skew 30s",
            "auth.refresh_interval 5m",
            "auth.open_metrics false",
            "drain.propagation 5s",
            "drain.deadline 20s",
            "drain.flush 10s",
            "drain.snapshot 1m",
            "limits.max_message_bytes 16777216",
            "limits.max_unfinished_bytes 134217728",
            "limits.max_header_bytes 16384",
            "limits.max_concurrent_streams 1024",
            "limits.max_concurrent_calls 65536",
            "limits.max_queue_delay 10ms",
            "limits.max_caller_rate 0",
            "limits.max_caller_calls 0",
            "limits.max_connections 10000",
            "limits.max_connections_per_address 2500",
            "limits.max_new_connections 2000",
            "limits.max_new_connections_per_address 500",
            "limits.max_stream_resets 500",
            "limits.max_control_frames 2000",
            "limits.preface_timeout 5s",
            "limits.max_connection_idle 10m",
            "limits.stall_timeout 30s",
            "limits.handshake_timeout 5s",
            "limits.keepalive_interval 30s",
            "limits.keepalive_timeout 20s",
            "limits.max_connection_age 30m",
            "limits.max_connection_age_grace 30s",
            "log.format text",
            "log.level info",
            "log.request_sample 0",
        ];
        assert_eq!(rows, documented);
    }

    #[test]
    fn source_names_the_file_or_the_variable() {
        assert_eq!(
            Source::File("/etc/greenlane.toml".into()).to_string(),
            "file /etc/greenlane.toml"
        );
        let variable = Source::Environment("GREENLANE_LOG__LEVEL".to_owned());
        assert_eq!(variable.to_string(), "environment variable GREENLANE_LOG__LEVEL");
    }
}
