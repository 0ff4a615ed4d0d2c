//! The key-value bucket of draw commitments.

use std::sync::Arc;

use async_nats::jetstream::{
    self,
    kv::{CreateErrorKind, Store, UpdateErrorKind},
};
use futures_util::TryStreamExt as _;
use tokio::sync::Mutex;

use super::{
    super::{UpstreamError, commitments::StoredCommitment},
    NatsSettings, bucket, unavailable,
};

/// Reads and writes the bucket; connects at the first question, and makes the bucket if it is not there.
#[derive(Debug, Clone)]
pub struct Commitments {
    settings: NatsSettings,
    bucket: Arc<Mutex<Option<Store>>>,
}

impl Commitments {
    /// The bucket of that store.
    pub fn new(settings: NatsSettings) -> Self {
        Self {
            settings,
            bucket: Arc::default(),
        }
    }

    /// Puts a commitment, unless there is one of that epoch; gives the one that stands.
    pub async fn put(&self, new: &StoredCommitment) -> Result<StoredCommitment, UpstreamError> {
        let bucket = self.bucket().await?;
        match bucket.create(&new.epoch, bytes(new)?).await {
            Ok(_) => return Ok(new.clone()),
            // The server compares: of two that put at once, one is told so.
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {}
            Err(error) => return Err(unavailable("draw commitment", error)),
        }
        let stands = find(&bucket, &new.epoch).await?;
        let (stands, _) = stands.ok_or_else(|| unavailable("draw commitment", "gone again"))?;
        Ok(stands)
    }

    /// Every commitment, by epoch.
    pub async fn list(&self) -> Result<Vec<StoredCommitment>, UpstreamError> {
        let bucket = self.bucket().await?;
        let failed = |error: &dyn std::fmt::Display| unavailable("draw commitments", error);
        let keys = bucket.keys().await.map_err(|error| failed(&error))?;
        let mut keys: Vec<String> = keys.try_collect().await.map_err(|error| failed(&error))?;
        keys.sort_unstable();
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            found.extend(find(&bucket, &key).await?.map(|(commitment, _)| commitment));
        }
        Ok(found)
    }

    /// Puts the key of an epoch beside its commitment, unless one stands there; tells whether it does by now.
    pub async fn reveal(&self, epoch: &str, key: &str, at: &str) -> Result<bool, UpstreamError> {
        let bucket = self.bucket().await?;
        loop {
            let Some((mut stands, revision)) = find(&bucket, epoch).await? else {
                return Ok(false);
            };
            if let Some(revealed) = &stands.revealed_key {
                return Ok(revealed == key);
            }
            stands.revealed_key = Some(key.to_owned());
            stands.revealed_at = Some(at.to_owned());
            match bucket.update(epoch, bytes(&stands)?, revision).await {
                Ok(_) => return Ok(true),
                // Somebody else wrote meanwhile: see what.
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {}
                Err(error) => return Err(unavailable("draw key", error)),
            }
        }
    }

    async fn bucket(&self) -> Result<Store, UpstreamError> {
        let mut known = self.bucket.lock().await;
        if let Some(open) = &*known {
            return Ok(open.clone());
        }
        let open = bucket::draw(&self.settings, &self.settings.names()?).await?;
        *known = Some(open.clone());
        Ok(open)
    }
}

async fn find(bucket: &Store, epoch: &str) -> Result<Option<(StoredCommitment, u64)>, UpstreamError> {
    let found = bucket.entry(epoch).await;
    let found = found.map_err(|error| unavailable("draw commitment", error))?;
    let Some(entry) = found.filter(|entry| entry.operation == jetstream::kv::Operation::Put) else {
        return Ok(None);
    };
    let read = serde_json::from_slice(&entry.value);
    let read =
        read.map_err(|error| UpstreamError::Corrupt(format!("nats: draw commitment {epoch}: {error}")))?;
    Ok(Some((read, entry.revision)))
}

fn bytes(commitment: &StoredCommitment) -> Result<bytes::Bytes, UpstreamError> {
    let written = serde_json::to_vec(commitment);
    written
        .map(Into::into)
        .map_err(|error| UpstreamError::Corrupt(error.to_string()))
}
