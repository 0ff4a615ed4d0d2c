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

// The register and its traffic serve other benchmarks.
#[allow(dead_code, reason = "each benchmark uses a part")]
mod support;

use std::time::Instant;

use greenlane::wire::pb::facilitation_service_client::FacilitationServiceClient;
use rand::{SeedableRng as _, rngs::StdRng};
use support::server::{Server, connect, enterprises, median, request};
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
        .map(|(name, settings)| Server::start(name, settings, &csv))
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
                own.push(FacilitationServiceClient::new(connect(server.address).await));
            }
            // Warm.
            load(&own, calls / 4, count, 99).await;
            clients.push(own);
        }
        let mut costs = vec![Vec::new(); servers.len()];
        for round in 0..rounds {
            for (index, server) in servers.iter().enumerate() {
                let before = server.cpu();
                let seconds = load(&clients[index], calls, count, round as u64).await;
                let spent = server.cpu().saturating_sub(before);
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
