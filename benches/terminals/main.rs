//! What port terminals cost: memory for each shipment, answers beside decisions, and watchers by the thousand.
//!
//! ```sh
//! cargo bench --bench terminals -- [--shipments 1000000] [--watchers 10000] [--keys 1000] [--rounds 5] [--containers]
//! ```
//!
//! Shipments alone are held in this process. Everything else asks the real server, which has one worker and, where
//! `taskset` is, core 0 for all its threads; its store is `SQLite` and every decision is logged. The clients run on one
//! thread of this process: where that is busy all the time, it is what limits.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a program that prints figures and fails on anything odd"
)]

mod alone;
mod answers;
// The worlds and loops serve other benchmarks too.
#[allow(dead_code, reason = "each benchmark uses a part")]
#[path = "../support/mod.rs"]
mod support;
mod watchers;

use std::time::Duration;

use clap::Parser;
use greenlane::wire::pb::{
    self, facilitation_service_client::FacilitationServiceClient, shipment_key::Key as Named,
};
use prost::Message as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use support::server::{Server, connect, enterprises, party, request};
use tokio::time::sleep;
use tonic::transport::Channel;

// The allocator of the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Declarations in a batch.
const BATCH: usize = 512;
/// Batches between two looks at how many shipments wait for the store.
const BATCHES: usize = 100;
/// Shipments that may wait before more are decided.
const UNSAVED: u64 = 50_000;
/// Nothing takes longer.
const LONGEST: Duration = Duration::from_mins(5);

#[derive(Debug, Parser)]
struct Options {
    /// Shipments that are held.
    #[arg(long, default_value_t = 1_000_000)]
    shipments: usize,
    /// Watchers at once.
    #[arg(long, default_value_t = 10_000)]
    watchers: usize,
    /// Shipments of a watcher.
    #[arg(long, default_value_t = 100)]
    each: usize,
    /// Connections of all watchers.
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Keys in a large `BatchGetPriority`.
    #[arg(long, default_value_t = 1000)]
    keys: usize,
    /// Rounds of questions and decisions.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Registered enterprises.
    #[arg(long, default_value_t = 100_000)]
    enterprises: usize,
    /// Watch containers, not declarations.
    #[arg(long)]
    containers: bool,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The number of a declaration.
fn declaration_number(number: usize) -> String {
    format!("222520261{number:09}")
}

/// A container of its own for each number, with the check digit of ISO 6346.
fn container_number(number: usize) -> String {
    let owner = char::from(b'A' + u8::try_from(number / 1_000_000 % 26).expect("a letter"));
    let mut text = format!("CS{owner}U{:06}", number % 1_000_000);
    let value = |byte: u8| match byte {
        // Letters stand for 10 and more, without the multiples of 11.
        b'A'..=b'Z' => u32::from(byte - b'A' + 10 + (byte - b'A').div_ceil(10)),
        digit => u32::from(digit - b'0'),
    };
    let sum: u32 = text
        .bytes()
        .zip(0..)
        .map(|(byte, place)| value(byte) << place)
        .sum();
    text.push(char::from(b'0' + u8::try_from(sum % 11 % 10).expect("a digit")));
    text
}

fn key(number: usize, by_container: bool) -> pb::ShipmentKey {
    pb::ShipmentKey {
        key: Some(if by_container {
            Named::ContainerNumber(container_number(number))
        } else {
            Named::DeclarationNumber(declaration_number(number))
        }),
    }
}

/// The declaration of a number. The first of each watcher's shipments names the enterprise that is downgraded later, which
/// no other does.
fn declared(number: usize, options: &Options) -> pb::DecideRequest {
    let mut random = StdRng::seed_from_u64(number as u64);
    let is_touched = number < options.watchers * options.each && number.is_multiple_of(options.each);
    let [declarant, consignee] = if is_touched {
        [100, 0]
    } else {
        [(); 2].map(|()| random.random_range(1..options.enterprises))
    };
    pb::DecideRequest {
        declaration_number: declaration_number(number),
        container_numbers: vec![container_number(number)],
        parties: vec![
            party(pb::PartyRole::Declarant, declarant),
            party(pb::PartyRole::Consignee, consignee),
        ],
        ..request(&mut random, options.enterprises)
    }
}

/// Waits until the store has every shipment.
async fn saved(server: &Server, unsaved: u64) {
    let waited = async {
        // The metric is counted every second.
        sleep(Duration::from_millis(1_100)).await;
        while server.metric("greenlane_shipments_unsaved") > unsaved {
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONGEST, waited)
        .await
        .expect("saved in time");
}

async fn decide_batch(
    client: &mut FacilitationServiceClient<Channel>,
    numbers: impl Iterator<Item = usize>,
    options: &Options,
) -> usize {
    let requests: Vec<_> = numbers
        .map(|number| declared(number, options).encode_to_vec().into())
        .collect();
    let asked = requests.len();
    let answered = client.batch_decide(pb::BatchDecideRequest { requests }).await;
    let results = answered.expect("answered").into_inner().results;
    let decided = |result: &pb::BatchDecideResult| {
        matches!(result.result, Some(pb::batch_decide_result::Result::Decision(_)))
    };
    assert!(results.len() == asked && results.iter().all(decided), "decided");
    asked
}

/// Decides every shipment, and tells what the server's memory grew by.
async fn fill(server: &Server, options: &Options) {
    let mut client = FacilitationServiceClient::new(connect(server.address).await);
    let before = server.resident();
    for start in (0..options.shipments).step_by(BATCH) {
        let numbers = start..options.shipments.min(start + BATCH);
        decide_batch(&mut client, numbers, options).await;
        if (start / BATCH) % BATCHES == BATCHES - 1 {
            saved(server, UNSAVED).await;
        }
    }
    saved(server, 0).await;
    let held = server.metric("greenlane_shipments");
    // The cache counts what it has put in order; and the connection was tried with one more.
    assert!(
        held.abs_diff(options.shipments as u64) <= 1_024,
        "all are held, not {held}"
    );
    println!(
        "{:<52} {:8.0} bytes a shipment: {:.0} MiB to {:.0} MiB with {held}, draws, rates and the index of the log included",
        "server, resident",
        server.resident().saturating_sub(before) as f64 / options.shipments as f64,
        before as f64 / 1_048_576.0,
        server.resident() as f64 / 1_048_576.0,
    );
}

fn main() {
    // For tasks that outlive any borrow.
    let options: &'static Options = Box::leak(Box::new(Options::parse()));
    assert!(
        options.watchers * options.each <= options.shipments,
        "each shipment is watched once at most"
    );
    alone::measure(options);
    let files = tempfile::tempdir().expect("a directory");
    let csv = files.path().join("enterprises.csv");
    enterprises(&csv, options.enterprises);
    let settings = [
        "shipments.max_bytes=17179869184",
        "shipments.max_containers=10000000",
        "shipments.max_unsaved=1000000",
        // What is measured is what is held.
        "shipments.save_all=true",
        "shipments.max_watches=100000",
    ];
    let server = Server::start("terminals", &settings, &csv);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        fill(&server, options).await;
        watchers::measure(&server, options).await;
        answers::measure(&server, options).await;
    });
}
