//! Every key, in the order of the documentation: how its value is written, and how it is shown.
//!
//! Each section is taken apart field by field, so that a new field does not compile until it is here.

mod limits;
mod tls;
mod types;

use toml::Value;

use self::{
    tls::{client_entries, tls_entries},
    types::Setting,
};
use super::{
    AuditSettings, AuthSettings, DrainSettings, DrawSettings, FreshnessSettings, LimitSettings, LogSettings,
    PolicySettings, ServerSettings, Settings, ShipmentSettings, StoreUrl, UpstreamSettings,
};

/// One key with its current value.
#[derive(Debug)]
pub(super) struct Entry {
    /// The key, as in `server.grpc_addr`.
    pub(super) key: &'static str,
    /// The value, fit for printing.
    pub(super) shown: String,
    /// How the value is written.
    pub(super) form: Form,
}

/// How a value is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    Address,
    Duration,
    Number { most: u64 },
    Switch,
    Text,
    Path,
    Choice(&'static [&'static str]),
    StoreUrl,
    Secret,
}

impl Settings {
    /// Gives every key with its value, section by section.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let Self {
            server,
            tls,
            client,
            upstream,
            policy,
            freshness,
            draw,
            audit,
            shipments,
            auth,
            drain,
            limits,
            log,
        } = self;
        let mut entries = server_entries(server);
        entries.extend(tls_entries(tls));
        entries.extend(client_entries(client));
        entries.extend(upstream_entries(upstream, self.upstream_url()));
        entries.extend(policy_entries(policy));
        entries.extend(freshness_entries(freshness));
        entries.extend(draw_entries(draw));
        entries.extend(audit_entries(audit));
        entries.extend(shipment_entries(shipments));
        entries.extend(auth_entries(auth));
        entries.extend(drain_entries(drain));
        entries.extend(limits::entries(limits));
        entries.extend(log_entries(log));
        entries
    }
}

fn server_entries(server: &ServerSettings) -> Vec<Entry> {
    let ServerSettings {
        grpc_addr,
        http_addr,
        data_dir,
        workers,
        acceptance_max_ahead,
        acceptance_max_behind,
        allow_anonymous_remote,
        allow_plaintext_remote,
    } = server;
    vec![
        entry("server.grpc_addr", grpc_addr),
        entry("server.http_addr", http_addr),
        entry("server.data_dir", data_dir),
        entry("server.workers", workers),
        entry("server.acceptance_max_ahead", acceptance_max_ahead),
        entry("server.acceptance_max_behind", acceptance_max_behind),
        entry("server.allow_anonymous_remote", allow_anonymous_remote),
        entry("server.allow_plaintext_remote", allow_plaintext_remote),
    ]
}

/// Shows the address in effect, not the empty text that stands for the embedded store.
fn upstream_entries(upstream: &UpstreamSettings, effective_url: String) -> Vec<Entry> {
    let UpstreamSettings {
        url: _,
        poll_interval,
        heartbeat_interval,
        timeout,
        min_enterprises,
        change_log_retention,
        max_drift_ppm,
        max_drift_rows,
        snapshot_interval,
        compare_interval,
        tls_ca_file,
        tls_certificate_file,
        tls_key_file,
        password_file,
        credentials_file,
        nats_prefix,
    } = upstream;
    vec![
        entry("upstream.url", &StoreUrl::new(effective_url)),
        entry("upstream.poll_interval", poll_interval),
        entry("upstream.heartbeat_interval", heartbeat_interval),
        entry("upstream.timeout", timeout),
        entry("upstream.min_enterprises", min_enterprises),
        entry("upstream.change_log_retention", change_log_retention),
        entry("upstream.max_drift_ppm", max_drift_ppm),
        entry("upstream.max_drift_rows", max_drift_rows),
        entry("upstream.snapshot_interval", snapshot_interval),
        entry("upstream.compare_interval", compare_interval),
        entry("upstream.tls_ca_file", tls_ca_file),
        entry("upstream.tls_certificate_file", tls_certificate_file),
        entry("upstream.tls_key_file", tls_key_file),
        entry("upstream.password_file", password_file),
        entry("upstream.credentials_file", credentials_file),
        entry("upstream.nats_prefix", nats_prefix),
    ]
}

fn policy_entries(policy: &PolicySettings) -> Vec<Entry> {
    let PolicySettings {
        directory,
        reload_interval,
    } = policy;
    vec![
        entry("policy.directory", directory),
        entry("policy.reload_interval", reload_interval),
    ]
}

fn freshness_entries(freshness: &FreshnessSettings) -> Vec<Entry> {
    let FreshnessSettings {
        relief_max_age,
        decision_max_age,
    } = freshness;
    vec![
        entry("freshness.relief_max_age", relief_max_age),
        entry("freshness.decision_max_age", decision_max_age),
    ]
}

fn draw_entries(draw: &DrawSettings) -> Vec<Entry> {
    let DrawSettings {
        master_secret_file,
        master_secret,
        reveal_after,
    } = draw;
    vec![
        entry("draw.master_secret_file", master_secret_file),
        entry("draw.master_secret", master_secret),
        entry("draw.reveal_after", reveal_after),
    ]
}

fn audit_entries(audit: &AuditSettings) -> Vec<Entry> {
    let AuditSettings {
        durability,
        on_failure,
        directory,
        replica,
        signing_key_file,
        segment_bytes,
        head_interval,
        max_age,
        max_bytes,
        delete_unshipped,
        ship,
    } = audit;
    vec![
        entry("audit.durability", durability),
        entry("audit.on_failure", on_failure),
        entry("audit.directory", directory),
        entry("audit.replica", replica),
        entry("audit.signing_key_file", signing_key_file),
        entry("audit.segment_bytes", segment_bytes),
        entry("audit.head_interval", head_interval),
        entry("audit.max_age", max_age),
        entry("audit.max_bytes", max_bytes),
        entry("audit.delete_unshipped", delete_unshipped),
        entry("audit.ship", ship),
    ]
}

fn shipment_entries(shipments: &ShipmentSettings) -> Vec<Entry> {
    let ShipmentSettings {
        serve,
        max_bytes,
        max_containers,
        max_unsaved,
        save_all,
        retention,
        max_watches,
        watch_stall,
        heartbeat_interval,
    } = shipments;
    vec![
        entry("shipments.serve", serve),
        entry("shipments.max_bytes", max_bytes),
        entry("shipments.max_containers", max_containers),
        entry("shipments.max_unsaved", max_unsaved),
        entry("shipments.save_all", save_all),
        entry("shipments.retention", retention),
        entry("shipments.max_watches", max_watches),
        entry("shipments.watch_stall", watch_stall),
        entry("shipments.heartbeat_interval", heartbeat_interval),
    ]
}

fn auth_entries(auth: &AuthSettings) -> Vec<Entry> {
    let AuthSettings {
        callers_file,
        jwks_file,
        jwks_url,
        jwks_ca_file,
        issuer,
        audience,
        clock_skew,
        refresh_interval,
        open_metrics,
    } = auth;
    vec![
        entry("auth.callers_file", callers_file),
        entry("auth.jwks_file", jwks_file),
        entry("auth.jwks_url", jwks_url),
        entry("auth.jwks_ca_file", jwks_ca_file),
        entry("auth.issuer", issuer),
        entry("auth.audience", audience),
        entry("auth.clock_skew", clock_skew),
        entry("auth.refresh_interval", refresh_interval),
        entry("auth.open_metrics", open_metrics),
    ]
}

fn drain_entries(drain: &DrainSettings) -> Vec<Entry> {
    let DrainSettings {
        propagation,
        deadline,
        flush,
        snapshot,
    } = drain;
    vec![
        entry("drain.propagation", propagation),
        entry("drain.deadline", deadline),
        entry("drain.flush", flush),
        entry("drain.snapshot", snapshot),
    ]
}

fn log_entries(log: &LogSettings) -> Vec<Entry> {
    let LogSettings {
        format,
        level,
        request_sample,
    } = log;
    vec![
        entry("log.format", format),
        entry("log.level", level),
        entry("log.request_sample", request_sample),
    ]
}

fn entry<S: Setting>(key: &'static str, value: &S) -> Entry {
    Entry {
        key,
        shown: value.shown(),
        form: S::FORM,
    }
}

// === impl Entry ===

impl Entry {
    /// Gives the section of the key.
    pub(super) fn section(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(section, _)| section)
    }

    /// Says what a right value looks like, taking this entry's value as the example.
    pub(super) fn expected(&self) -> String {
        let example = &self.shown;
        match self.form {
            Form::Address => format!("expected an address and port such as \"{example}\""),
            Form::Duration => format!("expected a duration of at most 36500d such as \"{example}\""),
            Form::Number { most } => format!("expected a whole number from 0 to {most} such as {example}"),
            Form::Switch => "expected true or false".to_owned(),
            Form::Text => format!("expected a text such as \"{example}\""),
            Form::Path => "expected a path in quotes".to_owned(),
            Form::Choice(names) => format!("expected one of \"{}\"", names.join("\", \"")),
            Form::StoreUrl => {
                "expected an address in quotes such as \"sqlite:///data/greenlane.db\"".to_owned()
            }
            Form::Secret => {
                "expected 32 bytes or more as hex digits in quotes (the value is not shown)".to_owned()
            }
        }
    }
}

// === impl Form ===

impl Form {
    /// Says whether a refused value may be repeated in an error.
    pub(super) fn may_be_shown(self) -> bool {
        match self {
            Self::StoreUrl | Self::Secret => false,
            Self::Address
            | Self::Duration
            | Self::Number { .. }
            | Self::Switch
            | Self::Text
            | Self::Path
            | Self::Choice(_) => true,
        }
    }

    /// Gives the TOML value that a text from the environment or a flag stands for.
    ///
    /// A text that is no number where one is due stays a text, and is refused as such later.
    pub(super) fn read(self, text: String) -> Value {
        match self {
            Self::Number { .. } => text.parse().map_or(Value::String(text), Value::Integer),
            Self::Switch => text.parse().map_or(Value::String(text), Value::Boolean),
            Self::Address
            | Self::Duration
            | Self::Text
            | Self::Path
            | Self::Choice(_)
            | Self::StoreUrl
            | Self::Secret => Value::String(text),
        }
    }
}
