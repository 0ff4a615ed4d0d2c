//! Watchers by the thousand: what one takes in memory, and how soon all of them hear of one downgrade.

use std::{
    thread,
    time::{Duration, Instant},
};

use greenlane::wire::pb::{
    self, priority_service_client::PriorityServiceClient, watch_priorities_response::Event,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{sleep, timeout},
};
use tonic::transport::Channel;

use super::{
    LONGEST, Options, key,
    support::server::{Server, code, connect, cpu, since},
};

/// What a watcher heard.
enum Heard {
    /// The first state of all its shipments.
    First(Instant),
    /// The touched one changed.
    Change(Instant),
}

fn number_of(shipment: &pb::Shipment) -> usize {
    shipment.declaration_number[9..].parse().expect("a number")
}

/// Watches until the stream ends; each state must be one that is due.
async fn watch(
    mut client: PriorityServiceClient<Channel>,
    numbers: std::ops::Range<usize>,
    by_container: bool,
    heard: mpsc::UnboundedSender<Heard>,
) {
    let keys = numbers.clone().map(|number| key(number, by_container)).collect();
    let request = pb::WatchPrioritiesRequest {
        keys,
        ..pb::WatchPrioritiesRequest::default()
    };
    let answered = client.watch_priorities(request).await.expect("watched");
    let mut stream = answered.into_inner();
    let mut seen = vec![false; numbers.len()];
    let mut touched = None::<pb::Shipment>;
    let mut has_begun = false;
    while let Some(response) = stream.message().await.expect("it goes on") {
        let shipment = match response.event.expect("an event") {
            Event::Heartbeat(_) => {
                if !std::mem::replace(&mut has_begun, true) {
                    assert!(seen.iter().all(|seen| *seen), "every shipment was told");
                    // Who does not listen any more is done.
                    heard.send(Heard::First(Instant::now())).ok();
                }
                continue;
            }
            Event::Shipment(shipment) => shipment,
        };
        let number = number_of(&shipment);
        if has_begun {
            let former = touched.as_ref().expect("told before");
            assert_eq!(number, numbers.start, "only that was touched");
            assert_eq!(shipment.revision, former.revision + 1, "one change");
            assert_ne!(shipment.priority, former.priority, "another priority");
            heard.send(Heard::Change(Instant::now())).ok();
        } else {
            let twice = std::mem::replace(&mut seen[number - numbers.start], true);
            assert!(!twice, "each is told once");
        }
        if number == numbers.start {
            touched = Some(shipment);
        }
    }
}

/// Sets a tier as any program does, by SQL; gives when the commit began, and how long it took.
async fn set_tier(server: &Server, tier: &'static str) -> (Instant, Duration) {
    let path = server.directory.path().join("greenlane.db");
    let (reply, replied) = oneshot::channel();
    thread::spawn(move || {
        let sql = rusqlite::Connection::open(path).expect("the store");
        sql.busy_timeout(Duration::from_secs(10)).expect("set");
        sql.execute_batch("BEGIN IMMEDIATE").expect("begun");
        let set = "UPDATE enterprise SET credit_tier = ?1 WHERE customs_code = ?2";
        assert_eq!(sql.execute(set, [tier, &code(0)]).expect("updated"), 1);
        let from = Instant::now();
        sql.execute_batch("COMMIT").expect("committed");
        reply.send((from, from.elapsed())).ok();
    });
    replied.await.expect("committed")
}

/// How long ago each of them was, from an instant on, sorted.
fn after(from: Instant, mut instants: Vec<Instant>) -> Vec<f64> {
    instants.sort();
    let milliseconds = |at: Instant| at.saturating_duration_since(from).as_secs_f64() * 1e3;
    instants.into_iter().map(milliseconds).collect()
}

async fn next(heard: &mut mpsc::UnboundedReceiver<Heard>, watching: &mut JoinSet<()>) -> Heard {
    let next = async {
        tokio::select! {
            heard = heard.recv() => heard.expect("somebody watches"),
            ended = watching.join_next() => panic!("a watcher ended: {ended:?}"),
        }
    };
    timeout(LONGEST, next).await.expect("in time")
}

pub(super) async fn measure(server: &Server, options: &Options) {
    let (watchers, each) = (options.watchers, options.each);
    let mut channels = Vec::new();
    for _ in 0..options.connections {
        channels.push(connect(server.address).await);
    }
    sleep(Duration::from_secs(2)).await;
    let own = std::process::id();
    let busy = || (server.cpu(), cpu(own));
    let before = server.resident();
    let (from, was) = (Instant::now(), busy());
    let (sender, mut heard) = mpsc::unbounded_channel();
    let mut watching = JoinSet::new();
    for watcher in 0..watchers {
        let client = PriorityServiceClient::new(channels[watcher % channels.len()].clone());
        let numbers = watcher * each..(watcher + 1) * each;
        watching.spawn(watch(client, numbers, options.containers, sender.clone()));
    }
    let mut begun = Vec::with_capacity(watchers);
    while begun.len() < watchers {
        match next(&mut heard, &mut watching).await {
            Heard::First(at) => begun.push(at),
            Heard::Change(_) => panic!("nothing changed"),
        }
    }
    let begun = after(from, begun);
    let (server_cpu, client_cpu) = (since(server.cpu(), was.0), since(cpu(own), was.1));
    sleep(Duration::from_secs(3)).await;
    println!(
        "{:<52} {:8.0} bytes a watcher: {:.0} MiB to {:.0} MiB",
        format!("{watchers} watchers of {each} each, server's resident"),
        server.resident().saturating_sub(before) as f64 / watchers as f64,
        before as f64 / 1_048_576.0,
        server.resident() as f64 / 1_048_576.0
    );
    println!(
        "{:<52} {:8.0} ms until the last has it: the middle one {:.0}; CPU server {:.0}, client {:.0}",
        "the first state of all",
        begun[watchers - 1],
        begun[watchers / 2],
        server_cpu.as_secs_f64() * 1e3,
        client_cpu.as_secs_f64() * 1e3
    );
    for tier in ["DISCREDITED", "ADVANCED_CERTIFIED", "DISCREDITED"] {
        let was = busy();
        let (from, took) = set_tier(server, tier).await;
        let mut told = Vec::with_capacity(watchers);
        while told.len() < watchers {
            match next(&mut heard, &mut watching).await {
                Heard::Change(at) => told.push(at),
                Heard::First(_) => panic!("told once"),
            }
        }
        let (server_cpu, client_cpu) = (since(server.cpu(), was.0), since(cpu(own), was.1));
        let told = after(from, told);
        println!(
            "{:<52} {:8.1} ms until the last hears: first {:.1}, p50 {:.1}, p99 {:.1}; the commit took {:.1}; CPU server {:.0}, client {:.0}",
            format!("{tier}, {watchers} shipments touched"),
            told[watchers - 1],
            told[0],
            told[watchers / 2],
            told[watchers * 99 / 100],
            took.as_secs_f64() * 1e3,
            server_cpu.as_secs_f64() * 1e3,
            client_cpu.as_secs_f64() * 1e3
        );
        // Long enough for a message too many to come, and for the changes to be saved.
        super::saved(server, 0).await;
        assert!(heard.try_recv().is_err(), "each heard once");
    }
    assert!(watching.try_join_next().is_none(), "all still watch");
    assert_eq!(server.metric("greenlane_watch_streams"), watchers as u64);
}
