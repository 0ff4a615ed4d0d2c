//! The feed: what is refused, what is compared, what is told of it.

use std::{sync::Arc, time::Duration};

use greenlane::{
    app::{
        settings::{Settings, Span},
        source_settings,
    },
    metrics::Metrics,
    registry::{Position, Registry},
    upstream::{
        ResyncCause,
        follower::{Follower, FollowerSettings},
        guard::DriftLimits,
        source::{Source, SourceSettings},
        status::FeedStatus,
    },
    wire::pb::{self, CreditTier as Tier},
};
use rusqlite::Connection;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::support::{
    SOON,
    app::TestApp,
    eventually,
    requests::import,
    store::{self, ADVANCED, REGULAR},
};

/// Registers so many enterprises of a tier, in one commit.
fn fill(connection: &Connection, prefix: &str, tier: &str, count: u32) {
    let filled = connection.execute(
        "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?3)
         INSERT INTO enterprise (customs_code, name, credit_tier, tier_effective_from)
         SELECT printf('%s%06d', ?1, i), 'Enterprise ' || i, ?2, '2010-01-01' FROM n",
        rusqlite::params![prefix, tier, count],
    );
    assert_eq!(filled.unwrap(), count as usize);
}

async fn status(app: &TestApp) -> pb::GetRegistryStatusResponse {
    let asked = app
        .registry()
        .get_registry_status(pb::GetRegistryStatusRequest {})
        .await;
    asked.unwrap().into_inner()
}

async fn tier_of(app: &TestApp, customs_code: &str) -> Tier {
    let answered = app.facilitation().decide(import(1, customs_code)).await;
    answered.unwrap().into_inner().decision.unwrap().credit_tier()
}

fn sequence(status: &pb::GetRegistryStatusResponse) -> u64 {
    status.registry_version.clone().unwrap_or_default().sequence
}

// === the drift guard ===

#[tokio::test]
async fn a_mass_deletion_is_refused_and_the_last_good_data_stays_until_the_store_is_repaired() {
    let app = TestApp::ready_with(|settings| settings.upstream.max_drift_rows = 10).await;
    let sql = app.sql();
    // A register that grows is no drift, however fast.
    fill(&sql, "2201", "REGULAR", 50);
    app.until_caught_up().await;
    fill(&sql, "2202", "REGULAR", 500);
    let before = app.until_caught_up().await;

    sql.execute("DELETE FROM enterprise WHERE customs_code LIKE '2202%'", [])
        .unwrap();
    let refused = eventually("the deletion is refused", SOON, async || {
        let status = status(&app).await;
        status.last_error.starts_with("drift: REGULAR").then_some(status)
    })
    .await;
    assert_eq!(sequence(&refused), sequence(&before));
    assert_eq!(refused.tiers, before.tiers);
    assert_eq!(tier_of(&app, "2202000007").await, Tier::Regular);
    let metrics = app.metrics().await;
    assert!(
        metrics.contains("greenlane_upstream_refusals_total{cause=\"drift\"}"),
        "{metrics}"
    );

    fill(&sql, "2202", "REGULAR", 480);
    app.until_caught_up().await;
    // Told the instant after the data has come in force.
    let after = eventually("nothing is wrong any more", SOON, async || {
        let status = status(&app).await;
        status.last_error.is_empty().then_some(status)
    })
    .await;
    assert_eq!(after.tiers[2].enterprises, before.tiers[2].enterprises - 20);
}

#[tokio::test]
async fn a_mass_upgrade_is_refused_in_place_and_as_a_snapshot() {
    let app = TestApp::ready_with(|settings| settings.upstream.max_drift_rows = 10).await;
    let sql = app.sql();
    fill(&sql, "2201", "REGULAR", 12_000);
    app.until_caught_up().await;
    // More rows than are applied in place: the store is read whole, and that is refused.
    sql.execute("UPDATE enterprise SET credit_tier = 'ADVANCED_CERTIFIED'", [])
        .unwrap();
    eventually("the upgrade is refused", SOON, async || {
        status(&app).await.last_error.starts_with("drift: ").then_some(())
    })
    .await;
    assert_eq!(tier_of(&app, "2201000007").await, Tier::Regular);
    sql.execute(
        "UPDATE enterprise SET credit_tier = 'REGULAR' WHERE customs_code LIKE '2201%'",
        [],
    )
    .unwrap();
    app.until_caught_up().await;
}

// === the comparison ===

#[tokio::test]
async fn a_row_changed_behind_the_triggers_is_found_and_repaired() {
    let app = TestApp::ready_with(|settings| {
        settings.upstream.compare_interval = Span::new(Duration::from_millis(50));
    })
    .await;
    let sql = app.sql();
    let triggers: Vec<String> = sql
        .prepare("SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'enterprise'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let names: Vec<String> = sql
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'enterprise'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let transaction = sql.unchecked_transaction().unwrap();
    for name in names {
        transaction.execute(&format!("DROP TRIGGER {name}"), []).unwrap();
    }
    transaction
        .execute(
            "UPDATE enterprise SET credit_tier = 'DISCREDITED' WHERE customs_code = ?1",
            [REGULAR],
        )
        .unwrap();
    for trigger in triggers {
        transaction.execute(&trigger, []).unwrap();
    }
    transaction.commit().unwrap();

    eventually("the replica has what the store has", SOON, async || {
        (tier_of(&app, REGULAR).await == Tier::Discredited).then_some(())
    })
    .await;
    let metrics = app.metrics().await;
    for line in [
        "greenlane_upstream_digest_mismatches_total 1",
        "greenlane_upstream_resyncs_total{cause=\"mismatch\"} 1",
    ] {
        assert!(metrics.lines().any(|own| own == line), "{line}\n{metrics}");
    }
    // From now on they agree.
    let compared = |metrics: &str| metric(metrics, "greenlane_upstream_digest_comparisons_total");
    let so_far = compared(&metrics);
    eventually("they were compared again", SOON, async || {
        (compared(&app.metrics().await) > so_far + 1.0).then_some(())
    })
    .await;
    let metrics = app.metrics().await;
    let once = "greenlane_upstream_digest_mismatches_total 1";
    assert!(metrics.lines().any(|own| own == once), "{metrics}");
}

fn metric(metrics: &str, name: &str) -> f64 {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_default()
}

// === what is told ===

#[tokio::test]
async fn quarantined_rows_are_counted_and_listed_until_they_are_repaired() {
    let app = TestApp::ready().await;
    let sql = app.sql();
    sql.execute(
        "UPDATE enterprise SET credit_tier = 'GOLD' WHERE customs_code = ?1",
        [ADVANCED],
    )
    .unwrap();
    let status = app.until_caught_up().await;
    assert_eq!(status.quarantined_rows, 1);
    let row = &status.quarantine[0];
    assert_eq!((row.entity.as_str(), row.key.as_str()), ("enterprise", ADVANCED));
    assert!(
        row.reason.contains("credit_tier") && row.reason.contains("GOLD"),
        "{}",
        row.reason
    );

    store::put_enterprise(&sql, ADVANCED, "ADVANCED_CERTIFIED");
    let status = app.until_caught_up().await;
    assert_eq!((status.quarantined_rows, status.quarantine.len()), (0, 0));
}

#[tokio::test]
async fn metrics_tell_the_registry_as_it_is() {
    let app = TestApp::ready().await;
    store::put_enterprise(&app.sql(), REGULAR, "DISCREDITED");
    let status = app.until_caught_up().await;
    let metrics = app.metrics().await;
    let lines = [
        "greenlane_registry_state{state=\"live\"} 1".to_owned(),
        "greenlane_registry_enterprises{credit_tier=\"REGULAR\"} 0".to_owned(),
        "greenlane_registry_enterprises{credit_tier=\"DISCREDITED\"} 2".to_owned(),
        format!("greenlane_registry_sequence {}", sequence(&status)),
        "greenlane_upstream_resyncs_total{cause=\"first\"} 1".to_owned(),
    ];
    for line in lines {
        assert!(metrics.lines().any(|own| own == line), "{line}\n{metrics}");
    }
    assert!(metric(&metrics, "greenlane_registry_age_seconds") < 60.0);
    assert!(metric(&metrics, "greenlane_upstream_propagation_seconds_count") >= 1.0);
    // Who asks for no format gets Prometheus' own, which has no end mark.
    assert!(!metrics.contains("# EOF"), "{metrics}");
}

// === the follower alone ===

#[tokio::test]
async fn a_snapshot_older_than_what_is_in_force_is_refused_until_the_log_shows_another_history() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("greenlane.db").display());
    let source = Source::open(&SourceSettings {
        url,
        // Nothing but what is asked for makes it look.
        poll_interval: Duration::from_hours(1),
        ..source_settings(&Settings::default())
    })
    .unwrap();
    source.prepare().unwrap();
    let sql = store::connect(&folder.path().join("greenlane.db"));
    store::enterprise_of_each_tier(&sql);
    let (registry, metrics) = (Arc::new(Registry::default()), Arc::new(Metrics::default()));
    let status = Arc::new(FeedStatus::new("sqlite"));
    let settings = FollowerSettings {
        min_enterprises: 1,
        change_log_retention: Duration::from_hours(1),
        drift: DriftLimits {
            max_ppm: 200_000,
            max_rows: 500,
        },
        accept_drift: false,
        stale_age: Duration::from_mins(5),
    };
    let follower = Follower::new(
        source,
        registry,
        Arc::clone(&status),
        Arc::clone(&metrics),
        settings,
        None,
    );
    let (resync, resyncs) = mpsc::channel(1);
    let (stop, stopped) = watch::channel(false);
    let mut parts = JoinSet::new();
    parts.spawn(follower.run(resyncs, stopped));
    let mut positions = status.positions();
    let at = |sequence: u64| {
        move |position: &Option<Position>| position.as_ref().is_some_and(|own| own.sequence == sequence)
    };
    positions.wait_for(at(5)).await.unwrap();

    // A store that lags behind: the same epoch, two changes ago.
    sql.execute_batch(
        "DELETE FROM change_log WHERE sequence > 3;
         UPDATE registry_meta SET sequence = 3;",
    )
    .unwrap();
    resync.send(ResyncCause::Mismatch).await.unwrap();
    tokio::time::timeout(SOON, positions.wait_for(at(3)))
        .await
        .unwrap()
        .unwrap();
    let metrics = metrics.openmetrics().unwrap();
    for line in [
        "greenlane_upstream_refusals_total{cause=\"older\"} 1",
        "greenlane_upstream_resyncs_total{cause=\"mismatch\"} 1",
        "greenlane_upstream_resyncs_total{cause=\"fork\"} 1",
    ] {
        assert!(metrics.lines().any(|own| own == line), "{line}\n{metrics}");
    }
    stop.send_replace(true);
    parts.join_next().await.unwrap().unwrap();
}
