//! A message of the stream, and the registry that takes its changes.

use greenlane::{
    registry::Change,
    upstream::{
        Commit, ResyncCause,
        log::LogEntry,
        nats::message::{Changes, Message, Reset, pack},
    },
};

use super::{Seed, snapshot};
use crate::world::{self, EPOCH, entry};

/// No message is larger.
const LIMIT: usize = 64 << 20;

pub(crate) fn run(data: &[u8]) -> bool {
    match Message::decode(data) {
        Err(_) => false,
        Ok(Message::Reset(reset)) => {
            let again = Message::decode(&reset.encode());
            assert_eq!(again, Ok(Message::Reset(reset)));
            true
        }
        Ok(Message::Changes(changes)) => {
            packs(&changes);
            applies(&changes);
            true
        }
    }
}

/// Packed again, the commits come out as they went in.
fn packs(changes: &Changes) {
    let packed: Vec<_> = pack(&changes.epoch, changes.from, &changes.commits, LIMIT).collect();
    let [Ok(packed)] = packed.as_slice() else {
        panic!("not one message, but {packed:?}");
    };
    assert_eq!((packed.from, packed.to), (changes.from, changes.to()));
    let Ok(Message::Changes(again)) = Message::decode(&packed.payload) else {
        panic!("what was packed is no message");
    };
    // Who wrote a row is told of control orders alone.
    let mut expected = changes.commits.clone();
    for entry in expected.iter_mut().flat_map(|commit| &mut commit.entries) {
        entry.author = entry.author.take().filter(|_| entry.entity == "control_order");
    }
    assert_eq!(again.commits, expected);
}

/// The registry takes them whatever is in them; what it counts and hashes change by change is what it counts afresh.
fn applies(changes: &Changes) {
    let generation = world::generation();
    for commit in &changes.commits {
        let rows: Vec<Change> = commit.entries.iter().filter_map(LogEntry::change).collect();
        let tiers = generation.tier_counts_after(&rows);
        generation.commit(&rows, commit.sequence(), commit.mark);
        assert_eq!(generation.tier_counts(), tiers);
    }
    let recount = generation.recount();
    assert_eq!(recount.tiers, generation.tier_counts());
    assert_eq!(recount.digest, generation.digest());
    assert_eq!(generation.position().sequence, changes.to());
    // An image takes as long as several commits.
    if changes.to().is_multiple_of(8) {
        snapshot::same_again(&generation, "nats");
    }
}

pub(crate) fn seeds() -> Vec<Seed> {
    let rows = world::rows();
    let end = rows.len() as u64;
    let of = |entity: &str| {
        rows.iter()
            .filter(|row| row.entity == entity)
            .cloned()
            .collect::<Vec<_>>()
    };
    let mut later = vec![
        entry(0, "enterprise", "1101919201", None),
        entry(0, "scheduled_tier", "1101919103|2026-12-01", None),
        entry(0, "recognised_operator", "SG201234567890", None),
        entry(0, "mutual_recognition", &of("mutual_recognition")[0].key, None),
        entry(0, "control_order", "O-1", None),
        entry(0, "no_such_table", "1", None),
    ];
    later.extend(of("enterprise").drain(..3));
    later.extend(of("scheduled_tier"));
    later.extend(of("recognised_operator").drain(..2));
    later.extend(of("control_order"));
    let mut signed = of("control_order");
    signed[0].author = Some("officer".to_owned());
    let message = |mut entries: Vec<LogEntry>, commits: usize| {
        for (sequence, entry) in (end + 1..).zip(&mut entries) {
            entry.sequence = sequence;
        }
        let size = entries.len().div_ceil(commits);
        let commit = |entries: &[LogEntry]| Commit {
            entries: entries.to_vec(),
            mark: Some([9, 9]),
        };
        let commits: Vec<Commit> = entries.chunks(size).map(commit).collect();
        let packed = pack(EPOCH, end, &commits, LIMIT).next().expect("a message");
        packed.expect("small enough").payload.to_vec()
    };
    let reset = Reset {
        epoch: EPOCH.to_owned(),
        sequence: end,
        mark: Some([3, 4]),
        cause: ResyncCause::Bulk,
        object: "snapshot-0d8cb6de-10".to_owned(),
    };
    // Small ones are not compressed, so that they can be changed byte by byte.
    let single = later.iter().chain(&signed).enumerate();
    let mut seeds: Vec<Seed> = single
        .filter(|(at, _)| at % 2 == 0)
        .map(|(at, row)| (format!("row-{at:02}"), plain(&message(vec![row.clone()], 1))))
        .collect();
    seeds.push(("commits".to_owned(), plain(&message(later, 3))));
    seeds.push(("signed".to_owned(), message(signed, 1)));
    seeds.push(("reset".to_owned(), reset.encode().to_vec()));
    seeds
}

/// The message with its body as it is.
fn plain(message: &[u8]) -> Vec<u8> {
    let (header, held) = message.split_at(10);
    let mut header = header.to_vec();
    if header[1] == 0 {
        return message.to_vec();
    }
    let length = u32::from_le_bytes(header[6..10].try_into().expect("four bytes")) as usize;
    let body = lz4_flex::block::decompress(held, length).expect("its own body");
    header[1] = 0;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..2]);
    hasher.update(&header[6..]);
    hasher.update(&body);
    header[2..6].copy_from_slice(&hasher.finalize().to_le_bytes());
    [header, body].concat()
}
