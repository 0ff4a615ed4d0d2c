//! Seals, indexes, proofs and retention, over logs of the library's own writer.

use std::{
    fs,
    process::Command,
    sync::{Arc, mpsc},
    time::Duration,
};

use greenlane::audit::{
    index::{INDEX, IndexError, Key, SegmentIndex, notes::SegmentNotes},
    prove::{Proof, ProofFault, ProveError, prove},
    read::SegmentReader,
    retention::Retention,
    seal::{LEAVES, SEAL, SIGNATURE, Seal, SealedSegment, SignedSeal},
    sealer::Sealer,
    sidecar,
    signing::SigningKey,
    verify::{What, verify},
};
use greenlane::wire::pb::Lane;
use jiff::{SignedDuration, Timestamp};

use crate::support::audit::{Log, decision_id};

const SEGMENT: u64 = 4_000;

#[test]
fn openssl_verifies_a_seal() {
    let log = Log::write(30, SEGMENT);
    let (_, path) = &log.segments()[0];
    let verifies = || {
        let mut command = Command::new("openssl");
        command
            .args(["pkeyutl", "-verify", "-pubin", "-rawin", "-inkey"])
            .arg(log.path().join("signing.pub"));
        command
            .arg("-in")
            .arg(sidecar::path(path, SEAL))
            .arg("-sigfile")
            .arg(sidecar::path(path, SIGNATURE));
        command.output().unwrap().status.success()
    };
    assert!(verifies());
    let text = fs::read_to_string(sidecar::path(path, SEAL)).unwrap();
    fs::write(sidecar::path(path, SEAL), text.replace("records: ", "records: 1")).unwrap();
    assert!(!verifies());
}

#[test]
fn a_seal_reads_as_it_was_written_and_in_no_other_form() {
    let log = Log::write(30, SEGMENT);
    let signed = SignedSeal::read(&log.segments()[0].1).unwrap().unwrap();
    let text = String::from_utf8(signed.text.clone()).unwrap();
    let seal = Seal::parse(&text).unwrap();
    assert_eq!(seal.text(), text);
    let names: Vec<&str> = text
        .lines()
        .skip(1)
        .map(|line| line.split_once(": ").unwrap().0)
        .collect();
    let expected = "replica segment records bytes chain-before chain-after merkle-root previous-seal sealed-at public-key";
    assert_eq!(names.join(" "), expected);
    for other in [
        text.trim_end().to_owned(),
        format!("{text}\n"),
        format!("{text}note: more\n"),
        text.replace("records: ", "records: +"),
        text.replace("segment: 0", "segment: "),
        text.replace('Z', "+00:00"),
        text.replace("-v1", "-v2"),
        text.replace('\n', "\r\n"),
    ] {
        assert_eq!(Seal::parse(&other), None, "{other}");
    }
}

#[test]
fn what_an_earlier_run_left_is_sealed_as_if_it_had_been_sealed_then() {
    let log = Log::write(60, SEGMENT);
    let segments = log.segments();
    let text = |segment: usize| fs::read_to_string(sidecar::path(&segments[segment].1, SEAL)).unwrap();
    let without_time = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .filter(|line| !line.starts_with("sealed-at") && !line.starts_with("previous-seal"));
        lines.map(str::to_owned).collect()
    };
    let before: Vec<String> = (0..segments.len() - 1).map(text).collect();
    // The seals of the last two are gone, and a crash left zeros behind one of them.
    for (_, path) in &segments[segments.len() - 3..segments.len() - 1] {
        for extension in [SEAL, SIGNATURE, LEAVES] {
            fs::remove_file(sidecar::path(path, extension)).unwrap();
        }
        let length = fs::metadata(path).unwrap().len();
        fs::OpenOptions::new()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(length + 5_000)
            .unwrap();
    }
    let (sender, told) = mpsc::channel();
    let hook = Box::new(move |sealed: &SealedSegment, _| {
        sender.send(sealed.seal.segment).unwrap();
    });
    let sealer = Sealer::spawn(log.path().to_owned(), Arc::clone(&log.key), hook).unwrap();
    sealer.catch_up(segments.last().unwrap().0);
    sealer.end();
    for (number, before) in before.iter().enumerate() {
        assert_eq!(without_time(&text(number)), without_time(before));
    }
    assert!(log.verify().is_good(), "{:?}", log.verify());
    let expected: Vec<u64> = segments[..segments.len() - 1]
        .iter()
        .map(|(first, _)| *first)
        .collect();
    assert_eq!(
        told.try_iter().collect::<Vec<_>>(),
        expected,
        "each is told of, in order"
    );
}

#[test]
fn a_damaged_segment_gets_no_seal_and_keeps_its_bytes() {
    let log = Log::write(60, SEGMENT);
    let (_, path) = &log.segments()[1];
    for extension in [SEAL, SIGNATURE, LEAVES] {
        fs::remove_file(sidecar::path(path, extension)).unwrap();
    }
    let mut bytes = fs::read(path).unwrap();
    bytes[700] ^= 1;
    fs::write(path, &bytes).unwrap();
    let sealer = Sealer::spawn(log.path().to_owned(), Arc::clone(&log.key), Box::new(|_, _| {})).unwrap();
    sealer.catch_up(log.head.segment);
    sealer.end();
    assert!(!sidecar::path(path, SEAL).exists());
    assert_eq!(fs::read(path).unwrap(), bytes);
}

#[test]
fn a_log_whose_signing_key_was_replaced_verifies_by_both_keys_and_by_neither_alone() {
    let mut log = Log::write(30, SEGMENT);
    let first = log.key.public_key();
    log.key = Arc::new(SigningKey::load_or_make(&log.path().join("second.key")).unwrap());
    let second = log.key.public_key();
    assert_ne!(first, second);
    log.append(30..60, SEGMENT);
    let faults = |trusted: &[_]| {
        let report = verify(log.path(), trusted, None, &|_| {}).unwrap();
        (report.is_good(), report.faults)
    };
    assert_eq!(faults(&[first, second]), (true, vec![]));
    assert_eq!(faults(&[second, first]), (true, vec![]));
    for alone in [first, second] {
        let (good, faults) = faults(&[alone]);
        assert!(
            !good && faults.iter().any(|fault| fault.what == What::OpenedBy),
            "{faults:?}"
        );
    }
    let proof = prove(log.path(), &decision_id(0)).unwrap();
    assert!(proof.check(&[second, first]).is_ok());
    assert!(matches!(proof.check(&[second]), Err(ProofFault::Seal(_))));
}

#[test]
fn every_sealed_decision_is_proven_and_a_changed_proof_proves_nothing() {
    let log = Log::write(60, SEGMENT);
    let public_key = log.key.public_key();
    let sealed_to = log.head.segment;
    for number in 0..60 {
        let id = decision_id(number);
        let proof = match prove(log.path(), &id) {
            Ok(proof) => proof,
            Err(ProveError::NotSealed {
                sequence, segment, ..
            }) => {
                assert!(sequence >= sealed_to && segment == sealed_to);
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let proven = proof.check(&[public_key]).unwrap();
        assert!(proven.sequence < sealed_to);
        let json = serde_json::to_string(&proof).unwrap();
        assert_eq!(serde_json::from_str::<Proof>(&json).unwrap(), proof);

        let changed = |change: &dyn Fn(&mut Proof)| {
            let mut proof = proof.clone();
            change(&mut proof);
            proof.check(&[public_key])
        };
        let other = |text: &str| text.replacen(|c: char| c.is_ascii_digit(), "f", 1);
        assert_eq!(
            changed(&|proof| proof.record = other(&proof.record)),
            Err(ProofFault::Path)
        );
        assert_eq!(
            changed(&|proof| proof.path[0] = other(&proof.path[0])),
            Err(ProofFault::Path)
        );
        assert_eq!(changed(&|proof| drop(proof.path.pop())), Err(ProofFault::Path));
        assert_eq!(
            changed(&|proof| proof.leaf_index += 1),
            Err(ProofFault::Differs("sequence"))
        );
        assert_eq!(
            changed(&|proof| proof.tree_size += 1),
            Err(ProofFault::Differs("tree_size"))
        );
        assert_eq!(
            changed(&|proof| proof.decision_id = decision_id(99)),
            Err(ProofFault::Decision)
        );
        assert!(matches!(
            changed(&|proof| proof.seal = other(&proof.seal)),
            Err(ProofFault::Seal(_))
        ));
        assert!(matches!(
            changed(&|proof| proof.signature = other(&proof.signature)),
            Err(ProofFault::Seal(_))
        ));
        assert!(matches!(proof.check(&[[1; 32]]), Err(ProofFault::Seal(_))));
    }
    assert!(matches!(
        prove(log.path(), &decision_id(60)),
        Err(ProveError::NotFound(_))
    ));
}

#[test]
fn a_proof_is_the_same_without_the_sidecars_that_speed_it_up() {
    let log = Log::write(60, SEGMENT);
    let proof = prove(log.path(), &decision_id(5)).unwrap();
    for (_, path) in log.segments() {
        for extension in [LEAVES, INDEX] {
            let _gone = fs::remove_file(sidecar::path(&path, extension));
        }
    }
    assert_eq!(prove(log.path(), &decision_id(5)).unwrap(), proof);
    // Where no index can be put: a folder in the place of its file.
    for (_, path) in log.segments() {
        let _gone = fs::remove_file(sidecar::path(&path, INDEX));
        fs::create_dir(sidecar::path(&path, INDEX)).unwrap();
    }
    assert_eq!(prove(log.path(), &decision_id(5)).unwrap(), proof);
}

#[test]
fn an_index_finds_every_record_by_every_key() {
    let log = Log::write(3_000, 1_000_000);
    let segments = log.segments();
    let (first, path) = &segments[0];
    let index = SegmentIndex::build(path).unwrap();
    let mut reader = SegmentReader::open(path).unwrap();
    let (mut number, mut decided) = (0_u32, Vec::new());
    while let Some(group) = reader.next_group().unwrap() {
        for (in_group, (sequence, record)) in (0_u32..).zip(group.decoded()) {
            let place = index.record(number).unwrap().unwrap();
            assert_eq!((place.group_offset, place.in_group), (group.offset, in_group));
            assert_eq!(u64::from(number) + first, sequence);
            if let Some(greenlane::wire::pb::audit_record::Entry::Decision(entry)) = record.entry {
                let decision = entry.decision.unwrap();
                let at = decision.decided_at.unwrap();
                decided.push(at.seconds * 1_000_000_000);
                assert_eq!(
                    (place.at, place.office, place.kind),
                    (at.seconds * 1_000_000_000, 2225, 2)
                );
                assert_eq!(i32::from(place.lane), decision.lane);
                for key in [
                    Key::Decision(&decision.decision_id),
                    Key::Declaration(&decision.declaration_number),
                ] {
                    assert_eq!(index.find(key).unwrap(), [number], "{key:?}");
                }
                let enterprise = format!("31{:08}", (number - 2) % 7);
                assert!(
                    index
                        .find(Key::Enterprise(&enterprise))
                        .unwrap()
                        .contains(&number)
                );
            }
            number += 1;
        }
    }
    assert_eq!(index.len(), number as usize);
    assert!(number > 2_000, "the tables have several blocks");
    assert_eq!(index.record(number).unwrap(), None);
    let enterprise = index.find(Key::Enterprise("3100000003")).unwrap();
    assert_eq!(
        enterprise,
        (2..number)
            .filter(|number| (number - 2) % 7 == 3)
            .collect::<Vec<_>>()
    );
    assert_eq!(index.find(Key::Decision("3100000003")).unwrap(), [0_u32; 0]);
    let summary = &index.summary;
    assert_eq!(
        summary.decided,
        decided.iter().min().copied().zip(decided.iter().max().copied())
    );
    assert!(summary.has_office(2225) && !summary.has_office(2226));
    assert!(
        summary.has_lane(Lane::Green)
            && summary.has_lane(Lane::Manual)
            && !summary.has_lane(Lane::Unspecified)
    );
}

#[test]
fn an_index_made_of_what_was_noted_is_the_one_that_is_made_of_the_segment() {
    let mut log = Log::write(30, SEGMENT);
    let begun_earlier = log.head.segment;
    let (sender, told) = mpsc::channel();
    let on_sealed = Box::new(move |sealed: &SealedSegment, notes| {
        sender
            .send((sealed.seal.segment, sealed.path.clone(), notes))
            .unwrap();
    });
    log.append_telling(30..200, SEGMENT, on_sealed);
    let mut segments = 0;
    for (first, path, notes) in told {
        let index = sidecar::path(&path, INDEX);
        // What an earlier run wrote was not noted by this one.
        assert!(notes.is_none() || first > begun_earlier);
        let Some(notes) = notes else { continue };
        segments += 1;
        SegmentIndex::put(&path, &notes).unwrap();
        let of_notes = fs::read(&index).unwrap();
        SegmentIndex::build(&path).unwrap();
        assert_eq!(of_notes, fs::read(&index).unwrap(), "segment {first}");
        let read = SegmentNotes::read(&path).unwrap();
        assert_eq!(notes.counts().to_bytes(), read.counts().to_bytes());
    }
    assert!(segments > 0);
}

#[test]
fn every_flipped_bit_of_an_index_is_seen_before_it_misleads() {
    let log = Log::write(8, 100_000);
    let (_, path) = &log.segments()[0];
    let index = SegmentIndex::build(path).unwrap();
    let answers = |index: &SegmentIndex| -> Result<_, IndexError> {
        let mut places = Vec::new();
        index.each_record(|_, place| places.push(place))?;
        let found = (0..9)
            .map(|number| index.find(Key::Decision(&decision_id(number))))
            .collect::<Result<Vec<_>, _>>()?;
        Ok((places, found, index.summary.clone(), index.segment_bytes))
    };
    let right = answers(&index).unwrap();
    let file = sidecar::path(path, INDEX);
    let bytes = fs::read(&file).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, &flipped).unwrap();
        let told = SegmentIndex::open(&file).and_then(|index| answers(&index));
        assert!(
            matches!(told, Err(IndexError::Damaged { .. })),
            "bit {bit}: {told:?}"
        );
    }
    for length in 0..bytes.len() {
        fs::write(&file, &bytes[..length]).unwrap();
        let told = SegmentIndex::open(&file).and_then(|index| answers(&index));
        assert!(matches!(told, Err(IndexError::Damaged { .. })), "cut to {length}");
    }
    fs::write(&file, b"rubbish").unwrap();
    assert_eq!(
        answers(&SegmentIndex::open_or_build(path).unwrap()).unwrap(),
        right
    );
}

#[test]
fn retention_deletes_the_oldest_shipped_segments_and_keeps_their_seals() {
    let log = Log::write(100, SEGMENT);
    let segments = log.segments();
    let total: u64 = segments
        .iter()
        .map(|(_, path)| fs::metadata(path).unwrap().len())
        .sum();
    let retention = Retention {
        max_age: Duration::ZERO,
        max_bytes: total - 5_000,
        delete_unshipped: false,
    };
    let now = Timestamp::now();
    assert_eq!(
        retention.apply(log.path(), 0, now).unwrap(),
        [],
        "nothing was shipped"
    );
    let deleted = retention.apply(log.path(), segments[2].0 - 1, now).unwrap();
    let names: Vec<u64> = deleted.iter().map(|deleted| deleted.segment).collect();
    assert_eq!(names, [segments[0].0, segments[1].0]);
    for (_, path) in &segments[..2] {
        assert!(!path.exists() && !sidecar::path(path, LEAVES).exists());
        assert!(sidecar::path(path, SEAL).exists() && sidecar::path(path, SIGNATURE).exists());
    }
    let report = log.verify_with_head();
    assert!(report.is_good(), "{report:?}");
    assert_eq!(report.first_sequence, segments[2].0);

    // The seals show what was there: without them, or with one that is another's, it is not retention.
    fs::remove_file(sidecar::path(&segments[0].1, SEAL)).unwrap();
    let report = log.verify();
    let fault = report.faults.first().unwrap();
    assert_eq!(
        (fault.sequence, fault.last_sequence),
        (1, segments[1].0 - 1),
        "{report:?}"
    );
}

#[test]
fn retention_by_age_leaves_the_segment_being_written_and_what_was_not_shipped() {
    let log = Log::write(100, SEGMENT);
    let sealed = log.segments().len() - 1;
    let by_age = |delete_unshipped| Retention {
        max_age: Duration::from_hours(1),
        max_bytes: 0,
        delete_unshipped,
    };
    let later = Timestamp::now() + SignedDuration::from_hours(2);
    assert_eq!(by_age(true).apply(log.path(), 0, Timestamp::now()).unwrap(), []);
    assert_eq!(by_age(false).apply(log.path(), 0, later).unwrap(), []);
    assert_eq!(by_age(true).apply(log.path(), 0, later).unwrap().len(), sealed);
    assert_eq!(log.segments().len(), 1);
    assert!(log.verify_with_head().is_good());
    let mut log = log;
    log.append(100..200, SEGMENT);
    let report = log.verify_with_head();
    assert!(
        report.is_good(),
        "the log goes on behind what was deleted: {report:?}"
    );
}
