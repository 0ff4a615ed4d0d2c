//! How long single decisions take at rest, while 50,000 changed rows a second come in force (from a recording), and while
//! a fresh snapshot is read and put in force; and how much memory that takes at its peak.
//!
//! `cargo bench --bench disturbance` prints a table; `-- --enterprises 10000000` another size.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a program that prints figures and fails on anything odd"
)]

#[allow(dead_code, reason = "the other cases are the other programs'")]
mod support;

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Result;
use clap::Parser;
use greenlane::{
    domain::CreditTier,
    facilitation::Moment,
    registry::{Change, Keyed, Registry},
    upstream::file::{About, SnapshotFile},
};
use support::world::{Second, World, change, enterprise, resident};

// The allocator of the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Changed rows a second.
const ROWS: usize = 50_000;
/// Rows a commit.
const COMMIT: usize = 50;

#[derive(Debug, Parser)]
struct Options {
    /// Registered enterprises.
    #[arg(long, default_value_t = 1_000_000)]
    enterprises: usize,
    /// Seconds of each part.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Snapshots put in force, one after the other.
    #[arg(long, default_value_t = 3)]
    snapshots: usize,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let (mut world, _) = World::new(options.enterprises);
    let recording = record(options.enterprises);
    println!(
        "{} enterprises, {:.0} MiB resident; single decisions, in microseconds",
        options.enterprises,
        resident() as f64 / 1_048_576.0
    );
    println!(
        "{:44} {:>9} {:>8} {:>8} {:>8} {:>9}",
        "while", "decisions", "p50", "p99", "p99.9", "max"
    );
    let registry = Arc::clone(&world.registry);
    let (at_rest, ()) = beside(&mut world, || {
        thread::park_timeout(Duration::from_secs(options.seconds));
    });
    print("nothing else happens", &at_rest);
    let (changing, rate) = beside(&mut world, || {
        replay(&registry, &recording, Duration::from_secs(options.seconds))
    });
    print(&format!("{rate:.0} rows/s change, {COMMIT} a commit"), &changing);

    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let file = SnapshotFile::new(folder.path().join("registry.snapshot"));
    let about = About {
        store: "sqlite",
        policy_digest: "",
        confirmed_at: SystemTime::now(),
    };
    file.write(&world.generation, &about)?;
    let one = resident();
    let (swapping, (memory, seconds)) = beside(&mut world, || swap(&registry, &file, options.snapshots));
    print(
        &format!("{} snapshots are read and put in force", options.snapshots),
        &swapping,
    );
    println!(
        "a snapshot takes {:.2} s; memory before {:.0} MiB, after each {:?} MiB, at most {:.2} x",
        seconds / options.snapshots as f64,
        one as f64 / 1_048_576.0,
        memory.after,
        memory.peak as f64 / one as f64
    );
    Ok(())
}

/// Commits that change tiers and suspensions all over the register.
fn record(of: usize) -> Vec<Vec<Change>> {
    let commit = |number: usize| {
        let rows = (0..COMMIT).map(|row| {
            let number = (number * COMMIT + row) * 104_729 % of;
            let mut row = enterprise(number, of);
            row.credit.credit_tier = CreditTier::ALL[number % CreditTier::COUNT];
            row.credit.suspended = number.is_multiple_of(7);
            change(row.customs_code.to_string(), Keyed::Enterprise(row))
        });
        rows.collect()
    };
    (0..ROWS / COMMIT).map(commit).collect()
}

/// Puts the recording in force again and again, at its rate; gives the rate that came of it.
fn replay(registry: &Registry, recording: &[Vec<Change>], during: Duration) -> f64 {
    let generation = registry.current().expect("a register");
    let begun = Instant::now();
    let every = Duration::from_secs(1) / u32::try_from(recording.len()).expect("a thousand");
    let mut commits = 0_u32;
    while begun.elapsed() < during {
        let changes = &recording[commits as usize % recording.len()];
        generation.commit(changes, generation.position().sequence + 1, None);
        commits += 1;
        while begun.elapsed() < every * commits {
            thread::park_timeout((every * commits).saturating_sub(begun.elapsed()));
        }
    }
    f64::from(commits) * COMMIT as f64 / begun.elapsed().as_secs_f64()
}

/// What a snapshot took, in bytes and, after each, in MiB.
struct MemoryTaken {
    after: Vec<u64>,
    peak: u64,
}

/// Reads the file and puts it in force, as a follower does, again and again.
fn swap(registry: &Registry, file: &SnapshotFile, times: usize) -> (MemoryTaken, f64) {
    let begun = Instant::now();
    let done = AtomicBool::new(false);
    let mut after = Vec::new();
    let peak = thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut peak = 0;
            while !done.load(Ordering::Relaxed) {
                peak = peak.max(resident());
                thread::park_timeout(Duration::from_millis(10));
            }
            peak
        });
        for _ in 0..times {
            let loaded = file.read().expect("the file that was written");
            drop(registry.replace(loaded.generation));
            after.push(resident() >> 20);
        }
        done.store(true, Ordering::Relaxed);
        watcher.join().expect("the watcher watches")
    });
    (MemoryTaken { after, peak }, begun.elapsed().as_secs_f64())
}

/// Decides one declaration after the other while `work` goes on in another thread; gives how long each took, sorted.
fn beside<T: Send>(world: &mut World, work: impl FnOnce() -> T + Send) -> (Vec<f32>, T) {
    let facilitation = world.facilitation();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let working = scope.spawn(|| {
            let result = work();
            done.store(true, Ordering::Relaxed);
            result
        });
        let mut times = Vec::with_capacity(1 << 24);
        while !done.load(Ordering::Relaxed) {
            let (clock, moment) = (&world.clock, Moment::now());
            let declaration = world.traffic[Second::Registered as usize].declare();
            let from = Instant::now();
            let decided = facilitation.decide(declaration, moment.timestamp, clock, &moment, |outcome| {
                black_box(outcome.sequence)
            });
            times.push(from.elapsed().as_secs_f32() * 1e6);
            assert!(decided.is_ok());
            if times.len() == times.capacity() {
                break;
            }
        }
        let result = working.join().expect("the work is done");
        times.sort_by(f32::total_cmp);
        (times, result)
    })
}

fn print(what: &str, times: &[f32]) {
    let at = |share: f64| times[((times.len() as f64 * share) as usize).min(times.len() - 1)];
    println!(
        "{what:44} {:9} {:8.2} {:8.2} {:8.2} {:9.1}",
        times.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}
