use serde_json::Value;

use crate::support::{SOON, app::TestApp, eventually, requests::import, store::REGULAR};

async fn figures(app: &TestApp, since: i64) -> Value {
    let (head, body) = app.http_get(&format!("/console/figures?since={since}")).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.to_lowercase().contains("cache-control: no-store"), "{head}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn every_part_forbids_the_browser_whatever_the_page_does_not_need() {
    let app = TestApp::start();
    let (_, page) = app.http_get("/").await;
    let parts = page
        .split('"')
        .filter(|part| part.starts_with("/console/") && part.contains('.'));
    let parts: Vec<_> = parts.collect();
    assert!(parts.len() > 5, "{parts:?}");
    let others = ["/", "/favicon.ico", "/console/figures", "/console/none"];
    for path in others.iter().chain(&parts) {
        let (head, _) = app.http_get(path).await;
        let head = head.to_lowercase();
        let found = if *path == "/console/none" { "404" } else { "200" };
        assert!(head.starts_with(&format!("http/1.1 {found} ")), "{path}: {head}");
        for line in [
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
        ] {
            assert!(head.lines().any(|own| own == line), "{path}: {line}\n{head}");
        }
    }
}

#[tokio::test]
async fn the_figures_are_those_of_the_contract_and_of_the_metrics() {
    let app = TestApp::ready().await;
    for sequence in 0..5 {
        app.facilitation()
            .decide(import(sequence, REGULAR))
            .await
            .unwrap();
    }
    let status = app.until_caught_up().await;
    let figures = eventually("the history tells of the decisions", SOON, async || {
        let figures = figures(&app, 0).await;
        let decided = |row: &Value| {
            row.as_array()
                .is_some_and(|row| row[1..6].iter().any(|rate| *rate != 0.0))
        };
        let told = figures["history"].as_array().unwrap().iter().any(decided);
        told.then_some(figures)
    })
    .await;
    assert_eq!(figures["status"]["state"], "REGISTRY_STATE_LIVE");
    assert_eq!(figures["status"]["source"], "sqlite");
    let version = status.registry_version.unwrap();
    assert_eq!(
        figures["status"]["registryVersion"]["sequence"],
        version.sequence.to_string()
    );
    let of_tier = |tier: &Value| tier["creditTier"] == "REGULAR";
    let decided = figures["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| of_tier(row));
    let decided: u64 = decided.map(|row| row["count"].as_u64().unwrap()).sum();
    assert_eq!(decided, 5);
    let rate = figures["rates"]["tiers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| of_tier(row));
    assert_eq!(rate.unwrap()["decided"], 5);
    let last = &figures["events"][0];
    assert_eq!((&last["kind"], &last["times"]), (&"resync".into(), &1.into()));
    let in_force = figures["policies"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|policy| policy["inForce"] == true);
    assert_eq!(in_force.count(), 1);
    let at = figures["at"].as_i64().unwrap();
    let news = self::figures(&app, at).await;
    let later = |row: &Value| row[0].as_i64().is_some_and(|ended| ended > at);
    assert!(news["history"].as_array().unwrap().iter().all(later), "{news}");
}
