//! The snapshot file of a country's register: seconds, rows a second, bytes and memory to write and to load it, and for
//! how long that, or a large commit, holds up others.
//!
//! `cargo bench --bench snapshot` prints lines; `-- --enterprises 10000000` another size.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a program that prints figures and fails on anything odd"
)]

#[allow(dead_code, reason = "declarations are the other programs'")]
mod support;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result};
use clap::Parser;
use greenlane::{
    domain::{CreditTier, identifier::EnterpriseId},
    registry::{Change, Generation, Keyed},
    upstream::file::{About, SnapshotFile},
};
use support::world::{change, enterprise, load, resident};

// The allocator of the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rows of the large commit.
const COMMIT: usize = 10_000;
/// Large commits; the median counts.
const COMMITS: usize = 9;
/// Between two small commits while the file is written.
const PACE: Duration = Duration::from_millis(1);

#[derive(Debug, Parser)]
struct Options {
    /// Registered enterprises.
    #[arg(long, default_value_t = 1_000_000)]
    enterprises: usize,
    /// Only load this file, in a process that holds nothing else.
    #[arg(long, hide = true)]
    load: Option<PathBuf>,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(path) = options.load {
        return read(&SnapshotFile::new(path));
    }
    let (generation, memory) = load(options.enterprises);
    println!(
        "{} enterprises, {:.1} bytes each, from rows in {:.2} s",
        options.enterprises, memory.bytes_each, memory.seconds
    );
    large_commits(&generation, options.enterprises);

    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let file = SnapshotFile::new(folder.path().join("registry.snapshot"));
    write(&file, &generation, options.enterprises)?;
    drop(generation);
    let status = Command::new(env::current_exe()?)
        .arg("--load")
        .arg(file.path())
        .status()?;
    anyhow::ensure!(status.success(), "loading failed");
    Ok(())
}

fn put(number: usize, of: usize, credit_tier: CreditTier) -> Change {
    let mut row = enterprise(number, of);
    row.credit.credit_tier = credit_tier;
    change(row.customs_code.to_string(), Keyed::Enterprise(row))
}

/// The longest that `read` took, called again and again until `done`.
fn longest(done: &AtomicBool, mut read: impl FnMut()) -> Duration {
    let mut longest = Duration::ZERO;
    while !done.load(Ordering::Relaxed) {
        let from = Instant::now();
        read();
        longest = longest.max(from.elapsed());
    }
    longest
}

fn large_commits(generation: &Generation, of: usize) {
    let ids: Vec<_> = (0..1_000)
        .map(|number| EnterpriseId::Customs(enterprise(number * 7_919 % of, of).customs_code))
        .collect();
    let done = AtomicBool::new(false);
    let (mut times, longest_read) = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut next = ids.iter().cycle();
            longest(&done, || {
                let id = next.next().expect("never ends");
                assert!(generation.read(|view| view.enterprise(id)).0.is_some());
            })
        });
        let times: Vec<_> = (0..COMMITS)
            .map(|round| {
                let tier = CreditTier::ALL[round % CreditTier::COUNT];
                let numbers = (0..COMMIT).map(|row| (row * 104_729 + round) % of);
                let changes: Vec<_> = numbers.map(|number| put(number, of, tier)).collect();
                let from = Instant::now();
                generation.commit(&changes, generation.position().sequence + 1, None);
                from.elapsed()
            })
            .collect();
        done.store(true, Ordering::Relaxed);
        (times, reader.join().expect("the reader reads"))
    });
    times.sort_unstable();
    println!(
        "a commit of {COMMIT} rows: {:.2?}; longest read meanwhile {longest_read:.2?}",
        times[COMMITS / 2]
    );
}

fn write(file: &SnapshotFile, generation: &Generation, of: usize) -> Result<()> {
    let about = About {
        store: "sqlite",
        policy_digest: "",
        confirmed_at: SystemTime::now(),
    };
    let before = resident();
    let done = AtomicBool::new(false);
    let (written, (commits, longest_commit, longest_read)) = thread::scope(|scope| {
        let committer = scope.spawn(|| {
            let (mut commits, mut longest_commit, mut longest_read) = (0, Duration::ZERO, Duration::ZERO);
            while !done.load(Ordering::Relaxed) {
                let number = commits * 7_919 % of;
                let row = put(number, of, CreditTier::Regular);
                let id = EnterpriseId::Customs(enterprise(number, of).customs_code);
                let from = Instant::now();
                generation.commit(&[row], generation.position().sequence + 1, None);
                longest_commit = longest_commit.max(from.elapsed());
                commits += 1;
                let next = from + PACE;
                while Instant::now() < next {
                    let from = Instant::now();
                    assert!(generation.read(|view| view.enterprise(&id)).0.is_some());
                    longest_read = longest_read.max(from.elapsed());
                }
            }
            (commits, longest_commit, longest_read)
        });
        let written = file.write(generation, &about);
        done.store(true, Ordering::Relaxed);
        (written, committer.join().expect("the committer commits"))
    });
    let written = written?;
    let (seconds, bytes) = (written.took.as_secs_f64(), written.info.bytes);
    println!(
        "written in {seconds:.2} s: {:.2} M rows/s, {bytes} bytes, {:.1} each, memory {:+.0} MiB; \
         {commits} commits meanwhile, the longest {longest_commit:.2?}, longest read {longest_read:.2?}",
        of as f64 / seconds / 1e6,
        bytes as f64 / of as f64,
        (resident() as f64 - before as f64) / 1_048_576.0
    );
    Ok(())
}

/// Loads twice: the first time may meet a file that is not in the system's memory.
fn read(file: &SnapshotFile) -> Result<()> {
    let before = resident();
    for round in ["first", "again"] {
        let from = Instant::now();
        let loaded = file.read()?;
        let seconds = from.elapsed().as_secs_f64();
        let enterprises = loaded.info.enterprises() as f64;
        let grown = |bytes: u64| bytes.saturating_sub(before) as f64 / enterprises;
        println!(
            "loaded ({round}) in {seconds:.2} s: {:.2} M rows/s, {:.1} bytes each, peak {:.1}",
            enterprises / seconds / 1e6,
            grown(resident()),
            grown(peak()?)
        );
        if round == "again" {
            let from = Instant::now();
            loaded.check()?;
            println!(
                "counted and hashed afresh in {:.2} s",
                from.elapsed().as_secs_f64()
            );
        }
    }
    let from = Instant::now();
    file.info()?;
    println!("checksums alone in {:.2} s", from.elapsed().as_secs_f64());
    Ok(())
}

/// The most that was resident at any time, in bytes.
fn peak() -> Result<u64> {
    let status = fs::read_to_string(Path::new("/proc/self/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes: u64 = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .context("a Linux kernel")?
        .trim()
        .parse()?;
    Ok(kibibytes * 1024)
}
