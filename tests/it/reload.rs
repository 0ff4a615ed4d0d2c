use std::{fs, path::Path, sync::Arc, time::Duration};

use greenlane::{
    app::policies::{Reloader, read_book_and_files},
    facilitation::{DrawKeys, Facilitation},
    registry::{FreshnessLimits, Registry},
    wire::pb::{self, facilitation_service_client::FacilitationServiceClient},
};
use tokio::{sync::watch, task::JoinSet};
use tonic::transport::Channel;

use crate::support::{
    SOON,
    app::{SECRET, TestApp},
    eventually,
    requests::{import, instant, what_if},
    store::REGULAR,
};

const PARAMETERS: &str = include_str!("../../src/policy/parameters.toml");
const DECREE_251: &str = include_str!("../../src/policy/decrees/cn-gacc-251.toml");

/// The shipped parameters with another baseline.
fn baseline(ppm: u32) -> String {
    let changed = PARAMETERS.replace(
        "default_baseline_ppm = 24400",
        &format!("default_baseline_ppm = {ppm}"),
    );
    assert_ne!(changed, PARAMETERS);
    changed
}

/// Puts a file in place in one step, as deployments do.
fn put(directory: &Path, name: &str, text: &str) {
    let aside = directory.join(format!("{name}.new"));
    fs::write(&aside, text).unwrap();
    fs::rename(aside, directory.join(name)).unwrap();
}

/// The rate of a regular enterprise and the digest of the parameters it was computed with.
async fn rate(client: &mut FacilitationServiceClient<Channel>) -> (u32, String) {
    let answered = client.decide(import(1, REGULAR)).await.unwrap().into_inner();
    rate_and_digest(answered.decision.unwrap())
}

fn rate_and_digest(decision: pb::Decision) -> (u32, String) {
    (
        decision.inspection.unwrap().rate_ppm,
        decision.policy.unwrap().parameters_digest,
    )
}

#[tokio::test]
async fn parameters_take_effect_while_the_server_runs_and_go_back_when_their_file_goes() {
    let directory = tempfile::tempdir().unwrap();
    let app = TestApp::ready_with(|settings| settings.policy.directory = directory.path().to_owned()).await;
    let mut client = app.facilitation();
    let (shipped_rate, shipped) = rate(&mut client).await;
    assert_eq!(shipped_rate, 24_400);

    put(directory.path(), "parameters.toml", &baseline(50_000));
    let changed = eventually("the new baseline is in force", SOON, async || {
        let (rate, digest) = rate(&mut client).await;
        (rate == 50_000).then_some(digest)
    })
    .await;
    assert_ne!(changed, shipped, "another digest with another rate");
    assert_eq!(changed.len(), 64);

    // Comments and white space are no change of the digest.
    put(
        directory.path(),
        "parameters.toml",
        &format!("# note\n\n{}", baseline(60_000)),
    );
    eventually("the next baseline is in force", SOON, async || {
        (rate(&mut client).await.0 == 60_000).then_some(())
    })
    .await;
    put(directory.path(), "parameters.toml", &baseline(50_000));
    let same = eventually("the former baseline is in force again", SOON, async || {
        let (rate, digest) = rate(&mut client).await;
        (rate == 50_000).then_some(digest)
    })
    .await;
    assert_eq!(same, changed, "the same parameters have the same digest");

    fs::remove_file(directory.path().join("parameters.toml")).unwrap();
    let embedded = eventually("the embedded baseline is in force again", SOON, async || {
        let (rate, digest) = rate(&mut client).await;
        (rate == 24_400).then_some(digest)
    })
    .await;
    assert_eq!(embedded, shipped);
}

#[tokio::test]
async fn a_policy_file_replaces_its_embedded_namesake_and_the_rest_stays() {
    let directory = tempfile::tempdir().unwrap();
    let app = TestApp::ready_with(|settings| settings.policy.directory = directory.path().to_owned()).await;
    let mut client = app.facilitation();
    let mut digests = async || {
        let mut digests = Vec::new();
        for day in ["2020-01-01T00:00:00+08:00", "2022-01-01T00:00:00+08:00"] {
            let answered = client
                .simulate(what_if(import(1, REGULAR), instant(day)))
                .await
                .unwrap();
            digests.push(answered.into_inner().decision.unwrap().policy.unwrap().digest);
        }
        digests
    };
    let before = digests().await;
    let renamed = DECREE_251.replace("Enterprise under standard measures", "Enterprise as any other");
    assert_ne!(renamed, DECREE_251);
    put(directory.path(), "cn-gacc-251.toml", &renamed);
    let after = eventually("decree 251 is replaced", SOON, async || {
        let now = digests().await;
        (now[1] != before[1]).then_some(now)
    })
    .await;
    assert_eq!(after[0], before[0], "decree 237 is the embedded one");
}

/// The use case over the policies of a directory as they are now, and a watch over it that has not begun.
fn watched(directory: &Path) -> (Arc<Facilitation>, Arc<Reloader>) {
    let (book, files) = read_book_and_files(Some(directory)).unwrap();
    let facilitation = Arc::new(Facilitation::new(
        Arc::new(Registry::default()),
        book,
        FreshnessLimits {
            relief_max_age: Duration::from_mins(5),
            decision_max_age: Duration::from_hours(24),
        },
        DrawKeys::from_hex(SECRET).unwrap(),
    ));
    let interval = Duration::from_millis(5);
    let reloader = Reloader::new(
        directory.to_owned(),
        interval,
        Arc::clone(&facilitation),
        files,
        None,
    );
    (facilitation, Arc::new(reloader))
}

#[tokio::test]
async fn a_change_between_the_first_reading_and_the_watch_is_not_lost() {
    let directory = tempfile::tempdir().unwrap();
    put(directory.path(), "parameters.toml", &baseline(30_000));
    let (facilitation, reloader) = watched(directory.path());
    put(directory.path(), "parameters.toml", &baseline(50_000));
    let stop = watch::Sender::new(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(reloader.run(stop.subscribe()));
    eventually("the change is in force", Duration::from_secs(5), async || {
        let baseline = facilitation.policies().parameters.document.default_baseline_ppm;
        (baseline.0 == 50_000).then_some(())
    })
    .await;
    stop.send_replace(true);
    while tasks.join_next().await.is_some() {}
}

#[tokio::test]
async fn files_that_are_torn_or_unlawful_are_refused_whole_and_the_last_good_ones_stay() {
    let directory = tempfile::tempdir().unwrap();
    put(directory.path(), "parameters.toml", &baseline(30_000));
    let (facilitation, reloader) = watched(directory.path());
    let stop = watch::Sender::new(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&reloader).run(stop.subscribe()));
    // The watch has had its first look once it waits.
    tokio::task::yield_now().await;
    let in_force = || {
        let book = facilitation.policies();
        let baseline = book.parameters.document.default_baseline_ppm.0;
        let decree = book.by_id("CN-GACC-251").unwrap().digest.clone();
        (baseline, decree, book.parameters.digest.clone())
    };
    let good = in_force();
    assert_eq!((good.0, reloader.last_error().as_str()), (30_000, ""));

    let torn = baseline(40_000);
    let (torn, _) = torn.split_at(torn.len() / 8);
    let unlawful = [
        ("torn", torn.to_owned(), "parameters.toml"),
        ("no TOML", "}{".to_owned(), "parameters.toml"),
        ("empty", String::new(), "default_baseline_ppm"),
        (
            "recognition that raises rates",
            baseline(40_000).replace(
                "recognition_multiplier_ppm = 800000",
                "recognition_multiplier_ppm = 1000001",
            ),
            "recognition_multiplier_ppm",
        ),
        (
            "a better tier with a higher floor",
            baseline(40_000).replace("\nADVANCED_CERTIFIED = 500", "\nADVANCED_CERTIFIED = 501"),
            "random_floor_ppm",
        ),
        ("a rate over always", baseline(1_000_001), "default_baseline_ppm"),
        (
            "an unknown key",
            format!("default_baseline = 1\n{}", baseline(40_000)),
            "default_baseline",
        ),
    ];
    // A good change beside a bad file is not taken either.
    let renamed = DECREE_251.replace("Enterprise under standard measures", "Enterprise as any other");
    put(directory.path(), "cn-gacc-251.toml", &renamed);
    eventually("the new decree is in force", SOON, async || {
        (in_force().1 != good.1).then_some(())
    })
    .await;
    let good = in_force();
    let spoiled = DECREE_251.replace("Enterprise under standard measures", "Enterprise of another name");
    let mut told = String::new();
    for (what, text, named) in &unlawful {
        put(directory.path(), "parameters.toml", text);
        put(directory.path(), "cn-gacc-251.toml", &spoiled);
        told = eventually(what, SOON, async || {
            let error = reloader.last_error();
            (error != told && error.contains(named)).then_some(error)
        })
        .await;
        assert_eq!(in_force(), good, "{what}: {told}");
    }
    put(directory.path(), "cn-gacc-251.toml", &renamed);
    put(directory.path(), "parameters.toml", &baseline(30_000));
    eventually("good files are no problem", SOON, async || {
        reloader.last_error().is_empty().then_some(())
    })
    .await;
    assert_eq!(in_force(), good);

    // A decree that inverts the law.
    let inverted = DECREE_251.replacen("value = \"EXPEDITED\"", "value = \"DEFERRED\"", 1);
    assert_ne!(inverted, DECREE_251);
    put(directory.path(), "cn-gacc-251.toml", &inverted);
    put(directory.path(), "parameters.toml", &baseline(45_000));
    let error = eventually("the decree is refused", SOON, async || {
        let error = reloader.last_error();
        error.contains("CN-GACC-251").then_some(error)
    })
    .await;
    assert!(error.contains("priority_class"), "{error}");
    assert_eq!(in_force(), good);

    stop.send_replace(true);
    while tasks.join_next().await.is_some() {}
}

#[tokio::test]
async fn no_decision_is_made_with_half_of_a_change() {
    let directory = tempfile::tempdir().unwrap();
    put(directory.path(), "parameters.toml", &baseline(30_000));
    let app = TestApp::ready_with(|settings| settings.policy.directory = directory.path().to_owned()).await;
    let mut client = app.facilitation();
    let (_, first) = rate(&mut client).await;
    let mut digests = std::collections::BTreeMap::from([(30_000, first)]);
    for ppm in [31_000, 30_000, 32_000, 30_000, 31_000] {
        put(directory.path(), "parameters.toml", &baseline(ppm));
        eventually("the change is in force", SOON, async || {
            let (rate, digest) = rate(&mut client).await;
            // A rate always comes with the digest of the parameters that gave it.
            assert_eq!(digests.entry(rate).or_insert_with(|| digest.clone()), &digest);
            (rate == ppm).then_some(())
        })
        .await;
    }
    assert_eq!(digests.len(), 3);
}
