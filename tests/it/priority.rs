use std::{collections::HashMap, thread, time::Duration};

use greenlane::{
    app::settings::{AuditDurability, Settings, Span},
    domain::identifier::ContainerNumber,
    wire::{
        json,
        pb::{
            self, Lane, batch_get_priority_result::Result as Found,
            priority_service_client::PriorityServiceClient, shipment_key::Key,
            watch_priorities_response::Event,
        },
    },
};
use prost::Message as _;
use serde_json::Value;
use tonic::{Code, Status, Streaming, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_types::StatusExt as _;

use crate::support::{
    SOON,
    app::TestApp,
    eventually, raw,
    requests::{batch, bytes, fields, import, item_fields},
    store::{self, ADVANCED, DISCREDITED, REGULAR},
};

/// ISO 6346 in its own example.
const CONTAINER: &str = "CSQU3054383";
const UNDECIDED: &str = "222520261999999999";
const BAD_DECLARATION: &str = "22252026X000000001";
/// Its check digit should be 3.
const BAD_CONTAINER: &str = "CSQU3054384";

pub(crate) fn declaration(number: &str) -> pb::ShipmentKey {
    pb::ShipmentKey {
        key: Some(Key::DeclarationNumber(number.to_owned())),
    }
}

pub(crate) fn container(number: &str) -> pb::ShipmentKey {
    pb::ShipmentKey {
        key: Some(Key::ContainerNumber(number.to_owned())),
    }
}

/// A server with an enterprise of each tier that has its shipments loaded too.
pub(crate) async fn ready() -> TestApp {
    ready_with(|_| {}).await
}

pub(crate) async fn ready_with(change: impl FnOnce(&mut Settings)) -> TestApp {
    let app = TestApp::ready_with(change).await;
    eventually("the shipments are loaded", SOON, async || {
        let status = get(&app, declaration(UNDECIDED)).await.unwrap_err();
        (status.code() == Code::NotFound).then_some(())
    })
    .await;
    app
}

#[tokio::test]
async fn where_terminals_may_not_ask_nothing_is_held_or_saved_for_them() {
    let app = TestApp::ready_with(|settings| {
        settings.shipments.serve = false;
        settings.audit.durability = AuditDurability::Off;
    })
    .await;
    let given = decide(&app, &import(1, REGULAR)).await;
    let status = get(&app, declaration(&given.declaration_number))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    let request = pb::WatchPrioritiesRequest::default();
    let refused = app.priority().watch_priorities(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    let path = format!("/v1/priority/{}", given.declaration_number);
    let (head, _) = app.http_get(&path).await;
    assert!(head.starts_with("HTTP/1.1 501"), "{head}");
    let files = app.store().parent().unwrap().read_dir().unwrap();
    let mut names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert!(!names.any(|name| name.contains("shipments")), "nothing is saved");
    let health = async |service: &str| {
        let service = service.to_owned();
        let checked = app.health().check(HealthCheckRequest { service }).await;
        checked.unwrap().into_inner().status()
    };
    eventually("it serves", SOON, async || {
        (health("").await == ServingStatus::Serving).then_some(())
    })
    .await;
    assert_eq!(
        health("greenlane.v1.PriorityService").await,
        ServingStatus::NotServing
    );
    let readiness = app.http_get("/readyz").await.0;
    assert!(readiness.starts_with("HTTP/1.1 200"), "{readiness}");
}

pub(crate) async fn get(app: &TestApp, key: pb::ShipmentKey) -> Result<pb::Shipment, Status> {
    let request = pb::GetPriorityRequest { key: Some(key) };
    let answered = app.priority().get_priority(request).await?;
    Ok(answered.into_inner().shipment.expect("always set"))
}

pub(crate) async fn decide(app: &TestApp, request: &pb::DecideRequest) -> pb::Decision {
    let answered = app.facilitation().decide(request.clone()).await.unwrap();
    answered.into_inner().decision.unwrap()
}

/// A declaration of the advanced certified enterprise that was drawn for no inspection.
pub(crate) async fn released(app: &TestApp, containers: &[&str]) -> pb::Decision {
    for sequence in 1..100 {
        let request = pb::DecideRequest {
            container_numbers: containers.iter().map(|&own| own.to_owned()).collect(),
            ..import(sequence, ADVANCED)
        };
        let decision = decide(app, &request).await;
        if decision.lane() == Lane::Green {
            return decision;
        }
    }
    panic!("100 declarations of an advanced certified enterprise were drawn");
}

pub(crate) async fn watch(
    app: &TestApp,
    keys: Vec<pb::ShipmentKey>,
    resume_token: &str,
) -> Result<Streaming<pb::WatchPrioritiesResponse>, Status> {
    let request = pb::WatchPrioritiesRequest {
        keys,
        resume_token: resume_token.to_owned(),
    };
    Ok(app.priority().watch_priorities(request).await?.into_inner())
}

/// The next shipment that a watch tells of, and its token.
pub(crate) async fn told(stream: &mut Streaming<pb::WatchPrioritiesResponse>) -> (pb::Shipment, String) {
    loop {
        let next = tokio::time::timeout(SOON, stream.message()).await;
        let response = next.expect("an event").unwrap().expect("the watch goes on");
        assert!(!response.token.is_empty(), "every event has a token");
        if let Some(Event::Shipment(shipment)) = response.event {
            return (shipment, response.token);
        }
    }
}

/// What the contract lets a terminal know of a decision on its first revision.
fn shipment_of(decision: &pb::Decision, containers: &[&str]) -> pb::Shipment {
    pb::Shipment {
        declaration_number: decision.declaration_number.clone(),
        container_numbers: containers.iter().map(|&own| own.to_owned()).collect(),
        priority: decision.priority,
        lane: decision.lane,
        hold: !matches!(decision.lane(), Lane::Green | Lane::Blue),
        revision: 1,
        decision_id: decision.decision_id.clone(),
        decided_at: decision.decided_at,
        valid_until: decision.valid_until,
        revoked: false,
    }
}

// === one and many ===

#[tokio::test]
async fn a_decision_is_answered_by_its_declaration_and_by_its_container() {
    let app = ready().await;
    for (sequence, code) in [(1, ADVANCED), (2, REGULAR), (3, DISCREDITED)] {
        let request = pb::DecideRequest {
            container_numbers: vec![CONTAINER.to_owned()],
            ..import(sequence, code)
        };
        let decision = decide(&app, &request).await;
        let expected = shipment_of(&decision, &[CONTAINER]);
        let found = get(&app, declaration(&decision.declaration_number))
            .await
            .unwrap();
        assert_eq!(found, expected);
        // The most restrictive answers for the container: RED before YELLOW before GREEN.
        let strictest = get(&app, container(CONTAINER)).await.unwrap();
        assert!(strictest.lane >= expected.lane && strictest.container_numbers == [CONTAINER]);
    }
}

#[tokio::test]
async fn what_was_never_decided_is_not_found_and_a_malformed_key_is_named() {
    let app = ready().await;
    for key in [declaration(UNDECIDED), container(CONTAINER)] {
        let status = get(&app, key).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{status:?}");
    }
    let cases = [
        (None, "key"),
        (Some(pb::ShipmentKey::default()), "key"),
        (Some(declaration("")), "key.declaration_number"),
        (Some(declaration(BAD_DECLARATION)), "key.declaration_number"),
        (Some(declaration(CONTAINER)), "key.declaration_number"),
        (Some(container("")), "key.container_number"),
        (Some(container(BAD_CONTAINER)), "key.container_number"),
        (Some(container("csqu3054383")), "key.container_number"),
    ];
    for (key, path) in cases {
        let request = pb::GetPriorityRequest { key };
        let status = app.priority().get_priority(request.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{request:?}");
        assert_eq!(fields(&status), [path], "{request:?}");
    }
}

#[tokio::test]
async fn a_batch_answers_in_the_order_of_its_keys_and_each_alone() {
    let app = ready().await;
    let decision = decide(&app, &import(7, REGULAR)).await;
    let known = declaration(&decision.declaration_number);
    let keys = vec![
        declaration(UNDECIDED),
        known.clone(),
        container(BAD_CONTAINER),
        pb::ShipmentKey::default(),
        known.clone(),
        container(CONTAINER),
    ];
    let request = pb::BatchGetPriorityRequest { keys };
    let answered = app.priority().batch_get_priority(request).await.unwrap();
    let mut results = answered
        .into_inner()
        .results
        .into_iter()
        .map(|own| own.result.unwrap());
    let mut next = || results.next().unwrap();
    let error = |found: Found, code: Code, fields: &[&str]| match found {
        Found::Error(error) => {
            assert_eq!(error.code, i32::from(code));
            assert_eq!(item_fields(&error), fields);
        }
        Found::Shipment(shipment) => panic!("{shipment:?}"),
    };
    let shipment = Found::Shipment(shipment_of(&decision, &[]));
    error(next(), Code::NotFound, &[]);
    assert_eq!(next(), shipment);
    error(next(), Code::InvalidArgument, &["key.container_number"]);
    error(next(), Code::InvalidArgument, &["key"]);
    assert_eq!(next(), shipment);
    error(next(), Code::NotFound, &[]);
    assert!(results.next().is_none());

    let many = |count| pb::BatchGetPriorityRequest {
        keys: vec![known.clone(); count],
    };
    for (count, fits) in [(0, true), (1_000, true), (1_001, false)] {
        match app.priority().batch_get_priority(many(count)).await {
            Ok(answered) => assert!(fits && answered.into_inner().results.len() == count),
            Err(status) => assert!(!fits && fields(&status) == ["keys"], "{status:?}"),
        }
    }
}

#[tokio::test]
async fn nothing_is_answered_before_there_is_a_registry() {
    let app = TestApp::start();
    let status = get(&app, declaration(UNDECIDED)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let status = watch(&app, vec![], "").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    // Whatever the request, also one that is no message.
    let garbage = raw::unary(
        app.address(),
        "/greenlane.v1.PriorityService/GetPriority",
        b"\xff",
    )
    .await;
    assert_eq!(garbage.status.code(), Code::Unavailable);
    let (head, _) = app.http_get(&format!("/v1/priority/{UNDECIDED}")).await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
}

// === watches ===

#[tokio::test]
async fn a_watch_tells_every_key_that_is_wrong_and_takes_a_key_twice_as_one() {
    let app = ready().await;
    let keys = vec![
        declaration(UNDECIDED),
        container(BAD_CONTAINER),
        pb::ShipmentKey::default(),
        declaration(BAD_DECLARATION),
    ];
    let status = watch(&app, keys, "").await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let expected = [
        "keys[1].container_number",
        "keys[2]",
        "keys[3].declaration_number",
    ];
    assert_eq!(fields(&status), expected);
    for count in [0, 10_001] {
        let status = watch(&app, vec![declaration(UNDECIDED); count], "")
            .await
            .unwrap_err();
        assert_eq!(
            (status.code(), fields(&status)),
            (Code::InvalidArgument, vec!["keys".to_owned()])
        );
    }
    for token in ["x", "0", "\u{1f6a2}"] {
        let status = watch(&app, vec![declaration(UNDECIDED)], token)
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{token}");
        assert_eq!(fields(&status), ["resume_token"], "{token}");
    }
    // As many as may be wrong fit into the headers that clients take.
    let status = watch(&app, vec![container(BAD_CONTAINER); 10_000], "")
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("10000"), "{status:?}");

    let decision = released(&app, &[]).await;
    let key = declaration(&decision.declaration_number);
    let mut stream = watch(&app, vec![key; 10_000], "").await.unwrap();
    let (first, _) = told(&mut stream).await;
    assert_eq!(first, shipment_of(&decision, &[]));
    let next = stream.message().await.unwrap().unwrap();
    assert!(
        matches!(next.event, Some(Event::Heartbeat(_))),
        "told once: {next:?}"
    );
}

#[tokio::test]
async fn a_watcher_hears_the_current_state_and_then_that_a_grant_was_taken_back() {
    let app = ready().await;
    let decision = released(&app, &[CONTAINER]).await;
    let keys = vec![container(CONTAINER), declaration(UNDECIDED)];
    let mut stream = watch(&app, keys.clone(), "").await.unwrap();
    let (first, token) = told(&mut stream).await;
    assert_eq!(first.lane(), Lane::Green);
    assert!(!first.hold && !first.revoked);
    store::put_enterprise(&app.sql(), ADVANCED, "DISCREDITED");
    let (revoked, _) = told(&mut stream).await;
    assert_eq!(revoked.declaration_number, decision.declaration_number);
    assert!(
        revoked.hold && revoked.revoked && revoked.lane() > Lane::Blue,
        "{revoked:?}"
    );
    assert!(revoked.revision > first.revision);
    assert_eq!(revoked, get(&app, container(CONTAINER)).await.unwrap());
    // Who was away hears what changed since.
    let (again, _) = told(&mut watch(&app, keys, &token).await.unwrap()).await;
    assert_eq!(again, revoked);
    // One that is decided only now.
    let number = UNDECIDED[9..].parse().unwrap();
    let late = decide(&app, &import(number, REGULAR)).await;
    let (heard, _) = told(&mut stream).await;
    assert_eq!(heard, shipment_of(&late, &[]));
}

#[tokio::test]
async fn a_container_that_leaves_its_declaration_is_told_to_who_watches_it() {
    let app = ready().await;
    let decision = released(&app, &[CONTAINER]).await;
    let mut stream = watch(&app, vec![container(CONTAINER)], "").await.unwrap();
    let (first, _) = told(&mut stream).await;
    assert_eq!(first.container_numbers, [CONTAINER]);
    let sequence = decision.declaration_number[9..].parse().unwrap();
    decide(&app, &import(sequence, ADVANCED)).await;
    let (left, _) = told(&mut stream).await;
    assert_eq!(left.declaration_number, decision.declaration_number);
    assert!(
        left.container_numbers.is_empty() && left.revision > first.revision,
        "{left:?}"
    );
    let status = get(&app, container(CONTAINER)).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn a_watch_ends_with_its_deadline() {
    let app = ready().await;
    let request = pb::WatchPrioritiesRequest {
        keys: vec![declaration(UNDECIDED)],
        resume_token: String::new(),
    };
    let timeout = Duration::from_millis(300);
    let begun = std::time::Instant::now();
    let headers = [("grpc-timeout", &*raw::milliseconds(timeout))];
    let path = "/greenlane.v1.PriorityService/WatchPriorities";
    let ended = raw::call(app.address(), path, &headers, &[&request.encode_to_vec()], false).await;
    assert_eq!(ended.status.code(), Code::DeadlineExceeded, "{:?}", ended.status);
    assert!(begun.elapsed() >= timeout);
    // It counts as its trailers tell.
    let counted = "greenlane_grpc_requests_total{service=\"greenlane.v1.PriorityService\",method=\"WatchPriorities\",code=\"DEADLINE_EXCEEDED\"} 1";
    assert_counted(&app, counted).await;
}

#[tokio::test]
async fn a_server_that_stops_ends_its_watches_with_a_token() {
    let app = ready_with(|settings| {
        settings.drain.deadline = Span::new(Duration::from_secs(5));
    })
    .await;
    let mut stream = watch(&app, vec![declaration(UNDECIDED)], "").await.unwrap();
    let first = stream.message().await.unwrap().unwrap();
    let stopping = thread::spawn(move || drop(app));
    let status = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the watch ended without a status"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let token = status.metadata().get("greenlane-resume-token").unwrap();
    assert_eq!(token.to_str().unwrap(), first.token, "nothing changed since");
    stopping.join().unwrap();
}

/// Among the metrics is this line.
async fn assert_counted(app: &TestApp, line: &str) {
    let metrics = app.metrics().await;
    assert!(metrics.lines().any(|own| own == line), "{line}\n{metrics}");
}

#[tokio::test]
async fn more_watches_than_may_be_are_told_when_to_come_back() {
    let app = ready_with(|settings| settings.shipments.max_watches = 1).await;
    let first = watch(&app, vec![declaration(UNDECIDED)], "").await.unwrap();
    let status = watch(&app, vec![declaration(UNDECIDED)], "").await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let wait = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(wait > Duration::ZERO);
    assert_counted(&app, "greenlane_requests_shed_total{cause=\"max_watches\"} 1").await;
    drop(first);
    eventually("the first watch's place is free again", SOON, async || {
        watch(&app, vec![declaration(UNDECIDED)], "").await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_slow_reader_is_cut_and_loses_nothing_when_it_comes_back() {
    const COUNT: u32 = 300;
    let app = ready_with(|settings| {
        settings.shipments.watch_stall = Span::new(Duration::from_millis(10));
    })
    .await;
    let well_formed = |number: &String| number.parse::<ContainerNumber>().is_ok();
    let containers: Vec<_> = (0..1_000)
        .map(|number| format!("GRLU{number:07}"))
        .filter(well_formed)
        .take(90)
        .collect();
    let request = |sequence| pb::DecideRequest {
        container_numbers: containers.clone(),
        ..import(sequence, ADVANCED)
    };
    let items = (0..COUNT).map(|sequence| bytes(&request(sequence)));
    app.facilitation().batch_decide(batch(items)).await.unwrap();
    let numbers: Vec<_> = (0..COUNT)
        .map(|sequence| request(sequence).declaration_number)
        .collect();
    let keys: Vec<_> = numbers.iter().map(|number| declaration(number)).collect();

    let mut held = HashMap::new();
    // A client that takes 64 KiB unread, where ours would take all of it.
    let channel = Endpoint::try_from(format!("http://{}", app.address()))
        .unwrap()
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(65_535)
        .connect_lazy();
    let request = pb::WatchPrioritiesRequest {
        keys: keys.clone(),
        resume_token: String::new(),
    };
    let watching = PriorityServiceClient::new(channel)
        .watch_priorities(request)
        .await;
    let mut stream = watching.unwrap().into_inner();
    store::put_enterprise(&app.sql(), ADVANCED, "DISCREDITED");
    app.until_caught_up().await;
    let mut token = String::new();
    let status = loop {
        // Slow, not waiting for anything.
        tokio::time::sleep(Duration::from_millis(20)).await;
        match stream.message().await {
            Ok(Some(response)) => {
                token = response.token;
                let Some(Event::Shipment(shipment)) = response.event else {
                    panic!("it has caught up, and was not cut");
                };
                held.insert(shipment.declaration_number.clone(), shipment);
            }
            Ok(None) => panic!("the watch ended without a status"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(status.get_details_retry_info().is_some());
    assert!(status.metadata().get("greenlane-resume-token").is_some());
    assert_counted(&app, "greenlane_requests_shed_total{cause=\"slow_watch\"} 1").await;

    let mut stream = watch(&app, keys, &token).await.unwrap();
    while let Event::Shipment(shipment) = stream.message().await.unwrap().unwrap().event.unwrap() {
        held.insert(shipment.declaration_number.clone(), shipment);
    }
    for number in &numbers {
        let now = get(&app, declaration(number)).await.unwrap();
        assert_eq!(held.get(number), Some(&now), "{number}");
    }
}

// === HTTP ===

fn parsed(body: &str) -> Value {
    serde_json::from_str(body).unwrap()
}

#[tokio::test]
async fn http_answers_the_same_message_as_json_and_nothing_may_be_cached() {
    let app = ready().await;
    let decision = released(&app, &[CONTAINER]).await;
    for key in [&*decision.declaration_number, CONTAINER] {
        let (head, body) = app.http_get(&format!("/v1/priority/{key}")).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.to_lowercase().contains("cache-control: no-store"), "{head}");
        assert!(
            head.to_lowercase().contains("content-type: application/json"),
            "{head}"
        );
        let value = parsed(&body);
        let shipment = &value["shipment"];
        // A field that is not there would be read as consent.
        assert_eq!(
            (&shipment["hold"], &shipment["revoked"]),
            (&false.into(), &false.into())
        );
        let answered: pb::GetPriorityResponse = json::from_value("GetPriorityResponse", value).unwrap();
        assert_eq!(answered.shipment, Some(shipment_of(&decision, &[CONTAINER])));
    }
}

#[tokio::test]
async fn http_errors_are_statuses_with_the_code_that_goes_with_them() {
    let app = ready().await;
    let cases = [
        (UNDECIDED, 404, 5, None),
        (CONTAINER, 404, 5, None),
        (BAD_DECLARATION, 400, 3, Some("key.declaration_number")),
        (BAD_CONTAINER, 400, 3, Some("key.container_number")),
        ("222520261999999999/", 404, 5, None),
        ("222520261999999999/1", 400, 3, Some("key.declaration_number")),
        ("", 400, 3, Some("key")),
    ];
    for (key, http, code, field) in cases {
        let (head, body) = app.http_get(&format!("/v1/priority/{key}")).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {http} ")), "{key}: {head}");
        assert!(head.to_lowercase().contains("cache-control: no-store"), "{head}");
        let status = parsed(&body);
        assert_eq!(status["code"], code, "{key}: {status}");
        assert!(
            status["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty())
        );
        let detail = &status["details"][0];
        match field {
            None => assert!(detail.is_null(), "{status}"),
            Some(field) => {
                assert_eq!(detail["@type"], "type.googleapis.com/google.rpc.BadRequest");
                assert_eq!(detail["fieldViolations"][0]["field"], field, "{status}");
            }
        }
    }
    let (head, _) = app.http_get("/v1/priorities").await;
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
}
