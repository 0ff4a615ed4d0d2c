//! The sections of `greenlane.toml`: every key with its meaning, its unit and its default.

mod auth;
mod limits;
mod shipments;

pub use auth::AuthSettings;
pub use limits::LimitSettings;
pub use shipments::ShipmentSettings;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{Secret, Span, StoreUrl};

/// `[server]`: where the service listens, keeps its files, and which acceptance times it takes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSettings {
    /// Address and port of the gRPC listener; port 0 lets the system choose.
    pub grpc_addr: SocketAddr,
    /// Address and port of the HTTP listener (metrics, health, console, JSON); port 0 lets the system choose.
    pub http_addr: SocketAddr,
    /// Directory of the embedded store and a generated secret.
    pub data_dir: PathBuf,
    /// Threads that answer requests; 0 is one per core.
    pub workers: usize,
    /// How far a request's `accepted_at` may lie ahead of the server's clock.
    pub acceptance_max_ahead: Span,
    /// How far a request's `accepted_at` may lie behind the server's clock.
    pub acceptance_max_behind: Span,
    /// Whether callers without authentication are served on addresses that are not loopback.
    ///
    /// An anonymous caller has every role: only for networks that something else protects.
    pub allow_anonymous_remote: bool,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            grpc_addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 50051)),
            http_addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            data_dir: PathBuf::from("./greenlane-data"),
            workers: 0,
            acceptance_max_ahead: Span::new(Duration::from_mins(5)),
            acceptance_max_behind: Span::new(Duration::from_hours(7 * 24)),
            allow_anonymous_remote: false,
        }
    }
}

/// `[upstream]`: where the registry comes from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamSettings {
    /// Address of the store; empty is the embedded one (see [`Settings::upstream_url`]).
    ///
    /// [`Settings::upstream_url`]: super::Settings::upstream_url
    pub url: StoreUrl,
    /// Time between two looks at the store's change log, where nothing tells of changes.
    pub poll_interval: Span,
    /// Time between two questions for the store's head, where changes are told of.
    pub heartbeat_interval: Span,
    /// How long the store may take for one answer, or a snapshot may stand still.
    pub timeout: Span,
    /// Enterprises that the registry must hold before it counts as data and the service as ready.
    pub min_enterprises: u64,
    /// How long the store's change log is kept; a replica that was away for longer needs a snapshot.
    pub change_log_retention: Span,
    /// Share of a credit tier's enterprises, in ppm, that may move within a day before the data is refused as drift.
    pub max_drift_ppm: u64,
    /// Movements of a credit tier up to this number of enterprises at once, and four times as many in a day, are never
    /// drift.
    pub max_drift_rows: u64,
    /// Time between two snapshot files in the data directory (one is also written at stop), and between two snapshots that
    /// a relay puts into NATS.
    pub snapshot_interval: Span,
    /// Time between two comparisons of this replica's digest with the store's.
    pub compare_interval: Span,
    /// Certificates (PEM) by which a store's TLS certificate is trusted; empty is the system's.
    pub tls_ca_file: PathBuf,
    /// Client certificate (PEM) for stores that ask for one; empty is none.
    pub tls_certificate_file: PathBuf,
    /// Private key (PEM) of the client certificate.
    pub tls_key_file: PathBuf,
    /// File (mode 0600) with the password of the store's user, in place of one in `url`; read again for every connection. Empty
    /// is none.
    pub password_file: PathBuf,
    /// NATS credentials (a `.creds` file); empty is none.
    pub credentials_file: PathBuf,
    /// Beginning of the names of NATS streams, buckets and subjects.
    pub nats_prefix: String,
}

impl Default for UpstreamSettings {
    fn default() -> Self {
        Self {
            url: StoreUrl::default(),
            poll_interval: Span::new(Duration::from_millis(20)),
            heartbeat_interval: Span::new(Duration::from_secs(1)),
            timeout: Span::new(Duration::from_secs(5)),
            min_enterprises: 1,
            change_log_retention: Span::new(Duration::from_hours(7 * 24)),
            max_drift_ppm: 200_000,
            max_drift_rows: 500,
            snapshot_interval: Span::new(Duration::from_mins(5)),
            compare_interval: Span::new(Duration::from_mins(10)),
            tls_ca_file: PathBuf::new(),
            tls_certificate_file: PathBuf::new(),
            tls_key_file: PathBuf::new(),
            password_file: PathBuf::new(),
            credentials_file: PathBuf::new(),
            nats_prefix: "greenlane".to_owned(),
        }
    }
}

/// `[policy]`: where policies and operating parameters come from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicySettings {
    /// Directory whose files replace or add to the embedded policies; empty is the embedded ones only.
    pub directory: PathBuf,
    /// Time between two looks for changed files in the directory.
    pub reload_interval: Span,
}

impl PolicySettings {
    /// Gives the policy directory, or `None` when only the embedded policies are used.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        unless_empty(&self.directory)
    }
}

impl Default for PolicySettings {
    fn default() -> Self {
        Self {
            directory: PathBuf::new(),
            reload_interval: Span::new(Duration::from_millis(250)),
        }
    }
}

/// `[freshness]`: how old registry data may be. Relief always expires before strictness.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FreshnessSettings {
    /// Age of the data above which it is STALE and no relief is granted; at most `decision_max_age`.
    pub relief_max_age: Span,
    /// Age of the data above which it is EXPIRED and every declaration goes to an officer.
    pub decision_max_age: Span,
}

impl Default for FreshnessSettings {
    fn default() -> Self {
        Self {
            relief_max_age: Span::new(Duration::from_mins(5)),
            decision_max_age: Span::new(Duration::from_hours(24)),
        }
    }
}

/// `[draw]`: the secret behind the random draw, in a file or here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DrawSettings {
    /// File (mode 0600) that holds the master secret as hex; empty is none.
    pub master_secret_file: PathBuf,
    /// The master secret itself, 32 bytes or more as hex; empty is none. Never printed.
    pub master_secret: Secret,
    /// How long after the end of an epoch its key is revealed.
    pub reveal_after: Span,
}

impl Default for DrawSettings {
    fn default() -> Self {
        Self {
            master_secret_file: PathBuf::new(),
            master_secret: Secret::default(),
            reveal_after: Span::new(Duration::from_hours(90 * 24)),
        }
    }
}

impl DrawSettings {
    /// Gives the file of the master secret, or `None` when none is set.
    #[must_use]
    pub fn master_secret_file(&self) -> Option<&Path> {
        unless_empty(&self.master_secret_file)
    }
}

/// `[audit]`: the log in which every answered decision stands before the answer leaves.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditSettings {
    /// What a record must survive before the answer leaves.
    pub durability: AuditDurability,
    /// What happens to decisions while the log cannot be written.
    pub on_failure: AuditFailure,
    /// Directory of the log; empty is `audit` in `server.data_dir`.
    pub directory: PathBuf,
    /// Name of this replica in the log, for people; empty is the machine's name. A part drawn at random is added when the
    /// log is made, so that a new volume never continues another's sequence.
    pub replica: String,
    /// File (mode 0600) of the Ed25519 key, PKCS#8 in PEM, that seals segments and signs heads; empty is `signing.key` in the
    /// log's directory, made when it is missing.
    pub signing_key_file: PathBuf,
    /// Size of a segment, in bytes; it is sealed when it is full.
    pub segment_bytes: u64,
    /// Time between two signed heads.
    pub head_interval: Span,
    /// Age at which sealed segments are deleted; 0 keeps them.
    pub max_age: Span,
    /// Bytes of all segments above which the oldest sealed ones are deleted; 0 keeps them.
    pub max_bytes: u64,
    /// Whether segments that the store has not taken over are deleted too.
    pub delete_unshipped: bool,
    /// Whether the log is shipped to the store, where that is `PostgreSQL` or NATS.
    pub ship: bool,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self {
            durability: AuditDurability::default(),
            on_failure: AuditFailure::default(),
            directory: PathBuf::new(),
            replica: String::new(),
            signing_key_file: PathBuf::new(),
            segment_bytes: 64 * 1024 * 1024,
            head_interval: Span::new(Duration::from_secs(1)),
            max_age: Span::new(Duration::ZERO),
            max_bytes: 0,
            delete_unshipped: false,
            ship: true,
        }
    }
}

/// What a record of the audit log must survive before the answer leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditDurability {
    /// The end of the process, kill -9 included: the operating system has it.
    #[default]
    Process,
    /// The loss of power: the disk has it.
    Power,
    /// Nothing: there is no log.
    Off,
}

/// What happens to decisions while the audit log cannot be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditFailure {
    /// They are refused: UNAVAILABLE.
    #[default]
    Refuse,
    /// They are answered all the same; the log tells how many once it can be written again.
    Serve,
}

/// `[drain]`: how the service stops.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DrainSettings {
    /// How long calls are still accepted after the service has reported itself unready.
    pub propagation: Span,
    /// How long calls in flight may take after that before they are cut.
    pub deadline: Span,
    /// How long everything else may take then to write and send what it holds, before it is left behind.
    pub flush: Span,
    /// How long the snapshot file may take at last: about a second a million enterprises.
    pub snapshot: Span,
}

impl Default for DrainSettings {
    fn default() -> Self {
        Self {
            propagation: Span::new(Duration::from_secs(5)),
            deadline: Span::new(Duration::from_secs(20)),
            flush: Span::new(Duration::from_secs(10)),
            snapshot: Span::new(Duration::from_mins(1)),
        }
    }
}

/// `[log]`: what is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// How a log line looks.
    pub format: LogFormat,
    /// Which lines are written: an `EnvFilter` directive such as `info` or `warn,greenlane=debug`.
    pub level: String,
    /// One gRPC call in so many is logged, at `info`; 0 for none.
    pub request_sample: u64,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            format: LogFormat::default(),
            level: "info".to_owned(),
            request_sample: 0,
        }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people: one line of text.
    #[default]
    Text,
    /// For programs: one JSON object a line.
    Json,
}

fn unless_empty(path: &Path) -> Option<&Path> {
    (!path.as_os_str().is_empty()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_path_is_none() {
        assert_eq!(PolicySettings::default().directory(), None);
        assert_eq!(DrawSettings::default().master_secret_file(), None);

        let policy = PolicySettings {
            directory: "policies".into(),
            ..PolicySettings::default()
        };
        assert_eq!(policy.directory(), Some(Path::new("policies")));
    }
}
