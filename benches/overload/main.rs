//! What overload, a flooding caller and abuses of HTTP/2 cost those who behave: ratios within one run, in interleaved rounds.
//!
//! ```sh
//! cargo bench --bench overload -- [--rounds 5] [--seconds 2] [--idle 10000] [--only saturation|flood|abuse|idle]
//! ```
//!
//! The real server has one worker and, where `taskset` is, core 0; every decision is logged. Whoever calls has core 1: honest
//! callers run in this process; flooders and abusers in processes of their own, at the lowest priority, so that they do not
//! take the honest ones' processor.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark prints, and stops at what it did not expect"
)]

mod abuse;
mod load;
#[allow(dead_code, reason = "each benchmark uses a part")]
#[path = "../support/mod.rs"]
mod support;

use std::{
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use clap::Parser;
use load::{Client, Load, clients, closed, open};
use support::server::{Server, enterprises, median, pin_to_the_second_core};

/// Registered enterprises.
const ENTERPRISES: usize = 100_000;
const CONNECTIONS: usize = 8;
/// Seconds within which as many idle connections as there may be have come, and seconds after which they are no news.
const SETTLED: (u64, f64) = (60, 2.0);
/// Within so many seconds whoever is refused shall know.
const REFUSED_WITHIN: f64 = 5e-3;

#[derive(Debug, Parser)]
struct Options {
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of a round.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Connections without a call.
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
    /// That part alone.
    #[arg(long)]
    only: Option<String>,
    /// Be an abuser of that kind.
    #[arg(long, hide = true)]
    abuse: Option<String>,
    /// Of that server.
    #[arg(long, hide = true)]
    address: Option<SocketAddr>,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Another process, at the lowest priority, until it is dropped.
struct Abuser(Child);

impl Abuser {
    fn start(kind: &str, address: SocketAddr, count: usize) -> Self {
        let program = std::env::current_exe().expect("this program");
        let abuser = Command::new("nice")
            .args(["-n", "19"])
            .arg(program)
            .args(["--abuse", kind, "--address", &address.to_string()])
            .args(["--idle", &count.to_string()])
            .stderr(Stdio::null())
            .spawn();
        Self(abuser.expect("started"))
    }
}

impl Drop for Abuser {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn server(name: &'static str, settings: &[&str], csv: &Path) -> Server {
    let mut all = vec!["limits.max_new_connections_per_address=0"];
    all.extend(settings);
    Server::start(name, &all, csv)
}

fn main() {
    let options = Options::parse();
    if let (Some(kind), Some(address)) = (&options.abuse, options.address) {
        abuse::run(kind, address, options.idle);
        return;
    }
    pin_to_the_second_core();
    let files = tempfile::tempdir().expect("a directory");
    let csv = files.path().join("enterprises.csv");
    enterprises(&csv, ENTERPRISES);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let is_wanted = |part| options.only.as_deref().is_none_or(|only| only == part);
    runtime.block_on(async {
        if is_wanted("saturation") {
            saturation(&options, &csv).await;
        }
        if is_wanted("flood") {
            flood(&options, &csv).await;
        }
        if is_wanted("abuse") {
            abuses(&options, &csv, &abuse::KINDS).await;
        }
        if options.only.as_deref() == Some("idle") {
            abuses(&options, &csv, &["idle"]).await;
        }
    });
}

/// The smallest number of callers that brings nine tenths and a half of what any does, and what it brings.
async fn saturating(clients: &mut [Client], seconds: f64) -> (usize, f64) {
    let mut found = Vec::new();
    for callers in [8, 16, 32, 64, 128, 256] {
        let load = closed(clients, callers, seconds, true).await;
        println!("  {callers:4} callers: {}", load.line());
        found.push((callers, load.goodput()));
    }
    let most = found.iter().map(|(_, goodput)| *goodput).fold(0.0, f64::max);
    let first = found.into_iter().find(|(_, goodput)| *goodput >= 0.95 * most);
    first.expect("one of them")
}

/// Three times the concurrency that saturates the server, by callers that wait as they are told and by such that do not.
async fn saturation(options: &Options, csv: &Path) {
    for (name, settings) in [
        ("limits as they are", &[][..]),
        (
            "limits.max_queue_delay = 1ms",
            &["limits.max_queue_delay=1ms"][..],
        ),
    ] {
        println!("\n== overload, {name}");
        let server = server(name, settings, csv);
        let mut clients = clients(server.address, CONNECTIONS, None).await;
        closed(&mut clients, 64, options.seconds, true).await;
        let (callers, _) = saturating(&mut clients, options.seconds).await;
        println!("saturated by {callers} callers");
        let memory = server.resident();
        let cases = [
            ("as many", callers, true),
            ("3 x, patient", 3 * callers, true),
            ("3 x, at once again", 3 * callers, false),
            ("30 x, patient", 30 * callers, true),
            ("30 x, at once again", 30 * callers, false),
        ];
        let mut ratios = vec![Vec::new(); cases.len()];
        let mut refusals = vec![Vec::new(); cases.len()];
        for round in 0..options.rounds {
            let mut peak = 0.0;
            for (index, (case, callers, patient)) in cases.iter().enumerate() {
                let load = closed(&mut clients, *callers, options.seconds, *patient).await;
                if index == 0 {
                    peak = load.goodput();
                }
                println!("  round {round}, {case:<20} {}", load.line());
                ratios[index].push(load.goodput() / peak);
                refusals[index].extend(load.refusals);
            }
        }
        for (index, (case, ..)) in cases.iter().enumerate() {
            let refused = refusals[index].len();
            let mut after = |share| load::percentile(&mut refusals[index], share) * 1e3;
            let (half, most) = (after(0.5), after(0.99));
            let soon = refusals[index].iter().filter(|took| **took < REFUSED_WITHIN);
            println!(
                "{case:<20} goodput {:5.1} % of the peak (median), {refused} refused: p50 {half:5.2} ms, p99 {most:6.2} ms, \
                 {:5.1} % within 5 ms",
                100.0 * median(ratios[index].clone()),
                100.0 * soon.count() as f64 / refused.max(1) as f64,
            );
        }
        println!(
            "resident {} MiB before, {} MiB after",
            memory >> 20,
            server.resident() >> 20
        );
        recovery(&mut clients, callers).await;
    }
}

/// How long after overload modest callers are served as before it.
async fn recovery(clients: &mut [Client], callers: usize) {
    let before = closed(clients, 4, 1.0, true).await.percentile(0.99);
    closed(clients, 30 * callers, 2.0, false).await;
    let begun = Instant::now();
    loop {
        let load = closed(clients, 4, 0.1, true).await;
        if load.refusals.is_empty() && load.percentile(0.99) <= 2.0 * before {
            break;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "it does not recover");
    }
    println!(
        "recovered within {:.1} s of the end of 30 x",
        begun.elapsed().as_secs_f64()
    );
}

/// A modest caller beside one that floods.
async fn flood(options: &Options, csv: &Path) {
    println!("\n== a flooding caller");
    let probe = server("probe", &[], csv);
    let mut own = clients(probe.address, CONNECTIONS, None).await;
    closed(&mut own, 64, options.seconds, true).await;
    let (_, peak) = saturating(&mut own, options.seconds).await;
    drop((own, probe));
    let rate = format!("limits.max_caller_rate={}", (peak / 4.0) as u64);
    for (name, settings) in [
        ("each may have a quarter", &[rate.as_str()][..]),
        ("no quota", &[][..]),
    ] {
        let server = server(name, settings, csv);
        let mut own = clients(server.address, CONNECTIONS, None).await;
        let wanted = peak / 5.0;
        open(&mut own, wanted, options.seconds).await;
        let (mut ratios, mut slower) = (Vec::new(), Vec::new());
        for round in 0..options.rounds {
            let quiet = open(&mut own, wanted, options.seconds).await;
            let flooder = Abuser::start("flood", server.address, 0);
            // It has begun.
            open(&mut own, wanted, 0.5).await;
            let beside = open(&mut own, wanted, options.seconds).await;
            drop(flooder);
            println!("  round {round}, {name}: quiet   {}", quiet.line());
            println!("  round {round}, {name}: flooded {}", beside.line());
            ratios.push(beside.goodput() / quiet.goodput());
            slower.push(beside.percentile(0.99) / quiet.percentile(0.99));
        }
        println!(
            "{name}: a caller of a fifth of the peak keeps {:.1} % of its throughput (median; worst {:.1} %), its p99 is {:.2} x",
            100.0 * median(ratios.clone()),
            100.0 * ratios.iter().copied().fold(f64::MAX, f64::min),
            median(slower),
        );
    }
}

/// Until so many connections are open.
async fn settle(server: &Server, own: &mut [Client], connections: usize) {
    let begun = Instant::now();
    while server.open_files() < connections {
        let coming = open(own, 2_000.0, 1.0).await;
        println!("  {} open: {}", server.open_files(), coming.line());
        assert!(
            begun.elapsed() < Duration::from_secs(SETTLED.0),
            "they do not come"
        );
    }
    open(own, 2_000.0, SETTLED.1).await;
}

/// Modest callers during each abuse, and without.
async fn abuses(options: &Options, csv: &Path, kinds: &[&str]) {
    println!("\n== abuses of HTTP/2");
    let server = server("abused", &["limits.max_connections=20000"], csv);
    let mut own = clients(server.address, 4, None).await;
    open(&mut own, 2_000.0, options.seconds).await;
    for &kind in kinds {
        let (mut ratios, mut memory) = (Vec::new(), 0);
        let (mut quiet_p99, mut abused_p99) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            let quiet = open(&mut own, 2_000.0, options.seconds).await;
            let abuser = Abuser::start(kind, server.address, options.idle);
            open(&mut own, 2_000.0, 0.5).await;
            if kind == "idle" {
                settle(&server, &mut own, options.idle).await;
            }
            let beside = open(&mut own, 2_000.0, options.seconds).await;
            memory = memory.max(server.resident());
            drop(abuser);
            open(&mut own, 2_000.0, 0.5).await;
            ratios.push(beside.percentile(0.99) / quiet.percentile(0.99));
            quiet_p99.push(quiet.percentile(0.99) * 1e3);
            abused_p99.push(beside.percentile(0.99) * 1e3);
        }
        println!(
            "{kind:<16} p99 {:6.2} ms, without {:6.2} ms: {:5.2} x (median of rounds); resident {} MiB",
            median(abused_p99),
            median(quiet_p99),
            median(ratios),
            memory >> 20
        );
    }
    println!("resident afterwards {} MiB", server.resident() >> 20);
}

impl Load {
    fn line(&self) -> String {
        format!(
            "{:7.0} decisions/s, p50 {:6.2} ms, p99 {:6.2} ms; {:6} refused, p50 {:5.2} ms, p99 {:6.2} ms; callers' own lag p99 {:5.2} ms",
            self.goodput(),
            self.percentile(0.5) * 1e3,
            self.percentile(0.99) * 1e3,
            self.refusals.len(),
            load::percentile(&mut self.refusals.clone(), 0.5) * 1e3,
            load::percentile(&mut self.refusals.clone(), 0.99) * 1e3,
            load::percentile(&mut self.lags.clone(), 0.99) * 1e3
        )
    }
}
