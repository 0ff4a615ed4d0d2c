//! What was shipped, read back.

use bytes::Bytes;

use super::{Bound, DecisionFilter, DecisionKey, FoundRecord, SignedText, UpstreamError};
use crate::upstream::{nats, postgres, source::SourceSettings};

/// The side of a store that gives shipped logs back.
#[derive(Debug, Clone)]
pub enum ArchiveReader {
    /// A database.
    Postgres(Box<postgres::ArchiveReader>),
    /// A stream.
    Nats(Box<nats::ArchiveReader>),
}

impl ArchiveReader {
    /// The archive in the store of those settings; `None` where nothing is shipped to it.
    pub fn open(settings: &SourceSettings) -> Result<Option<Self>, UpstreamError> {
        let scheme = settings.url.split("://").next().unwrap_or_default();
        Ok(match scheme {
            "postgres" | "postgresql" => {
                let reader = postgres::ArchiveReader::new(settings.postgres())?;
                Some(Self::Postgres(Box::new(reader)))
            }
            "nats" | "tls" => {
                let reader = nats::ArchiveReader::new(settings.nats(&settings.url))?;
                Some(Self::Nats(Box::new(reader)))
            }
            _ => None,
        })
    }

    /// The replicas whose logs are in it, in order of their names.
    pub async fn replicas(&self) -> Result<Vec<String>, UpstreamError> {
        match self {
            Self::Postgres(reader) => reader.replicas().await,
            Self::Nats(reader) => reader.replicas().await,
        }
    }

    /// The frames of a replica's groups, from the one with that record on: some of them, or none at the end.
    pub async fn groups(&self, replica: &str, from: u64, bytes: usize) -> Result<Vec<Bytes>, UpstreamError> {
        match self {
            Self::Postgres(reader) => reader.groups(replica, from, bytes).await,
            Self::Nats(reader) => reader.groups(replica, from, bytes).await,
        }
    }

    /// The head of a replica's log, as it was signed last.
    pub async fn head(&self, replica: &str) -> Result<Option<SignedText>, UpstreamError> {
        match self {
            Self::Postgres(reader) => reader.head(replica).await,
            Self::Nats(reader) => reader.head(replica).await,
        }
    }

    /// The seals of a replica's segments, in their order.
    pub async fn seals(&self, replica: &str) -> Result<Vec<SignedText>, UpstreamError> {
        match self {
            Self::Postgres(reader) => reader.seals(replica).await,
            Self::Nats(reader) => reader.seals(replica).await,
        }
    }

    /// The decisions that pass a filter, in order, behind a key; a stream cannot be asked so, and says so.
    pub async fn list(
        &self,
        filter: &DecisionFilter,
        after: Option<&DecisionKey>,
        bound: Bound,
    ) -> Result<Vec<FoundRecord>, UpstreamError> {
        match self {
            Self::Postgres(reader) => reader.list(filter, after, bound).await,
            Self::Nats(_) => Err(unsearchable()),
        }
    }

    /// A decision by its UUID.
    pub async fn find(&self, decision_id: &str) -> Result<Option<FoundRecord>, UpstreamError> {
        match self {
            Self::Postgres(reader) => reader.find(decision_id).await,
            Self::Nats(_) => Err(unsearchable()),
        }
    }

    /// The latest decision on a declaration.
    pub async fn latest(&self, declaration_number: &str) -> Result<Option<FoundRecord>, UpstreamError> {
        match self {
            Self::Postgres(reader) => reader.latest(declaration_number).await,
            Self::Nats(_) => Err(unsearchable()),
        }
    }
}

fn unsearchable() -> UpstreamError {
    UpstreamError::Unsupported("a stream cannot be searched: read its groups".to_owned())
}
