//! Shipments alone, in this process: memory for each, what its weight is taken for, and the time to take one in.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use greenlane::{
    facilitation::Facilitation,
    metrics::Metrics,
    shipments::{Limits, NewDecision, Shipments, WatchLimits},
    upstream::status::FeedStatus,
    wire::{pb, validate},
};
use prost::Message as _;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    BATCH, Options, container_number,
    support::world::{World, number_text, resident},
};

/// The bound of the memory that tells the weight.
const BOUND: u64 = 32 << 20;
/// More shipments than that holds.
const BEYOND: usize = 100_000;

fn shipments(facilitation: &Arc<Facilitation>, max_bytes: u64) -> Arc<Shipments> {
    let limits = Limits {
        max_bytes,
        max_containers: 1_000,
        // Nothing saves here.
        max_unsaved: 0,
        served: true,
        from_log: false,
        watches: WatchLimits {
            watches: 1,
            stall: Duration::from_secs(30),
            heartbeat: Duration::from_secs(10),
        },
    };
    let (lookups, _) = mpsc::channel(1);
    Shipments::new(
        Arc::clone(facilitation),
        Arc::new(FeedStatus::new("bench")),
        Arc::new(Metrics::default()),
        limits,
        lookups,
    )
}

/// Decides that many declarations and hands them over, where there is someone to take them; gives the time that took.
fn decide(
    world: &World,
    facilitation: &Facilitation,
    count: usize,
    shipments: Option<&Arc<Shipments>>,
) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    // Whoever reads takes in first.
    let take_in = |shipments: &Arc<Shipments>| runtime.block_on(shipments.get(&[]));
    let mut spent = Duration::ZERO;
    for number in 0..count {
        let bytes = &world.bytes[number % world.bytes.len()];
        let mut request = pb::DecideRequest::decode(&bytes[..]).expect("a request");
        // The declaration number is the first field; its direction stays.
        let text = number_text(number, bytes[10]).to_vec();
        request.declaration_number = String::from_utf8(text).expect("ASCII");
        request.container_numbers = vec![container_number(number)];
        let request_bytes = Bytes::from(request.encode_to_vec());
        let valid = validate::request(&request, &world.window).expect("valid");
        let id = Uuid::from_u128(number as u128);
        let from = Instant::now();
        let decision = facilitation.decide(
            &valid.declaration,
            valid.accepted_at,
            &world.clock,
            &world.moment,
            |outcome| {
                shipments.and_then(|_| NewDecision::of(&valid.declaration, &request_bytes, id, &outcome))
            },
        );
        let decision = decision.expect("a decision");
        if let (Some(shipments), Some(decision)) = (shipments, decision) {
            shipments.decided(decision);
            if number % BATCH == BATCH - 1 || number + 1 == count {
                take_in(shipments);
            }
        }
        spent += from.elapsed();
    }
    spent
}

pub(super) fn measure(options: &Options) {
    let (world, _) = World::new(options.enterprises);
    let facilitation = Arc::new(world.facilitation());
    let count = options.shipments;
    // Every declaration is drawn before: what grows then is shipments alone.
    decide(&world, &facilitation, count, None);
    let without = decide(&world, &facilitation, count, None);
    let before = resident();
    let held = shipments(&facilitation, u64::MAX / 2);
    let with = decide(&world, &facilitation, count, Some(&held));
    let grown = resident().saturating_sub(before);
    let is_held = |number| {
        let bytes = &world.bytes[number % world.bytes.len()];
        let number = number_text(number, bytes[10]);
        let number = std::str::from_utf8(&number).expect("ASCII").parse();
        held.first(&number.expect("a declaration number")).is_some()
    };
    assert!((0..count).all(is_held), "all are held");
    println!(
        "{:<52} {:8.0} bytes a shipment, {count} held",
        "Shipments alone, resident",
        grown as f64 / count as f64
    );
    let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    println!(
        "{:<52} {:8.2} us a decision: {:.2} with it, {:.2} without",
        "handing over and taking in",
        each(with) - each(without),
        each(with),
        each(without)
    );
    drop(held);

    let bounded = shipments(&facilitation, BOUND);
    decide(&world, &facilitation, BEYOND, Some(&bounded));
    let fit = bounded.counts().shipments;
    assert!(fit < BEYOND as u64, "the bound is reached");
    println!(
        "{:<52} {:8.0} bytes a shipment: {fit} fill {} MiB",
        "what its weight is taken for",
        BOUND as f64 / fit as f64,
        BOUND >> 20
    );
}
