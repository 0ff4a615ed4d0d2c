//! Files of a log whose checksums are right and whose numbers are nobody's: each was found by a fuzzer.

use std::{fs, path::Path};

use greenlane::audit::{
    frame::{GroupHeader, Hash},
    group::NewGroup,
    index::{INDEX, IndexError, Key, SegmentIndex},
    prove::{ProveError, prove},
    segment::{self, ReplicaName, SegmentHeader},
    sidecar,
    writer::{WriteError, Writer, WriterSettings},
};

use crate::support::audit::{Log, REPLICA, decision_id, opening};

/// A segment with a header and one group.
fn forge(path: &Path, first_sequence: u64, group: (u64, u32), payload: &[u8]) {
    let header = SegmentHeader {
        first_sequence,
        chain_before: Hash::default(),
        created_at: 0,
        replica: ReplicaName::from(REPLICA).unwrap(),
    };
    let group = GroupHeader {
        length: payload.len().try_into().unwrap(),
        records: group.1,
        payload_crc: crc32fast::hash(payload),
        first_sequence: group.0,
        written_at: 0,
        chain: Hash::default(),
    };
    fs::write(
        path,
        [&header.to_bytes()[..], &group.to_bytes(), payload].concat(),
    )
    .unwrap();
}

/// Appends a record as a service that starts would.
fn append(log: &Log) -> Result<u64, WriteError> {
    let settings = WriterSettings {
        directory: log.path().to_owned(),
        replica: ReplicaName::from(REPLICA).unwrap(),
        segment_bytes: 1 << 20,
        sync: false,
    };
    let mut writer = Writer::open(settings, Box::new(drop)).unwrap();
    writer.set_opening(opening(&log.key.public_key()));
    assert!(writer.head().sequence < u64::MAX);
    writer.append(&mut NewGroup::of([[8, 1]]), 0)
}

#[test]
fn sequences_at_the_end_of_all_numbers_are_told_and_never_counted_beyond() {
    let written = Log::write(12, 1_200);
    // Five empty records, whatever the header says.
    let payload = [0; 5];
    let last = u64::MAX;
    for (begins, records) in [
        (last, 1),
        (last - 1, 1),
        (last - 4, 5),
        (last - 4, 4),
        (last - 9, 5),
    ] {
        let log = written.copy();
        let path = segment::path(log.path(), begins);
        forge(&path, begins, (begins, records), &payload);
        let report = log.verify_with_head();
        assert!(!report.is_good(), "{begins}+{records}: {report:?}");
        match append(&log) {
            Ok(sequence) => assert!(sequence > log.head.sequence, "{begins}+{records}: {sequence}"),
            Err(error) => assert!(
                matches!(error, WriteError::Exhausted),
                "{begins}+{records}: {error}"
            ),
        }
    }
}

#[test]
fn a_segment_that_begins_with_another_record_than_its_name_says_is_not_gone_on_with() {
    let log = Log::write(12, 1_200);
    let next = log.head.sequence + 1;
    for says in [0, 3, next + 7, u64::MAX] {
        let log = log.copy();
        let path = segment::path(log.path(), next);
        forge(&path, says, (says, 1), &[0]);
        let forged = fs::read(&path).unwrap();
        let sequence = append(&log).unwrap();
        assert_ne!(
            says.checked_add(1),
            Some(sequence),
            "it is not counted on from there"
        );
        assert_eq!(
            fs::read(&path).unwrap()[..forged.len()],
            forged,
            "{says}: it is kept for whoever looks"
        );
        assert!(!log.verify().is_good(), "{says}");
    }
}

/// Where an index has its table of records, and how many these are.
fn records(index: &[u8]) -> (usize, usize) {
    let number = |at: usize| u32::from_le_bytes(index[at..at + 4].try_into().unwrap()) as usize;
    (56 + 2 * number(52) + 4, number(44))
}

fn sum(bytes: &mut [u8], from: usize, to: usize) {
    let crc = crc32fast::hash(&bytes[from..to]);
    bytes[to..to + 4].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn an_index_whose_records_lie_before_their_segment_is_damaged() {
    let log = Log::write(60, 2_500);
    let (_, path) = &log.segments()[0];
    SegmentIndex::build(path).unwrap();
    let file = sidecar::path(path, INDEX);
    let written = fs::read(&file).unwrap();
    let (table, count) = records(&written);

    let mut forged = written.clone();
    for number in 0..count {
        let in_group = table + 24 * number + 16;
        forged[in_group..in_group + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    }
    sum(&mut forged, table, table + 24 * count);
    fs::write(&file, &forged).unwrap();
    let index = SegmentIndex::open(&file).unwrap();
    let [number] = index.find(Key::Decision(&decision_id(0))).unwrap()[..] else {
        panic!("found once");
    };
    assert!(matches!(index.record(number), Err(IndexError::Damaged { .. })));
    assert!(matches!(
        index.each_record(|_, _| {}),
        Err(IndexError::Damaged { .. })
    ));
    let told = prove(log.path(), &decision_id(0));
    assert!(
        matches!(told, Err(ProveError::Index(IndexError::Damaged { .. }))),
        "{told:?}"
    );

    // An index of records that there are no numbers for.
    let mut forged = written;
    forged[8..16].copy_from_slice(&(u64::MAX - 1).to_le_bytes());
    sum(&mut forged, 0, table - 4);
    fs::write(&file, &forged).unwrap();
    assert!(matches!(
        SegmentIndex::open(&file),
        Err(IndexError::Damaged { .. })
    ));
}
