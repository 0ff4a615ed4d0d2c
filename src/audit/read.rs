//! Reads a log: segment after segment, group after group. What is torn or damaged is told by its place.

mod log;

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use prost::Message as _;
use thiserror::Error;

pub use self::log::LogReader;
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
    /// What was read ahead, and where it begins; `None` where nothing is.
    ahead: Option<(u64, Bytes)>,
}

/// Bytes that are read ahead.
const AHEAD: usize = 256 * 1024;

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
            ahead: None,
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
            ahead: None,
        })
    }

    /// Reads many groups at once, for who reads a segment to its end: a group of one record costs as much as its bytes do.
    /// What is written meanwhile may be missed, and a group that a failed write takes back may be given.
    #[must_use]
    pub fn reading_ahead(mut self) -> Self {
        self.ahead = Some((0, Bytes::new()));
        self
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
        let mut found = self.group_here();
        if let Some((_, ahead)) = &mut self.ahead
            && !ahead.is_empty()
            && !matches!(found, Ok(Some(_)))
        {
            // What was being written when it was read may be whole by now.
            ahead.clear();
            found = self.group_here();
        }
        if let Ok(Some(group)) = &found {
            self.offset = group.end();
            self.sequence = group.header.next_sequence();
        }
        found
    }

    fn group_here(&mut self) -> Result<Option<Group>, ReadError> {
        let mut bytes = [0; frame::HEADER];
        self.read_ahead(bytes.len())?;
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
        Ok(Some(Group {
            header,
            offset: self.offset,
            payload,
        }))
    }

    /// What stands at this place after [`ReadError::Damaged`], if at least its header is whole and its records are not cut.
    pub fn damaged_group(&mut self) -> Result<Option<Group>, ReadError> {
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
    fn payload(&mut self, header: &GroupHeader) -> Result<Option<Bytes>, ReadError> {
        let length = header.length as usize;
        let whole = frame::HEADER + length;
        if self.ahead_here(whole).is_none() {
            if self.offset + whole as u64 > self.length()? {
                return Ok(None);
            }
            self.read_ahead(whole)?;
        }
        if let Some(group) = self.ahead_here(whole) {
            return Ok(Some(group.slice(frame::HEADER..whole)));
        }
        let mut payload = vec![0; length];
        self.file
            .read_exact_at(&mut payload, self.offset + frame::HEADER as u64)
            .map_err(|error| self.io(error))?;
        Ok(Some(payload.into()))
    }

    /// So many bytes from this place on, if they were read ahead.
    fn ahead_here(&self, length: usize) -> Option<Bytes> {
        let (at, bytes) = self.ahead.as_ref()?;
        let begin = usize::try_from(self.offset.checked_sub(*at)?).ok()?;
        let end = begin.checked_add(length)?;
        (end <= bytes.len()).then(|| bytes.slice(begin..end))
    }

    /// Reads ahead from this place on, at least so many bytes unless the file ends, where they are not there.
    fn read_ahead(&mut self, length: usize) -> Result<(), ReadError> {
        if self.ahead.is_some() && self.ahead_here(length).is_none() {
            let mut bytes = vec![0; length.max(AHEAD)];
            let read = self.read_at_up_to(&mut bytes, self.offset)?;
            bytes.truncate(read);
            self.ahead = Some((self.offset, bytes.into()));
        }
        Ok(())
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
        if let Some(bytes) = self.ahead_here(buffer.len()) {
            buffer.copy_from_slice(&bytes);
            return Ok(bytes.len());
        }
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

#[cfg(test)]
mod tests;
