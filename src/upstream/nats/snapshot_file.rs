//! The bytes of a snapshot: those of a snapshot file.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Read, Write as _},
    sync::Arc,
    time::SystemTime,
};

use super::{
    super::{
        UpstreamError,
        file::{self, About},
    },
    object::SnapshotObject,
};
use crate::registry::Generation;

/// Bytes that are read or written at once.
const BUFFER: usize = 1 << 20;

/// What a snapshot turned out to hold, once it was made: commits go on meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The store's identity.
    pub epoch: String,
    /// Where it stands.
    pub sequence: u64,
    /// The digest of all rows, 64 hex digits.
    pub digest: String,
}

/// Writes a snapshot.
pub fn write(generation: &Generation, file: &mut File) -> Result<Made, UpstreamError> {
    // Neither the kind of store nor policies matter to a replica, nor when the store was asked: relays tell that.
    let about = About {
        store: "nats",
        policy_digest: "",
        confirmed_at: SystemTime::now(),
    };
    let failed = |error: &dyn std::fmt::Display| UpstreamError::Unavailable(format!("snapshot: {error}"));
    let output = BufWriter::with_capacity(BUFFER, file);
    let (mut output, written) = file::encode(generation, &about, output).map_err(|error| failed(&error))?;
    output.flush().map_err(|error| failed(&error))?;
    let position = written.info.place.position;
    Ok(Made {
        epoch: position.epoch.to_string(),
        sequence: position.sequence,
        digest: written.info.digest,
    })
}

/// Reads a snapshot, which must be what the object's metadata say. Its mark is the place in the stream that the object is
/// followed from.
pub fn read(bytes: impl Read, object: &SnapshotObject) -> Result<Arc<Generation>, UpstreamError> {
    let torn =
        |problem: &dyn std::fmt::Display| UpstreamError::Corrupt(format!("{}: {problem}", object.name));
    let input = BufReader::with_capacity(BUFFER, bytes);
    let loaded = file::decode(input, object.size as u64).map_err(|error| torn(&error))?;
    let position = &loaded.info.place.position;
    if *position.epoch != *object.epoch
        || position.sequence != object.sequence
        || loaded.info.digest != object.digest
    {
        return Err(torn(&"not what its metadata say"));
    }
    let mark = Some([object.stream, object.stream_sequence]);
    loaded.generation.commit(&[], position.sequence, mark);
    Ok(loaded.generation)
}
