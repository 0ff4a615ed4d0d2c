//! Counts from the log: what a replica had counted before it was stopped.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::RateTable;
use crate::audit::{
    outline::Outline,
    read::{ReadError, SegmentReader, segments},
    sidecar,
};

/// Extension of the counts beside a segment.
pub const RATES: &str = "rates";

impl RateTable {
    /// Adds what the log of a directory holds.
    ///
    /// A segment that is followed by another no longer changes: its counts are read from beside it, or put there. Counts of
    /// segments that retention has deleted stay.
    pub fn add_log(&self, directory: &Path) -> Result<(), ReadError> {
        let mut segments = segments(directory)?;
        let last = segments.pop().map(|(_, path)| path);
        let full: Vec<PathBuf> = segments.into_iter().map(|(_, path)| path).collect();
        let counted = counted(directory).map_err(|error| ReadError::Io {
            path: directory.to_owned(),
            error,
        })?;
        for counts in counted {
            // Those of segments come with them, below.
            if !counts.with_extension("segment").exists() {
                self.add_file(&counts);
            }
        }
        for segment in full {
            if !self.add_file(&segment.with_extension(RATES)) {
                count_beside(&segment)?.add_to(self);
            }
        }
        last.map_or(Ok(()), |segment| self.count_segment(&segment))
    }

    fn count_segment(&self, segment: &Path) -> Result<(), ReadError> {
        let mut reader = SegmentReader::open(segment)?.reading_ahead();
        loop {
            match reader.next_group() {
                Ok(Some(group)) => {
                    let records = group.records().filter_map(|(_, record)| record);
                    let outlines = records.filter_map(Outline::of);
                    outlines.for_each(|record| self.count_record(&record));
                }
                // What a damaged group held is lost to the rates; `audit verify` tells of it.
                Ok(None) | Err(ReadError::Damaged { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Adds the counts of a file; false when it is not there, or is damaged.
    fn add_file(&self, counts: &Path) -> bool {
        fs::read(counts).is_ok_and(|bytes| self.add_bytes(&bytes).is_ok())
    }

    fn add_to(&self, other: &Self) {
        // What a table writes, another can read.
        let added = other.add_bytes(&self.to_bytes());
        debug_assert!(added.is_ok());
    }
}

/// Counts the records of a segment that no longer changes, and puts the counts beside it.
pub fn count_beside(segment: &Path) -> Result<RateTable, ReadError> {
    let counts = RateTable::of_segment();
    counts.count_segment(segment)?;
    put_beside(segment, &counts)?;
    Ok(counts)
}

/// Puts the counts of a segment beside it.
pub fn put_beside(segment: &Path, counts: &RateTable) -> Result<(), ReadError> {
    let path = sidecar::path(segment, RATES);
    sidecar::write(&path, &counts.to_bytes()).map_err(|error| ReadError::Io { path, error })
}

/// The files with counts.
fn counted(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut counted = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == RATES) {
            counted.push(path);
        }
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use prost::Message as _;

    use super::*;
    use crate::{
        audit::{
            log::{AuditLog, OnFailure, record},
            rates::tests::entry,
            segment::ReplicaName,
            writer::WriterSettings,
        },
        wire::pb::{self, audit_record::Entry},
    };

    /// Logs so many decisions and an inspection of the first of them, in small segments.
    fn log(directory: &Path, decisions: u64) -> RateTable {
        let settings = WriterSettings {
            directory: directory.to_owned(),
            replica: ReplicaName::from("test").expect("short enough"),
            segment_bytes: 16 * 1024,
            sync: false,
        };
        let (opened, activation) = (pb::LogOpened::default(), pb::PolicyActivation::default());
        let log =
            AuditLog::open(settings, OnFailure::Refuse, opened, activation, Box::new(drop)).expect("opened");
        let live = RateTable::default();
        let log = |entry| {
            let record = record(entry);
            log.append(std::slice::from_ref(&record)).expect("written");
            live.count_record(&Outline::of(&record.encode_to_vec()).expect("a record"));
        };
        for number in 1..=decisions {
            let mut entry = entry();
            entry.limit_ppm = 4_879;
            if let Some(draw) = entry.facts.as_mut().and_then(|facts| facts.draw.as_mut()) {
                draw.value = number;
            }
            log(Entry::Decision(entry));
        }
        log(Entry::Inspection(pb::InspectionEntry {
            declaration_number: "222520261000000001".to_owned(),
            credit_tier: 1,
            customs_office: "2225".to_owned(),
            month: "2025-12".to_owned(),
            ..pb::InspectionEntry::default()
        }));
        live
    }

    fn rebuilt(directory: &Path) -> RateTable {
        let table = RateTable::default();
        table.add_log(directory).expect("readable");
        table
    }

    fn with_extension(directory: &Path, extension: &str) -> Vec<PathBuf> {
        let files = fs::read_dir(directory).expect("a directory");
        let paths = files.map(|file| file.expect("a file").path());
        let mut found: Vec<_> = paths
            .filter(|path| path.extension().is_some_and(|own| own == extension))
            .collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn counts_are_those_of_the_log_whatever_stands_beside_its_segments() {
        let folder = tempfile::tempdir().expect("a directory");
        let directory = folder.path();
        let live = log(directory, 1_000);
        let segments = with_extension(directory, "segment");
        assert!(segments.len() > 3, "{}", segments.len());

        assert_eq!(rebuilt(directory).to_bytes(), live.to_bytes(), "from the records");
        let beside = with_extension(directory, RATES);
        assert_eq!(
            beside.len(),
            segments.len() - 1,
            "beside every segment but the last"
        );
        assert_eq!(rebuilt(directory).to_bytes(), live.to_bytes(), "from beside them");

        fs::write(&beside[0], b"GLRATES1 but cut").expect("written");
        fs::remove_file(&beside[1]).expect("removed");
        assert_eq!(
            rebuilt(directory).to_bytes(),
            live.to_bytes(),
            "damaged and gone: made again"
        );
        fs::remove_file(&segments[0]).expect("removed");
        assert_eq!(
            rebuilt(directory).to_bytes(),
            live.to_bytes(),
            "a segment that retention deleted"
        );
    }
}
