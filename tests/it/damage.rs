//! Damage to a log: whatever was done to it, `verify` names the first bad record.

use std::{fs, ops::Range, os::unix::fs::FileExt as _, path::Path};

use greenlane::audit::{
    seal::{LEAVES, SEAL, SIGNATURE, SignedSeal},
    sealer::Sealer,
    sidecar,
    signing::SigningKey,
    verify::{Fault, Reach, Report, What},
};
use proptest::prelude::*;

use crate::support::{
    audit::{Log, Parts},
    cases,
};

const SEGMENT: u64 = 2_500;

/// Several sealed segments, and one that is written.
fn log() -> Log {
    let log = Log::write(60, SEGMENT);
    assert!(log.segments().len() >= 5, "{}", log.segments().len());
    log
}

/// The same, small enough for every bit of a segment.
fn small_log() -> Log {
    let log = Log::write(12, 1_200);
    assert!(log.segments().len() >= 3, "{}", log.segments().len());
    log
}

fn first(report: &Report) -> &Fault {
    report
        .faults
        .first()
        .unwrap_or_else(|| panic!("nothing is told: {report:?}"))
}

fn flip(path: &Path, bit: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit / 8).unwrap();
    byte[0] ^= 1 << (bit % 8);
    file.write_all_at(&byte, bit / 8).unwrap();
}

/// Seals a segment anew with another key, as who cannot sign would have to.
fn seal_anew(directory: &Path, segment: &Path, key: SigningKey) {
    for extension in [SEAL, SIGNATURE, LEAVES] {
        fs::remove_file(sidecar::path(segment, extension)).unwrap();
    }
    let sealer = Sealer::spawn(directory.to_owned(), key.into(), Box::new(|_, _| {})).unwrap();
    let active = greenlane::audit::segment::list(directory)
        .unwrap()
        .pop()
        .unwrap()
        .0;
    sealer.catch_up(active);
    sealer.end();
}

#[test]
fn a_log_as_it_was_written_is_good() {
    let log = log();
    let report = log.verify();
    assert!(report.is_good(), "{report:?}");
    assert_eq!(report.replica, crate::support::audit::REPLICA);
    assert_eq!(
        (report.first_sequence, report.last_sequence),
        (1, log.head.sequence)
    );
    assert_eq!(report.records, log.head.sequence);
    assert_eq!(report.decisions, 60);
    assert_eq!(report.sealed + 1, report.segments);
    assert_eq!(report.unsealed_from, log.head.segment);
    assert_eq!(report.torn_tail, None);
    assert_eq!(report.reach, Reach::Nothing, "nothing shows how far the log went");
    assert!(log.verify_with_head().is_good());
}

#[test]
fn every_flipped_bit_of_a_sealed_segment_is_named_by_its_record() {
    let log = small_log();
    let (sequence, path) = &log.segments()[1];
    let layout = Parts::read(path).layout();
    let bits = fs::metadata(path).unwrap().len() * 8;
    for bit in 0..bits {
        flip(path, bit);
        let report = log.verify();
        flip(path, bit);
        let byte = usize::try_from(bit / 8).unwrap();
        // The record that the byte is of; of what is not in a record, the first behind it.
        let expected = layout.iter().find(|(_, _, _, end)| byte < *end).unwrap().0;
        let fault = first(&report);
        assert_eq!(
            (fault.segment, fault.sequence),
            (*sequence, expected),
            "bit {bit}: {fault:?}"
        );
        assert!(fault.offset <= bit / 8, "bit {bit}: {fault:?}");
    }
    assert!(log.verify().is_good());
}

#[test]
fn every_flipped_bit_of_the_segment_being_written_is_told_by_its_group() {
    let log = small_log();
    let (sequence, path) = log.segments().pop().unwrap();
    let layout = Parts::read(&path).layout();
    let last_group = layout.last().unwrap().1;
    let end = layout.last().unwrap().3;
    for bit in 0..end * 8 {
        flip(&path, bit as u64);
        let (report, with_head) = (log.verify(), log.verify_with_head());
        flip(&path, bit as u64);
        if bit / 8 < last_group {
            let group = layout.iter().rev().find(|(_, begin, ..)| *begin <= bit / 8);
            let expected = group.map_or(sequence, |(_, begin, ..)| {
                layout.iter().find(|(_, other, ..)| other == begin).unwrap().0
            });
            let fault = first(&report);
            assert_eq!(
                (fault.segment, fault.sequence),
                (sequence, expected),
                "bit {bit}: {fault:?}"
            );
        } else {
            // By itself it looks like what a crash tore: told, and with a head a fault.
            let torn = report.torn_tail.as_ref().unwrap();
            assert_eq!(
                (torn.segment, torn.offset),
                (sequence, last_group as u64),
                "bit {bit}"
            );
            assert!(report.is_good(), "bit {bit}: {report:?}");
            assert_eq!(first(&with_head).what, What::CutTail, "bit {bit}");
            assert_eq!(first(&with_head).sequence, torn.sequence, "bit {bit}");
        }
    }
}

#[test]
fn every_flipped_bit_of_a_seal_and_its_signature_is_told() {
    let log = small_log();
    let (sequence, path) = &log.segments()[1];
    for extension in [SEAL, SIGNATURE] {
        let sidecar = sidecar::path(path, extension);
        for bit in 0..fs::metadata(&sidecar).unwrap().len() * 8 {
            flip(&sidecar, bit);
            let report = log.verify();
            flip(&sidecar, bit);
            let fault = first(&report);
            assert_eq!(
                (fault.segment, fault.sequence),
                (*sequence, *sequence),
                "bit {bit}: {fault:?}"
            );
            assert!(matches!(fault.what, What::Seal(_)), "bit {bit}: {fault:?}");
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Change {
    /// The record goes.
    Remove,
    /// It changes places with the next one of its group.
    Swap,
    /// One of its bytes is another.
    Alter,
    /// It stands twice.
    Repeat,
}

/// Changes one record of a segment; the sequence of the first record that is then another. `None` where the segment is as it
/// was.
fn change(parts: &mut Parts, at: prop::sample::Index, change: Change) -> Option<u64> {
    let layout = parts.layout();
    let (sequence, ..) = layout[at.index(layout.len())];
    for (header, records) in &mut parts.groups {
        let number = usize::try_from(sequence.wrapping_sub(header.first_sequence)).unwrap_or(usize::MAX);
        if number < records.len() {
            let before = records.clone();
            match change {
                Change::Remove => {
                    records.remove(number);
                }
                Change::Swap if number + 1 < records.len() => records.swap(number, number + 1),
                Change::Swap => return None,
                // The caller's name: the record still decodes.
                Change::Alter => {
                    let byte = records[number].iter().rposition(u8::is_ascii_lowercase)?;
                    records[number][byte] ^= 1;
                }
                Change::Repeat => {
                    let record = records[number].clone();
                    records.insert(number, record);
                }
            }
            let same = before
                .iter()
                .zip(records.iter())
                .take_while(|(before, now)| before == now)
                .count();
            return (before != *records).then_some(header.first_sequence + same as u64);
        }
    }
    None
}

fn changes() -> impl Strategy<Value = Change> {
    prop::sample::select(&[Change::Remove, Change::Swap, Change::Alter, Change::Repeat][..])
}

thread_local! {
    /// Written once: every case works on a copy.
    static LOG: Log = log();
}

proptest! {
    #![proptest_config(cases(200))]

    /// With right checksums; the chain is as it was, or made anew through the whole segment; it lies under the seal as it was.
    #[test]
    fn a_changed_record_of_a_sealed_segment_is_named(
        segment in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), how in changes(), chain in any::<bool>(),
    ) {
        let log = LOG.with(Log::copy);
        let segments = log.segments();
        let (sequence, path) = &segments[segment.index(segments.len() - 1)];
        let mut parts = Parts::read(path);
        let Some(expected) = change(&mut parts, at, how) else { return Ok(()) };
        fs::write(path, parts.to_bytes(chain)).unwrap();
        let report = log.verify();
        prop_assert_eq!((first(&report).segment, first(&report).sequence), (*sequence, expected), "{:?}", report.faults);
    }

    /// The same where the leaves that were sealed are gone too: the group, or at least the segment, is named.
    #[test]
    fn a_changed_record_is_told_without_the_sealed_leaves(
        segment in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), how in changes(), chain in any::<bool>(),
    ) {
        let log = LOG.with(Log::copy);
        let segments = log.segments();
        let (sequence, path) = &segments[segment.index(segments.len() - 1)];
        fs::remove_file(sidecar::path(path, LEAVES)).unwrap();
        let mut parts = Parts::read(path);
        let Some(expected) = change(&mut parts, at, how) else { return Ok(()) };
        fs::write(path, parts.to_bytes(chain)).unwrap();
        let report = log.verify();
        let fault = first(&report);
        prop_assert_eq!(fault.segment, *sequence);
        prop_assert!(fault.sequence <= expected && expected <= fault.last_sequence + 1, "{:?}", report.faults);
    }

    /// In the segment that is written nothing but the chain vouches, and for its last groups only a head.
    #[test]
    fn a_changed_record_of_the_segment_being_written_is_told(at in any::<prop::sample::Index>(), how in changes(), chain in any::<bool>()) {
        let log = LOG.with(Log::copy);
        let (sequence, path) = log.segments().pop().unwrap();
        let mut parts = Parts::read(&path);
        let Some(expected) = change(&mut parts, at, how) else { return Ok(()) };
        fs::write(&path, parts.to_bytes(chain)).unwrap();
        let report = log.verify_with_head();
        let fault = first(&report);
        if chain {
            // Whoever makes all of it anew makes a log without anything wrong in it, but not the one that was signed.
            prop_assert!(log.verify().is_good() || how_shows(&log.verify()));
            prop_assert!(!report.is_good());
        } else {
            prop_assert_eq!(fault.segment, sequence);
            prop_assert!(fault.sequence <= expected && expected <= fault.last_sequence + 1, "{:?}", report.faults);
        }
    }

    /// Anything at all, anywhere in any segment.
    #[test]
    fn overwritten_bytes_are_told(
        segment in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 1..200),
    ) {
        let log = LOG.with(Log::copy);
        let segments = log.segments();
        let (sequence, path) = &segments[segment.index(segments.len())];
        let layout = Parts::read(path).layout();
        let before = fs::read(path).unwrap();
        let end = layout.last().unwrap().3;
        let at = at.index(end);
        let mut now = before.clone();
        let length = bytes.len().min(end - at);
        now[at..at + length].copy_from_slice(&bytes[..length]);
        let Some(changed) = (0..end).find(|&byte| before[byte] != now[byte]) else { return Ok(()) };
        fs::write(path, &now).unwrap();
        let report = log.verify_with_head();
        let expected = layout.iter().find(|(.., end)| changed < *end).unwrap();
        let fault = first(&report);
        prop_assert!(fault.sequence <= expected.0, "{:?} for {:?}", report.faults, expected);
        prop_assert!(fault.segment == *sequence || fault.what == What::CutTail);
        if *sequence < log.head.segment {
            prop_assert_eq!(fault.sequence, expected.0, "{:?}", report.faults);
        }
    }
}

/// Without its first record a segment does not begin with `LogOpened`.
fn how_shows(report: &Report) -> bool {
    matches!(first(report).what, What::NotOpened | What::OpenedBy)
}

fn groups_of(path: &Path) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for (_, begin, _, end) in Parts::read(path).layout() {
        match groups.last_mut() {
            Some(group) if group.start == begin => group.end = end,
            _ => groups.push(begin..end),
        }
    }
    groups
}

#[test]
fn a_group_that_was_cut_out_is_named_wherever_it_was() {
    let log = log();
    for (sequence, path) in log.segments() {
        let before = fs::read(&path).unwrap();
        let groups = groups_of(&path);
        for (number, (header, _)) in Parts::read(&path).groups.iter().enumerate() {
            let mut now = before.clone();
            now.drain(groups[number].clone());
            fs::write(&path, &now).unwrap();
            let report = log.verify_with_head();
            assert_eq!(
                first(&report).sequence,
                header.first_sequence,
                "{:?}",
                report.faults
            );
            let behind = sequence == log.head.segment && number + 1 == groups.len();
            assert_eq!(
                first(&report).what == What::CutTail,
                behind,
                "{:?}",
                report.faults
            );
        }
        fs::write(&path, &before).unwrap();
    }
    assert!(log.verify_with_head().is_good());
}

#[test]
fn two_groups_that_changed_places_are_named_by_the_first() {
    let log = log();
    for (_, path) in log.segments() {
        let before = fs::read(&path).unwrap();
        let groups = groups_of(&path);
        let parts = Parts::read(&path);
        for number in 0..groups.len() - 1 {
            let (one, other) = (groups[number].clone(), groups[number + 1].clone());
            let now = [
                &before[..one.start],
                &before[other.clone()],
                &before[one],
                &before[other.end..],
            ];
            fs::write(&path, now.concat()).unwrap();
            let report = log.verify();
            let expected = parts.groups[number].0.first_sequence;
            assert_eq!(first(&report).sequence, expected, "{:?}", report.faults);
        }
        fs::write(&path, &before).unwrap();
    }
}

#[test]
fn a_group_overwritten_with_zeros_is_no_end_of_the_log() {
    let log = log();
    for (_, path) in log.segments() {
        let before = fs::read(&path).unwrap();
        let groups = groups_of(&path);
        let parts = Parts::read(&path);
        let sequences: Vec<u64> = parts
            .groups
            .iter()
            .map(|(header, _)| header.first_sequence)
            .collect();
        for (number, group) in groups[..groups.len() - 1].iter().enumerate() {
            let mut now = before.clone();
            now[group.clone()].fill(0);
            fs::write(&path, &now).unwrap();
            let report = log.verify();
            let expected = sequences[number];
            assert_eq!(first(&report).sequence, expected, "{:?}", report.faults);
        }
        fs::write(&path, &before).unwrap();
    }
}

#[test]
fn a_segment_replaced_by_one_that_is_right_in_itself_is_named() {
    let stranger = || {
        let folder = tempfile::tempdir().unwrap();
        SigningKey::load_or_make(&folder.path().join("key")).unwrap()
    };
    let segments = log().segments().len() - 1;
    for number in 0..segments {
        // With the seal that was there; with one by another key; with none.
        for with in ["the old seal", "another key", "no seal"] {
            let log = log();
            let (sequence, path) = &log.segments()[number];
            let mut parts = Parts::read(path);
            let (_, records) = parts.groups.last_mut().unwrap();
            let record = records.last_mut().unwrap();
            let byte = record.iter().rposition(u8::is_ascii_lowercase).unwrap();
            record[byte] ^= 1;
            let altered = parts.layout().last().unwrap().0;
            fs::write(path, parts.to_bytes(true)).unwrap();
            match with {
                "another key" => seal_anew(log.path(), path, stranger()),
                "no seal" => {
                    for extension in [SEAL, SIGNATURE, LEAVES] {
                        fs::remove_file(sidecar::path(path, extension)).unwrap();
                    }
                }
                _ => {}
            }
            let report = log.verify();
            let fault = first(&report);
            if with == "the old seal" {
                assert_eq!(
                    (fault.segment, fault.sequence),
                    (*sequence, altered),
                    "{with}: {:?}",
                    report.faults
                );
            } else if number + 1 < segments || with == "another key" {
                assert_eq!(
                    (fault.segment, fault.sequence),
                    (*sequence, *sequence),
                    "{with}: {:?}",
                    report.faults
                );
            } else {
                // The last sealed one may just be full: the segment behind it shows that it is another.
                assert_eq!(fault.sequence, log.head.segment, "{with}: {:?}", report.faults);
                assert_eq!(fault.what, What::Chain);
            }
        }
    }
}

#[test]
fn a_removed_segment_is_named_by_its_first_record() {
    let segments = log().segments().len() - 1;
    for number in 1..segments {
        for with_seal in [true, false] {
            let log = log();
            let (sequence, path) = &log.segments()[number];
            fs::remove_file(path).unwrap();
            if with_seal {
                for extension in [SEAL, SIGNATURE, LEAVES] {
                    fs::remove_file(sidecar::path(path, extension)).unwrap();
                }
            }
            let report = log.verify();
            assert_eq!(first(&report).sequence, *sequence, "{:?}", report.faults);
            let next = log.segments()[number].0;
            assert_eq!(first(&report).last_sequence, next - 1, "{:?}", report.faults);
        }
    }
}

#[test]
fn removed_newest_segments_show_against_a_head_or_their_seals_alone() {
    let log = log();
    let segments = log.segments();
    for (sequence, path) in segments[1..].iter().rev() {
        fs::remove_file(path).unwrap();
        let report = log.verify();
        if *sequence == log.head.segment {
            assert!(report.is_good() && report.reach == Reach::Nothing, "{report:?}");
        } else {
            assert_eq!(first(&report).sequence, *sequence, "its seal tells of it");
            for extension in [SEAL, SIGNATURE, LEAVES] {
                fs::remove_file(sidecar::path(path, extension)).unwrap();
            }
            let report = log.verify();
            assert!(report.is_good() && report.reach == Reach::Nothing, "{report:?}");
        }
        let report = log.verify_with_head();
        let fault = first(&report);
        assert_eq!((fault.sequence, &fault.what), (*sequence, &What::CutTail));
        assert_eq!(fault.last_sequence, log.head.sequence);
    }
}

#[test]
fn a_head_of_another_key_or_another_history_does_not_count() {
    let (log, other) = (log(), Log::write(61, SEGMENT));
    let (text, signature) = other.signed_head();
    let check = |text: &str, signature: &[u8]| {
        let head = greenlane::audit::verify::HeadText {
            text: text.as_bytes(),
            signature,
        };
        let public_key = log.key.public_key();
        greenlane::audit::verify::verify(log.path(), &[public_key], Some(head), &|_| {}).unwrap()
    };
    assert!(matches!(first(&check(&text, &signature)).what, What::Head(_)));
    let (text, _) = log.signed_head();
    assert!(matches!(first(&check(&text, &signature)).what, What::Head(_)));
    let chain = hex::encode(log.head.chain);
    let forged = text.replace(&chain, &"0".repeat(64));
    let signature = log.key.sign(forged.as_bytes());
    assert!(matches!(
        first(&check(&forged, &signature)).what,
        What::HeadDiffers(_)
    ));
}

#[test]
fn a_torn_tail_is_told_and_is_no_fault() {
    let log = log();
    let (sequence, path) = log.segments().pop().unwrap();
    let before = fs::read(&path).unwrap();
    let last = groups_of(&path).pop().unwrap();
    let first_of_last = Parts::read(&path).groups.last().unwrap().0.first_sequence;
    for end in last.start + 1..last.end {
        // A write that was cut leaves a beginning of what it wrote, before zeros or the file's end.
        for zeros in [true, false] {
            let mut now = before[..end].to_vec();
            if zeros {
                now.resize(before.len().max(4_000), 0);
            }
            fs::write(&path, &now).unwrap();
            let report = log.verify();
            let whole = zeros && now[last.clone()] == before[last.clone()];
            if whole {
                continue;
            }
            assert!(report.is_good(), "cut at {end}: {report:?}");
            let torn = report.torn_tail.unwrap();
            assert_eq!(
                (torn.segment, torn.offset, torn.sequence),
                (sequence, last.start as u64, first_of_last)
            );
        }
    }
}

#[test]
fn seals_name_the_seal_before() {
    let log = log();
    let segments = log.segments();
    let mut before = [0; 32];
    for (sequence, path) in &segments[..segments.len() - 1] {
        let signed = SignedSeal::read(path).unwrap().unwrap();
        let seal = signed.check(&[log.key.public_key()]).unwrap();
        assert_eq!((seal.segment, seal.previous_seal), (*sequence, before));
        assert_eq!(
            seal.bytes,
            fs::metadata(path).unwrap().len(),
            "it is cut to its end"
        );
        before = signed.digest();
    }
}

#[test]
fn a_restart_goes_on_behind_a_damaged_segment_and_leaves_it_as_it_is() {
    let log = log();
    let (sequence, path) = log.segments().pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let groups = groups_of(&path);
    // Its header; the header of a group; a record.
    for byte in [20, groups[0].start + 30, groups[0].end - 3] {
        let mut log = log.copy();
        let path = log.path().join(path.file_name().unwrap());
        let mut damaged = whole.clone();
        damaged[byte] ^= 4;
        fs::write(&path, &damaged).unwrap();
        let before = log.head.sequence;
        log.append(100..103, SEGMENT);
        assert_eq!(
            fs::read(&path).unwrap()[..damaged.len()],
            damaged,
            "byte {byte}: nothing is lost of it"
        );
        assert_eq!(log.segments().last().unwrap().0, before + 1, "byte {byte}");
        let report = log.verify();
        assert_eq!(
            (first(&report).segment, first(&report).sequence),
            (sequence, sequence),
            "{:?}",
            report.faults
        );
        assert_eq!(report.last_sequence, log.head.sequence);
    }
}

#[test]
fn a_segment_that_a_crash_left_without_its_beginning_is_no_fault() {
    let log = log();
    let next = log.head.sequence + 1;
    let path = greenlane::audit::segment::path(log.path(), next);
    let beginning = &fs::read(&log.segments()[0].1).unwrap()[..60];
    for left in [&[][..], &[0; 4_000], beginning] {
        fs::write(&path, left).unwrap();
        let report = log.verify_with_head();
        assert!(report.is_good(), "{report:?}");
        let torn = report.torn_tail.unwrap();
        assert_eq!((torn.segment, torn.offset, torn.sequence), (next, 0, next));
        assert_eq!(report.last_sequence, log.head.sequence);
    }
}
