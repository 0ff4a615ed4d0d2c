//! The segment that is being written.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::PathBuf,
};

use rustix::fs::{FallocateFlags, fallocate};

use super::{
    super::{
        frame::Hash,
        index::notes::SegmentNotes,
        segment::{self, SegmentHeader},
        sidecar::sync_directory,
    },
    WriteError, WriterSettings,
};

/// A segment that is being written.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) header: SegmentHeader,
    /// Where its last group ends.
    pub(super) end: u64,
    pub(super) leaves: Vec<Hash>,
    /// What its index is made of; `None` where an earlier run began it.
    pub(super) notes: Option<SegmentNotes>,
    /// Bytes behind the end are what a write left that failed.
    pub(super) dirty: bool,
}

impl OpenSegment {
    pub(super) fn create(
        path: PathBuf,
        header: SegmentHeader,
        settings: &WriterSettings,
    ) -> Result<Self, WriteError> {
        let io = |error| WriteError::Io {
            path: path.clone(),
            error,
        };
        // A file of that name is one whose first group was never written.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        let prepared = reserve(&file, settings.segment_bytes)
            .and_then(|()| file.write_all_at(&header.to_bytes(), 0))
            .and_then(|()| {
                if settings.sync {
                    sync_directory(&path)
                } else {
                    Ok(())
                }
            });
        if let Err(error) = prepared {
            let _removed = fs::remove_file(&path);
            return Err(io(error));
        }
        Ok(Self {
            file,
            end: segment::HEADER as u64,
            leaves: Vec::new(),
            notes: Some(SegmentNotes::of(header.first_sequence)),
            header,
            dirty: false,
            path,
        })
    }

    pub(super) fn put(&mut self, group: &[u8], sync: bool) -> Result<(), WriteError> {
        self.dirty = true;
        self.file
            .write_all_at(group, self.end)
            .map_err(|error| self.io(error))?;
        if sync {
            self.sync()?;
        }
        self.dirty = false;
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), WriteError> {
        self.file.sync_data().map_err(|error| self.io(error))
    }

    /// Cuts what a failed write or a crash left behind the last group.
    pub(super) fn clean(&mut self, segment_bytes: u64) -> Result<(), WriteError> {
        if self.dirty {
            self.file.set_len(self.end).map_err(|error| self.io(error))?;
            self.dirty = false;
            // Only to find a full disk early: a write that needs room asks for it itself.
            let _reserved = reserve(&self.file, segment_bytes);
        }
        Ok(())
    }

    fn io(&self, error: io::Error) -> WriteError {
        WriteError::Io {
            path: self.path.clone(),
            error,
        }
    }
}

/// Reserves room on the disk, so that it cannot run full within a segment; where the file system cannot, writes find out.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
