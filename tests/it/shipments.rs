use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use greenlane::{
    app::{
        settings::{Settings, StoreUrl},
        source_settings,
    },
    upstream::{
        shipments::{Put, ShipmentFeed, ShipmentStore, StoredShipment},
        sqlite::StorePath,
    },
};
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::support::{SOON, eventually, nats::Nats, postgres::Postgres};

/// Long enough for thousands of changes, on a machine that has other things to do.
const LONG: Duration = Duration::from_mins(2);

/// A store of one kind.
enum Shared {
    Embedded(TempDir),
    Database(Postgres),
    Bucket(Nats),
}

impl Shared {
    async fn every_kind() -> [Self; 3] {
        [Self::embedded(), Self::database().await, Self::bucket().await]
    }

    fn embedded() -> Self {
        Self::Embedded(tempfile::tempdir().unwrap())
    }

    async fn database() -> Self {
        Self::Database(Postgres::with_store().await)
    }

    async fn bucket() -> Self {
        Self::Bucket(Nats::start().await)
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Embedded(_) => "SQLite",
            Self::Database(_) => "PostgreSQL",
            Self::Bucket(_) => "NATS",
        }
    }

    fn settings(&self) -> greenlane::upstream::source::SourceSettings {
        let url = match self {
            Self::Embedded(folder) => format!("sqlite://{}", folder.path().join("greenlane.db").display()),
            Self::Database(server) => server.url(),
            Self::Bucket(server) => server.url(),
        };
        let mut settings = Settings::default();
        settings.upstream.url = StoreUrl::new(url);
        source_settings(&settings)
    }

    fn store(&self) -> ShipmentStore {
        ShipmentStore::open(&self.settings()).unwrap()
    }

    fn feed(&self, recent: u64) -> ShipmentFeed {
        ShipmentFeed::open(&self.settings(), recent).unwrap()
    }

    async fn kill(&mut self) {
        match self {
            Self::Embedded(_) => {}
            Self::Database(server) => server.kill().await,
            Self::Bucket(server) => server.kill().await,
        }
    }

    async fn start_again(&mut self) {
        match self {
            Self::Embedded(_) => {}
            Self::Database(server) => server.start_again().await,
            Self::Bucket(server) => server.start_again().await,
        }
    }
}

fn number(of: usize) -> String {
    format!("{:08}I{of:09}", 53_012_026)
}

fn container(of: usize) -> String {
    format!("ABCU{of:07}")
}

/// A shipment in one container of its own.
fn shipment(of: usize, revision: u64, entry: &str) -> StoredShipment {
    StoredShipment {
        declaration_number: number(of),
        container_numbers: vec![container(of)],
        revision,
        decided_at: "2026-11-24T01:02:03.123456789Z".parse().unwrap(),
        entry: Bytes::copy_from_slice(entry.as_bytes()),
    }
}

/// What follows on a revision.
fn after(base: u64, mut shipment: StoredShipment) -> Put {
    shipment.revision = base + 1;
    Put { base, shipment }
}

fn new(of: usize) -> Put {
    after(0, shipment(of, 1, "new"))
}

fn sorted(mut found: Vec<StoredShipment>) -> Vec<StoredShipment> {
    found.sort_by(|a, b| a.declaration_number.cmp(&b.declaration_number));
    found
}

/// Everything that a feed has now.
async fn drain(feed: &mut ShipmentFeed) -> Vec<StoredShipment> {
    let mut found = Vec::new();
    loop {
        let next = feed.next().await.unwrap();
        if next.is_empty() {
            return found;
        }
        found.extend(next);
    }
}

#[tokio::test]
async fn a_shipment_is_changed_where_the_change_follows_on_what_stands() {
    for shared in Shared::every_kind().await {
        let (mut store, kind) = (shared.store(), shared.kind());
        assert_eq!(store.declarations(&[&number(1)]).await.unwrap(), [], "{kind}");
        assert_eq!(store.put(&[]).await.unwrap(), [], "{kind}");
        let first = after(0, shipment(1, 1, "first"));
        assert_eq!(
            store.put(std::slice::from_ref(&first)).await.unwrap(),
            [],
            "{kind}"
        );
        // Again after an answer that did not arrive.
        assert_eq!(
            store.put(std::slice::from_ref(&first)).await.unwrap(),
            [],
            "{kind}"
        );
        let other = after(0, shipment(1, 1, "other"));
        let stands = store.put(&[other, new(2)]).await.unwrap();
        assert_eq!(stands, std::slice::from_ref(&first.shipment), "{kind}");
        let second = after(1, shipment(1, 0, "second"));
        assert_eq!(
            store.put(std::slice::from_ref(&second)).await.unwrap(),
            [],
            "{kind}"
        );
        for stale in [
            after(1, shipment(1, 0, "stale")),
            after(7, shipment(1, 0, "ahead")),
        ] {
            assert_eq!(
                store.put(&[stale]).await.unwrap(),
                std::slice::from_ref(&second.shipment),
                "{kind}"
            );
        }
        // What the store has lost is taken from whoever still knows it.
        let lost = after(4, shipment(3, 0, "lost"));
        assert_eq!(
            store.put(std::slice::from_ref(&lost)).await.unwrap(),
            [],
            "{kind}"
        );
        // Several of one declaration, in their order.
        let turns = [0, 1, 2].map(|base| after(base, shipment(4, 0, &format!("turn {base}"))));
        assert_eq!(store.put(&turns).await.unwrap(), [], "{kind}");
        let numbers = [1, 2, 3, 4, 5].map(number);
        let numbers = numbers.each_ref().map(String::as_str);
        let found = sorted(store.declarations(&numbers).await.unwrap());
        let expected = [
            second.shipment,
            new(2).shipment,
            lost.shipment,
            turns[2].shipment.clone(),
        ];
        assert_eq!(found, expected, "{kind}");
    }
}

#[tokio::test]
async fn a_container_leads_to_the_shipments_that_have_it_now() {
    for shared in Shared::every_kind().await {
        let (mut store, kind) = (shared.store(), shared.kind());
        let with = |of: usize, base: u64, containers: &[usize]| {
            let mut put = after(base, shipment(of, 0, ""));
            put.shipment.container_numbers = containers.iter().copied().map(container).collect();
            put
        };
        let many: Vec<usize> = (100..200).collect();
        let puts = [
            with(1, 0, &[1, 2]),
            with(2, 0, &[2, 3]),
            with(3, 0, &[]),
            with(4, 0, &many),
        ];
        assert_eq!(store.put(&puts).await.unwrap(), [], "{kind}");
        assert_eq!(
            store
                .put(&[with(1, 1, &[2, 3, 4]), with(4, 1, &many)])
                .await
                .unwrap(),
            [],
            "{kind}"
        );
        for (asked, expected) in [
            (&[1][..], &[][..]),
            (&[2], &[1, 2]),
            (&[3, 2, 4], &[1, 2]),
            (&[4], &[1]),
            (&[9], &[]),
            (&[100, 199], &[4]),
            (&[], &[]),
        ] {
            let asked: Vec<String> = asked.iter().copied().map(container).collect();
            let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
            let found = sorted(store.containers(&asked).await.unwrap());
            let found: Vec<_> = found.into_iter().map(|found| found.declaration_number).collect();
            let expected: Vec<String> = expected.iter().copied().map(number).collect();
            assert_eq!(found, expected, "{kind}: {asked:?}");
        }
        let found = store.declarations(&[&number(3), &number(4)]).await.unwrap();
        let expected = [with(3, 0, &[]), with(4, 1, &many)].map(|put| put.shipment);
        assert_eq!(sorted(found), expected, "{kind}");
    }
}

#[tokio::test]
async fn of_writers_that_race_one_wins_each_revision() {
    const WRITERS: usize = 4;
    const LAST: u64 = 50;
    for shared in Shared::every_kind().await {
        let kind = shared.kind();
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let mut store = shared.store();
            writers.spawn(async move {
                let (mut stands, mut won) = (0, Vec::new());
                while stands < LAST {
                    let entry = format!("{writer} at {stands}");
                    let put = after(stands, shipment(1, 0, &entry));
                    match store.put(&[put]).await.unwrap().pop() {
                        None => {
                            stands += 1;
                            won.push(stands);
                        }
                        Some(standing) => stands = standing.revision,
                    }
                }
                won
            });
        }
        let mut won: Vec<u64> = writers.join_all().await.into_iter().flatten().collect();
        won.sort_unstable();
        assert_eq!(won, (1..=LAST).collect::<Vec<_>>(), "{kind}");
    }
}

/// Changes shipments again and again, in batches, until it has made so many changes; gives how many were refused.
async fn change(
    mut store: ShipmentStore,
    name: &str,
    shipments: usize,
    changes: usize,
    batch: usize,
) -> usize {
    let mut known: HashMap<String, u64> = HashMap::new();
    let (mut made, mut refused, mut at) = (0, 0, 0);
    while made < changes {
        let puts: Vec<Put> = (at..at + batch.min(changes - made))
            .map(|of| {
                let of = of % shipments;
                let base = known.get(&number(of)).copied().unwrap_or_default();
                after(base, shipment(of, 0, &format!("{name} {base}")))
            })
            .collect();
        at += batch;
        let begun = Instant::now();
        let stand = loop {
            match store.put(&puts).await {
                Ok(stand) => break stand,
                // Again, where the server goes away in the midst of it.
                Err(error) => assert!(begun.elapsed() < SOON, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        for put in &puts {
            known.insert(put.shipment.declaration_number.clone(), put.shipment.revision);
        }
        made += puts.len() - stand.len();
        refused += stand.len();
        for stands in stand {
            known.insert(stands.declaration_number, stands.revision);
        }
    }
    refused
}

/// What a feed gave: revisions of each shipment rise, and the last ones are what the store has.
async fn assert_whole(store: &mut ShipmentStore, given: &[StoredShipment], shipments: usize, kind: &str) {
    let mut last: BTreeMap<&str, &StoredShipment> = BTreeMap::new();
    for shipment in given {
        if let Some(former) = last.insert(&shipment.declaration_number, shipment) {
            assert!(
                former.revision < shipment.revision,
                "{kind}: {former:?}, then {shipment:?}"
            );
        }
    }
    let numbers: Vec<String> = (0..shipments).map(number).collect();
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
    let stored = sorted(store.declarations(&numbers).await.unwrap());
    let last: Vec<_> = last.into_values().cloned().collect();
    assert_eq!(last.len(), shipments, "{kind}");
    assert!(
        last == stored,
        "{kind}: the feed did not end where the store ends"
    );
}

#[tokio::test]
async fn a_feed_misses_nothing_of_two_writers_and_gives_it_in_order() {
    const SHIPMENTS: usize = 2_000;
    const CHANGES: usize = 10_000;
    for shared in Shared::every_kind().await {
        let kind = shared.kind();
        let mut feed = shared.feed(0);
        assert_eq!(feed.next().await.unwrap(), [], "{kind}");
        let mut writers = JoinSet::new();
        for name in ["one", "two"] {
            let store = shared.store();
            writers.spawn(async move { change(store, name, SHIPMENTS, CHANGES, 100).await });
        }
        let mut given = Vec::new();
        while !writers.is_empty() {
            tokio::select! {
                ended = writers.join_next() => drop(ended.unwrap().unwrap()),
                next = feed.next() => given.extend(next.unwrap()),
            }
        }
        given.extend(drain(&mut feed).await);
        let mut store = shared.store();
        assert_whole(&mut store, &given, SHIPMENTS, kind).await;
        let changes: u64 = {
            let numbers: Vec<String> = (0..SHIPMENTS).map(number).collect();
            let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
            let stored = store.declarations(&numbers).await.unwrap();
            stored.iter().map(|stored| stored.revision).sum()
        };
        assert_eq!(changes, 2 * CHANGES as u64, "{kind}");
        // Who comes now is given the latest ones, in the same order.
        let mut latest: Vec<StoredShipment> = Vec::new();
        for shipment in given.iter().rev() {
            let seen = |other: &StoredShipment| other.declaration_number == shipment.declaration_number;
            if !latest.iter().any(seen) {
                latest.push(shipment.clone());
            }
            if latest.len() == 150 {
                break;
            }
        }
        latest.reverse();
        assert_eq!(drain(&mut shared.feed(150)).await, latest, "{kind}");
        assert_eq!(drain(&mut shared.feed(u64::MAX)).await.len(), SHIPMENTS, "{kind}");
    }
}

#[tokio::test]
async fn while_nothing_changes_a_feed_says_so_and_a_change_comes_soon() {
    for shared in Shared::every_kind().await {
        let (mut store, mut feed, kind) = (shared.store(), shared.feed(10), shared.kind());
        for _ in 0..3 {
            let asked = Instant::now();
            assert_eq!(feed.next().await.unwrap(), [], "{kind}");
            assert!(asked.elapsed() < SOON, "{kind}");
        }
        for of in 0..3 {
            store.put(&[new(of)]).await.unwrap();
            // A reader that has other things to do drops the question, and loses nothing by it.
            let given = eventually("the change arrives", SOON, async || {
                let next = tokio::time::timeout(Duration::from_millis(20), feed.next()).await;
                next.ok().map(Result::unwrap).filter(|given| !given.is_empty())
            });
            assert_eq!(given.await, [new(of).shipment], "{kind}");
        }
    }
}

#[tokio::test]
async fn store_and_feed_go_on_when_their_server_was_killed() {
    const SHIPMENTS: usize = 500;
    for mut shared in [Shared::database().await, Shared::bucket().await] {
        let kind = shared.kind();
        let mut feed = shared.feed(10);
        let mut given = drain(&mut feed).await;
        let mut writers = JoinSet::new();
        for name in ["one", "two"] {
            let store = shared.store();
            writers.spawn(async move { change(store, name, SHIPMENTS, 4_000, 50).await });
        }
        let mut errors = 0;
        let mut killed = false;
        let begun = Instant::now();
        while !writers.is_empty() {
            assert!(begun.elapsed() < LONG, "{kind}");
            tokio::select! {
                ended = writers.join_next() => drop(ended.unwrap().unwrap()),
                next = feed.next() => match next {
                    Ok(next) => given.extend(next),
                    Err(_) => errors += 1,
                },
            }
            if given.len() > 500 && !killed {
                shared.kill().await;
                killed = true;
                while let Ok(next) = feed.next().await {
                    given.extend(next);
                    assert!(begun.elapsed() < LONG, "{kind}");
                }
                shared.start_again().await;
            }
        }
        assert!(killed, "{kind}");
        let rest = eventually("the feed is caught up", SOON, async || {
            let next = feed.next().await.ok()?;
            let caught_up = next.is_empty();
            given.extend(next);
            caught_up.then_some(())
        });
        rest.await;
        assert!(errors < 1_000, "{kind}: {errors}");
        assert_whole(&mut shared.store(), &given, SHIPMENTS, kind).await;
    }
}

#[tokio::test]
async fn of_a_store_that_went_back_the_recent_shipments_are_given_again() {
    for shared in Shared::every_kind().await {
        let (mut store, mut feed, kind) = (shared.store(), shared.feed(5), shared.kind());
        let puts: Vec<Put> = (0..20).map(new).collect();
        store.put(&puts).await.unwrap();
        assert_eq!(drain(&mut feed).await.len(), 5, "{kind}");
        match &shared {
            Shared::Embedded(folder) => {
                let file = StorePath(folder.path().join("greenlane.db")).shipments().0;
                for part in ["", "-wal", "-shm"] {
                    drop(std::fs::remove_file(format!("{}{part}", file.display())));
                }
            }
            Shared::Database(server) => {
                let restored = "DELETE FROM shipment; DELETE FROM shipment_container; UPDATE shipment_meta SET sequence = 0";
                server.session().await.batch_execute(restored).await.unwrap();
            }
            Shared::Bucket(server) => {
                let context = server.context().await;
                context.delete_stream("KV_greenlane_shipments").await.unwrap();
            }
        }
        // A store finds out at its next question; of NATS the first one is in vain.
        let put = after(0, shipment(100, 0, "restored"));
        let expected = put.shipment.clone();
        let stand = eventually("the store takes it", SOON, async || {
            store.put(std::slice::from_ref(&put)).await.ok()
        });
        assert_eq!(stand.await, [], "{kind}");
        let given = eventually("the feed begins anew", SOON, async || {
            feed.next().await.ok().filter(|given| !given.is_empty())
        });
        assert_eq!(given.await, [expected], "{kind}");
    }
}

#[tokio::test]
async fn shipments_decided_before_an_instant_are_deleted_and_others_stay() {
    for shared in Shared::every_kind().await {
        let (mut store, mut feed, kind) = (shared.store(), shared.feed(u64::MAX), shared.kind());
        assert_eq!(store.trim(Timestamp::now()).await.unwrap(), 0, "{kind}");
        let decided = |of: usize| {
            let mut put = new(of);
            put.shipment.decided_at = Timestamp::now();
            put
        };
        let old: Vec<Put> = (0..6_000).map(decided).collect();
        store.put(&old).await.unwrap();
        store.put_progress("replica", 7).await.unwrap();
        let last = Timestamp::now();
        let before = eventually("a later instant", SOON, async || {
            Some(Timestamp::now()).filter(|now| now.as_millisecond() > last.as_millisecond() + 1)
        });
        let before = before.await;
        let young: Vec<Put> = (5_990..6_010).map(decided).collect();
        store.put(&young[10..]).await.unwrap();
        assert_eq!(drain(&mut feed).await.len(), 6_010, "{kind}");
        assert_eq!(store.trim(before).await.unwrap(), 6_000, "{kind}");
        assert_eq!(store.trim(before).await.unwrap(), 0, "{kind}");
        let numbers = [0, 5_999, 6_000, 6_009].map(number);
        let found = store
            .declarations(&numbers.each_ref().map(String::as_str))
            .await
            .unwrap();
        let expected = [&young[10], &young[19]].map(|put| put.shipment.clone());
        assert_eq!(sorted(found), expected, "{kind}");
        let containers = [0, 5_999, 6_000].map(container);
        let found = store
            .containers(&containers.each_ref().map(String::as_str))
            .await
            .unwrap();
        assert_eq!(found, [young[10].shipment.clone()], "{kind}");
        assert_eq!(store.progress("replica").await.unwrap(), Some(7), "{kind}");
        // The feed goes on, and what was deleted may come back.
        let again = after(1, shipment(0, 0, "again"));
        assert_eq!(
            store.put(std::slice::from_ref(&again)).await.unwrap(),
            [],
            "{kind}"
        );
        let given = eventually("the change arrives", SOON, async || {
            feed.next().await.ok().filter(|given| !given.is_empty())
        });
        assert_eq!(given.await, [again.shipment], "{kind}");
    }
}

#[tokio::test]
async fn the_progress_of_a_replica_is_what_it_said_last() {
    for shared in Shared::every_kind().await {
        let (mut store, kind) = (shared.store(), shared.kind());
        let replicas = ["kh-1", "kh.1", "kh=2e1", "replica 1/ü > *"];
        for replica in replicas {
            assert_eq!(store.progress(replica).await.unwrap(), None, "{kind}");
        }
        for (at, replica) in (1..).zip(replicas) {
            store.put_progress(replica, 1_000).await.unwrap();
            store.put_progress(replica, at).await.unwrap();
        }
        let mut other = shared.store();
        for (at, replica) in (1..).zip(replicas) {
            assert_eq!(other.progress(replica).await.unwrap(), Some(at), "{kind}");
        }
        // It is no shipment.
        assert_eq!(drain(&mut shared.feed(10)).await, [], "{kind}");
    }
}

fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// A measurement: new shipments of 300 bytes in one container each.
#[tokio::test]
#[ignore = "measures: run it by its name, with --nocapture"]
async fn how_fast_and_how_large() {
    for shared in Shared::every_kind().await {
        let (mut store, kind) = (shared.store(), shared.kind());
        let mut at = 0;
        let folder = |shared: &Shared| match shared {
            Shared::Embedded(folder) => size(folder.path()),
            Shared::Database(server) => size(&server.folder().join("data/base")),
            Shared::Bucket(server) => size(server.folder()),
        };
        store.put(&[new(usize::MAX % 1_000_000)]).await.unwrap();
        let before = folder(&shared);
        for batch in [1_000, 100] {
            let (begun, first) = (Instant::now(), at);
            while at < first + 20_000 {
                let puts: Vec<Put> = (at..at + batch)
                    .map(|of| {
                        let mut put = new(of);
                        let entry: Vec<u8> = (0..300_usize)
                            .map(|byte| u8::try_from(byte * of % 251).unwrap())
                            .collect();
                        put.shipment.entry = entry.into();
                        put
                    })
                    .collect();
                store.put(&puts).await.unwrap();
                at += batch;
            }
            let rate = 20_000.0 / begun.elapsed().as_secs_f64();
            println!("{kind}: {rate:.0} new shipments a second in batches of {batch}");
        }
        if let Shared::Database(server) = &shared {
            server.session().await.batch_execute("CHECKPOINT").await.unwrap();
        }
        let bytes = (folder(&shared) - before) / 40_000;
        println!("{kind}: {bytes} bytes a shipment");
        let mut feed = shared.feed(u64::MAX);
        let begun = Instant::now();
        let read = drain(&mut feed).await.len();
        println!("{kind}: {read} read in {:?}", begun.elapsed());
        let mut waits: Vec<Duration> = Vec::new();
        for of in 50_000..50_020 {
            store.put(&[new(of)]).await.unwrap();
            let begun = Instant::now();
            while feed.next().await.unwrap().is_empty() {}
            waits.push(begun.elapsed());
        }
        waits.sort();
        println!("{kind}: heard of after {:?}, at most {:?}", waits[10], waits[19]);
    }
}
