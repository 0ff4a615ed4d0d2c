//! A `PostgreSQL` database as the store: other systems write it with plain SQL, and its triggers number their commits.
//!
//! ```text
//! connection 1  snapshot   COPY of every table in one transaction, with its sequence
//!               poll       head, the row at our own place, the rows that follow: one round trip
//! connection 2  LISTEN     hints that a look is worth while; without them there are looks at intervals
//! ```
//!
//! Nothing is prepared and no setting outlives a transaction, so that a transaction pooler may stand in between.

mod archive;
mod commitments;
mod connect;
mod copy;
mod edit;
mod history;
mod listen;
mod poll;
mod reader;
mod schema;
mod shipments;
mod snapshot;
mod tls;
mod writers;

pub use archive::{Archive, ArchiveReader};
pub use commitments::Commitments;
pub use edit::{Editor, Import};
pub use history::History;
pub use reader::Reader;
pub use schema::{Migrated, migrate, trim};
pub use shipments::{ShipmentFeed, Shipments};
pub use snapshot::store_digest;
pub use tls::TlsFiles;

use std::{error::Error as _, path::PathBuf, time::Duration};

use tokio_postgres::error::SqlState;

use super::UpstreamError;

/// How a database is reached and read.
#[derive(Clone)]
pub struct Settings {
    /// `postgres://user:password@host:port/database?sslmode=...`
    pub url: String,
    /// Between two looks where nothing tells of changes.
    pub poll_interval: Duration,
    /// Between two looks where changes are told of.
    pub heartbeat_interval: Duration,
    /// Bound on one answer, and on a snapshot's lack of progress.
    pub timeout: Duration,
    /// Certificates.
    pub tls: TlsFiles,
    /// Password in place of one in the address, read for every connection.
    pub password_file: Option<PathBuf>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the address: it may hold a password.
        f.debug_struct("Settings")
            .field("timeout", &self.timeout)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl From<tokio_postgres::Error> for UpstreamError {
    fn from(error: tokio_postgres::Error) -> Self {
        if let Some(told) = error.as_db_error() {
            let text = format!("{} ({}): {}", told.severity(), told.code().code(), told.message());
            return match *told.code() {
                SqlState::UNDEFINED_TABLE | SqlState::UNDEFINED_COLUMN | SqlState::DATA_CORRUPTED => {
                    Self::Corrupt(text)
                }
                _ => Self::Unavailable(text),
            };
        }
        // The message names the kind of error only; what happened is in its source.
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text = format!("{text}: {cause_text}");
            }
            source = cause.source();
        }
        Self::Unavailable(text)
    }
}

/// An answer of the store, or an error when it does not come in time.
async fn within<T, E: Into<UpstreamError>>(
    bound: Duration,
    what: &str,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, UpstreamError> {
    match tokio::time::timeout(bound, answer).await {
        Ok(answered) => answered.map_err(Into::into),
        Err(_) => Err(UpstreamError::timed_out(what, bound)),
    }
}
