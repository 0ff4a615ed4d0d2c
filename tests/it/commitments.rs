use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use greenlane::{
    app::{
        draws::Committer,
        policies,
        settings::{Settings, Span, StoreUrl},
        source_settings,
    },
    audit::{
        draw::commitment::{Commitment, Worth, commit, statement},
        signing::{self, SigningKey},
    },
    domain::Date,
    facilitation::{DrawKeys, Facilitation},
    metrics::Metrics,
    policy::draw::{Epoch, EpochKey},
    registry::{FreshnessLimits, Registry},
    service::facilitation::AcceptanceWindow,
    upstream::{
        commitments::{Commitments, StoredCommitment},
        sqlite::StorePath,
    },
    wire::{convert, pb},
};
use jiff::Timestamp;
use tokio::task::JoinSet;

use crate::support::{
    SOON,
    app::{SECRET, TestApp},
    eventually,
    postgres::Postgres,
    requests::import,
    store::{REGULAR, UNKNOWN},
};

const OTHER_SECRET: &str = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn store(url: &str) -> Commitments {
    let mut settings = Settings::default();
    settings.upstream.url = StoreUrl::new(url);
    Commitments::of(&source_settings(&settings)).unwrap()
}

fn embedded(folder: &Path) -> Commitments {
    let path = StorePath(folder.join("greenlane.db"));
    drop(path.open_or_create().unwrap());
    store(&format!("sqlite://{}", path.0.display()))
}

fn record(epoch: &str, replica: &str) -> StoredCommitment {
    StoredCommitment {
        epoch: epoch.to_owned(),
        commitment: "ab".repeat(32),
        published_at: "2026-10-01T00:00:00.120Z".to_owned(),
        replica: replica.to_owned(),
        public_key: "cd".repeat(32),
        signature: "ef".repeat(64),
        revealed_key: None,
        revealed_at: None,
    }
}

/// What every store owes: the first one stands, whoever puts at once, and a key is revealed once.
async fn the_first_one_stands(store: Commitments) {
    assert_eq!(store.list().await.unwrap(), []);
    let mut puts = JoinSet::new();
    for replica in 0..8 {
        let (store, record) = (store.clone(), record("2026-11", &format!("replica-{replica}")));
        puts.spawn(async move { store.put(record).await.unwrap() });
    }
    let stand = puts.join_all().await;
    assert!(stand.iter().all(|stands| stands == &stand[0]), "{stand:?}");
    let former = store.put(record("2026-10", "a")).await.unwrap();
    assert_eq!(former, record("2026-10", "a"));
    assert_eq!(store.list().await.unwrap(), [former, stand[0].clone()]);

    let at = "2027-01-01T00:00:00.000Z";
    assert!(!store.reveal("2026-09", "00", at).await.unwrap());
    assert!(store.reveal("2026-10", "00", at).await.unwrap());
    assert!(
        store
            .reveal("2026-10", "00", "2027-02-01T00:00:00.000Z")
            .await
            .unwrap()
    );
    assert!(!store.reveal("2026-10", "11", at).await.unwrap());
    let revealed = store.list().await.unwrap().remove(0);
    assert_eq!(revealed.revealed_key.as_deref(), Some("00"));
    assert_eq!(revealed.revealed_at.as_deref(), Some(at));
}

#[tokio::test]
async fn in_the_embedded_store_the_first_commitment_stands() {
    let folder = tempfile::tempdir().unwrap();
    the_first_one_stands(embedded(folder.path())).await;
    let connection = StorePath(folder.path().join("greenlane.db")).open().unwrap();
    for alteration in [
        "commitment = 'x'",
        "published_at = '2026-01-01'",
        "revealed_key = 'x'",
    ] {
        let altered = connection.execute(
            &format!("UPDATE draw_commitment SET {alteration} WHERE epoch = '2026-10'"),
            [],
        );
        assert!(altered.is_err(), "{alteration}");
    }
}

#[tokio::test]
async fn in_a_database_the_first_commitment_stands() {
    let server = Postgres::with_store().await;
    the_first_one_stands(store(&server.url())).await;
    let session = server.session().await;
    for alteration in ["commitment = 'x'", "published_at = now()", "revealed_key = 'x'"] {
        let altered = session
            .execute(
                &format!("UPDATE draw_commitment SET {alteration} WHERE epoch = '2026-10'"),
                &[],
            )
            .await;
        assert!(altered.is_err(), "{alteration}");
    }
}

/// A committer whose clock is set by hand, and what it told of.
struct ByHand {
    committer: Committer,
    now: Arc<Mutex<Timestamp>>,
    told: Arc<Mutex<Vec<pb::DrawCommitmentEntry>>>,
}

impl ByHand {
    fn new(folder: &Path, secret: &str, commitments: Commitments, now: &str) -> Self {
        let now = Arc::new(Mutex::new(now.parse().unwrap()));
        let told: Arc<Mutex<Vec<_>>> = Arc::default();
        let limits = FreshnessLimits {
            relief_max_age: Duration::from_mins(5),
            decision_max_age: Duration::from_hours(24),
        };
        let committer = Committer {
            commitments,
            facilitation: Arc::new(Facilitation::new(
                Arc::new(Registry::default()),
                policies::read_book(None).unwrap(),
                limits,
                DrawKeys::from_hex(secret).unwrap(),
            )),
            signing: Arc::new(SigningKey::load_or_make(&folder.join("signing.key")).unwrap()),
            replica: "replica-a".to_owned(),
            window: AcceptanceWindow {
                ahead: Duration::from_mins(5),
                behind: Duration::from_hours(7 * 24),
            },
            reveal_after: Duration::from_hours(90 * 24),
            metrics: Arc::new(Metrics::default()),
            on_commitment: {
                let told = Arc::clone(&told);
                Box::new(move |entry| told.lock().unwrap().push(entry))
            },
            clock: {
                let now = Arc::clone(&now);
                Box::new(move || *now.lock().unwrap())
            },
            said: BTreeMap::new(),
        };
        Self { committer, now, told }
    }

    async fn look_at(&mut self, now: &str) {
        *self.now.lock().unwrap() = now.parse().unwrap();
        self.committer.look().await.unwrap();
    }

    async fn worth(&self) -> Vec<(String, Worth)> {
        let stored = self.committer.commitments.list().await.unwrap();
        let worth = |stored| {
            let read = Commitment::read(stored).unwrap();
            (read.epoch.to_string(), read.worth())
        };
        stored.into_iter().map(worth).collect()
    }
}

#[tokio::test]
async fn over_the_turn_of_the_year_the_next_commitment_is_there_before_its_epoch_and_keys_are_revealed_in_time()
 {
    let folder = tempfile::tempdir().unwrap();
    let mut replica = ByHand::new(
        folder.path(),
        SECRET,
        embedded(folder.path()),
        "2026-12-03T00:00:00Z",
    );
    replica.look_at("2026-12-03T00:00:00Z").await;
    let first: Timestamp = "2026-12-03T00:00:00Z".parse().unwrap();
    // Acceptance dates of November are still taken.
    let expected = |more: &[&str]| {
        let late = ["2026-11", "2026-12"].map(|epoch| (epoch.to_owned(), Worth::Late(first)));
        let ahead = more.iter().map(|epoch| ((*epoch).to_owned(), Worth::Ahead));
        late.into_iter().chain(ahead).collect::<Vec<_>>()
    };
    assert_eq!(replica.worth().await, expected(&["2027-01"]));
    // The last millisecond of the year in China, and midnight.
    replica.look_at("2026-12-31T15:54:00Z").await;
    assert_eq!(replica.worth().await, expected(&["2027-01"]));
    replica.look_at("2026-12-31T16:00:00Z").await;
    assert_eq!(replica.worth().await, expected(&["2027-01", "2027-02"]));
    let told: Vec<_> = replica
        .told
        .lock()
        .unwrap()
        .iter()
        .map(|entry| entry.epoch.clone())
        .collect();
    assert_eq!(told, ["2026-12", "2027-01", "2026-11", "2027-02"]);

    let revealed = async |replica: &ByHand| {
        let stored = replica.committer.commitments.list().await.unwrap();
        let revealed = stored.into_iter().filter(|own| own.revealed_key.is_some());
        revealed.map(|own| own.epoch).collect::<Vec<_>>()
    };
    // 90 days after the end of November: the 28th of February, 16:00 UTC.
    replica.look_at("2027-02-28T15:59:59Z").await;
    assert_eq!(revealed(&replica).await, Vec::<String>::new());
    replica.look_at("2027-02-28T16:00:00Z").await;
    assert_eq!(revealed(&replica).await, ["2026-11"]);
    let stored = replica.committer.commitments.list().await.unwrap().remove(0);
    let read = Commitment::read(stored).unwrap();
    let key = DrawKeys::from_hex(SECRET)
        .unwrap()
        .key("2026-11".parse().unwrap());
    assert_eq!(read.revealed().unwrap().reveal(), key.reveal());
}

#[tokio::test]
async fn a_store_that_is_not_there_yet_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = StorePath(folder.path().join("later.db"));
    let commitments = store(&format!("sqlite://{}", path.0.display()));
    let mut replica = ByHand::new(folder.path(), SECRET, commitments, "2026-12-20T00:00:00Z");
    assert!(replica.committer.look().await.is_err());
    drop(path.open_or_create().unwrap());
    replica.committer.look().await.unwrap();
    assert_eq!(replica.worth().await.len(), 2);
}

#[tokio::test]
async fn a_replica_that_may_not_write_compares_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let server = Postgres::with_store().await;
    let (now, theirs) = ("2026-12-20T00:00:00Z", folder.path().join("theirs"));
    let mut first = ByHand::new(&theirs, SECRET, store(&server.url()), now);
    first.look_at(now).await;
    let session = server.session().await;
    session
        .batch_execute("CREATE ROLE reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        .await
        .unwrap();
    let url = server.url().replace("postgres@", "reader@");
    let mut reader = ByHand::new(folder.path(), OTHER_SECRET, store(&url), now);
    let epoch = |name: &str| name.parse().unwrap();
    let disputed = |replica: &ByHand, name| replica.committer.facilitation.draws().is_disputed(epoch(name));
    // February has no commitment yet, and this role cannot put one.
    *reader.now.lock().unwrap() = "2027-01-20T00:00:00Z".parse().unwrap();
    assert!(reader.committer.look().await.is_err());
    assert!(disputed(&reader, "2026-12") && disputed(&reader, "2027-01"));
    assert!(!disputed(&reader, "2027-02") && !disputed(&first, "2026-12"));
}

fn this_month() -> Epoch {
    Epoch::of(Date::of(Timestamp::now()))
}

#[tokio::test]
async fn a_server_commits_to_this_month_and_the_next_before_it_answers() {
    let app = TestApp::ready().await;
    let listed = app
        .audit()
        .list_draw_commitments(pb::ListDrawCommitmentsRequest {})
        .await;
    let listed = listed.unwrap().into_inner().commitments;
    let keys = DrawKeys::from_hex(SECRET).unwrap();
    for (epoch, counts) in [(this_month(), false), (this_month().next(), true)] {
        let own = listed.iter().find(|own| own.epoch == epoch.to_string()).unwrap();
        assert_eq!(own.commitment, keys.key(epoch).commitment);
        assert_eq!((own.counts, own.revealed_key.as_str()), (counts, ""));
        assert_eq!(own.worth.contains("late"), !counts, "{own:?}");
    }
    // Anybody can check the signature with the public key alone.
    let stored = store(&format!("sqlite://{}", app.store().display()))
        .list()
        .await
        .unwrap();
    for own in &stored {
        let (key, signature) = (
            hex::decode(&own.public_key).unwrap(),
            hex::decode(&own.signature).unwrap(),
        );
        assert!(signing::verify(&key, statement(own).as_bytes(), &signature));
    }
}

#[tokio::test]
async fn the_second_of_two_replicas_with_different_secrets_refuses_to_draw() {
    let server = Postgres::with_store().await;
    let session = server.session().await;
    session
        .batch_execute(&format!(
            "INSERT INTO enterprise (customs_code, name, credit_tier, tier_effective_from)
             VALUES ('{REGULAR}', 'r', 'REGULAR', '2010-01-01');
             INSERT INTO control_order (id, kind, basis, enterprise_id, valid_from, legal_basis, public_reason)
             VALUES ('O-1', 'HOLD', 'MANDATED', '{UNKNOWN}', '2020-01-01', 'Art 6', 'held')"
        ))
        .await
        .unwrap();
    let on = |settings: &mut Settings| settings.upstream.url = StoreUrl::new(server.url());
    let decide = async |app: &TestApp, sequence, party| {
        let request = import(sequence, party);
        let mut facilitation = app.facilitation();
        eventually("the registry is loaded", SOON, async || {
            let answer = facilitation.decide(request.clone()).await;
            let loading = matches!(&answer, Err(status) if status.message().contains("not loaded"));
            (!loading).then_some(answer)
        })
        .await
    };
    let first = TestApp::with(on);
    assert!(decide(&first, 1, REGULAR).await.is_ok());
    let second = TestApp::with_secret(OTHER_SECRET, on);
    let refused = decide(&second, 1, REGULAR).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable);
    let this_month = this_month();
    assert!(
        refused
            .message()
            .contains(&format!("does not draw in {this_month}")),
        "{refused:?}"
    );
    // What needs no draw is answered.
    let held = decide(&second, 2, UNKNOWN)
        .await
        .unwrap()
        .into_inner()
        .decision
        .unwrap();
    assert_eq!(held.lane(), pb::Lane::Manual);
    let metrics = second.metrics().await;
    let disputed = metrics
        .lines()
        .find_map(|line| line.strip_prefix("greenlane_draw_commitments{state=\"disputed\"} "));
    assert!(disputed.unwrap().parse::<u32>().unwrap() >= 2, "{metrics}");
    // A replica with the first one's secret agrees.
    assert!(decide(&TestApp::with(on), 1, REGULAR).await.is_ok());
}

#[tokio::test]
async fn only_the_epoch_of_another_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let commitments = embedded(folder.path());
    let signing = SigningKey::load_or_make(&folder.path().join("theirs.key")).unwrap();
    let former = Epoch::of(Date::of(this_month().begins()).plus_days(-1));
    let theirs = commit(
        former,
        &EpochKey::new([7; 32]),
        former.begins(),
        "theirs",
        &signing,
    );
    commitments.put(theirs).await.unwrap();
    let url = format!("sqlite://{}", folder.path().join("greenlane.db").display());
    let app = TestApp::ready_with(|settings| {
        settings.upstream.url = StoreUrl::new(url);
        settings.server.acceptance_max_behind = Span::new(Duration::from_hours(40 * 24));
    })
    .await;
    let decide = async |sequence, accepted_at: Timestamp| {
        let request = pb::DecideRequest {
            accepted_at: Some(convert::instant(accepted_at)),
            ..import(sequence, REGULAR)
        };
        app.facilitation().decide(request).await
    };
    let last_month = this_month().begins() - jiff::SignedDuration::from_hours(1);
    assert!(decide(1, Timestamp::now()).await.is_ok());
    let refused = decide(2, last_month).await.unwrap_err();
    assert!(refused.message().contains(&former.to_string()), "{refused:?}");
    // A declaration that was drawn in another epoch first keeps that one.
    assert!(decide(1, last_month).await.is_ok());
}
