//! Reads a log: segment after segment, group after group. What is torn or damaged is told by its place.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use prost::Message as _;
use thiserror::Error;

use super::{
    frame::{self, GroupHeader, Hash},
    segment::{self, SegmentHeader},
};
use crate::wire::pb;

/// Why a log cannot be read on.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file system.
    #[error("{}: {error}", path.display())]
    Io {
        /// Of what.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// The file is no segment, or its header is damaged.
    #[error("{}: no segment: its header is damaged", path.display())]
    NoSegment {
        /// Which file.
        path: PathBuf,
    },
    /// What stands at this place is no whole group. At the end of the last segment it is what a crash tore.
    #[error("{}: no whole group at byte {offset}, where record {sequence} is due: {what}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where the group begins.
        offset: u64,
        /// The record that is due there.
        sequence: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// One group, as it lies in a segment; its header and its payload's CRC hold.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its header.
    pub header: GroupHeader,
    /// Where it begins in the segment's file.
    pub offset: u64,
    /// Its records.
    pub payload: Bytes,
}

impl Group {
    /// The records with their sequences, each as its bytes; `None` where the payload is not of records.
    pub fn records(&self) -> impl Iterator<Item = (u64, Option<&[u8]>)> {
        let first = self.header.first_sequence;
        // A payload may have more records than its header says, and then more than there are numbers.
        (0..)
            .zip(frame::records(&self.payload))
            .map(move |(number, record)| (first.saturating_add(number), record))
    }

    /// The bytes of one of its records, for who keeps them.
    pub fn kept(&self, record: &[u8]) -> Bytes {
        self.payload.slice_ref(record)
    }

    /// The records with their sequences, decoded; those that are no records are left out, for `verify` tells of them.
    pub fn decoded(&self) -> impl Iterator<Item = (u64, pb::AuditRecord)> {
        let decoded = |(sequence, bytes): (u64, Option<&[u8]>)| {
            let record = pb::AuditRecord::decode(bytes?).ok()?;
            Some((sequence, record))
        };
        self.records().filter_map(decoded)
    }

    /// The leaf hashes of its records, in order.
    pub fn leaves(&self) -> Vec<Hash> {
        let records = frame::records(&self.payload);
        records.flatten().map(frame::leaf).collect()
    }

    /// Where the next group begins.
    pub fn end(&self) -> u64 {
        self.offset + (frame::HEADER + self.payload.len()) as u64
    }
}

/// The segments of a log's directory by the first sequence in their names, ascending.
pub fn segments(directory: &Path) -> Result<Vec<(u64, PathBuf)>, ReadError> {
    segment::list(directory).map_err(|error| ReadError::Io {
        path: directory.to_owned(),
        error,
    })
}

/// Reads one segment from its beginning, or from a place that an earlier reader gave.
#[derive(Debug)]
pub struct SegmentReader {
    path: PathBuf,
    file: File,
    /// Its header.
    pub header: SegmentHeader,
    offset: u64,
    sequence: u64,
}

impl SegmentReader {
    /// Opens a segment file.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let io = |error| ReadError::Io {
            path: path.to_owned(),
            error,
        };
        let file = File::open(path).map_err(io)?;
        let header = segment::header(&file).map_err(io)?;
        let header = header.ok_or_else(|| ReadError::NoSegment {
            path: path.to_owned(),
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            header,
            offset: segment::HEADER as u64,
            sequence: header.first_sequence,
        })
    }

    /// Opens a segment whose header is not read, for it is damaged; its name says where it begins.
    pub fn open_headless(path: &Path, first_sequence: u64) -> Result<Self, ReadError> {
        let file = File::open(path).map_err(|error| ReadError::Io {
            path: path.to_owned(),
            error,
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            header: SegmentHeader {
                first_sequence,
                chain_before: Hash::default(),
                created_at: 0,
                replica: segment::ReplicaName::new(),
            },
            offset: segment::HEADER as u64,
            sequence: first_sequence,
        })
    }

    /// Goes to a place where a group begins, and the sequence of its first record.
    #[must_use]
    pub fn at(mut self, offset: u64, sequence: u64) -> Self {
        (self.offset, self.sequence) = (offset, sequence);
        self
    }

    /// Where the next group begins, and the sequence of its first record.
    pub fn place(&self) -> (u64, u64) {
        (self.offset, self.sequence)
    }

    /// Length of the file.
    pub fn length(&self) -> Result<u64, ReadError> {
        let metadata = self.file.metadata();
        metadata
            .map(|metadata| metadata.len())
            .map_err(|error| self.io(error))
    }

    /// Makes the disk have the file as it is.
    pub fn sync(&self) -> Result<(), ReadError> {
        self.file.sync_data().map_err(|error| self.io(error))
    }

    /// The file that is read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next group; `None` at the end, and where nothing was written yet. May be called again after either, and after
    /// [`ReadError::Damaged`] where the segment is still being written.
    pub fn next_group(&mut self) -> Result<Option<Group>, ReadError> {
        let mut bytes = [0; frame::HEADER];
        let read = self.read_up_to(&mut bytes)?;
        if bytes[..read].iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        if read < bytes.len() {
            return Err(self.damaged("its header is cut"));
        }
        let header = GroupHeader::read(&bytes).ok_or_else(|| self.damaged("its header is damaged"))?;
        if header.first_sequence != self.sequence {
            return Err(self.damaged("its sequence is another"));
        }
        let payload = self
            .payload(&header)?
            .ok_or_else(|| self.damaged("its records are cut"))?;
        if !cfg!(fuzzing) && crc32fast::hash(&payload) != header.payload_crc {
            return Err(self.damaged("its records do not have its checksum"));
        }
        let group = Group {
            header,
            offset: self.offset,
            payload,
        };
        self.offset = group.end();
        self.sequence = header.next_sequence();
        Ok(Some(group))
    }

    /// What stands at this place after [`ReadError::Damaged`], if at least its header is whole and its records are not cut.
    pub fn damaged_group(&self) -> Result<Option<Group>, ReadError> {
        let mut bytes = [0; frame::HEADER];
        self.read_up_to(&mut bytes)?;
        let Some(header) = GroupHeader::read(&bytes) else {
            return Ok(None);
        };
        let payload = self.payload(&header)?;
        Ok(payload.map(|payload| Group {
            header,
            offset: self.offset,
            payload,
        }))
    }

    /// The payload of the group at this place; `None` where the file ends before it does.
    fn payload(&self, header: &GroupHeader) -> Result<Option<Bytes>, ReadError> {
        let begin = self.offset + frame::HEADER as u64;
        if begin + u64::from(header.length) > self.length()? {
            return Ok(None);
        }
        let mut payload = vec![0; header.length as usize];
        self.file
            .read_exact_at(&mut payload, begin)
            .map_err(|error| self.io(error))?;
        Ok(Some(payload.into()))
    }

    /// Passes over a damaged group to the next whole header behind it, if there is one in the file.
    pub fn skip_damage(&mut self) -> Result<Option<GroupHeader>, ReadError> {
        const WINDOW: usize = 1 << 20;
        let mut window = vec![0; WINDOW + frame::HEADER];
        let mut from = self.offset + 1;
        loop {
            let read = self.read_at_up_to(&mut window, from)?;
            for at in 0..read.saturating_sub(frame::HEADER - 1).min(WINDOW) {
                if let Some(bytes) = window[at..].first_chunk::<{ frame::HEADER }>()
                    && bytes[0] == b'G'
                    && let Some(header) = GroupHeader::read(bytes)
                    && header.first_sequence >= self.sequence
                {
                    (self.offset, self.sequence) = (from + at as u64, header.first_sequence);
                    return Ok(Some(header));
                }
            }
            if read < window.len() {
                return Ok(None);
            }
            from += WINDOW as u64;
        }
    }

    fn read_up_to(&self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        self.read_at_up_to(buffer, self.offset)
    }

    fn read_at_up_to(&self, buffer: &mut [u8], offset: u64) -> Result<usize, ReadError> {
        let mut read = 0;
        while read < buffer.len() {
            match self.file.read_at(&mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.io(error)),
            }
        }
        Ok(read)
    }

    fn io(&self, error: io::Error) -> ReadError {
        ReadError::Io {
            path: self.path.clone(),
            error,
        }
    }

    fn damaged(&self, what: &'static str) -> ReadError {
        ReadError::Damaged {
            path: self.path.clone(),
            offset: self.offset,
            sequence: self.sequence,
            what,
        }
    }
}

/// Reads a whole log: the groups of every segment of a directory in order, from a sequence on. What a crash tore at the
/// end of the last segment ends it; any other damage is told once and ends it too.
#[derive(Debug)]
pub struct LogReader {
    segments: std::vec::IntoIter<(u64, PathBuf)>,
    current: Option<SegmentReader>,
    from: u64,
}

impl LogReader {
    /// Opens the log of a directory; groups that end before `from` are left out, whole segments of them unread.
    pub fn open(directory: &Path, from: u64) -> Result<Self, ReadError> {
        let mut segments = segments(directory)?;
        let first = segments.partition_point(|(sequence, _)| *sequence <= from);
        segments.drain(..first.saturating_sub(1));
        Ok(Self {
            segments: segments.into_iter(),
            current: None,
            from,
        })
    }

    /// The next group.
    pub fn next_group(&mut self) -> Result<Option<Group>, ReadError> {
        loop {
            let Some(current) = &mut self.current else {
                let Some((_, path)) = self.segments.next() else {
                    return Ok(None);
                };
                self.current = Some(SegmentReader::open(&path)?);
                continue;
            };
            match current.next_group() {
                Ok(Some(group)) if group.header.next_sequence() <= self.from => {}
                Ok(Some(group)) => return Ok(Some(group)),
                Ok(None) => self.current = None,
                Err(ReadError::Damaged { .. }) if self.segments.as_slice().is_empty() => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Iterator for LogReader {
    type Item = Result<Group, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_group().transpose()
    }
}
