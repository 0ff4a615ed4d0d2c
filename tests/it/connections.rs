use std::time::{Duration, Instant};

use greenlane::{
    app::settings::{Settings, Span},
    wire::pb::{self, decide_stream_response, shipment_key::Key, watch_priorities_response::Event},
};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;

use crate::support::{
    SOON,
    app::TestApp,
    eventually,
    requests::{bytes, import},
    store::{self, REGULAR},
};

const AGE: Duration = Duration::from_millis(200);

fn aging(age: Duration, grace: Duration) -> impl FnOnce(&mut Settings) {
    move |settings| {
        settings.limits.max_connection_age = Span::new(age);
        settings.limits.max_connection_age_grace = Span::new(grace);
    }
}

/// What a stream tells until it ends, and how it ends.
async fn to_the_end<T>(mut stream: Streaming<T>) -> (Vec<T>, Status) {
    let mut told = Vec::new();
    loop {
        match tokio::time::timeout(SOON, stream.message())
            .await
            .expect("an end")
        {
            Ok(Some(message)) => told.push(message),
            Ok(None) => panic!("the stream ended without a status"),
            Err(status) => return (told, status),
        }
    }
}

fn assert_aged(status: &Status, begun: Instant) {
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.message().contains("reached its age"), "{status:?}");
    // Give or take a tenth.
    assert!(begun.elapsed() >= AGE.mul_f64(0.9), "{:?}", begun.elapsed());
}

async fn watch(app: &TestApp, number: &str, resume_token: &str) -> Streaming<pb::WatchPrioritiesResponse> {
    eventually("the shipments are loaded", SOON, async || {
        let request = pb::WatchPrioritiesRequest {
            keys: vec![pb::ShipmentKey {
                key: Some(Key::DeclarationNumber(number.to_owned())),
            }],
            resume_token: resume_token.to_owned(),
        };
        app.priority().watch_priorities(request).await.ok()
    })
    .await
    .into_inner()
}

#[tokio::test]
async fn a_watch_on_an_aged_connection_ends_with_a_token_from_which_another_goes_on() {
    let app = TestApp::ready_with(aging(AGE, SOON)).await;
    let request = import(1, REGULAR);
    app.facilitation().decide(request.clone()).await.unwrap();

    let begun = Instant::now();
    let (told, status) = to_the_end(watch(&app, &request.declaration_number, "").await).await;
    assert_aged(&status, begun);
    let shipments = |told: &[pb::WatchPrioritiesResponse]| {
        let is_shipment =
            |response: &&pb::WatchPrioritiesResponse| matches!(response.event, Some(Event::Shipment(_)));
        told.iter().filter(is_shipment).count()
    };
    assert_eq!(shipments(&told), 1, "{told:?}");

    let token = status.metadata().get("greenlane-resume-token").unwrap();
    let resumed = watch(&app, &request.declaration_number, token.to_str().unwrap()).await;
    let (told, _) = to_the_end(resumed).await;
    assert_eq!(shipments(&told), 0, "nothing has changed: {told:?}");
}

#[tokio::test]
async fn a_stream_of_decisions_on_an_aged_connection_is_answered_before_it_ends() {
    let app = TestApp::ready_with(aging(AGE, SOON)).await;
    let (requests, received) = mpsc::unbounded_channel();
    let send = |correlation_id: u64| {
        let request = Some(bytes(&import(1, REGULAR)));
        let message = pb::DecideStreamRequest {
            correlation_id,
            request,
            ..pb::DecideStreamRequest::default()
        };
        requests.send(message).unwrap();
    };
    (0..100).for_each(send);
    let begun = Instant::now();
    let stream = app
        .facilitation()
        .decide_stream(UnboundedReceiverStream::new(received))
        .await;
    let (answered, status) = to_the_end(stream.unwrap().into_inner()).await;
    assert_aged(&status, begun);
    let is_decision = |response: &pb::DecideStreamResponse| {
        matches!(response.result, Some(decide_stream_response::Result::Decision(_)))
    };
    assert!(answered.iter().all(is_decision), "{answered:?}");
    let answered: Vec<_> = answered.iter().map(|response| response.correlation_id).collect();
    assert_eq!(answered, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn whoever_never_stops_asking_is_left_at_half_of_the_grace() {
    // The other half is for the end to be heard, whoever else has the processor.
    let grace = Duration::from_secs(5);
    let app = TestApp::ready_with(aging(AGE, grace)).await;
    let message = pb::DecideStreamRequest {
        request: Some(bytes(&import(1, REGULAR))),
        ..pb::DecideStreamRequest::default()
    };
    let begun = Instant::now();
    let always = tokio_stream::iter(std::iter::repeat(message));
    let stream = app.facilitation().decide_stream(always).await.unwrap();
    let (_, status) = to_the_end(stream.into_inner()).await;
    assert_aged(&status, begun);
    assert!(begun.elapsed() >= grace / 2, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_watch_of_health_ends_with_its_connection() {
    let app = TestApp::ready_with(aging(AGE, SOON)).await;
    let begun = Instant::now();
    let watch = app.health().watch(HealthCheckRequest::default()).await;
    let (_, status) = to_the_end(watch.unwrap().into_inner()).await;
    assert_aged(&status, begun);
}

#[tokio::test]
async fn no_call_fails_while_connections_come_of_age() {
    const AGES: u32 = 20;
    let age = Duration::from_millis(50);
    let app = TestApp::ready_with(aging(age, SOON)).await;
    let until = Instant::now() + age * AGES;
    let mut callers = JoinSet::new();
    for caller in 0..4 {
        let mut client = app.facilitation();
        callers.spawn(async move {
            let mut calls = 0;
            while Instant::now() < until {
                client.decide(import(caller, REGULAR)).await.unwrap();
                calls += 1;
            }
            calls
        });
    }
    let calls: u32 = callers.join_all().await.into_iter().sum();
    assert!(calls > AGES, "{calls}");
}

/// A call that waits for a commit which is not there yet.
fn waiting(app: &TestApp) -> JoinSet<Result<(), Status>> {
    let head = app.head();
    let request = pb::DecideRequest {
        min_registry_version: Some(pb::RegistryVersion {
            sequence: head.sequence + 1,
            ..head
        }),
        ..import(1, REGULAR)
    };
    let mut client = app.facilitation();
    let mut call = JoinSet::new();
    call.spawn(async move { client.decide(request).await.map(drop) });
    call
}

#[tokio::test]
async fn a_call_in_flight_outlives_the_age_of_its_connection_but_not_the_grace() {
    // It waits for 2 s at most.
    let app = TestApp::ready_with(aging(AGE, SOON)).await;
    let (mut call, begun) = (waiting(&app), Instant::now());
    let other = app.health().watch(HealthCheckRequest::default()).await;
    to_the_end(other.unwrap().into_inner()).await;
    while begun.elapsed() < AGE.mul_f64(1.2) {
        tokio::task::yield_now().await;
    }
    store::put_enterprise(&app.sql(), "9900000001", "REGULAR");
    call.join_next().await.unwrap().unwrap().unwrap();

    let app = TestApp::ready_with(aging(AGE, Duration::ZERO)).await;
    let mut call = waiting(&app);
    let cut = call.join_next().await.unwrap().unwrap().unwrap_err();
    assert_ne!(cut.code(), Code::FailedPrecondition, "{cut:?}");
    assert!(!cut.message().contains("registry"), "cut, not answered: {cut:?}");
}
