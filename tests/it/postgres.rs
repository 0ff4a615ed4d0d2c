use std::{
    pin::pin,
    time::{Duration, Instant},
};

use greenlane::{
    app::settings::{Span, StoreUrl},
    domain::{enterprise::Enterprise, identifier::EnterpriseId},
    registry::Position,
    upstream::{
        Found, ResyncCause, UpstreamError,
        postgres::{self, Reader, Settings, TlsFiles, store_digest},
        sqlite::{self, StorePath},
    },
    wire::pb,
};
use tokio::sync::oneshot;
use tokio_postgres::error::SqlState;

use crate::support::{
    SOON,
    app::TestApp,
    eventually,
    postgres::{Follower, Postgres, Session},
};

/// The log after a sequence: `op key`, one a row.
async fn log_after(session: &Session, sequence: i64) -> Vec<String> {
    let rows = session
        .query(
            "SELECT lower(op) || ' ' || key FROM change_log WHERE sequence > $1 ORDER BY sequence",
            &[&sequence],
        )
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn head(session: &Session) -> i64 {
    let row = session.query_one("SELECT sequence FROM registry_meta", &[]).await;
    row.unwrap().get(0)
}

async fn digest_of(settings: &Settings) -> (Position, String) {
    let (tell, told) = oneshot::channel();
    let digest = store_digest(settings, tell).await.unwrap();
    (told.await.unwrap(), digest)
}

/// The replica stands where the store stands and holds what the store holds.
async fn assert_equal(follower: &Follower, settings: &Settings, what: &str) {
    let (position, digest) = digest_of(settings).await;
    assert_eq!(follower.place().position, position, "{what}");
    assert_eq!(follower.generation.digest(), digest, "{what}");
}

/// Statements, one after another, and what the log must then hold.
const CASES: [(&str, &[&str]); 22] = [
    (
        "INSERT INTO enterprise VALUES ('A000000001', '91110000600037341L', 'a', 'REGULAR', '2020-01-01'),
                                       ('A000000002', '91110000600037342X', 'b', 'REGULAR', '2020-01-01'),
                                       ('A000000003', NULL, 'c', 'REGULAR', '2020-01-01')",
        &["upsert A000000001", "upsert A000000002", "upsert A000000003"],
    ),
    ("UPDATE enterprise SET name = 'x' WHERE false", &[]),
    ("INSERT INTO enterprise SELECT * FROM enterprise ON CONFLICT DO NOTHING", &[]),
    ("DELETE FROM control_order", &[]),
    (
        "UPDATE enterprise SET suspended = true WHERE customs_code = 'A000000001'",
        &["upsert A000000001"],
    ),
    // One statement that inserts and updates fires the triggers of both.
    (
        "INSERT INTO enterprise (customs_code, name, credit_tier, tier_effective_from)
         VALUES ('A000000001', 'z', 'REGULAR', '2021-01-01'), ('A000000009', 'z', 'REGULAR', '2021-01-01')
         ON CONFLICT (customs_code) DO UPDATE SET name = excluded.name",
        &["upsert A000000001", "upsert A000000009"],
    ),
    (
        "UPDATE enterprise SET customs_code = 'B000000001' WHERE customs_code = 'A000000001'",
        &["delete A000000001", "upsert B000000001"],
    ),
    // A code is handed on: it must not stand twice while the log is replayed.
    (
        "UPDATE enterprise SET social_credit_code = CASE customs_code WHEN 'A000000003' THEN '91110000600037342X' END
          WHERE customs_code IN ('A000000002', 'A000000003')",
        &["delete A000000002", "upsert A000000002", "upsert A000000003"],
    ),
    // Keys move on by one.
    (
        "UPDATE enterprise SET customs_code = CASE customs_code WHEN 'A000000002' THEN 'A000000001' ELSE 'A000000002' END
          WHERE customs_code IN ('A000000002', 'A000000003')",
        &["delete A000000003", "upsert A000000001", "upsert A000000002"],
    ),
    // Gone and back within one statement: whichever trigger comes first, the row stands.
    (
        "WITH gone AS (DELETE FROM enterprise WHERE customs_code = 'A000000002' RETURNING *)
         INSERT INTO enterprise SELECT customs_code, NULL, 'again', credit_tier, tier_effective_from FROM gone",
        &["upsert A000000002"],
    ),
    (
        "MERGE INTO enterprise e USING (VALUES ('A000000002', 'm'), ('C000000001', 'm')) AS v (code, name)
            ON e.customs_code = v.code
          WHEN MATCHED THEN DELETE
          WHEN NOT MATCHED THEN INSERT VALUES (v.code, NULL, v.name, 'REGULAR', '2020-01-01')",
        &["delete A000000002", "upsert C000000001"],
    ),
    (
        "INSERT INTO scheduled_tier VALUES ('C000000001', 'CERTIFIED', '2026-04-01')",
        &["upsert C000000001|2026-04-01"],
    ),
    (
        "UPDATE scheduled_tier SET effective_from = '2026-05-01'",
        &["delete C000000001|2026-04-01", "upsert C000000001|2026-05-01"],
    ),
    (
        "UPDATE scheduled_tier SET credit_tier = 'REGULAR'",
        &["upsert C000000001|2026-05-01"],
    ),
    (
        "INSERT INTO recognised_operator VALUES ('SG201234567890', 'SG', 'STP-Plus', 'n', '2020-01-01')",
        &["upsert SG201234567890"],
    ),
    ("DELETE FROM recognised_operator", &["delete SG201234567890"]),
    (
        "INSERT INTO mutual_recognition VALUES ('XX', 'AEO', DEFAULT, 'SEA,AIR', '2020-01-01')",
        &["upsert XX|AEO|ALL|SEA,AIR|2020-01-01"],
    ),
    (
        "INSERT INTO control_order (id, kind, basis, hs_prefix, valid_from, legal_basis, public_reason)
         VALUES ('O1', 'HOLD', 'MANDATED', '84', '2026-01-01 08:00:00+08', 'l', 'p')",
        &["upsert O1"],
    ),
    // Whatever the writer's own ways of writing dates are.
    (
        "SET datestyle = 'German'; SET timezone = 'Asia/Shanghai';
         INSERT INTO scheduled_tier VALUES ('C000000001', 'CERTIFIED', '2026-06-01');
         UPDATE control_order SET valid_to = '2027-01-01 00:00:00+08'; RESET datestyle; RESET timezone",
        &["upsert C000000001|2026-06-01", "upsert O1"],
    ),
    // What no replica can read must not stop the feed.
    (
        "INSERT INTO enterprise VALUES ('D000000001', NULL, 'd', 'REGULAR', 'infinity', NULL),
                                       ('D000000002', NULL, 'd', 'REGULAR', '0044-03-15 BC', '-infinity'),
                                       ('lower case', 'x', 'd', 'GOLDEN', '12026-01-01', NULL)",
        &["upsert D000000001", "upsert D000000002", "upsert lower case"],
    ),
    (
        "UPDATE control_order SET valid_from = '-infinity', valid_to = 'infinity';
         INSERT INTO scheduled_tier VALUES ('D000000001', 'REGULAR', 'infinity')",
        &["upsert O1", "upsert D000000001|infinity"],
    ),
    // A replication role, which switches ordinary triggers off.
    (
        "SET session_replication_role = replica; DELETE FROM enterprise; SET session_replication_role = origin",
        &[
            "delete A000000001",
            "delete A000000009",
            "delete B000000001",
            "delete C000000001",
            "delete D000000001",
            "delete D000000002",
            "delete lower case",
        ],
    ),
];

#[tokio::test]
async fn every_statement_is_logged_as_it_leaves_the_tables() {
    let server = Postgres::with_store().await;
    let settings = server.settings();
    let session = server.session().await;
    let mut follower = Follower::begin(settings.clone()).await;
    for (sql, expected) in CASES {
        let before = head(&session).await;
        session.batch_execute(sql).await.unwrap();
        let mut logged = log_after(&session, before).await;
        assert_eq!(
            head(&session).await,
            before + i64::try_from(logged.len()).unwrap(),
            "{sql}"
        );
        if sql.contains("replica") || sql.contains("MERGE") {
            // Of these the order is the plan's.
            logged.sort();
        }
        if !sql.contains("ON CONFLICT (") && !sql.contains("CASE") {
            assert_eq!(logged, expected, "{sql}");
        } else {
            let deletes = logged
                .iter()
                .take_while(|line| line.starts_with("delete"))
                .count();
            assert!(
                logged[deletes..].iter().all(|line| line.starts_with("upsert")),
                "{sql}: {logged:?}"
            );
            logged.sort();
            assert_eq!(logged, expected, "{sql}");
        }
        follower.catch_up().await.expect(sql);
        assert_equal(&follower, &settings, sql).await;
    }
    let fresh = Follower::begin(settings).await;
    assert_eq!(fresh.generation.digest(), follower.generation.digest());
    let mut quarantined = [follower.generation.quarantined(), fresh.generation.quarantined()];
    for rows in &mut quarantined {
        rows.sort_by(|a, b| a.key.cmp(&b.key));
    }
    assert_eq!(quarantined[0], quarantined[1]);
    let keys: Vec<_> = quarantined[0].iter().map(|row| row.key.as_str()).collect();
    assert_eq!(keys, ["D000000001|infinity", "O1"]);
}

#[tokio::test]
async fn what_another_programs_trigger_goes_on_to_change_is_logged_as_it_ends() {
    let server = Postgres::with_store().await;
    let session = server.session().await;
    session
        .batch_execute(
            "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               UPDATE enterprise SET name = upper(name) WHERE customs_code = NEW.customs_code AND name <> upper(name);
               RETURN NULL; END $$;
             CREATE TRIGGER a_shout AFTER INSERT ON enterprise FOR EACH ROW EXECUTE FUNCTION shout()",
        )
        .await
        .unwrap();
    let mut follower = Follower::begin(server.settings()).await;
    let insert = "INSERT INTO enterprise VALUES ('A000000001', NULL, 'quiet', 'REGULAR', '2020-01-01')";
    session.batch_execute(insert).await.unwrap();
    follower.catch_up().await.unwrap();
    assert_equal(&follower, &server.settings(), "as the other trigger left it").await;
    let id = EnterpriseId::Customs("A000000001".parse().unwrap());
    assert_eq!(follower.generation.enterprise(&id).unwrap().name, "QUIET");
}

#[tokio::test]
async fn what_the_log_could_not_tell_is_refused() {
    let server = Postgres::with_store().await;
    let session = server.session().await;
    for (sql, code) in [
        ("TRUNCATE enterprise", SqlState::FEATURE_NOT_SUPPORTED),
        ("TRUNCATE control_order", SqlState::FEATURE_NOT_SUPPORTED),
        (
            "INSERT INTO scheduled_tier VALUES ('A|B', 'REGULAR', '2026-01-01')",
            SqlState::CHECK_VIOLATION,
        ),
        (
            "INSERT INTO mutual_recognition VALUES ('XX', 'A|B', 'ALL', 'ALL', '2026-01-01')",
            SqlState::CHECK_VIOLATION,
        ),
        (
            "INSERT INTO control_order (id, kind, basis, valid_from, legal_basis, public_reason)
             VALUES ('O1', 'HOLD', 'MANDATED', now(), 'l', 'p')",
            SqlState::CHECK_VIOLATION,
        ),
        (
            "INSERT INTO registry_meta VALUES ('another', 0, 0)",
            SqlState::UNIQUE_VIOLATION,
        ),
    ] {
        let error = session.batch_execute(sql).await.expect_err(sql);
        assert_eq!(error.code(), Some(&code), "{sql}: {error}");
    }
    assert_eq!(head(&session).await, 0);
}

#[tokio::test]
async fn a_writer_needs_no_right_on_the_log() {
    let server = Postgres::with_store().await;
    let session = server.session().await;
    session
        .batch_execute(
            "CREATE ROLE writer; GRANT SELECT, INSERT, UPDATE, DELETE ON enterprise TO writer; SET ROLE writer;
             CREATE TEMP TABLE registry_meta (sequence bigint);
             INSERT INTO enterprise VALUES ('A000000001', NULL, 'a', 'REGULAR', '2020-01-01');
             UPDATE enterprise SET name = 'b'",
        )
        .await
        .unwrap();
    let error = session
        .batch_execute("INSERT INTO change_log VALUES (9, 'enterprise', 'x', 'DELETE', NULL, now())")
        .await
        .expect_err("refused");
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    session
        .batch_execute("DROP TABLE pg_temp.registry_meta; RESET ROLE")
        .await
        .unwrap();
    assert_eq!(head(&session).await, 2);
}

#[tokio::test]
async fn what_is_rolled_back_leaves_no_gap() {
    let server = Postgres::with_store().await;
    let session = server.session().await;
    let mut follower = Follower::begin(server.settings()).await;
    session
        .batch_execute(
            "BEGIN; INSERT INTO enterprise VALUES ('A000000001', NULL, 'a', 'REGULAR', '2020-01-01'); ROLLBACK;
             BEGIN; SAVEPOINT s;
             INSERT INTO enterprise VALUES ('A000000002', NULL, 'a', 'REGULAR', '2020-01-01'); ROLLBACK TO s;
             INSERT INTO enterprise VALUES ('A000000003', NULL, 'a', 'REGULAR', '2020-01-01'); SAVEPOINT s2;
             INSERT INTO enterprise VALUES ('A000000004', NULL, 'a', 'REGULAR', '2020-01-01'); COMMIT;
             DELETE FROM enterprise WHERE customs_code = 'A000000003'",
        )
        .await
        .unwrap();
    assert_eq!(
        log_after(&session, 0).await,
        ["upsert A000000003", "upsert A000000004", "delete A000000003"]
    );
    assert_eq!(follower.catch_up().await, Ok(vec![2, 1]), "commits stay whole");
    assert_equal(&follower, &server.settings(), "after the rollbacks").await;
}

#[tokio::test]
async fn writers_of_several_statements_take_their_turns() {
    const WRITERS: usize = 4;
    const TRANSACTIONS: usize = 25;
    let server = Postgres::with_store().await;
    let mut follower = Follower::begin(server.settings()).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let session = server.session().await;
        writers.spawn(async move {
            for transaction in 0..TRANSACTIONS {
                let code = format!("{:010}", writer * 100 + transaction % 10);
                // Rows that the others write too, and in another order.
                let (one, other) = if writer % 2 == 0 { ("X1", "X2") } else { ("X2", "X1") };
                let sql = format!(
                    "BEGIN;
                     INSERT INTO enterprise VALUES ('{code}', NULL, 'a', 'REGULAR', '2020-01-01')
                       ON CONFLICT (customs_code) DO UPDATE SET suspended = NOT enterprise.suspended;
                     INSERT INTO recognised_operator VALUES ('SG{one}', 'SG', 'STP', '{writer}', '2020-01-01')
                       ON CONFLICT (aeo_code) DO UPDATE SET name = excluded.name;
                     INSERT INTO recognised_operator VALUES ('SG{other}', 'SG', 'STP', '{writer}', '2020-01-01')
                       ON CONFLICT (aeo_code) DO UPDATE SET name = excluded.name;
                     {}",
                    if transaction % 5 == 4 { "ROLLBACK" } else { "COMMIT" }
                );
                session.batch_execute(&sql).await.unwrap();
            }
        });
    }
    let mut commits = 0;
    while !writers.is_empty() {
        commits += follower.catch_up().await.unwrap().len();
        while let Some(ended) = writers.try_join_next() {
            ended.unwrap();
        }
    }
    commits += follower.catch_up().await.unwrap().len();
    assert_eq!(commits, WRITERS * TRANSACTIONS * 4 / 5);
    assert_equal(&follower, &server.settings(), "four writers").await;
    let session = server.session().await;
    let row = session
        .query_one(
            "SELECT count(*), max(sequence), count(DISTINCT committed_at),
                    bool_and(committed_at >= before) IS NOT FALSE
               FROM (SELECT *, lag(committed_at) OVER (ORDER BY sequence) AS before FROM change_log) l",
            &[],
        )
        .await
        .unwrap();
    let expected = i64::try_from(commits).unwrap();
    assert_eq!(row.get::<_, i64>(0), expected * 3);
    assert_eq!(row.get::<_, i64>(1), expected * 3, "gap-free");
    assert_eq!(row.get::<_, i64>(2), expected, "one instant a transaction");
    assert!(row.get::<_, bool>(3), "in the order of commits");
}

/// Changes of one enterprise that leave former rows, in the words of both stores.
const LIFE: [&str; 9] = [
    "INSERT INTO enterprise VALUES ('A000000001', '91110000600037341L', 'a', 'REGULAR', '2020-01-01', NULL, false,
                                    '2020-01-01T00:00:00Z')",
    "UPDATE enterprise SET credit_tier = 'CERTIFIED', updated_at = '2024-01-01T00:00:00Z'",
    "UPDATE enterprise SET updated_at = '2024-02-01T00:00:00Z'",
    "UPDATE enterprise SET updated_at = '2024-03-01T00:00:00Z'",
    "UPDATE enterprise SET name = 'a'",
    "UPDATE enterprise SET suspended = true",
    "UPDATE enterprise SET customs_code = 'A000000002'",
    "INSERT INTO enterprise (customs_code, name, credit_tier, tier_effective_from)
     VALUES ('A000000002', 'c', 'REGULAR', '2020-01-01')
     ON CONFLICT (customs_code) DO UPDATE SET name = excluded.name",
    "DELETE FROM enterprise",
];

#[tokio::test]
async fn former_rows_are_kept_as_the_embedded_store_keeps_them() {
    let server = Postgres::with_store().await;
    let session = server.session().await;
    let folder = tempfile::tempdir().unwrap();
    let path = StorePath(folder.path().join("greenlane.db"));
    let embedded = path.open_or_create().unwrap();
    for sql in LIFE {
        session.batch_execute(sql).await.unwrap();
        // Each statement has an instant of its own, also by a clock of milliseconds.
        let now: String = embedded
            .query_row("SELECT strftime('%f', 'now')", [], |row| row.get(0))
            .unwrap();
        eventually("the clock moves on", SOON, async || {
            let later: String = embedded
                .query_row("SELECT strftime('%f', 'now')", [], |row| row.get(0))
                .unwrap();
            (later != now).then_some(())
        })
        .await;
        embedded.execute(sql, []).unwrap();
    }
    let columns = "customs_code || ' ' || name || ' ' || credit_tier || ' '";
    let rows = session
        .query(
            &format!(
                "SELECT {columns} || suspended::int || (recorded_from < '2020-06-01')::int || (recorded_from < recorded_to)::int
                   FROM enterprise_history ORDER BY recorded_to"
            ),
            &[],
        )
        .await
        .unwrap();
    let kept: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let mut select = embedded
        .prepare(&format!(
            "SELECT {columns} || suspended || (recorded_from < '2020-06-01') || (recorded_from < recorded_to)
               FROM enterprise_history ORDER BY recorded_to"
        ))
        .unwrap();
    let expected: Vec<String> = select
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(kept, expected);
    assert_eq!(kept.len(), 6);
}

#[tokio::test]
async fn a_what_if_sees_rows_as_they_were_recorded() {
    let server = Postgres::with_store().await;
    let session = server.session().await;
    let reader = Reader::new(server.settings()).unwrap();
    let history = reader.history();
    let code = EnterpriseId::Customs("A000000001".parse().unwrap());
    let social = EnterpriseId::SocialCredit("91110000600037341L".parse().unwrap());
    let ids = [code, social];
    let at = async |instant: &str| -> Vec<Option<Enterprise>> {
        history.at(instant.parse().unwrap(), &ids).await.unwrap()
    };
    session.batch_execute(LIFE[0]).await.unwrap();
    let before = session
        .query_one("SELECT to_json(clock_timestamp()) #>> '{}'", &[])
        .await
        .unwrap()
        .get::<_, String>(0);
    session
        .batch_execute("UPDATE enterprise SET credit_tier = 'DISCREDITED', social_credit_code = NULL")
        .await
        .unwrap();
    assert_eq!(at("2019-12-31T00:00:00Z").await, [None, None]);
    let then = at(&before).await;
    for enterprise in &then {
        assert_eq!(enterprise.as_ref().unwrap().credit.credit_tier.name(), "REGULAR");
    }
    let now = at("2999-01-01T00:00:00Z").await;
    assert_eq!(now[0].as_ref().unwrap().credit.credit_tier.name(), "DISCREDITED");
    assert_eq!(now[1], None);
}

#[tokio::test]
async fn a_bulk_load_is_one_statements_work_and_asks_for_a_snapshot() {
    let rows: i64 = 50_000;
    let server = Postgres::with_store().await;
    let session = server.session().await;
    let mut follower = Follower::begin(server.settings()).await;
    let load = format!(
        "INSERT INTO enterprise (customs_code, name, credit_tier, tier_effective_from)
         SELECT lpad(i::text, 10, '0'), 'Enterprise ' || i, 'REGULAR', '2020-01-01' FROM generate_series(1, {rows}) i"
    );
    session.batch_execute(&load).await.unwrap();
    assert_eq!(head(&session).await, rows);
    assert_eq!(follower.catch_up().await, Err(ResyncCause::Bulk));
    let mut follower = Follower::begin(server.settings()).await;
    assert_eq!(follower.generation.enterprise_count(), rows.unsigned_abs());
    assert_equal(&follower, &server.settings(), "the load").await;
    // 30,000 small commits are more than a page.
    session
        .batch_execute(
            "DO $$ BEGIN FOR i IN 1..30 LOOP
               UPDATE enterprise SET suspended = true WHERE customs_code BETWEEN lpad((i * 1000)::text, 10, '0')
                 AND lpad((i * 1000 + 999)::text, 10, '0'); COMMIT; END LOOP; END $$",
        )
        .await
        .unwrap();
    assert_eq!(follower.catch_up().await, Ok(vec![1_000; 30]));
    assert_equal(&follower, &server.settings(), "many commits").await;
    let place = follower.place();
    session
        .batch_execute("DELETE FROM enterprise WHERE customs_code < '0000000100'")
        .await
        .unwrap();
    let look = follower.reader.poll(&place, 50).await.unwrap();
    assert!(matches!(look.found, Found::Resync(ResyncCause::Bulk)), "{look:?}");
}

#[tokio::test]
async fn a_trimmed_log_is_a_gap_to_who_was_away_and_nothing_to_who_was_not() {
    let server = Postgres::with_store().await;
    let session = server.session().await;
    let mut away = Follower::begin(server.settings()).await;
    for n in 0..5 {
        let sql =
            format!("INSERT INTO enterprise VALUES ('A00000000{n}', NULL, 'a', 'REGULAR', '2020-01-01')");
        session.batch_execute(&sql).await.unwrap();
    }
    let mut follower = Follower::begin(server.settings()).await;
    let trim = |retention| {
        let settings = server.settings();
        async move { postgres::trim(&settings, retention).await.unwrap() }
    };
    assert_eq!(trim(Duration::from_hours(1)).await, 0);
    assert_eq!(trim(Duration::ZERO).await, 4, "the last row tells a fork");
    assert_eq!(away.catch_up().await, Err(ResyncCause::Gap));
    assert_eq!(follower.catch_up().await, Ok(vec![]));
    session
        .batch_execute("UPDATE enterprise SET suspended = true")
        .await
        .unwrap();
    assert_eq!(follower.catch_up().await, Ok(vec![5]));
}

#[tokio::test]
async fn a_restored_backup_is_a_fork() {
    let server = Postgres::with_store().await;
    let session = server.session().await;
    let insert =
        |n| format!("INSERT INTO enterprise VALUES ('A00000000{n}', NULL, 'a', 'REGULAR', '2020-01-01')");
    session.batch_execute(&insert(1)).await.unwrap();
    let database = |name: &str| Settings {
        url: server.url().replace("/postgres?", &format!("/{name}?")),
        ..server.settings()
    };
    drop(session);
    let keeper = server.session_to("template1").await;
    eventually("nobody is connected any more", SOON, async || {
        keeper
            .batch_execute("CREATE DATABASE live TEMPLATE postgres")
            .await
            .ok()
    })
    .await;
    keeper
        .batch_execute("CREATE DATABASE backup TEMPLATE live")
        .await
        .unwrap();
    let mut follower = Follower::begin(database("live")).await;
    let live = server.session_to("live").await;
    live.batch_execute(&insert(2)).await.unwrap();
    assert_eq!(follower.catch_up().await, Ok(vec![1]));
    drop(live);
    keeper
        .batch_execute("DROP DATABASE live WITH (FORCE); ")
        .await
        .unwrap();
    keeper
        .batch_execute("ALTER DATABASE backup RENAME TO live")
        .await
        .unwrap();
    let place = follower.place();
    let look = eventually("the restored store answers", SOON, async || {
        follower.reader.poll(&place, u64::MAX).await.ok()
    })
    .await;
    assert!(matches!(look.found, Found::Resync(ResyncCause::Fork)), "{look:?}");
    assert!(look.confirmed.is_none());
    // As far as before, by another way.
    let restored = server.session_to("live").await;
    restored.batch_execute(&insert(3)).await.unwrap();
    let look = follower.reader.poll(&place, u64::MAX).await.unwrap();
    assert!(matches!(look.found, Found::Resync(ResyncCause::Fork)), "{look:?}");
    restored
        .batch_execute("UPDATE registry_meta SET epoch = 'another'")
        .await
        .unwrap();
    let look = follower.reader.poll(&place, u64::MAX).await.unwrap();
    assert!(
        matches!(look.found, Found::Resync(ResyncCause::Epoch)),
        "{look:?}"
    );
}

#[tokio::test]
async fn a_notification_is_heard_and_a_lost_one_costs_a_heartbeat() {
    let server = Postgres::with_store().await;
    let session = server.session().await;
    let settings = Settings {
        heartbeat_interval: Duration::from_mins(10),
        poll_interval: Duration::from_millis(20),
        ..server.settings()
    };
    let mut follower = Follower::begin(settings).await;
    let insert =
        |n| format!("INSERT INTO enterprise VALUES ('A00000000{n}', NULL, 'a', 'REGULAR', '2020-01-01')");
    let listeners = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    // It polls until notifications are seen to arrive; then only news end the wait.
    eventually("it listens", SOON, async || {
        let quiet = tokio::time::timeout(Duration::from_millis(500), follower.reader.changed()).await;
        quiet.is_err().then_some(())
    })
    .await;
    let listening: i64 = session.query_one(listeners, &[]).await.unwrap().get(0);
    assert_eq!(listening, 1);
    session.batch_execute(&insert(1)).await.unwrap();
    tokio::time::timeout(SOON, follower.reader.changed())
        .await
        .unwrap();
    assert_eq!(follower.catch_up().await, Ok(vec![1]));
    // The listening connection is lost, and with it whatever was told meanwhile.
    session
        .batch_execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
        .await
        .unwrap();
    session.batch_execute(&insert(2)).await.unwrap();
    tokio::time::timeout(SOON, follower.reader.changed())
        .await
        .unwrap();
    eventually("it looks by itself", SOON, async || {
        follower.reader.changed().await;
        (follower.catch_up().await.unwrap() == [1]).then_some(())
    })
    .await;
    eventually("it listens again", SOON, async || {
        let quiet = tokio::time::timeout(Duration::from_millis(500), follower.reader.changed()).await;
        quiet.is_err().then_some(())
    })
    .await;
}

#[tokio::test]
async fn at_most_four_snapshots_of_a_database_are_taken_at_once() {
    let slots = i32::from_be_bytes(*b"grln");
    let server = Postgres::with_store().await;
    let others = server.session().await;
    others
        .batch_execute(&format!(
            "SELECT pg_advisory_lock({slots}, slot) FROM generate_series(0, 3) slot"
        ))
        .await
        .unwrap();
    let mut reader = Reader::new(server.settings()).unwrap();
    let mut snapshot = pin!(reader.snapshot());
    let waits = tokio::time::timeout(Duration::from_millis(500), &mut snapshot).await;
    assert!(waits.is_err(), "it waits for its turn");
    others
        .batch_execute(&format!("SELECT pg_advisory_unlock({slots}, 2)"))
        .await
        .unwrap();
    tokio::time::timeout(SOON, snapshot).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_server_that_stands_still_is_noticed_in_time() {
    let mut server = Postgres::with_store().await;
    let settings = Settings {
        timeout: Duration::from_secs(1),
        ..server.settings()
    };
    let mut follower = Follower::begin(settings).await;
    let place = follower.place();
    server.freeze();
    let begun = Instant::now();
    // The stop may come a moment later than the word.
    let error = eventually("it is noticed", SOON, async || {
        follower.reader.poll(&place, 1).await.err()
    })
    .await;
    assert!(matches!(error, UpstreamError::Unavailable(_)), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    server.thaw();
    eventually("it answers again", SOON, async || {
        follower.reader.poll(&place, 1).await.ok()
    })
    .await;
    server.kill().await;
    server.start_again().await;
    eventually("it answers after a crash", SOON, async || {
        follower.reader.poll(&place, 1).await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_database_without_a_store_says_what_to_do_and_is_migrated_once() {
    let server = Postgres::start().await;
    let settings = server.settings();
    let error = Reader::new(settings.clone())
        .unwrap()
        .snapshot()
        .await
        .expect_err("no store");
    assert!(error.to_string().contains("run greenlane migrate"), "{error}");
    // Two at once do the work of one.
    let (one, other) = tokio::join!(postgres::migrate(&settings), postgres::migrate(&settings));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.epoch, other.epoch);
    assert_eq!(
        [one.from, other.from].iter().flatten().count(),
        1,
        "{one:?} {other:?}"
    );
    let folder = tempfile::tempdir().unwrap();
    let embedded = StorePath(folder.path().join("greenlane.db"));
    drop(embedded.open_or_create().unwrap());
    let born = sqlite::Reader::new(embedded, Duration::ZERO)
        .snapshot()
        .unwrap()
        .generation;
    let follower = Follower::begin(settings.clone()).await;
    assert_eq!(
        follower.generation.digest(),
        born.digest(),
        "stores are born alike"
    );
    let session = server.session().await;
    session
        .batch_execute("COMMENT ON TABLE registry_meta IS 'greenlane schema 0'")
        .await
        .unwrap();
    let error = Reader::new(settings.clone())
        .unwrap()
        .snapshot()
        .await
        .expect_err("older");
    assert!(error.to_string().contains("run greenlane migrate"), "{error}");
    assert_eq!(postgres::migrate(&settings).await.unwrap().from, Some(0));
}

#[tokio::test]
async fn whatever_uses_tls_verifies_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| {
        let made = std::process::Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(folder.path())
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(made.success(), "{arguments}");
    };
    let ca = "-newkey rsa:2048 -nodes -days 30 -addext basicConstraints=critical,CA:TRUE";
    openssl(&format!(
        "req -x509 {ca} -keyout ca.key -out ca.pem -subj /CN=Ours"
    ));
    openssl(&format!(
        "req -x509 {ca} -keyout other.key -out other.pem -subj /CN=Others"
    ));
    openssl(
        "req -x509 -newkey rsa:2048 -nodes -days 30 -CA ca.pem -CAkey ca.key -keyout server.key -out server.pem \
         -subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE",
    );
    let mut server = Postgres::with_store().await;
    for file in ["server.pem", "server.key"] {
        std::fs::copy(folder.path().join(file), server.folder().join(file)).unwrap();
    }
    server.own("server.key");
    let session = server.session().await;
    let file = |name: &str| server.folder().join(name).to_str().unwrap().to_owned();
    for (key, value) in [
        ("ssl_cert_file", file("server.pem")),
        ("ssl_key_file", file("server.key")),
    ] {
        session
            .batch_execute(&format!("ALTER SYSTEM SET {key} = '{value}'"))
            .await
            .unwrap();
    }
    session.batch_execute("ALTER SYSTEM SET ssl = on").await.unwrap();
    drop(session);
    server.kill().await;
    server.start_again().await;

    let look = async |host: &str, mode: &str, ca: &str| {
        let settings = Settings {
            url: format!(
                "postgres://postgres@{host}:{}/postgres?sslmode={mode}",
                server.port()
            ),
            tls: TlsFiles {
                ca: if ca.is_empty() {
                    ca.into()
                } else {
                    folder.path().join(ca)
                },
                ..TlsFiles::default()
            },
            ..server.settings()
        };
        Reader::new(settings)?.snapshot().await.map(drop)
    };
    for (host, mode, ca, expected) in [
        ("localhost", "verify-full", "ca.pem", true),
        ("localhost", "require", "ca.pem", true),
        ("localhost", "prefer", "ca.pem", true),
        ("127.0.0.1", "verify-ca", "ca.pem", true),
        ("127.0.0.1", "disable", "", true),
        ("127.0.0.1", "verify-full", "ca.pem", false),
        ("127.0.0.1", "require", "ca.pem", false),
        ("localhost", "verify-full", "other.pem", false),
        ("localhost", "verify-ca", "other.pem", false),
        ("localhost", "require", "", false),
        ("localhost", "prefer", "other.pem", false),
    ] {
        let looked = look(host, mode, ca).await;
        assert_eq!(looked.is_ok(), expected, "{host} {mode} {ca}: {looked:?}");
    }
}

async fn status(app: &TestApp) -> pb::GetRegistryStatusResponse {
    let asked = app
        .registry()
        .get_registry_status(pb::GetRegistryStatusRequest {})
        .await;
    asked.unwrap().into_inner()
}

/// A server that follows the database.
fn serve(server: &Postgres) -> TestApp {
    TestApp::with(|settings| {
        settings.upstream.url = StoreUrl::new(server.url());
        settings.upstream.timeout = Span::new(Duration::from_secs(1));
        settings.freshness.relief_max_age = Span::new(Duration::from_secs(3));
    })
}

async fn until_equal(app: &TestApp, server: &Postgres, what: &str) -> pb::GetRegistryStatusResponse {
    eventually(what, SOON, async || {
        let (position, digest) = digest_of(&server.settings()).await;
        let status = status(app).await;
        let version = status.registry_version.clone()?;
        let equal = version.epoch == *position.epoch
            && version.sequence == position.sequence
            && status.digest == digest
            && status.state() == pb::RegistryState::Live;
        equal.then_some(status)
    })
    .await
}

#[tokio::test]
async fn a_crash_in_the_middle_of_writes_loses_nothing() {
    const COMMITS: u32 = 60;
    let mut server = Postgres::with_store().await;
    let app = serve(&server);
    let mut session = server.session().await;
    let mut crashes = 0;
    for commit in 0..COMMITS {
        let sql = format!(
            "INSERT INTO enterprise (customs_code, name, credit_tier, tier_effective_from)
             SELECT lpad(({commit} * 50 + i)::text, 10, '0'), 'Enterprise', 'REGULAR', '2020-01-01'
               FROM generate_series(1, 50) i
             ON CONFLICT (customs_code) DO UPDATE SET suspended = NOT enterprise.suspended"
        );
        if commit % 25 == 20 {
            // While the statement is under way, or just before or after.
            let (written, ()) = tokio::join!(session.client.batch_execute(&sql), server.kill());
            drop(written);
            server.start_again().await;
            session = server.session().await;
            crashes += 1;
        }
        session.client.batch_execute(&sql).await.unwrap();
    }
    assert_eq!(crashes, 2);
    let status = until_equal(&app, &server, "the replica equals the store").await;
    assert_eq!(
        status.tiers.iter().map(|tier| tier.enterprises).sum::<u64>(),
        u64::from(COMMITS) * 50
    );
}

#[tokio::test]
async fn a_connection_that_goes_silent_makes_data_stale_and_is_made_anew() {
    let mut server = Postgres::with_store().await;
    let app = serve(&server);
    let session = server.session().await;
    let insert = "INSERT INTO enterprise VALUES ('A000000001', NULL, 'a', 'REGULAR', '2020-01-01')";
    session.batch_execute(insert).await.unwrap();
    until_equal(&app, &server, "the replica follows").await;
    server.freeze();
    let begun = Instant::now();
    let stale = eventually("the data is stale", SOON, async || {
        let status = status(&app).await;
        (status.state() == pb::RegistryState::Stale).then_some(status)
    })
    .await;
    let age = stale.data_age.unwrap();
    assert!((3..=5).contains(&age.seconds), "{age:?}");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert_ne!(stale.last_error, "");
    server.thaw();
    session
        .batch_execute("UPDATE enterprise SET suspended = true")
        .await
        .unwrap();
    until_equal(&app, &server, "the replica follows again").await;
}
