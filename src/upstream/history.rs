//! Enterprise rows as they were recorded at an instant, for what-if questions.

use jiff::Timestamp;

use super::{UpstreamError, postgres, sqlite};
use crate::domain::{enterprise::Enterprise, identifier::EnterpriseId};

/// The history that a store keeps.
#[derive(Debug, Clone)]
pub enum History {
    /// Of the embedded store.
    Sqlite(sqlite::History),
    /// Of a database.
    Postgres(Box<postgres::History>),
}

impl History {
    /// For each identifier the enterprise's row as it was recorded at that instant, if there was one.
    pub async fn at(
        &self,
        known_at: Timestamp,
        ids: Vec<EnterpriseId>,
    ) -> Result<Vec<Option<Enterprise>>, UpstreamError> {
        match self {
            Self::Sqlite(history) => {
                let history = history.clone();
                // Reading a file blocks; what-if questions are few and may wait for a thread.
                tokio::task::spawn_blocking(move || history.at(known_at, &ids))
                    .await
                    .map_err(|error| UpstreamError::Unavailable(error.to_string()))?
            }
            Self::Postgres(history) => history.at(known_at, &ids).await,
        }
    }
}
