//! Finds where a log ends, whatever stopped its writer.

use std::path::{Path, PathBuf};

use super::{
    frame::Hash,
    read::{ReadError, SegmentReader, segments},
    segment::{ReplicaName, SegmentHeader},
};

/// Where a log ends.
#[derive(Debug)]
pub(super) struct Recovered {
    /// Who wrote it; `None` for an empty log.
    pub(super) replica: Option<ReplicaName>,
    /// The sequence that is next.
    pub(super) next_sequence: u64,
    /// The chain that goes on.
    pub(super) chain: Hash,
    /// The segment that can be gone on with.
    pub(super) last: Option<LastSegment>,
}

/// A segment that was being written.
#[derive(Debug)]
pub(super) struct LastSegment {
    pub(super) path: PathBuf,
    pub(super) header: SegmentHeader,
    /// Where its last whole group ends.
    pub(super) end: u64,
    pub(super) leaves: Vec<Hash>,
}

/// Reads the last segment of a log to its end.
///
/// What is torn at its end is left out: it was never acknowledged. Where whole groups stand behind something damaged, that
/// is no tear: the segment is kept as it is for `audit verify` to tell of, and the log goes on in another one.
pub(super) fn recover(directory: &Path) -> Result<Recovered, ReadError> {
    let mut segments = segments(directory)?;
    while let Some((first_sequence, path)) = segments.pop() {
        let mut damaged = false;
        let mut reader = match SegmentReader::open(&path) {
            // A header that says something else than the file's name is as good as none.
            Ok(reader) if reader.header.first_sequence == first_sequence => reader,
            Ok(_) | Err(ReadError::NoSegment { .. }) => {
                let reader = SegmentReader::open_headless(&path, first_sequence)?;
                let mut behind = SegmentReader::open_headless(&path, first_sequence)?;
                let is_group = matches!(behind.next_group(), Ok(Some(_)));
                if !is_group && behind.skip_damage()?.is_none() {
                    // The crash came before its first group: there is nothing in it.
                    continue;
                }
                tracing::error!(segment = %path.display(), "the header of the audit log's last segment is damaged");
                damaged = true;
                reader
            }
            Err(error) => return Err(error),
        };
        reader = reader.reading_ahead();
        let header = reader.header;
        let mut recovered = Recovered {
            replica: if header.replica.is_empty() {
                replica_before(&segments)
            } else {
                Some(header.replica)
            },
            next_sequence: header.first_sequence,
            chain: header.chain_before,
            last: None,
        };
        let mut leaves = Vec::new();
        let mut end = reader.place().0;
        loop {
            match reader.next_group() {
                Ok(None) => break,
                Ok(Some(group)) => {
                    recovered.next_sequence = group.header.next_sequence();
                    recovered.chain = group.header.chain;
                    leaves.extend(group.leaves());
                    end = group.end();
                }
                Err(ReadError::Damaged { offset, sequence, .. }) => match reader.skip_damage()? {
                    None => break,
                    Some(behind) => {
                        tracing::error!(
                            segment = %path.display(), offset, sequence, next = behind.first_sequence,
                            "the audit log is damaged; it goes on in another segment"
                        );
                        damaged = true;
                    }
                },
                Err(error) => return Err(error),
            }
        }
        let sealed = path.with_extension("seal").exists();
        if !damaged && !sealed && !leaves.is_empty() {
            recovered.last = Some(LastSegment {
                path,
                header,
                end,
                leaves,
            });
        }
        return Ok(recovered);
    }
    Ok(Recovered {
        replica: None,
        next_sequence: 1,
        chain: Hash::default(),
        last: None,
    })
}

/// Who wrote the last of these segments that says so.
fn replica_before(segments: &[(u64, PathBuf)]) -> Option<ReplicaName> {
    let mut readers = segments.iter().rev().map(|(_, path)| SegmentReader::open(path));
    readers.find_map(|reader| Some(reader.ok()?.header.replica))
}
