//! A segment file: 128 bytes of header, then groups, then zeros or the file's end.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | `GLAUDIT1` |
//! | 8..16 | sequence of the first record |
//! | 16..48 | chain before the first group; zeros in the first segment of a log |
//! | 48..56 | created at, nanoseconds since 1970 |
//! | 56..58 | length of the replica's name |
//! | 58..122 | the replica's name, zeros behind it |
//! | 122..124 | zero |
//! | 124..128 | CRC-32 of bytes 0..124 |

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use arrayvec::ArrayString;
use bytes::Buf as _;

use super::frame::Hash;

/// Bytes of a segment's header.
pub const HEADER: usize = 128;
/// Longest name of a replica, in bytes.
pub const MAX_NAME: usize = 64;

const MAGIC: [u8; 8] = *b"GLAUDIT1";
const EXTENSION: &str = "segment";

/// The replica that writes a log.
pub type ReplicaName = ArrayString<MAX_NAME>;

/// A segment's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Sequence of its first record; its file is named after it.
    pub first_sequence: u64,
    /// Chain of the last group of the segment before.
    pub chain_before: Hash,
    /// When it was made, by the replica's clock: nanoseconds since 1970.
    pub created_at: i64,
    /// Who writes it.
    pub replica: ReplicaName,
}

impl SegmentHeader {
    /// The header as it is written.
    pub fn to_bytes(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.first_sequence.to_le_bytes());
        bytes[16..48].copy_from_slice(&self.chain_before);
        bytes[48..56].copy_from_slice(&self.created_at.to_le_bytes());
        let name = self.replica.as_bytes();
        // At most 64: see MAX_NAME.
        let length = u16::try_from(name.len()).unwrap_or_default();
        bytes[56..58].copy_from_slice(&length.to_le_bytes());
        bytes[58..58 + name.len()].copy_from_slice(name);
        let crc = crc32fast::hash(&bytes[..124]);
        bytes[124..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` unless it is whole.
    pub fn read(bytes: &[u8; HEADER]) -> Option<Self> {
        let mut rest = &bytes[..];
        let mut magic = [0; 8];
        rest.copy_to_slice(&mut magic);
        let first_sequence = rest.get_u64_le();
        let mut chain_before = Hash::default();
        rest.copy_to_slice(&mut chain_before);
        let created_at = rest.get_i64_le();
        let length = usize::from(rest.get_u16_le());
        let name = std::str::from_utf8(rest.get(..length.min(MAX_NAME))?).ok()?;
        rest.advance(MAX_NAME + 2);
        let whole = cfg!(fuzzing) || rest.get_u32_le() == crc32fast::hash(&bytes[..124]);
        (magic == MAGIC && whole && length <= MAX_NAME).then_some(Self {
            first_sequence,
            chain_before,
            created_at,
            replica: ReplicaName::from(name).ok()?,
        })
    }
}

/// The path of a segment in a log's directory.
pub fn path(directory: &Path, first_sequence: u64) -> PathBuf {
    directory.join(name(first_sequence))
}

/// The name of a segment's file.
pub fn name(first_sequence: u64) -> String {
    format!("{first_sequence:020}.{EXTENSION}")
}

/// The segments of a log's directory by the first sequence in their names, ascending.
pub fn list(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    list_files(directory, EXTENSION)
}

/// The files of a log's directory that are named after a segment and have that extension, by first sequence, ascending.
pub fn list_files(directory: &Path, extension: &str) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let sequence = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .filter(|stem| stem.len() == 20)
            .and_then(|stem| stem.parse().ok());
        if let Some(sequence) = sequence
            && path.extension().is_some_and(|found| found == extension)
        {
            found.push((sequence, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Reads the header of a segment file; `None` where it is not whole.
pub fn header(file: &File) -> io::Result<Option<SegmentHeader>> {
    let mut bytes = [0; HEADER];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => Ok(SegmentHeader::read(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written_and_any_flipped_bit_is_seen() {
        for name in ["", "greenlane-0-1f2e3d4c", &"n".repeat(MAX_NAME)] {
            let header = SegmentHeader {
                first_sequence: 42,
                chain_before: [9; 32],
                created_at: 1_795_000_000_000_000_000,
                replica: ReplicaName::from(name).expect("short enough"),
            };
            let bytes = header.to_bytes();
            assert_eq!(SegmentHeader::read(&bytes), Some(header));
            for bit in 0..HEADER * 8 {
                let mut flipped = bytes;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(SegmentHeader::read(&flipped), None, "bit {bit}");
            }
        }
    }

    #[test]
    fn segments_are_listed_by_sequence_and_other_files_passed_over() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in [
            "00000000000000000100.segment",
            "00000000000000000001.segment",
            "00000000000000000001.seal",
            "1.segment",
            "signing.key",
        ] {
            fs::write(directory.path().join(name), "").expect("written");
        }
        let listed = list(directory.path()).expect("listed");
        assert_eq!(
            listed.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(),
            [1, 100]
        );
    }
}
