//! The seal of a segment: a signed text that says what is in it. Vouches for every record by its Merkle root, and for all
//! segments before it by the digest of the seal before.
//!
//! ```text
//! greenlane-audit-seal-v1
//! replica: NAME
//! segment: 00000000000000000001
//! records: 12345
//! bytes: 67101234
//! chain-before: <hex>
//! chain-after: <hex>
//! merkle-root: <hex>
//! previous-seal: <hex SHA-256 of the previous seal's text, or 64 zeros>
//! sealed-at: 2026-11-24T12:00:00.123Z
//! public-key: <hex 32 bytes>
//! ```
//!
//! `<first sequence>.seal` holds the text, `<first sequence>.sig` its Ed25519 signature, 64 raw bytes:
//! `openssl pkeyutl -verify -pubin -inkey signing.pub -rawin -in X.seal -sigfile X.sig`.

use std::{
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use ring::digest::{Context, SHA256};
use thiserror::Error;

use super::{
    frame::{Hash, finish},
    merkle::Tree,
    read::ReadError,
    sidecar,
    signing::SigningKey,
    statement::{self, Lines, StatementFault},
    writer::FullSegment,
};
use crate::background;

/// Extension of the text.
pub const SEAL: &str = "seal";
/// Extension of its signature.
pub const SIGNATURE: &str = "sig";
/// Extension of the leaf hashes that were sealed, 32 bytes each, in order. The root in the seal vouches for them; they tell
/// which record of a damaged segment is the bad one, and make proofs without reading the segment.
pub const LEAVES: &str = "leaves";

/// Leaves that go into the tree at once.
const PIECE: usize = 128;

const TITLE: &str = "greenlane-audit-seal-v1";

/// What a seal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The replica that wrote the segment.
    pub replica: String,
    /// First sequence of the segment.
    pub segment: u64,
    /// Number of its records.
    pub records: u64,
    /// Length of its file.
    pub bytes: u64,
    /// Chain of the last group before it.
    pub chain_before: Hash,
    /// Chain of its last group.
    pub chain_after: Hash,
    /// Root of the tree over the leaf hashes of its records.
    pub merkle_root: Hash,
    /// SHA-256 of the previous seal's text; zeros for the first.
    pub previous_seal: Hash,
    /// When it was sealed, by the replica's clock; whole milliseconds.
    pub sealed_at: Timestamp,
    /// The key that signs it.
    pub public_key: Hash,
}

impl Seal {
    /// The text that is signed.
    pub fn text(&self) -> String {
        let hex = |hash: &Hash| hex::encode(hash);
        statement::write(
            TITLE,
            &[
                ("replica", &self.replica),
                ("segment", &format_args!("{:020}", self.segment)),
                ("records", &self.records),
                ("bytes", &self.bytes),
                ("chain-before", &hex(&self.chain_before)),
                ("chain-after", &hex(&self.chain_after)),
                ("merkle-root", &hex(&self.merkle_root)),
                ("previous-seal", &hex(&self.previous_seal)),
                ("sealed-at", &format_args!("{:.3}", self.sealed_at)),
                ("public-key", &hex(&self.public_key)),
            ],
        )
    }

    /// Reads a text; `None` unless it is exactly as this program writes it.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = Lines::of(text, TITLE)?;
        let seal = Self {
            replica: lines.value("replica")?.to_owned(),
            segment: lines.parsed("segment")?,
            records: lines.parsed("records")?,
            bytes: lines.parsed("bytes")?,
            chain_before: lines.hash("chain-before")?,
            chain_after: lines.hash("chain-after")?,
            merkle_root: lines.hash("merkle-root")?,
            previous_seal: lines.hash("previous-seal")?,
            sealed_at: lines.parsed("sealed-at")?,
            public_key: lines.hash("public-key")?,
        };
        (seal.text() == text).then_some(seal)
    }

    /// Sequence of the record after the segment's last.
    pub fn next_sequence(&self) -> u64 {
        self.segment.saturating_add(self.records)
    }
}

/// A seal's text and signature, as they lie beside a segment. Nothing is checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedSeal {
    /// The text.
    pub text: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

impl SignedSeal {
    /// Reads the seal of a segment, given the segment's path; `None` when it has none.
    pub fn read(segment: &Path) -> io::Result<Option<Self>> {
        let Some(text) = sidecar::read(&sidecar::path(segment, SEAL))? else {
            return Ok(None);
        };
        let signature = sidecar::read(&sidecar::path(segment, SIGNATURE))?.unwrap_or_default();
        Ok(Some(Self { text, signature }))
    }

    /// What the seal says, unverified; `None` when its text is no seal.
    pub fn unverified(&self) -> Option<Seal> {
        Seal::parse(std::str::from_utf8(&self.text).ok()?)
    }

    /// What the seal says, once it is known that the owner of the key says so.
    pub fn check(&self, trusted: &[Hash]) -> Result<Seal, StatementFault> {
        let seal = self.unverified().ok_or(StatementFault::Malformed)?;
        statement::check(&self.text, &self.signature, &seal.public_key, trusted)?;
        Ok(seal)
    }

    /// SHA-256 of the text: what the next seal names.
    pub fn digest(&self) -> Hash {
        let mut context = Context::new(&SHA256);
        context.update(&self.text);
        finish(context)
    }
}

/// A segment that has a seal.
#[derive(Debug, Clone)]
pub struct SealedSegment {
    /// Its file; its sidecars stand beside it.
    pub path: PathBuf,
    /// What its seal says.
    pub seal: Seal,
}

/// Why a segment could not be sealed.
#[derive(Debug, Error)]
pub enum SealError {
    /// The file system.
    #[error("{}: {error}", path.display())]
    Io {
        /// Of what.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// The segment cannot be read whole, so nothing can be said of it.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The root of the tree over these leaves.
fn root_of(leaves: &[Hash]) -> Hash {
    let mut tree = Tree::default();
    for leaves in leaves.chunks(PIECE) {
        tree.extend(leaves.iter().copied());
        background::give_way();
    }
    tree.root()
}

/// Seals a full segment: cuts what is behind its end, makes the disk have it, and puts its seal beside it.
///
/// `previous` is the digest of the seal before, `now` is taken in whole milliseconds.
pub fn seal(
    full: &FullSegment,
    previous: Hash,
    key: &SigningKey,
    now: Timestamp,
) -> Result<SealedSegment, SealError> {
    let path = &full.path;
    let seal = Seal {
        replica: full.header.replica.to_string(),
        segment: full.header.first_sequence,
        records: full.leaves.len() as u64,
        bytes: full.length,
        chain_before: full.header.chain_before,
        chain_after: full.chain,
        merkle_root: root_of(&full.leaves),
        previous_seal: previous,
        sealed_at: Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now),
        public_key: key.public_key(),
    };
    let text = seal.text();
    let written = OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|file| file.set_len(full.length).and_then(|()| file.sync_all()))
        // The text last: where it is, the others are.
        .and_then(|()| sidecar::write(&sidecar::path(path, LEAVES), full.leaves.as_flattened()))
        .and_then(|()| sidecar::write(&sidecar::path(path, SIGNATURE), &key.sign(text.as_bytes())))
        .and_then(|()| sidecar::write(&sidecar::path(path, SEAL), text.as_bytes()));
    match written {
        Ok(()) => Ok(SealedSegment {
            path: path.clone(),
            seal,
        }),
        Err(error) => Err(SealError::Io {
            path: path.clone(),
            error,
        }),
    }
}
