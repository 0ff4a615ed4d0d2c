use std::{fs, path::Path};

use super::*;
use crate::audit::{
    group::NewGroup,
    segment::ReplicaName,
    writer::{Writer, WriterSettings},
};

/// Sizes of records, one in each group: of less and of more than is read ahead at once.
const SIZES: [usize; 9] = [10, 100_000, 1, 300_000, 5, AHEAD, AHEAD + 1, 700_000, 40];

/// A log of one segment.
fn write(directory: &Path) -> PathBuf {
    let settings = WriterSettings {
        directory: directory.to_owned(),
        replica: ReplicaName::new(),
        segment_bytes: 1 << 30,
        sync: false,
    };
    let mut writer = Writer::open(settings, Box::new(drop)).expect("a log");
    for (number, size) in SIZES.into_iter().enumerate() {
        let record = vec![u8::try_from(number).unwrap_or_default(); size];
        writer.append(&mut NewGroup::of([record]), 0).expect("appended");
    }
    let end = writer.head().offset;
    let path = segment::path(directory, 1);
    let file = File::options().write(true).open(&path).expect("a segment");
    file.set_len(end).expect("cut");
    path
}

/// Where groups begin, what they hold, and why there are no more.
fn groups(mut reader: SegmentReader) -> (Vec<(u64, Bytes)>, Result<(), ReadError>) {
    let mut groups = Vec::new();
    loop {
        match reader.next_group() {
            Ok(Some(group)) => groups.push((group.offset, group.payload)),
            Ok(None) => return (groups, Ok(())),
            Err(error) => return (groups, Err(error)),
        }
    }
}

#[test]
fn what_is_read_ahead_is_what_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path());
    let open = || SegmentReader::open(&path).expect("a segment");
    let (plain, ended) = groups(open());
    assert!(ended.is_ok());
    assert_eq!(plain.len(), SIZES.len());
    let (ahead, ended) = groups(open().reading_ahead());
    assert!(ended.is_ok());
    assert_eq!(ahead, plain);
    let begin = plain[4].0;
    let (behind, _) = groups(open().at(begin, 5).reading_ahead());
    assert_eq!(behind, plain[4..]);
}

#[test]
fn what_is_damaged_is_damaged_when_it_is_read_ahead() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path());
    let (whole, _) = groups(SegmentReader::open(&path).expect("a segment"));
    let mut bytes = fs::read(&path).expect("read");
    let place = usize::try_from(whole[3].0).expect("a place") + frame::HEADER + 7;
    bytes[place] ^= 1;
    fs::write(&path, bytes).expect("written");
    let (groups, ended) = groups(SegmentReader::open(&path).expect("a segment").reading_ahead());
    assert_eq!(groups, whole[..3]);
    assert!(
        matches!(ended, Err(ReadError::Damaged { offset, .. }) if offset == whole[3].0),
        "{ended:?}"
    );
}

#[test]
fn what_was_being_written_when_it_was_read_ahead_is_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path());
    let bytes = fs::read(&path).expect("read");
    let (whole, _) = groups(SegmentReader::open(&path).expect("a segment"));
    // The header of the second group is there, and half of its records.
    let torn = usize::try_from(whole[1].0).expect("a place") + 50_000;
    fs::write(&path, &bytes[..torn]).expect("written");
    let mut reader = SegmentReader::open(&path).expect("a segment").reading_ahead();
    assert!(reader.next_group().expect("whole").is_some());
    fs::write(&path, &bytes).expect("written");
    let (rest, ended) = groups(reader);
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(rest, whole[1..]);
}
