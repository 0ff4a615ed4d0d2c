//! Reads a log from segment to segment.

use std::path::{Path, PathBuf};

use super::{Group, ReadError, SegmentReader, segments};

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
                self.current = Some(SegmentReader::open(&path)?.reading_ahead());
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
