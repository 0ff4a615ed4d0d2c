//! Messages survive the way through bytes; other bytes are refused.

use proptest::prelude::*;

use super::*;
use crate::upstream::log::LogEntry;

/// Entity, key and the row's JSON.
type Row = (String, String, Option<String>);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec(
        ("[a-z_]{0,12}", "\\PC{0,20}", prop::option::of("\\PC{0,120}")),
        1..12,
    )
}

fn commits(from: u64) -> impl Strategy<Value = Vec<Commit>> {
    prop::collection::vec((rows(), prop::option::of(any::<[u64; 2]>())), 1..8).prop_map(move |commits| {
        let mut sequence = from;
        let commit = |(rows, mark): (Vec<Row>, Mark)| Commit {
            entries: rows
                .into_iter()
                .map(|(entity, key, row)| {
                    sequence += 1;
                    LogEntry {
                        sequence,
                        entity,
                        key,
                        op: if row.is_some() { "UPSERT" } else { "DELETE" }.to_owned(),
                        row,
                        committed_at: "2026-11-24T08:00:00.000Z".to_owned(),
                        author: None,
                    }
                })
                .collect(),
            mark,
        };
        commits.into_iter().map(commit).collect()
    })
}

fn changes(packed: &Packed) -> Changes {
    match Message::decode(&packed.payload).unwrap() {
        Message::Changes(changes) => changes,
        Message::Reset(reset) => panic!("{reset:?}"),
    }
}

proptest! {
    #[test]
    fn commits_come_out_as_they_went_in_whatever_the_size_of_a_message(
        commits in commits(41), limit in 400_usize..4_000,
    ) {
        let mut out: Vec<Commit> = Vec::new();
        let (mut at, mut open) = (41, false);
        for packed in pack("epoch", 41, &commits, limit) {
            let packed = packed.expect("no row is as large as that");
            prop_assert!(packed.payload.len() <= limit);
            let changes = changes(&packed);
            prop_assert_eq!(changes.from, at);
            prop_assert_eq!((packed.from, packed.to), (changes.from, changes.to()));
            at = changes.to();
            let last = changes.commits.last().unwrap();
            prop_assert_eq!(packed.fingerprint, last.entries.last().unwrap().fingerprint());
            prop_assert_eq!(packed.mark, last.mark);
            for commit in changes.commits {
                match out.last_mut() {
                    Some(begun) if open => {
                        begun.entries.extend(commit.entries);
                        begun.mark = commit.mark;
                        open = false;
                    }
                    _ => out.push(commit),
                }
            }
            open = changes.open;
        }
        prop_assert!(!open);
        prop_assert_eq!(out, commits);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Message::decode(&bytes).is_err());
    }

    #[test]
    fn no_body_with_a_right_sum_makes_the_reader_panic(
        body in prop::collection::vec(any::<u8>(), 0..200), length in any::<u32>(), flags in 0..2_u8,
    ) {
        let mut bytes = vec![VERSION, flags, 0, 0, 0, 0];
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&body);
        let sum = read::sum(&bytes);
        bytes[2..6].copy_from_slice(&sum.to_le_bytes());
        drop(Message::decode(&bytes));
    }
}

fn examples() -> Vec<Vec<u8>> {
    let entry = |sequence, row: Option<&str>| LogEntry {
        sequence,
        entity: "enterprise".to_owned(),
        key: "1101919103".to_owned(),
        op: "UPSERT".to_owned(),
        row: row.map(str::to_owned),
        committed_at: "2026-11-24T08:00:00.000Z".to_owned(),
        author: None,
    };
    let commits = [
        Commit {
            entries: vec![
                entry(8, Some("{\"name\":\"name name name name name\"}")),
                entry(9, None),
            ],
            mark: Some([1, 2]),
        },
        Commit {
            entries: vec![entry(10, Some("{\"name\":\"name name name name name\"}"))],
            mark: None,
        },
    ];
    let reset = Reset {
        epoch: "0123456789abcdef".to_owned(),
        sequence: 10,
        mark: Some([3, 4]),
        cause: ResyncCause::Bulk,
        object: "snapshot-0123456789abcdef-10".to_owned(),
    };
    let mut examples: Vec<Vec<u8>> = pack("0123456789abcdef", 7, &commits, 10_000)
        .map(|packed| packed.unwrap().payload.to_vec())
        .collect();
    examples.push(reset.encode().to_vec());
    assert_eq!(Message::decode(&examples[1]), Ok(Message::Reset(reset)));
    examples
}

#[test]
fn every_flipped_bit_is_refused() {
    for example in examples() {
        assert!(Message::decode(&example).is_ok());
        for at in 0..example.len() {
            for bit in 0..8 {
                let mut flipped = example.clone();
                flipped[at] ^= 1 << bit;
                assert!(Message::decode(&flipped).is_err(), "byte {at}, bit {bit}");
            }
        }
    }
}

#[test]
fn every_cut_message_and_every_longer_one_is_refused() {
    for example in examples() {
        for length in 0..example.len() {
            assert_eq!(Message::decode(&example[..length]), Err(BadMessage::Damaged));
        }
        let longer = [example.as_slice(), &[0]].concat();
        assert_eq!(Message::decode(&longer), Err(BadMessage::Damaged));
    }
}

#[test]
fn a_newer_version_is_told_apart_from_damage() {
    for mut example in examples() {
        example[0] = WITH_AUTHORS + 1;
        let sum = read::sum(&example);
        example[2..6].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(
            Message::decode(&example),
            Err(BadMessage::Version(WITH_AUTHORS + 1))
        );
    }
}

#[test]
fn a_length_beyond_what_the_bytes_are_worth_is_refused_before_memory_is_asked_for() {
    let mut bytes = vec![VERSION, LZ4, 0, 0, 0, 0];
    bytes.extend_from_slice(&u32::MAX.to_le_bytes());
    bytes.extend_from_slice(&[0; 16]);
    let sum = read::sum(&bytes);
    bytes[2..6].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(Message::decode(&bytes), Err(BadMessage::Damaged));
}

#[test]
fn a_row_that_fits_into_no_message_ends_the_packing_after_what_stands_before_it() {
    let noise = |length: usize| {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b' ' + u8::try_from(state >> 26).unwrap())
        };
        (0..length).map(|_| next()).collect::<String>()
    };
    let commit = |sequence, row: String| Commit {
        entries: vec![LogEntry {
            sequence,
            entity: "enterprise".to_owned(),
            key: "1101919103".to_owned(),
            op: "UPSERT".to_owned(),
            row: Some(row),
            committed_at: String::new(),
            author: None,
        }],
        mark: None,
    };
    let packed = |commits: &[Commit]| {
        let packed: Vec<_> = pack("epoch", 7, commits, 1_000).collect();
        packed
            .into_iter()
            .map(|packed| packed.ok().map(|packed| packed.to))
            .collect::<Vec<_>>()
    };
    let small = commit(8, noise(100));
    assert_eq!(
        packed(&[small.clone(), commit(9, noise(5_000)), small.clone()]),
        [Some(8), None]
    );
    assert_eq!(
        packed(&[small, commit(9, " ".repeat(5_000))]),
        [Some(8), Some(9)],
        "compressed, it fits"
    );
}

#[test]
fn only_messages_that_name_the_author_of_an_order_are_of_the_second_version() {
    let entry = |sequence, entity: &str, author: Option<&str>| LogEntry {
        sequence,
        entity: entity.to_owned(),
        key: "O-1".to_owned(),
        op: "DELETE".to_owned(),
        row: None,
        committed_at: "2026-11-24T08:00:00.000Z".to_owned(),
        author: author.map(ToOwned::to_owned),
    };
    let packed = |entries: Vec<LogEntry>| {
        let commits = [Commit { entries, mark: None }];
        let packed = pack("epoch", 41, &commits, 4_000).next().unwrap().unwrap();
        let changes = changes(&packed);
        (packed.payload[0], changes.commits[0].entries.clone())
    };
    let unnamed = vec![entry(42, "control_order", None), entry(43, "enterprise", None)];
    assert_eq!(packed(unnamed.clone()), (1, unnamed.clone()));
    // Who wrote another row is not told, so that the first release goes on reading it.
    let of_an_enterprise = vec![
        entry(42, "control_order", None),
        entry(43, "enterprise", Some("clerk")),
    ];
    assert_eq!(packed(of_an_enterprise), (1, unnamed));
    let named = vec![
        entry(42, "control_order", Some("officer")),
        entry(43, "enterprise", None),
    ];
    assert_eq!(packed(named.clone()), (2, named));
}
