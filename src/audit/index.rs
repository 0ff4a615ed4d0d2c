//! The index of a sealed segment: where each record is, and which records name a key. What the segment says is enough for it, so that
//! it can be made again; only a guide, for whoever finds a record by it looks at the record itself.
//!
//! `<first sequence>.index`, all numbers little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | `GLINDEX3` |
//! | 8..16 | first sequence of the segment |
//! | 16..24 | length of the segment in bytes |
//! | 24..32, 32..40 | earliest and latest `decided_at`, nanoseconds since 1970; the earliest is the later where nothing was decided |
//! | 40..44 | lanes: bit n for the lane of number n |
//! | 44..48, 48..52, 52..56 | number of records, of keys, of offices |
//! | 56.. | the offices, ascending, each a number of 2 bytes; CRC-32 of everything so far |
//! | | a table of the records, 24 bytes each: offset of the group, `decided_at`, number in the group (4), office (2), lane, kind |
//! | | a table of the keys, 12 bytes each, ascending: hash, number of the record (4) |
//!
//! A table is blocks of 256 entries, each with its CRC-32 behind it: a look-up reads and checks a few blocks.

mod build;
pub(super) mod keys;
pub mod notes;
mod table;

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use bytes::Buf as _;
use thiserror::Error;

use self::{notes::SegmentNotes, table::Table};
use super::{read::ReadError, sidecar};
use crate::wire::pb::Lane;

/// Extension of an index.
pub const INDEX: &str = "index";

const MAGIC: [u8; 8] = *b"GLINDEX3";
const HEAD: usize = 56;
const RECORD: usize = 24;
const KEY: usize = 12;

/// What records can be looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key<'a> {
    /// A decision's id, also as an inspection names it.
    Decision(&'a str),
    /// A declaration number, of a decision or an inspection.
    Declaration(&'a str),
    /// Any identifier of a party, as sent or as registered: customs code, social credit code, AEO code.
    Enterprise(&'a str),
    /// A transport document number.
    TransportDocument(&'a str),
    /// A container number.
    Container(&'a str),
}

/// What a key is, by the number that goes into its hash.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Decision = 1,
    Declaration = 2,
    Enterprise = 3,
    TransportDocument = 4,
    Container = 5,
}

impl Key<'_> {
    pub(super) fn hash(&self) -> u64 {
        let (kind, text) = match *self {
            Self::Decision(text) => (Kind::Decision, text),
            Self::Declaration(text) => (Kind::Declaration, text),
            Self::Enterprise(text) => (Kind::Enterprise, text),
            Self::TransportDocument(text) => (Kind::TransportDocument, text),
            Self::Container(text) => (Kind::Container, text),
        };
        hash(kind, text.as_bytes())
    }
}

/// The same in every version of the program. A multiplication for eight bytes and not for each, because a record has a dozen
/// keys. Whoever finds a record by a hash looks at the record itself, so that keys of one hash cost time and nothing else.
fn hash(kind: Kind, text: &[u8]) -> u64 {
    let mixed = |hash: u64, word: u64| {
        let product = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        product ^ product >> 32
    };
    let (words, rest) = text.as_chunks();
    let rest = rest.iter().fold(1, |rest, byte| rest << 8 | u64::from(*byte));
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    mixed(words.fold(kind as u64, mixed), rest).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// What a segment holds, in short.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Earliest and latest `decided_at` of its decisions, nanoseconds since 1970; `None` without a decision.
    pub decided: Option<(i64, i64)>,
    /// Offices of its decisions, ascending.
    pub offices: Vec<u16>,
    /// Bit n: it holds a decision of the lane of number n.
    lanes: u32,
}

impl Summary {
    /// Whether it holds a decision of that lane.
    pub fn has_lane(&self, lane: Lane) -> bool {
        self.lanes & lane_bit(lane as i32) != 0
    }

    /// Whether it holds a decision at that office.
    pub fn has_office(&self, office: u16) -> bool {
        self.offices.binary_search(&office).is_ok()
    }
}

/// An unknown lane has no bit.
fn lane_bit(lane: i32) -> u32 {
    u32::try_from(lane)
        .ok()
        .and_then(|lane| 1_u32.checked_shl(lane))
        .unwrap_or_default()
}

/// Where a record is, and what it is, as far as lists filter by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Where its group begins in the segment's file.
    pub group_offset: u64,
    /// When it was decided, or else recorded: nanoseconds since 1970.
    pub at: i64,
    /// Its number in the group, from 0.
    pub in_group: u32,
    /// The office of a decision, its four digits as a number; 0 else.
    pub office: u16,
    /// The lane of a decision by its number in the contract; 0 else.
    pub lane: u8,
    /// The number of the entry's field in `AuditRecord`; 0 for a kind that this program does not know.
    pub kind: u8,
}

/// Why an index does not answer.
#[derive(Debug, Error)]
pub enum IndexError {
    /// The file system.
    #[error("{}: {error}", path.display())]
    Io {
        /// Of what.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// It is not of this segment, or not as it was written: build it again.
    #[error("{}: the index is damaged", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
    /// The segment cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The index of one segment.
#[derive(Debug)]
pub struct SegmentIndex {
    path: PathBuf,
    file: File,
    /// First sequence of the segment: record n has this plus n.
    pub first_sequence: u64,
    /// Length of the segment when it was indexed.
    pub segment_bytes: u64,
    /// What the segment holds.
    pub summary: Summary,
    records: Table<RECORD>,
    keys: Table<KEY>,
}

impl SegmentIndex {
    /// Opens the index of a segment, given the segment's path; makes it when it is missing, damaged or of another length.
    pub fn open_or_build(segment: &Path) -> Result<Self, IndexError> {
        let path = sidecar::path(segment, INDEX);
        let length = std::fs::metadata(segment).map_err(|error| IndexError::Io {
            path: segment.to_owned(),
            error,
        })?;
        match Self::open(&path) {
            Ok(index) if index.segment_bytes == length.len() => Ok(index),
            Ok(_) | Err(IndexError::Damaged { .. }) => Self::build(segment),
            Err(IndexError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                Self::build(segment)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes the index of a segment, which is read whole, and puts it beside it.
    pub fn build(segment: &Path) -> Result<Self, IndexError> {
        let notes = SegmentNotes::read(segment)?;
        Self::put(segment, &notes)?;
        Self::open(&sidecar::path(segment, INDEX))
    }

    /// Puts the index beside the segment that the notes are of.
    pub fn put(segment: &Path, notes: &SegmentNotes) -> Result<(), IndexError> {
        let path = sidecar::path(segment, INDEX);
        let written = sidecar::write(&path, &build::index_of(notes));
        written.map_err(|error| IndexError::Io { path, error })
    }

    /// Opens an index file. Its tables are checked as they are read.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        let file = File::open(path).map_err(|error| IndexError::Io {
            path: path.to_owned(),
            error,
        })?;
        Self::read(path, file)?.ok_or_else(|| IndexError::Damaged {
            path: path.to_owned(),
        })
    }

    fn read(path: &Path, file: File) -> Result<Option<Self>, IndexError> {
        let read = |length: usize| {
            let mut bytes = vec![0; length];
            match file.read_exact_at(&mut bytes, 0) {
                Ok(()) => Ok(Some(bytes)),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
                Err(error) => Err(IndexError::Io {
                    path: path.to_owned(),
                    error,
                }),
            }
        };
        let Some(head) = read(HEAD)? else { return Ok(None) };
        let mut rest = &head[8..];
        let first_sequence = rest.get_u64_le();
        let segment_bytes = rest.get_u64_le();
        let (earliest, latest) = (rest.get_i64_le(), rest.get_i64_le());
        let lanes = rest.get_u32_le();
        let mut number = || rest.get_u32_le() as usize;
        let (records, keys, offices) = (number(), number(), number());
        // An office is four digits; and what has no place in a log is no record.
        if head[..8] != MAGIC || offices > 10_000 || first_sequence.checked_add(records as u64).is_none() {
            return Ok(None);
        }
        let before = HEAD + 2 * offices;
        let Some(bytes) = read(before + 4)? else {
            return Ok(None);
        };
        if !cfg!(fuzzing) && bytes[before..] != crc32fast::hash(&bytes[..before]).to_le_bytes() {
            return Ok(None);
        }
        let records = Table::new((before + 4) as u64, records);
        Ok(Some(Self {
            path: path.to_owned(),
            file,
            first_sequence,
            segment_bytes,
            summary: Summary {
                decided: (earliest <= latest).then_some((earliest, latest)),
                offices: bytes[HEAD..before]
                    .as_chunks()
                    .0
                    .iter()
                    .map(|&bytes| u16::from_le_bytes(bytes))
                    .collect(),
                lanes,
            },
            records,
            keys: Table::new(records.end(), keys),
        }))
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.records.count()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers of the records that name a key, ascending; now and then one that does not.
    pub fn find(&self, key: Key<'_>) -> Result<Vec<u32>, IndexError> {
        let hash = key.hash();
        let split = |entry: &[u8; KEY]| {
            let mut rest = &entry[..];
            (rest.get_u64_le(), rest.get_u32_le())
        };
        let (mut low, mut high) = (0, self.keys.blocks());
        // The first block whose last key is not before the one that is looked for.
        while low < high {
            let middle = low.midpoint(high);
            let block = self.block(&self.keys, middle)?;
            if block.last().is_some_and(|last| split(last).0 < hash) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let mut found = Vec::new();
        for block in low..self.keys.blocks() {
            for (own, record) in self.block(&self.keys, block)?.iter().map(split) {
                if own > hash {
                    return Ok(found);
                }
                if own == hash {
                    found.push(record);
                }
            }
        }
        Ok(found)
    }

    /// Where a record is; `None` when there are not so many.
    pub fn record(&self, number: u32) -> Result<Option<Place>, IndexError> {
        let number = number as usize;
        if number >= self.len() {
            return Ok(None);
        }
        let (block, at) = Table::<RECORD>::place(number);
        let block = self.block(&self.records, block)?;
        block.get(at).map(|entry| self.place(number, entry)).transpose()
    }

    /// Where every record is, in order: `visit` is given the number and the place of each.
    pub fn each_record(&self, mut visit: impl FnMut(u32, Place)) -> Result<(), IndexError> {
        let mut number = 0;
        for block in 0..self.records.blocks() {
            for entry in self.block(&self.records, block)? {
                visit(number, self.place(number as usize, &entry)?);
                number += 1;
            }
        }
        Ok(())
    }

    fn place(&self, number: usize, entry: &[u8; RECORD]) -> Result<Place, IndexError> {
        let place = Place::read(entry);
        // No group begins before its segment does: whoever reads counts back from the record.
        if place.in_group as usize > number {
            return Err(self.damaged());
        }
        Ok(place)
    }

    fn damaged(&self) -> IndexError {
        IndexError::Damaged {
            path: self.path.clone(),
        }
    }

    fn block<const WIDTH: usize>(
        &self,
        table: &Table<WIDTH>,
        block: usize,
    ) -> Result<Vec<[u8; WIDTH]>, IndexError> {
        let read = table.block(&self.file, block).map_err(|error| IndexError::Io {
            path: self.path.clone(),
            error,
        })?;
        read.ok_or_else(|| self.damaged())
    }
}

impl Place {
    fn read(entry: &[u8; RECORD]) -> Self {
        let mut rest = &entry[..];
        Self {
            group_offset: rest.get_u64_le(),
            at: rest.get_i64_le(),
            in_group: rest.get_u32_le(),
            office: rest.get_u16_le(),
            lane: rest.get_u8(),
            kind: rest.get_u8(),
        }
    }

    fn to_bytes(self) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        bytes[..8].copy_from_slice(&self.group_offset.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.at.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.in_group.to_le_bytes());
        bytes[20..22].copy_from_slice(&self.office.to_le_bytes());
        bytes[22] = self.lane;
        bytes[23] = self.kind;
        bytes
    }
}
