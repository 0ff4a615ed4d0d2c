//! The store as the archive of every replica's audit log: groups are shipped to it whole, as they lie in segments.
//!
//! ```text
//! audit::ship --groups, seals, heads--> Archive --> PostgreSQL: audit_group, audit_decision, audit_progress, ...
//!                                               --> NATS:       stream <prefix>_audit, one subject a replica
//!                                               --> SQLite:     signed heads alone; the segments are the store
//! audit::query, commands <--decisions, groups--- ArchiveReader
//! ```
//!
//! **Invariants.** What a store has of a replica's log is the log from its first group on, without a gap: a store takes a
//! group only where the one before it ended. Shipping again changes nothing.

mod reader;

pub use self::reader::ArchiveReader;
pub use super::UpstreamError;

use std::time::SystemTime;

use bytes::Bytes;
use jiff::Timestamp;

use super::{nats, postgres, source::SourceSettings, sqlite};

/// How far a store has taken over a replica's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Sequence of the first record that it does not have.
    pub next_sequence: u64,
    /// Chain of the last group that it has; zeros when it has none.
    pub chain: [u8; 32],
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            next_sequence: 1,
            chain: [0; 32],
        }
    }
}

/// One group, ready to be shipped.
#[derive(Debug, Clone)]
pub struct ShippedGroup {
    /// Sequence of its first record.
    pub first_sequence: u64,
    /// How many records it has.
    pub records: u32,
    /// When the replica wrote it.
    pub written_at: SystemTime,
    /// Its chain.
    pub chain: [u8; 32],
    /// Its header and its records, as they lie in a segment.
    pub frame: Bytes,
    /// The decisions in it, by what they are looked up by.
    pub decisions: Vec<ShippedDecision>,
}

impl ShippedGroup {
    /// How far a store has come when it has this group.
    pub fn progress(&self) -> Progress {
        Progress {
            next_sequence: self.first_sequence.saturating_add(self.records.into()),
            chain: self.chain,
        }
    }
}

/// What a decision is looked up by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShippedDecision {
    /// Its record's sequence.
    pub sequence: u64,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// Its UUID in hyphenated form; `None` where it has none.
    pub decision_id: Option<String>,
    /// The declaration.
    pub declaration_number: String,
    /// The office.
    pub customs_office: String,
    /// The lane by its word, such as "GREEN".
    pub lane: String,
    /// The enterprises among its parties.
    pub customs_codes: Vec<String>,
    /// Where its record's bytes begin in the group's frame.
    pub offset: u32,
    /// How many they are.
    pub length: u32,
}

/// A text and the signature over its bytes: a seal or a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedText {
    /// Of a seal: first sequence of the segment. Of a head: sequence of the last record.
    pub sequence: u64,
    /// What is signed.
    pub text: String,
    /// The 64 bytes of an Ed25519 signature.
    pub signature: Vec<u8>,
}

/// Whether a store took a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadTaken {
    /// It is the replica's head there.
    Taken,
    /// The store has one of a later record: this log has lost its end.
    Behind {
        /// The sequence of that one.
        stored: u64,
    },
}

/// Where a decision stands in the order of lists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DecisionKey {
    /// When it was decided.
    pub decided_at: Timestamp,
    /// The replica that decided it.
    pub replica: String,
    /// Its place in that replica's log.
    pub sequence: u64,
}

/// Which decisions are asked for; what is `None` lets all pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DecisionFilter {
    /// Decided at or after this instant.
    pub decided_from: Option<Timestamp>,
    /// Decided before this instant.
    pub decided_to: Option<Timestamp>,
    /// At this office.
    pub customs_office: Option<String>,
    /// With this enterprise among the parties.
    pub customs_code: Option<String>,
    /// On this declaration.
    pub declaration_number: Option<String>,
    /// In this lane, by its word.
    pub lane: Option<String>,
}

/// How much is read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Records.
    pub records: usize,
    /// Bytes of records; one record is always given.
    pub bytes: usize,
}

/// A record that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRecord {
    /// Where it stands.
    pub key: DecisionKey,
    /// The record, as it lies in the log.
    pub record: Bytes,
}

/// The side of a store that takes a log over.
#[derive(Debug)]
pub enum Archive {
    /// The embedded store: it takes heads, for the segments lie beside it.
    Sqlite(sqlite::Heads),
    /// A database; boxed because it is large beside the others.
    Postgres(Box<postgres::Archive>),
    /// A stream.
    Nats(Box<nats::Archive>),
}

impl Archive {
    /// An archive in the store of those settings; connects at the first use.
    pub fn open(settings: &SourceSettings) -> Result<Self, UpstreamError> {
        let scheme = settings.url.split("://").next().unwrap_or_default();
        match scheme {
            "sqlite" => Ok(Self::Sqlite(sqlite::Heads::new(sqlite::StorePath::from_url(
                &settings.url,
            )?))),
            "postgres" | "postgresql" => Ok(Self::Postgres(Box::new(postgres::Archive::new(
                settings.postgres(),
            )?))),
            "nats" | "tls" => Ok(Self::Nats(Box::new(nats::Archive::new(
                settings.nats(&settings.url),
            )?))),
            _ => Err(UpstreamError::Unsupported(format!(
                "no audit log is shipped to a store of the kind {scheme:?}"
            ))),
        }
    }

    /// Whether it takes groups and seals, beside heads.
    pub const fn takes_groups(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(_) | Self::Nats(_) => true,
        }
    }

    /// How far it has come with a replica's log.
    pub async fn progress(&mut self, replica: &str) -> Result<Progress, UpstreamError> {
        match self {
            Self::Sqlite(_) => Ok(Progress::default()),
            Self::Postgres(archive) => archive.progress(replica).await,
            Self::Nats(archive) => archive.progress(replica).await,
        }
    }

    /// Takes over groups that follow on `from`, all of them or none. After an error [`Archive::progress`] tells what became
    /// of them.
    pub async fn ship(
        &mut self,
        replica: &str,
        from: &Progress,
        groups: &[ShippedGroup],
    ) -> Result<Progress, UpstreamError> {
        match self {
            Self::Sqlite(_) => Ok(*from),
            Self::Postgres(archive) => archive.ship(replica, from, groups).await,
            Self::Nats(archive) => archive.ship(replica, from, groups).await,
        }
    }

    /// The first sequence of the last segment of which it has the seal; 0 for none.
    pub async fn last_seal(&mut self, replica: &str) -> Result<u64, UpstreamError> {
        match self {
            Self::Sqlite(_) => Ok(0),
            Self::Postgres(archive) => archive.last_seal(replica).await,
            Self::Nats(archive) => archive.last_seal(replica).await,
        }
    }

    /// Takes a seal; one that it has stays.
    pub async fn put_seal(&mut self, replica: &str, seal: &SignedText) -> Result<(), UpstreamError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(archive) => archive.put_seal(replica, seal).await,
            Self::Nats(archive) => archive.put_seal(replica, seal).await,
        }
    }

    /// Takes the public key, in PEM, with which a replica signs; one that it has stays.
    pub async fn put_key(&mut self, replica: &str, pem: &str) -> Result<(), UpstreamError> {
        match self {
            Self::Sqlite(heads) => heads.put_key(replica, pem),
            Self::Postgres(archive) => archive.put_key(replica, pem).await,
            Self::Nats(archive) => archive.put_key(replica, pem).await,
        }
    }

    /// Takes a head, unless it has one of a later record.
    pub async fn put_head(&mut self, replica: &str, head: &SignedText) -> Result<HeadTaken, UpstreamError> {
        match self {
            Self::Sqlite(heads) => heads.put(replica, head),
            Self::Postgres(archive) => archive.put_head(replica, head).await,
            Self::Nats(archive) => archive.put_head(replica, head).await,
        }
    }
}

/// A number as databases keep it.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A hash as it was kept.
pub(super) fn hash(bytes: &[u8]) -> Result<[u8; 32], UpstreamError> {
    let bytes = <[u8; 32]>::try_from(bytes);
    bytes.map_err(|_| UpstreamError::Corrupt("audit log: a chain of other than 32 bytes".to_owned()))
}
