//! CPU of the real server for one decision over the wire, beside servers that decide nothing: in interleaved rounds of one run.
//!
//! ```sh
//! cargo bench --bench wire -- [--rounds 5] [--decisions 60000] [--enterprises 100000]
//! ```
//!
//! Each server is a process of its own on core 0, where `taskset` is; the clients run in this one, on core 1. What is compared is
//! the server's CPU time, from the scheduler's clock, by decision, within one round. *bare* is tonic on one current-thread
//! runtime, with this program's profile and allocator; *stock* is the same as a newcomer would build and run it.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and stops at what it did not expect"
)]

mod callers;
mod certificates;
mod peers;
// The register and its traffic serve other benchmarks.
#[allow(dead_code, reason = "each benchmark uses a part")]
#[path = "../support/mod.rs"]
mod support;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use callers::{Shape, decision, load};
use certificates::Certificates;
use clap::Parser;
use support::{
    connection::Connection,
    server::{Server, enterprises, import, median, pin_to_the_second_core, pinned, since},
};

// The allocator of the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CONNECTIONS: usize = 8;
const OUTSTANDING: usize = 16;
/// Calls are never refused, however slow the machine is for a moment.
const PATIENT: &str = "limits.max_queue_delay=1s";

#[derive(Debug, Parser)]
struct Options {
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Decisions of a round.
    #[arg(long, default_value_t = 60_000)]
    decisions: usize,
    /// Registered enterprises.
    #[arg(long, default_value_t = 100_000)]
    enterprises: usize,
    /// Those cases alone, by their names.
    #[arg(long, num_args = 1..)]
    only: Vec<String>,
    /// Be the bare server.
    #[arg(long, hide = true)]
    decision: Option<PathBuf>,
    /// Serve there.
    #[arg(long, hide = true)]
    address: Option<SocketAddr>,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is measured.
struct Case {
    name: &'static str,
    /// The server, by its name.
    server: &'static str,
    shape: Shape,
    /// What it is held against.
    against: &'static [&'static str],
}

const UNARY: Shape = Shape::Unary(OUTSTANDING);

const CASES: [Case; 10] = [
    case("bare", "bare", UNARY, &[]),
    case("stock", "stock", UNARY, &["bare"]),
    case("audit off", "off", UNARY, &["bare"]),
    case("audit off, no terminals", "alone", UNARY, &["bare"]),
    case("all on", "on", UNARY, &["bare", "stock"]),
    case("all on, streams", "on", Shape::Stream(OUTSTANDING), &["all on"]),
    case("all on, batches", "on", Shape::Batch(2), &["all on"]),
    case("all on, mTLS", "mtls", UNARY, &["all on"]),
    case("all on, both cores", "both", UNARY, &["all on"]),
    case("audit power", "power", UNARY, &["all on"]),
];

const fn case(
    name: &'static str,
    server: &'static str,
    shape: Shape,
    against: &'static [&'static str],
) -> Case {
    Case {
        name,
        server,
        shape,
        against,
    }
}

fn main() {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    if let (Some(decision), Some(address)) = (&options.decision, options.address) {
        let constant = peers::Constant::new(&fs::read(decision).expect("a decision"));
        return runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind(address).await.expect("a port");
            constant.serve(listener).await;
        });
    }
    pin_to_the_second_core();
    runtime.block_on(measure(&options));
}

/// The server that a newcomer would build: the default release profile.
fn build_stock() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_greenlane"))
        .ancestors()
        .nth(2)
        .expect("the target directory");
    let built = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "--profile", "stock", "--example", "stock"])
        .args(["--target-dir".as_ref(), target.as_os_str()])
        .env_remove("CARGO_PROFILE_BENCH_LTO")
        .status();
    assert!(built.expect("cargo").success(), "stock");
    target.join("stock/examples/stock")
}

struct Measured {
    server: Server,
    connections: Vec<Connection>,
}

impl Measured {
    async fn of(server: Server, tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(Connection::open(server.address, tls.as_ref(), None).await);
        }
        Self { server, connections }
    }
}

async fn measure(options: &Options) {
    let files = tempfile::tempdir().expect("a directory");
    let csv = files.path().join("enterprises.csv");
    enterprises(&csv, options.enterprises);
    let store = import(&csv);
    let certificates = Certificates::new(files.path());
    let cases: Vec<_> = CASES
        .iter()
        .filter(|case| options.only.is_empty() || options.only.iter().any(|own| own == case.name))
        .collect();
    let wanted = |name: &str| cases.iter().any(|case| case.server == name);

    // Whatever is measured, everything is held against this one, and answers with as much as it does.
    let on = Server::start_from("on", &[PATIENT], &store, "0");
    let given = decision(on.address).await;
    println!("a decision has {} bytes", given.len());
    let decision = files.path().join("decision");
    fs::write(&decision, given).expect("written");
    let constant = |name, program: &Path, cores| {
        let mut command = pinned(program.to_str().expect("a path"), cores);
        command.arg("--decision").arg(&decision);
        Server::other(name, command)
    };
    let own = std::env::current_exe().expect("this program");
    let mut started = vec![(on, None)];
    if wanted("bare") {
        started.push((constant("bare", &own, "0"), None));
    }
    if wanted("stock") {
        // Nobody pins it.
        started.push((constant("stock", &build_stock(), "0,1"), None));
    }
    let tls = certificates.settings();
    let tls: Vec<&str> = tls.iter().map(String::as_str).collect();
    for (name, settings, cores) in [
        ("off", &["audit.durability=off"][..], "0"),
        ("alone", &["audit.durability=off", "shipments.serve=false"], "0"),
        ("power", &["audit.durability=power"], "0"),
        ("both", &["server.workers=2"], "0,1"),
        ("mtls", &tls, "0"),
    ] {
        if wanted(name) {
            let server = Server::start_from(name, &[settings, &[PATIENT]].concat(), &store, cores);
            started.push((server, (name == "mtls").then(|| certificates.client())));
        }
    }
    // A connection that is not read for as long as others load is given up.
    for (server, tls) in &started {
        drop(Connection::open(server.address, tls.as_ref(), None).await);
    }
    let mut all = Vec::new();
    for (server, tls) in started {
        all.push(Measured::of(server, tls).await);
    }

    let amount = (options.decisions, options.enterprises);
    for Measured { server, connections } in &mut all {
        let warm = (options.decisions / 4, options.enterprises);
        load(connections, Shape::Unary(OUTSTANDING), warm, 99).await;
        rested(server).await;
    }
    let mut costs = vec![Vec::new(); cases.len()];
    for round in 0..options.rounds {
        for (case, costs) in cases.iter().zip(&mut costs) {
            let mut measured = all.iter_mut();
            let Measured { server, connections } = measured
                .find(|own| own.server.name == case.server)
                .expect("it was started");
            let before = server.cpu();
            let seconds = load(connections, case.shape, amount, round as u64).await;
            // What is done behind the answers is theirs too.
            rested(server).await;
            let spent = since(server.cpu(), before);
            let cost = spent.as_secs_f64() * 1e6 / options.decisions as f64;
            println!(
                "round {round}: {:<18} {cost:6.2} us CPU a decision, {:7.0} decisions/s",
                case.name,
                options.decisions as f64 / seconds,
            );
            costs.push(cost);
        }
    }
    summarize(&cases, &costs);
}

/// Prints what each case came to, in all rounds.
fn summarize(cases: &[&Case], costs: &[Vec<f64>]) {
    println!();
    for (case, own) in cases.iter().zip(costs) {
        println!(
            "{:<18} {:6.2} us CPU a decision (median of {})",
            case.name,
            median(own.clone()),
            own.len()
        );
        for (other, costs) in cases.iter().zip(costs) {
            if !case.against.contains(&other.name) {
                continue;
            }
            let ratios: Vec<f64> = own.iter().zip(costs).map(|(own, other)| own / other).collect();
            let least = ratios.iter().copied().fold(f64::MAX, f64::min);
            let most = ratios.iter().copied().fold(0.0, f64::max);
            println!(
                "{:18} {:6.2} x {} (median of ratios; {least:.2} to {most:.2})",
                "",
                median(ratios),
                other.name
            );
        }
    }
}

/// Until a server has nothing to do.
async fn rested(server: &Server) {
    loop {
        let before = server.cpu();
        tokio::time::sleep(Duration::from_millis(100)).await;
        if since(server.cpu(), before) < Duration::from_millis(4) {
            return;
        }
    }
}
