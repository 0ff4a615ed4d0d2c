//! CPU of the real server for one decision over the wire: variants side by side, in interleaved rounds.
//!
//! ```sh
//! cargo bench --bench wire -- [--rounds 7] [--calls 60000] [--enterprises 100000]
//! ```
//!
//! Each variant is a process of its own on core 0, where `taskset` is; the client runs in this one. What is compared is the
//! server's CPU time, from the scheduler's clock, by decision, within one round.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and stops at what it did not expect"
)]

use std::{
    fs,
    io::Write as _,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use greenlane::wire::pb::{self, facilitation_service_client::FacilitationServiceClient, party::Identifier};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::task::JoinSet;
use tonic::transport::Channel;

const CONNECTIONS: usize = 8;
const OUTSTANDING: usize = 16;

/// What differs between the servers that are compared.
const VARIANTS: [(&str, &[&str]); 4] = [
    ("audit off", &["audit.durability=off"]),
    ("audit process", &["audit.durability=process"]),
    // Segments are sealed, indexed and counted several times in each round.
    (
        "and sealing",
        &["audit.durability=process", "audit.segment_bytes=8388608"],
    ),
    ("audit power", &["audit.durability=power"]),
];

struct Server {
    name: &'static str,
    process: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn code(index: usize) -> String {
    format!("{:04}9{:05}", 1101 + index / 100_000, index % 100_000)
}

fn enterprises(path: &Path, count: usize) {
    let mut file = fs::File::create(path).expect("a file");
    writeln!(file, "customs_code,name,credit_tier,tier_effective_from").expect("written");
    for index in 0..count {
        let tier = match index % 100 {
            0 => "ADVANCED_CERTIFIED",
            1 | 2 => "CERTIFIED",
            3 => "DISCREDITED",
            _ => "REGULAR",
        };
        writeln!(file, "{},Enterprise {index},{tier},2020-01-01", code(index)).expect("written");
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound")
}

fn start(name: &'static str, settings: &[&str], csv: &Path) -> Server {
    let binary = env!("CARGO_BIN_EXE_greenlane");
    let directory = tempfile::tempdir().expect("a directory");
    let address = free_address();
    let mut common = vec![
        format!("server.data_dir={}", directory.path().display()),
        format!("server.grpc_addr={address}"),
        "server.http_addr=127.0.0.1:0".to_owned(),
        "server.workers=1".to_owned(),
        format!("draw.master_secret={}", "5a".repeat(32)),
        "log.level=warn".to_owned(),
    ];
    common.extend(settings.iter().map(|&setting| setting.to_owned()));
    let with_settings = |command: &mut Command| {
        for setting in &common {
            command.args(["--set", setting]);
        }
    };
    let mut import = Command::new(binary);
    import
        .args(["enterprise", "import"])
        .arg(csv)
        .stdout(Stdio::null());
    with_settings(&mut import);
    assert!(import.status().expect("run").success(), "import");
    let mut serve = if Path::new("/usr/bin/taskset").exists() {
        let mut pinned = Command::new("/usr/bin/taskset");
        pinned.args(["-c", "0", binary]);
        pinned
    } else {
        Command::new(binary)
    };
    serve.arg("serve");
    with_settings(&mut serve);
    Server {
        name,
        process: serve.spawn().expect("started"),
        address,
        _directory: directory,
    }
}

/// CPU time of every thread of a process, by the scheduler.
fn cpu(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("a process");
    let nanoseconds = threads.flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

fn request(random: &mut StdRng, enterprises: usize) -> pb::DecideRequest {
    let party = |role: pb::PartyRole, index| pb::Party {
        role: role.into(),
        identifier: Some(Identifier::CustomsCode(code(index))),
    };
    let goods = |hs_code: &str, origin: &str| pb::GoodsItem {
        hs_code: hs_code.to_owned(),
        origin_country: origin.to_owned(),
    };
    pb::DecideRequest {
        declaration_number: format!("22252026{}{:09}", 1, random.random_range(0..1_000_000_000)),
        direction: pb::Direction::Import.into(),
        parties: vec![
            party(pb::PartyRole::Declarant, random.random_range(0..enterprises)),
            party(pb::PartyRole::Consignee, random.random_range(0..enterprises)),
        ],
        goods: vec![
            goods("8471300000", "DE"),
            goods("8517620000", "JP"),
            goods("9403200000", "US"),
        ],
        customs_office: "2225".to_owned(),
        transport_mode: pb::TransportMode::Sea.into(),
        trade_mode: pb::TradeMode::General.into(),
        container_numbers: vec!["CSQU3054383".to_owned()],
        ..pb::DecideRequest::default()
    }
}

async fn connect(address: SocketAddr) -> FacilitationServiceClient<Channel> {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let endpoint = Channel::from_shared(format!("http://{address}")).expect("an address");
        if let Ok(channel) = endpoint.connect().await {
            let mut client = FacilitationServiceClient::new(channel);
            let mut random = StdRng::seed_from_u64(0);
            if client.decide(request(&mut random, 1)).await.is_ok() {
                return client;
            }
        }
        assert!(Instant::now() < deadline, "the server did not get ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Sends that many requests, 16 outstanding on each of 8 connections; gives seconds.
async fn load(
    clients: &[FacilitationServiceClient<Channel>],
    calls: usize,
    enterprises: usize,
    seed: u64,
) -> f64 {
    let each = calls / CONNECTIONS / OUTSTANDING;
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for (connection, client) in clients.iter().enumerate() {
        for caller in 0..OUTSTANDING {
            let mut client = client.clone();
            let mut random = StdRng::seed_from_u64(seed * 1_000 + (connection * OUTSTANDING + caller) as u64);
            callers.spawn(async move {
                for _ in 0..each {
                    client
                        .decide(request(&mut random, enterprises))
                        .await
                        .expect("decided");
                }
            });
        }
    }
    while let Some(ended) = callers.join_next().await {
        ended.expect("no panic");
    }
    begun.elapsed().as_secs_f64()
}

fn argument(name: &str, default: usize) -> usize {
    let arguments: Vec<String> = std::env::args().collect();
    let at = arguments.iter().position(|argument| argument == name);
    at.and_then(|at| arguments.get(at + 1)?.parse().ok())
        .unwrap_or(default)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let (rounds, calls, count) = (
        argument("--rounds", 7),
        argument("--calls", 60_000),
        argument("--enterprises", 100_000),
    );
    let files = tempfile::tempdir().expect("a directory");
    let csv = files.path().join("enterprises.csv");
    enterprises(&csv, count);
    let servers: Vec<Server> = VARIANTS
        .iter()
        .map(|(name, settings)| start(name, settings, &csv))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut clients = Vec::new();
        for server in &servers {
            let mut own = Vec::new();
            for _ in 0..CONNECTIONS {
                own.push(connect(server.address).await);
            }
            // Warm.
            load(&own, calls / 4, count, 99).await;
            clients.push(own);
        }
        let mut costs = vec![Vec::new(); servers.len()];
        for round in 0..rounds {
            for (index, server) in servers.iter().enumerate() {
                let before = cpu(server.process.id());
                let seconds = load(&clients[index], calls, count, round as u64).await;
                let spent = cpu(server.process.id()).saturating_sub(before);
                let cost = spent.as_secs_f64() * 1e6 / calls as f64;
                println!(
                    "round {round}: {:<14} {cost:6.2} us CPU a decision, {:7.0} decisions/s",
                    server.name,
                    calls as f64 / seconds
                );
                costs[index].push(cost);
            }
        }
        println!();
        for (index, server) in servers.iter().enumerate() {
            let ratios = costs[index].iter().zip(&costs[0]).map(|(own, first)| own / first);
            println!(
                "{:<14} {:6.2} us CPU a decision (median of {rounds}), {:5.2} x {} (median of the rounds' ratios)",
                server.name,
                median(costs[index].clone()),
                median(ratios.collect()),
                servers[0].name,
            );
        }
    });
}
