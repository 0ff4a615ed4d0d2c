use std::sync::{Arc, Mutex};

use super::*;
use crate::audit::read::{Group, LogReader};

fn settings(directory: &Path, segment_bytes: u64) -> WriterSettings {
    WriterSettings {
        directory: directory.to_owned(),
        replica: ReplicaName::from("test").expect("short enough"),
        segment_bytes,
        sync: false,
    }
}

fn open(directory: &Path, segment_bytes: u64) -> Writer {
    let mut writer = Writer::open(settings(directory, segment_bytes), Box::new(drop)).expect("opened");
    writer.set_opening(vec![b"opened".to_vec()]);
    writer
}

fn append(writer: &mut Writer, records: &[&str]) -> Result<u64, WriteError> {
    writer.append(&mut NewGroup::of(records), 7)
}

/// Every record of a log with its sequence; the chain is held against the groups as they are read.
fn read(directory: &Path) -> Vec<(u64, String)> {
    let groups: Result<Vec<Group>, _> = LogReader::open(directory, 0).expect("a log").collect();
    let mut chain = Hash::default();
    let mut records = Vec::new();
    for group in groups.expect("readable") {
        assert_eq!(
            group.header.chain,
            group.header.chain_after(&chain, &group.leaves())
        );
        chain = group.header.chain;
        let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.expect("whole").to_vec()).expect("text");
        records.extend(group.records().map(|(sequence, bytes)| (sequence, text(bytes))));
    }
    records
}

fn texts(directory: &Path) -> Vec<String> {
    let records = read(directory);
    let sequences: Vec<u64> = records.iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(
        sequences,
        (1..=records.len() as u64).collect::<Vec<_>>(),
        "no gap"
    );
    records
        .into_iter()
        .map(|(_, text)| text)
        .filter(|text| text != "opened")
        .collect()
}

#[test]
fn what_was_appended_is_read_back_over_many_segments_and_runs() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut expected = Vec::new();
    for run in 0..3 {
        let mut writer = open(directory.path(), 600);
        for group in 0..10 {
            let records = [format!("{run}/{group}/a"), format!("{run}/{group}/b")];
            append(&mut writer, &[&records[0], &records[1]]).expect("appended");
            expected.extend(records);
        }
    }
    assert_eq!(texts(directory.path()), expected);
    assert!(segment::list(directory.path()).expect("listed").len() > 3);
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_the_log_goes_on_behind_the_last_whole_group() {
    let whole = tempfile::tempdir().expect("a directory");
    let mut writer = open(whole.path(), 4096);
    append(&mut writer, &["one", "two"]).expect("appended");
    let kept = writer.head();
    append(&mut writer, &["three"]).expect("appended");
    let end = writer.head().offset;
    drop(writer);
    let bytes = fs::read(segment::path(whole.path(), 1)).expect("read");
    for cut in kept.offset..end {
        // The file's rest is zeros where it was reserved, or is not there.
        for reserved in [true, false] {
            let torn = tempfile::tempdir().expect("a directory");
            let cut = usize::try_from(cut).expect("small");
            let mut left = bytes[..cut].to_vec();
            if reserved {
                left.resize(bytes.len(), 0);
            }
            fs::write(segment::path(torn.path(), 1), left).expect("written");
            let mut writer = open(torn.path(), 4096);
            assert_eq!(writer.head(), kept, "cut at {cut}");
            append(&mut writer, &["four"]).expect("appended");
            drop(writer);
            assert_eq!(texts(torn.path()), ["one", "two", "four"]);
        }
    }
}

#[test]
fn a_segment_whose_first_group_was_never_written_is_begun_again() {
    for left in [0, 10, segment::HEADER] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut writer = open(directory.path(), 300);
        for text in ["one", "two", "three", "four"] {
            append(&mut writer, &[text]).expect("appended");
        }
        let last = writer.head();
        drop(writer);
        let path = segment::path(directory.path(), last.segment);
        let bytes = fs::read(&path).expect("read");
        fs::write(&path, &bytes[..left]).expect("written");
        let mut writer = open(directory.path(), 300);
        assert_eq!(writer.head().sequence, last.segment - 1);
        append(&mut writer, &["five"]).expect("appended");
        drop(writer);
        assert_eq!(texts(directory.path()).last().map(String::as_str), Some("five"));
    }
}

#[test]
fn damage_that_is_no_tear_is_kept_for_the_auditor_and_the_log_goes_on_in_another_segment() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut writer = open(directory.path(), 4096);
    append(&mut writer, &["one"]).expect("appended");
    let begin = writer.head().offset;
    append(&mut writer, &["two"]).expect("appended");
    append(&mut writer, &["three"]).expect("appended");
    let head = writer.head();
    drop(writer);
    let path = segment::path(directory.path(), 1);
    let mut bytes = fs::read(&path).expect("read");
    bytes[usize::try_from(begin).expect("small") + frame::HEADER + 2] ^= 1;
    fs::write(&path, &bytes).expect("written");

    let mut writer = open(directory.path(), 4096);
    assert_eq!(
        (writer.head().sequence, writer.head().chain),
        (head.sequence, head.chain)
    );
    append(&mut writer, &["four"]).expect("appended");
    assert_eq!(writer.head().segment, head.sequence + 1);
    assert_eq!(
        fs::read(&path).expect("read"),
        bytes,
        "the damaged segment is evidence"
    );
}

#[test]
fn a_second_writer_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let _first = open(directory.path(), 4096);
    let second = Writer::open(settings(directory.path(), 4096), Box::new(drop));
    assert!(matches!(second, Err(WriteError::Locked { .. })), "{second:?}");
}

#[test]
fn a_full_segment_is_handed_on_with_what_sealing_needs() {
    let directory = tempfile::tempdir().expect("a directory");
    let full = Arc::new(Mutex::new(Vec::new()));
    let take = {
        let full = Arc::clone(&full);
        Box::new(move |segment| full.lock().expect("no panic").push(segment))
    };
    let mut writer = Writer::open(settings(directory.path(), 300), take).expect("opened");
    writer.set_opening(vec![b"opened".to_vec()]);
    for text in ["one", "two", "three", "four", "five"] {
        append(&mut writer, &[text]).expect("appended");
    }
    let full = full.lock().expect("no panic");
    assert!(full.len() > 1);
    for segment in full.iter() {
        let mut reader = crate::audit::read::SegmentReader::open(&segment.path).expect("a segment");
        let mut leaves = Vec::new();
        let mut chain = Hash::default();
        while let Some(group) = reader.next_group().expect("whole") {
            leaves.extend(group.leaves());
            chain = group.header.chain;
        }
        assert_eq!(
            (&leaves, chain, reader.place().0),
            (&segment.leaves, segment.chain, segment.length)
        );
    }
}
