//! What can be wrong with a snapshot file.

use std::io;

use thiserror::Error;

use super::frame::VERSION;
use crate::registry::image::BadImage;

/// Why a snapshot file cannot be written or read.
#[derive(Debug, Error)]
pub enum FileError {
    /// It ends before its end: it was not written or copied whole.
    #[error("torn: it ends after {at} bytes, {within}")]
    Torn {
        /// The bytes that are there.
        at: u64,
        /// In the midst of what.
        within: String,
    },
    /// It does not begin as our files do.
    #[error("no snapshot file of Greenlane")]
    NotOurs,
    /// It is of another version of the format.
    #[error("of format version {found}; this build reads version {VERSION} alone: export it anew")]
    Version {
        /// The version it says.
        found: u32,
    },
    /// A block is not as it was written.
    #[error("damaged: the checksum of block {block}, at byte {at}, does not match")]
    Checksum {
        /// Its number, from 0.
        block: u64,
        /// Where it begins.
        at: u64,
    },
    /// Every block is as it was written, but the file as a whole is not.
    #[error("damaged: the SHA-256 of the whole does not match its {bytes} bytes")]
    Hash {
        /// The bytes before the hash.
        bytes: u64,
    },
    /// Its parts contradict each other, or hold what no registry does.
    #[error("inconsistent: {problem}, in {place}")]
    Inconsistent {
        /// Where.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// The file system refuses.
    #[error("{doing}: {error}")]
    Io {
        /// What was tried.
        doing: String,
        /// What the system says.
        error: io::Error,
    },
}

impl FileError {
    pub(super) fn inconsistent(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Inconsistent {
            place: place.into(),
            problem: problem.into(),
        }
    }

    pub(super) fn in_block(block: u64, BadImage(problem): BadImage) -> Self {
        Self::inconsistent(format!("block {block}"), problem)
    }

    /// An error of the system while doing this.
    pub(super) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io {
            doing: doing.into(),
            error,
        }
    }
}
