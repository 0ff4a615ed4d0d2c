//! What proof costs: an answer and its record written, and a record replayed; then a whole log replayed by every core.
//!
//! `cargo bench --bench audit` prints a table. The log is written to a temporary directory in segments, as the service does,
//! and replayed across a change of policy and one of the operating parameters.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a program that prints means and fails on anything odd"
)]

// The worlds and loops serve other benchmarks too.
#[allow(dead_code, reason = "each benchmark uses a part")]
mod support;

use std::{
    hint::black_box,
    path::Path,
    sync::{Arc, RwLock},
    time::Instant,
};

use clap::Parser;
use greenlane::{
    audit::{
        archive::{PolicyArchive, activation},
        group::NewGroup,
        read::LogReader,
        replay::{Replayed, Replayer, replay_log},
        scan::Selection,
        segment::ReplicaName,
        writer::{Writer, WriterSettings},
    },
    facilitation::{Facilitation, Moment},
    policy::{Parameters, PolicyBook},
    wire::{
        convert, encode,
        pb::{self, audit_record::Entry},
        record::{self, DecisionRecord, entry_of},
        validate,
    },
};
use prost::Message as _;

use support::world::{Orders, World, number_text};

// The allocator of the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DECISION_ID: &str = "019ab0f0-7c00-7000-8000-000000000000";
/// Records in a group of the log.
const GROUP: usize = 16;

#[derive(Debug, Parser)]
struct Options {
    /// Registered enterprises.
    #[arg(long, default_value_t = 200_000)]
    enterprises: usize,
    /// Logged decisions to replay.
    #[arg(long, default_value_t = 1_000_000)]
    records: usize,
    /// Rounds of each figure.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let (mut world, _) = World::new(options.enterprises);
    let facilitation = world.facilitation();
    println!("ns, median of {} rounds", options.rounds);
    for orders in [Orders::None, Orders::Matching] {
        world.put_orders(orders);
        figures(&world, &facilitation, orders, options.rounds);
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    write_log(&mut world, &facilitation, directory.path(), options.records);
    for _ in 0..options.rounds.min(3) {
        replay(directory.path(), options.records);
    }
}

/// A request's bytes with a declaration number of its own.
fn numbered(world: &World, number: usize) -> Vec<u8> {
    let mut request = world.bytes[number % world.bytes.len()].clone();
    // The declaration number is the first field: its direction stays, the rest is new.
    let direction = request[10];
    request[2..20].copy_from_slice(&number_text(number, direction));
    request
}

/// Decides a request as the service does, and gives the decision's bytes and the outcome to `then`.
fn decide<T>(
    world: &World,
    facilitation: &Facilitation,
    moment: &Moment,
    request: &[u8],
    then: impl FnOnce(&pb::DecideRequest, &greenlane::facilitation::Outcome<'_>) -> T,
) -> T {
    let decoded = pb::DecideRequest::decode(request).expect("a request");
    let valid = validate::request(&decoded, &world.window).expect("valid");
    let answer = facilitation.decide(
        &valid.declaration,
        moment.timestamp,
        &world.clock,
        moment,
        |outcome| then(&decoded, &outcome),
    );
    answer.expect("a decision")
}

/// Median time of a call in nanoseconds, over rounds of a thousand.
fn median(rounds: usize, mut call: impl FnMut()) -> f64 {
    const CALLS: u32 = 1_000;
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let from = Instant::now();
            (0..CALLS).for_each(|_| call());
            from.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn figures(world: &World, facilitation: &Facilitation, orders: Orders, rounds: usize) {
    let request = numbered(world, 1);
    let mut decision = Vec::with_capacity(4096);
    let mut written = Vec::with_capacity(8192);
    let times = decide(
        world,
        facilitation,
        &world.moment,
        &request,
        |decoded, outcome| {
            let message = median(rounds, || {
                let message = convert::decision(DECISION_ID.to_owned(), decoded.clone(), black_box(outcome));
                decision.clear();
                message.encode(&mut decision).expect("room enough");
                black_box(&decision);
            });
            let clone = median(rounds, || {
                black_box(black_box(decoded).clone());
            });
            let direct = median(rounds, || {
                decision.clear();
                encode::decision(&mut decision, DECISION_ID, decoded, black_box(outcome));
                black_box(&decision);
            });
            let record = median(rounds, || {
                written.clear();
                let record = DecisionRecord {
                    recorded_at: world.moment.timestamp,
                    request: &request,
                    decision: &decision,
                    outcome: black_box(outcome),
                    caller: "anonymous",
                };
                record::decision(&mut written, &record);
                black_box(&written);
            });
            [message - clone, direct, record]
        },
    );
    let archive = RwLock::new(PolicyArchive::embedded());
    let mut replayer = Replayer::new(&archive);
    let (_, entry) = entry_of(&written).expect("a record").expect("of a decision");
    assert_eq!(replayer.replay(entry), Replayed::Equal);
    let replay = median(rounds, || {
        black_box(replayer.replay(black_box(entry)));
    });
    println!(
        "orders {orders:?}: answer through its message {:.0}, answer directly {:.0}, record {:.0}, replay {replay:.0}; \
         answer {} bytes, record {} bytes",
        times[0],
        times[1],
        times[2],
        decision.len(),
        written.len()
    );
}

/// Writes a log of real decisions: the first half is accepted under Decree 251, the second under 282; the operating
/// parameters change at three quarters, and a third of the traffic meets an order.
fn write_log(world: &mut World, facilitation: &Facilitation, directory: &Path, records: usize) {
    let begun = Instant::now();
    let settings = WriterSettings {
        directory: directory.to_owned(),
        replica: ReplicaName::from("bench").expect("short"),
        segment_bytes: 64 << 20,
        sync: false,
    };
    let mut writer = Writer::open(settings, Box::new(drop)).expect("a log");
    let in_force = |book: &PolicyBook| {
        let entry = Entry::Activation(activation(book));
        greenlane::audit::log::record(entry).encode_to_vec()
    };
    writer.set_opening(vec![in_force(&facilitation.policies())]);
    let at = |text: &str| Moment {
        timestamp: text.parse().expect("an instant"),
        ..world.moment
    };
    let moments = [at("2026-03-31T15:59:59Z"), at("2026-03-31T16:00:00Z")];
    let mut decision = Vec::new();
    let mut group = NewGroup::default();
    for number in 0..records {
        if number == records / 3 {
            world.put_orders(Orders::Matching);
        } else if number == records * 2 / 3 {
            world.put_orders(Orders::Missing);
        }
        if number == records * 3 / 4 {
            let mut document = world.book.parameters.document.clone();
            document.default_baseline_ppm.0 *= 2;
            let parameters = Arc::new(Parameters::compile(document).expect("good parameters"));
            let book = PolicyBook::new(world.book.policies().to_vec(), parameters).expect("lawful");
            let changed = in_force(&book);
            group.push(|buffer| buffer.extend_from_slice(&changed));
            writer.set_opening(vec![changed]);
            facilitation.replace_policies(book);
        }
        let request = numbered(world, number);
        let moment = &moments[number * 2 / records];
        decide(world, facilitation, moment, &request, |decoded, outcome| {
            decision.clear();
            encode::decision(&mut decision, DECISION_ID, decoded, outcome);
            let record = DecisionRecord {
                recorded_at: moment.timestamp,
                request: &request,
                decision: &decision,
                outcome,
                caller: "anonymous",
            };
            group.push(|buffer| record::decision(buffer, &record));
        });
        if group.len() >= GROUP || number + 1 == records {
            writer.append(&mut group, 0).expect("written");
            group.clear();
        }
    }
    println!(
        "{records} decisions decided and logged by one core in {:.2} s",
        begun.elapsed().as_secs_f64()
    );
}

fn replay(directory: &Path, records: usize) {
    let begun = Instant::now();
    let archive = RwLock::default();
    let groups = LogReader::open(directory, 0).expect("a log");
    let mut bytes = 0;
    let summary =
        replay_log(groups, &archive, &Selection::default(), |read| bytes += read).expect("readable");
    let seconds = begun.elapsed().as_secs_f64();
    assert!(summary.named.is_empty(), "{summary:?}");
    assert_eq!(summary.equal, records as u64);
    println!(
        "replayed {records} decisions ({} MB) in {seconds:.2} s: {:.0} a second, all equal",
        bytes >> 20,
        records as f64 / seconds
    );
}
