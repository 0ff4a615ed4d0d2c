//! The snapshot file: all that a replica holds, in one file that is there whole or not at all.
//!
//! ```text
//! header | enterprises ... | those that changed meanwhile ... | the other tables ... | trailer | hash
//! ```
//!
//! The frame is described in `frame`, the rows in `registry::image`. A file without its trailer is torn; a byte that is
//! not as it was written is found by its block's checksum, and the whole is held by a SHA-256 at its end.
//!
//! The file holds the confidential reasons of control orders: its owner alone may read it (mode 0600), and a copy of it
//! wants the same care.

mod codec;
mod error;
mod frame;
mod parts;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use error::FileError;
pub use read::{decode, inspect};
pub use write::encode;

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use self::parts::Trailer;
use crate::{
    domain::CreditTier,
    registry::{Generation, Place},
};

/// Bytes that are asked of the file system at once.
const BUFFER: usize = 1 << 20;

/// A snapshot file, whether it is there or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFile {
    path: PathBuf,
}

/// What a file says of its image beside the rows.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The kind of store that the rows came from: "sqlite", "postgres" or "nats".
    pub store: &'a str,
    /// What was in force as policies when it was written.
    pub policy_digest: &'a str,
    /// When the store last confirmed that the replica was at its head. To be read before the image is made: what it is of
    /// can only be newer.
    pub confirmed_at: SystemTime,
}

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// The position that the image is of, and what the store showed there.
    pub place: Place,
    /// When the store last confirmed its head.
    pub confirmed_at: SystemTime,
    /// When the file was written.
    pub written_at: SystemTime,
    /// The kind of store that the rows came from.
    pub store: String,
    /// What was in force as policies when it was written.
    pub policy_digest: String,
    /// Registered enterprises by tier, from best to worst.
    pub tiers: [u64; CreditTier::COUNT],
    /// The digest of every row, 64 hex digits.
    pub digest: String,
    /// Its length.
    pub bytes: u64,
    /// Its blocks.
    pub blocks: u64,
    /// The SHA-256 at its end, 64 hex digits.
    pub sha256: String,
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// What it says of itself.
    pub info: Info,
    /// How long that took.
    pub took: Duration,
}

/// A file that was read.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it holds; not in force yet.
    pub generation: Arc<Generation>,
    /// What it says of itself.
    pub info: Info,
}

impl Info {
    fn new(trailer: Trailer, bytes: u64, sha256: String) -> Self {
        Self {
            place: trailer.place,
            confirmed_at: trailer.confirmed_at,
            written_at: trailer.written_at,
            store: trailer.store,
            policy_digest: trailer.policy_digest,
            tiers: trailer.tiers,
            digest: hex::encode(trailer.digest),
            bytes,
            // The trailer counts those before it.
            blocks: trailer.blocks + 1,
            sha256,
        }
    }

    /// The version of the format.
    pub const fn format_version(&self) -> u32 {
        frame::VERSION
    }

    /// Registered enterprises.
    pub fn enterprises(&self) -> u64 {
        self.tiers.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

impl Loaded {
    /// Counts and hashes every row afresh, which takes seconds for millions.
    ///
    /// # Errors
    ///
    /// When that gives anything else than the file says.
    pub fn check(&self) -> Result<(), FileError> {
        read::check(&self.generation)
    }
}

impl SnapshotFile {
    /// The file of that name.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes an image of a generation while commits go on: aside, brought to the disk, and renamed. What writers that
    /// were killed have left is removed.
    ///
    /// # Errors
    ///
    /// When the file system refuses: the former file, if there was one, is still there, and nothing else is.
    pub fn write(&self, generation: &Generation, about: &About<'_>) -> Result<Written, FileError> {
        write::write(&self.path, generation, about)
    }

    /// Reads the generation that is in it.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the file.
    pub fn read(&self) -> Result<Loaded, FileError> {
        let (file, length) = self.open()?;
        decode(file, length)
    }

    /// Reads what it says of itself; checks the checksums and the hash.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the file, as far as it is read.
    pub fn info(&self) -> Result<Info, FileError> {
        let (file, _) = self.open()?;
        inspect(file)
    }

    /// Reads everything and counts and hashes every row afresh.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the file.
    pub fn verify(&self) -> Result<Info, FileError> {
        let loaded = self.read()?;
        loaded.check()?;
        Ok(loaded.info)
    }

    fn open(&self) -> Result<(BufReader<File>, u64), FileError> {
        let opened = File::open(&self.path).and_then(|file| {
            let length = file.metadata()?.len();
            Ok((BufReader::with_capacity(BUFFER, file), length))
        });
        opened.map_err(FileError::io(format!("opening {}", self.path.display())))
    }
}
