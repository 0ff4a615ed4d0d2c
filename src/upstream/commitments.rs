//! The commitments to the keys of the draw, in the store that every replica shares: the first one stands for all.
//!
//! ```text
//! SQLite, PostgreSQL   table  draw_commitment    a row an epoch
//! NATS                 bucket <prefix>_draw      a key an epoch, its value the same columns as JSON
//! ```
//!
//! The stores hold texts and compare nothing: what a record is worth is for whoever reads it to say.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::{UpstreamError, nats, postgres, source::SourceSettings, sqlite};

/// Questions that are answered at once: each has a connection of its own.
const AT_ONCE: usize = 4;

/// A row of `draw_commitment`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredCommitment {
    /// The month, such as "2026-11".
    pub epoch: String,
    /// SHA-256 of the epoch's key, 64 hexadecimal digits.
    pub commitment: String,
    /// When it was put, by the clock of who put it: RFC 3339 in UTC, to the millisecond.
    pub published_at: String,
    /// Who put it.
    pub replica: String,
    /// The Ed25519 key that signed it, 64 hexadecimal digits.
    pub public_key: String,
    /// The signature, 128 hexadecimal digits.
    pub signature: String,
    /// The epoch's key, 64 hexadecimal digits, once it is revealed.
    pub revealed_key: Option<String>,
    /// When that was, in the form of `published_at`.
    pub revealed_at: Option<String>,
}

/// The place in a store where commitments are.
#[derive(Debug, Clone)]
pub struct Commitments {
    store: Store,
    timeout: Duration,
    turns: Arc<Semaphore>,
}

#[derive(Debug, Clone)]
enum Store {
    Sqlite(sqlite::Commitments),
    Postgres(Box<postgres::Commitments>),
    Nats(nats::Commitments),
}

impl Commitments {
    /// The commitments in that store; connects when asked.
    pub fn of(settings: &SourceSettings) -> Result<Self, UpstreamError> {
        let store = if settings.is_postgres() {
            Store::Postgres(Box::new(postgres::Commitments::new(settings.postgres())?))
        } else if settings.url.starts_with("sqlite://") {
            Store::Sqlite(sqlite::Commitments::new(sqlite::StorePath::from_url(
                &settings.url,
            )?))
        } else {
            let nats = settings.nats(&settings.url);
            nats.check()?;
            Store::Nats(nats::Commitments::new(nats))
        };
        Ok(Self {
            store,
            timeout: settings.timeout,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        })
    }

    /// Puts a commitment, unless there is one of that epoch; gives the one that stands.
    pub async fn put(&self, new: StoredCommitment) -> Result<StoredCommitment, UpstreamError> {
        self.ask("putting a draw commitment", async || match &self.store {
            Store::Sqlite(store) => {
                let store = store.clone();
                blocking(move || store.put(&new)).await
            }
            Store::Postgres(store) => store.put(&new).await,
            Store::Nats(store) => store.put(&new).await,
        })
        .await
    }

    /// Every commitment, by epoch.
    pub async fn list(&self) -> Result<Vec<StoredCommitment>, UpstreamError> {
        self.ask("reading draw commitments", async || match &self.store {
            Store::Sqlite(store) => {
                let store = store.clone();
                blocking(move || store.list()).await
            }
            Store::Postgres(store) => store.list().await,
            Store::Nats(store) => store.list().await,
        })
        .await
    }

    /// Puts the key of an epoch beside its commitment, unless one stands there; tells whether it does by now.
    pub async fn reveal(&self, epoch: &str, key: &str, at: &str) -> Result<bool, UpstreamError> {
        self.ask("revealing a draw key", async || match &self.store {
            Store::Sqlite(store) => {
                let (store, epoch, key, at) =
                    (store.clone(), epoch.to_owned(), key.to_owned(), at.to_owned());
                blocking(move || store.reveal(&epoch, &key, &at)).await
            }
            Store::Postgres(store) => store.reveal(epoch, key, at).await,
            Store::Nats(store) => store.reveal(epoch, key, at).await,
        })
        .await
    }

    /// Asks the store, within its bound, when it is our turn.
    async fn ask<T>(
        &self,
        what: &str,
        question: impl AsyncFnOnce() -> Result<T, UpstreamError>,
    ) -> Result<T, UpstreamError> {
        let asked = async {
            let turn = self.turns.acquire().await;
            let _turn = turn.map_err(|error| UpstreamError::Unavailable(error.to_string()))?;
            question().await
        };
        let answered = tokio::time::timeout(self.timeout, asked).await;
        answered.map_err(|_| UpstreamError::timed_out(what, self.timeout))?
    }
}

/// Reading a file blocks: on a thread for that.
pub(super) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, UpstreamError> + Send + 'static,
) -> Result<T, UpstreamError> {
    let joined = tokio::task::spawn_blocking(read).await;
    joined.map_err(|error| UpstreamError::Unavailable(error.to_string()))?
}
