//! Reads candidates.

use std::{fs::File, os::unix::fs::FileExt as _, path::PathBuf};

use bytes::Bytes;

use super::{
    super::QueryError,
    candidate::{Candidate, Place},
};
use crate::audit::read::{Group, ReadError, SegmentReader};

/// Reads records; neighbours are often of one group.
#[derive(Debug, Default)]
pub(in crate::audit::query) struct Records {
    file: Option<(PathBuf, File)>,
    group: Option<(PathBuf, Group)>,
}

impl Records {
    pub(in crate::audit::query) fn read(
        &mut self,
        path: &PathBuf,
        candidate: &Candidate,
    ) -> Result<Bytes, QueryError> {
        let io = |error| ReadError::Io {
            path: path.clone(),
            error,
        };
        match candidate.place {
            Place::Record { offset, length } => {
                let file = match self.file.take() {
                    Some((own, file)) if own == *path => file,
                    _ => File::open(path).map_err(io)?,
                };
                let mut record = vec![0; length as usize];
                file.read_exact_at(&mut record, offset).map_err(io)?;
                self.file = Some((path.clone(), file));
                Ok(record.into())
            }
            Place::InGroup { offset, number } => {
                let group = match self.group.take() {
                    Some((own, group)) if own == *path && group.offset == offset => group,
                    _ => {
                        let begins = candidate.sequence.saturating_sub(number.into());
                        let group = SegmentReader::open(path)?.at(offset, begins).next_group()?;
                        group.ok_or_else(|| ReadError::Damaged {
                            path: path.clone(),
                            offset,
                            sequence: candidate.sequence,
                            what: "its index says that there is one",
                        })?
                    }
                };
                let record = group
                    .records()
                    .nth(number as usize)
                    .and_then(|(_, record)| Some(group.kept(record?)));
                self.group = Some((path.clone(), group));
                Ok(record.unwrap_or_default())
            }
        }
    }
}
