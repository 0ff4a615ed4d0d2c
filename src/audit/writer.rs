//! Appends groups to segments: one at a time, whole or not at all.

mod open_segment;

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use self::open_segment::OpenSegment;
use super::{
    frame::{self, GroupHeader, Hash},
    group::NewGroup,
    index::notes::SegmentNotes,
    recover::{Recovered, recover},
    segment::{self, ReplicaName, SegmentHeader},
    sidecar::make_private_directory,
};

/// The name of the file that the one writer of a log holds locked.
const LOCK: &str = "lock";

/// Why a log cannot be written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The file system.
    #[error("{}: {error}", path.display())]
    Io {
        /// Of what.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// Another process writes it.
    #[error("{}: another process writes this log", path.display())]
    Locked {
        /// The log's directory.
        path: PathBuf,
    },
    /// What is there cannot be read.
    #[error(transparent)]
    Read(#[from] super::read::ReadError),
    /// A group is larger than a group can be.
    #[error("a group of {0} bytes is too large")]
    TooLarge(usize),
    /// What is there ends with the last number: nobody wrote that many records, somebody forged the last ones.
    #[error("the log has no sequence left")]
    Exhausted,
}

/// How a log is written.
#[derive(Debug, Clone)]
pub struct WriterSettings {
    /// Where its segments lie.
    pub directory: PathBuf,
    /// Name of the replica for a log that is made anew; one that exists keeps its own.
    pub replica: ReplicaName,
    /// Size at which a segment is full, in bytes.
    pub segment_bytes: u64,
    /// Whether the disk must have a group before it counts as written.
    pub sync: bool,
}

/// A segment to which nothing is added any more.
#[derive(Debug)]
pub struct FullSegment {
    /// Its file.
    pub path: PathBuf,
    /// Its header.
    pub header: SegmentHeader,
    /// Bytes of its header and groups; what stands behind them in the file is no part of it.
    pub length: u64,
    /// The leaf hashes of its records.
    pub leaves: Vec<Hash>,
    /// Chain of its last group.
    pub chain: Hash,
    /// What its index is made of, unless it was begun by an earlier run.
    pub notes: Option<SegmentNotes>,
}

/// Where a log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Sequence of the last record; 0 when there is none.
    pub sequence: u64,
    /// Chain of the last group.
    pub chain: Hash,
    /// First sequence of the segment that is being written.
    pub segment: u64,
    /// Where that segment's last group ends.
    pub offset: u64,
}

/// Takes segments that are full.
pub type TakeFull = Box<dyn Fn(FullSegment) + Send>;

/// The one writer of a log.
pub struct Writer {
    settings: WriterSettings,
    replica: ReplicaName,
    /// Encoded records with which every segment begins.
    opening: Vec<Vec<u8>>,
    take_full: TakeFull,
    open: Option<OpenSegment>,
    next_sequence: u64,
    chain: Hash,
    /// Held as long as the writer lives.
    _lock: File,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("settings", &self.settings)
            .field("next_sequence", &self.next_sequence)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// Opens the log of a directory, which is made if it is missing: cuts what a crash tore, and goes on behind it.
    pub fn open(settings: WriterSettings, take_full: TakeFull) -> Result<Self, WriteError> {
        let directory = &settings.directory;
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| WriteError::Io { path, error }
        };
        make_private_directory(directory).map_err(io(directory))?;
        let lock_path = directory.join(LOCK);
        let lock = File::create(&lock_path).map_err(io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(WriteError::Locked {
                    path: directory.clone(),
                });
            }
            Err(fs::TryLockError::Error(error)) => return Err(io(&lock_path)(error)),
        }
        let Recovered {
            replica,
            next_sequence,
            chain,
            last,
        } = recover(directory)?;
        let open = last
            .map(|last| {
                let file = OpenOptions::new()
                    .write(true)
                    .open(&last.path)
                    .map_err(io(&last.path))?;
                let mut segment = OpenSegment {
                    file,
                    path: last.path,
                    header: last.header,
                    end: last.end,
                    leaves: last.leaves,
                    notes: None,
                    // Whatever is behind the last whole group was never acknowledged.
                    dirty: true,
                };
                segment.clean(settings.segment_bytes)?;
                Ok::<_, WriteError>(segment)
            })
            .transpose()?;
        Ok(Self {
            replica: replica.unwrap_or(settings.replica),
            settings,
            opening: Vec::new(),
            take_full,
            open,
            next_sequence,
            chain,
            _lock: lock,
        })
    }

    /// The replica's name in this log.
    pub fn replica(&self) -> &str {
        &self.replica
    }

    /// Sets the encoded records with which segments begin from now on.
    pub fn set_opening(&mut self, records: Vec<Vec<u8>>) {
        self.opening = records;
    }

    /// Where the log ends.
    pub fn head(&self) -> Head {
        let open = self.open.as_ref();
        Head {
            sequence: self.next_sequence.saturating_sub(1),
            chain: self.chain,
            segment: open.map_or(self.next_sequence, |open| open.header.first_sequence),
            offset: open.map_or(0, |open| open.end),
        }
    }

    /// Appends a group of records. Gives the sequence of the first. After an error nothing of it is in the log, and the next
    /// call tries again.
    pub fn append(&mut self, group: &mut NewGroup, now: i64) -> Result<u64, WriteError> {
        let (bytes, ..) = group.parts();
        let full = self.open.as_ref().is_some_and(|open| {
            // A segment takes at least one group behind those it begins with, however large.
            let size = open.end + bytes.len() as u64;
            size > self.settings.segment_bytes && open.leaves.len() > self.opening.len()
        });
        if full {
            self.finish_segment();
        }
        if self.open.is_none() {
            self.begin_segment(now)?;
        }
        self.append_group(group, now)
    }

    /// Makes the disk have everything that was written.
    pub fn sync(&self) -> Result<(), WriteError> {
        self.open.as_ref().map_or(Ok(()), OpenSegment::sync)
    }

    fn append_group(&mut self, group: &mut NewGroup, now: i64) -> Result<u64, WriteError> {
        let (group, leaves, notes) = group.parts();
        let (Some(open), Some((room, payload))) =
            (&mut self.open, group.split_first_chunk_mut::<{ frame::HEADER }>())
        else {
            return Err(WriteError::TooLarge(group.len()));
        };
        let length = u32::try_from(payload.len())
            .ok()
            .filter(|&length| length <= frame::MAX_PAYLOAD);
        let header = GroupHeader {
            length: length.ok_or(WriteError::TooLarge(payload.len()))?,
            records: u32::try_from(leaves.len()).map_err(|_| WriteError::TooLarge(leaves.len()))?,
            payload_crc: crc32fast::hash(payload),
            first_sequence: self.next_sequence,
            written_at: now,
            chain: Hash::default(),
        };
        if header.first_sequence.checked_add(header.records.into()).is_none() {
            return Err(WriteError::Exhausted);
        }
        let header = header.sealed(&self.chain, leaves);
        *room = header.to_bytes();
        open.clean(self.settings.segment_bytes)?;
        if let Err(error) = open.put(group, self.settings.sync) {
            // What cannot be taken back now is before the next write.
            let _taken_back = open.clean(self.settings.segment_bytes);
            if self.settings.sync {
                // The disk may have lost pages that were written before: this segment is not written to again.
                self.finish_segment();
            }
            return Err(error);
        }
        let begin = open.end;
        open.end += group.len() as u64;
        open.leaves.extend(leaves);
        if let Some(own) = &mut open.notes {
            own.add(begin..open.end, notes);
        }
        self.next_sequence = header.next_sequence();
        self.chain = header.chain;
        Ok(header.first_sequence)
    }

    /// Begins a segment with the opening records.
    fn begin_segment(&mut self, now: i64) -> Result<(), WriteError> {
        let header = SegmentHeader {
            first_sequence: self.next_sequence,
            chain_before: self.chain,
            created_at: now,
            replica: self.replica,
        };
        let path = segment::path(&self.settings.directory, self.next_sequence);
        self.open = Some(OpenSegment::create(path, header, &self.settings)?);
        if self.opening.is_empty() {
            return Ok(());
        }
        let mut group = NewGroup::of(&self.opening);
        if let Err(error) = self.append_group(&mut group, now) {
            // Without its opening it is no segment: the next group begins another.
            if let Some(open) = self.open.take() {
                let _removed = fs::remove_file(&open.path);
            }
            return Err(error);
        }
        Ok(())
    }

    /// Hands on the segment that is full; the next group begins another.
    fn finish_segment(&mut self) {
        if let Some(OpenSegment {
            path,
            header,
            end,
            leaves,
            notes,
            ..
        }) = self.open.take()
        {
            (self.take_full)(FullSegment {
                path,
                header,
                length: end,
                leaves,
                chain: self.chain,
                notes,
            });
        }
    }
}

#[cfg(test)]
mod tests;
