//! The stores that feed the registry, behind one vocabulary: snapshot, poll, changed.

use std::{fmt, path::PathBuf, time::Duration};

use tokio::sync::oneshot;

use super::{Look, Place, Snapshot, UpstreamError, history::History, nats, postgres, sqlite};
use crate::{background, registry::Position};

/// A store that feeds the registry.
#[derive(Debug)]
pub enum Source {
    /// The embedded store.
    Sqlite(sqlite::Reader),
    /// A `PostgreSQL` database; boxed because it is large beside the others.
    Postgres(Box<postgres::Reader>),
    /// NATS `JetStream`, fed by a relay.
    Nats(Box<nats::Reader>),
}

/// How a store is reached.
#[derive(Clone)]
pub struct SourceSettings {
    /// `sqlite://`, `postgres://` or `nats://`; may hold a password.
    pub url: String,
    /// Between two looks where nothing tells of changes.
    pub poll_interval: Duration,
    /// Between two questions for the head where changes are told of.
    pub heartbeat_interval: Duration,
    /// Bound on one answer of the store.
    pub timeout: Duration,
    /// Certificates, where a store is reached over TLS.
    pub tls: postgres::TlsFiles,
    /// Password of the store's user, in place of one in the address; empty is none.
    pub password_file: PathBuf,
    /// NATS credentials; empty is none.
    pub credentials_file: PathBuf,
    /// The beginning of the names of NATS streams, buckets and subjects.
    pub nats_prefix: String,
}

impl fmt::Debug for SourceSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the address: it may hold a password.
        f.debug_struct("SourceSettings")
            .field("timeout", &self.timeout)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl SourceSettings {
    /// Whether the store is a database.
    pub fn is_postgres(&self) -> bool {
        let scheme = self.url.split("://").next();
        matches!(scheme, Some("postgres" | "postgresql"))
    }

    /// Whether the store is a file.
    pub fn is_embedded(&self) -> bool {
        self.url.starts_with("sqlite://")
    }

    /// As the reader of a database takes them.
    pub fn postgres(&self) -> postgres::Settings {
        let Self {
            url,
            poll_interval,
            heartbeat_interval,
            timeout,
            tls,
            password_file,
            credentials_file: _,
            nats_prefix: _,
        } = self.clone();
        postgres::Settings {
            url,
            poll_interval,
            heartbeat_interval,
            timeout,
            tls,
            password_file: (!password_file.as_os_str().is_empty()).then_some(password_file),
        }
    }

    /// As the reader of NATS takes them, and a relay's publisher.
    pub fn nats(&self, url: &str) -> nats::NatsSettings {
        let file = |path: &PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
        nats::NatsSettings {
            url: url.to_owned(),
            prefix: self.nats_prefix.clone(),
            timeout: self.timeout,
            heartbeat_interval: self.heartbeat_interval,
            password_file: file(&self.password_file),
            credentials_file: file(&self.credentials_file),
            tls_ca_file: file(&self.tls.ca),
            tls_client: file(&self.tls.certificate).zip(file(&self.tls.key)),
        }
    }
}

impl Source {
    /// A source for that address; connects at the first look.
    pub fn open(settings: &SourceSettings) -> Result<Self, UpstreamError> {
        let scheme = settings.url.split("://").next().unwrap_or_default();
        match scheme {
            "sqlite" => Ok(Self::Sqlite(sqlite::Reader::new(
                sqlite::StorePath::from_url(&settings.url)?,
                settings.poll_interval,
            ))),
            "postgres" | "postgresql" => Ok(Self::Postgres(Box::new(postgres::Reader::new(
                settings.postgres(),
            )?))),
            "nats" | "tls" => {
                let nats = settings.nats(&settings.url);
                nats.check()?;
                Ok(Self::Nats(Box::new(nats::Reader::new(nats))))
            }
            _ => Err(UpstreamError::Unsupported(format!(
                "upstream.url: no store of the kind {scheme:?}; there are sqlite://, postgres:// and nats://"
            ))),
        }
    }

    /// Makes an embedded store, or brings its schema up to date; other stores are migrated by their own command.
    pub fn prepare(&self) -> Result<(), UpstreamError> {
        match self {
            Self::Sqlite(reader) => reader.path().open_or_create().map(drop),
            Self::Postgres(_) | Self::Nats(_) => Ok(()),
        }
    }

    /// The kind of store, as the status names it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
            Self::Nats(_) => "nats",
        }
    }

    /// The history that the store keeps, if it does.
    pub fn history(&self) -> Option<History> {
        match self {
            Self::Sqlite(reader) => Some(History::Sqlite(sqlite::History::new(reader.path().clone()))),
            Self::Postgres(reader) => Some(History::Postgres(Box::new(reader.history()))),
            Self::Nats(_) => None,
        }
    }

    /// What the store's digest is read from; `None` where whoever feeds us names it.
    pub fn rows(&self) -> Option<StoreRows> {
        match self {
            Self::Sqlite(reader) => Some(StoreRows::Sqlite(reader.path().clone())),
            Self::Postgres(reader) => Some(StoreRows::Postgres(reader.settings().clone())),
            Self::Nats(_) => None,
        }
    }

    /// Reads everything.
    pub async fn snapshot(&mut self) -> Result<Snapshot, UpstreamError> {
        match self {
            Self::Sqlite(reader) => reader.snapshot(),
            Self::Postgres(reader) => reader.snapshot().await,
            Self::Nats(reader) => reader.snapshot().await,
        }
    }

    /// Looks at the head, and reads what follows on a place; more than `most` changes ask for a snapshot.
    pub async fn poll(&mut self, place: &Place, most: u64) -> Result<Look, UpstreamError> {
        match self {
            Self::Sqlite(reader) => reader.poll(place, most),
            Self::Postgres(reader) => reader.poll(place, most).await,
            Self::Nats(reader) => reader.poll(place, most).await,
        }
    }

    /// Completes when a look is worth while. May be dropped at any time.
    pub async fn changed(&mut self) {
        match self {
            Self::Sqlite(reader) => tokio::time::sleep(reader.poll_interval()).await,
            Self::Postgres(reader) => reader.changed().await,
            Self::Nats(reader) => reader.changed().await,
        }
    }

    /// Deletes log rows older than `retention`, where that is a reader's to do. Gives how many went.
    pub async fn trim(&mut self, retention: Duration) -> Result<u64, UpstreamError> {
        match self {
            Self::Sqlite(reader) => reader.trim(retention),
            Self::Postgres(reader) => reader.trim(retention).await,
            // Relays drop what stands before the older of the two snapshots.
            Self::Nats(_) => Ok(0),
        }
    }
}

/// The rows of a store, for its digest.
#[derive(Debug, Clone)]
pub enum StoreRows {
    /// Of the embedded store.
    Sqlite(sqlite::StorePath),
    /// Of a database.
    Postgres(postgres::Settings),
}

impl StoreRows {
    /// The digest of every row in one transaction; tells at its beginning at which position that reads.
    pub async fn digest(&self, begun: oneshot::Sender<Position>) -> Result<String, UpstreamError> {
        match self {
            Self::Sqlite(path) => {
                let path = path.clone();
                let digest = background::helping(move || sqlite::store_digest(&path, begun));
                tokio::task::spawn_blocking(digest)
                    .await
                    .map_err(|error| UpstreamError::Unavailable(error.to_string()))?
            }
            Self::Postgres(settings) => postgres::store_digest(settings, begun).await,
        }
    }
}
