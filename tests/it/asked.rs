use greenlane::{
    domain::identifier::ContainerNumber,
    wire::pb::{self, Lane},
};
use tokio::task::JoinSet;
use tonic::Code;

use crate::{
    priority::{container, decide, declaration, get, ready, ready_with, released, told, watch},
    support::{
        requests::{batch, import},
        store::{self, ADVANCED, REGULAR},
    },
};

/// A container of its own for each number: with the one check digit of ISO 6346 that the domain takes.
fn container_number(number: u32) -> String {
    let texts = (0..10).map(|digit| format!("CSQU{number:06}{digit}"));
    let mut right = texts.filter(|text| text.parse::<ContainerNumber>().is_ok());
    right.next().expect("a check digit")
}

fn request(number: u32) -> pb::DecideRequest {
    pb::DecideRequest {
        container_numbers: vec![container_number(number)],
        ..import(number, REGULAR)
    }
}

#[tokio::test]
async fn what_nobody_asked_for_is_found_in_the_log_by_declaration_and_by_container() {
    const COUNT: u32 = 3_000;
    let app = ready_with(|settings| settings.audit.segment_bytes = 1 << 20).await;
    let mut given = Vec::new();
    for first in (1..=COUNT).step_by(500) {
        let requests = (first..first + 500).map(|number| crate::support::requests::bytes(&request(number)));
        let answered = app.facilitation().batch_decide(batch(requests)).await.unwrap();
        given.extend(
            answered
                .into_inner()
                .results
                .into_iter()
                .map(|result| match result.result {
                    Some(pb::batch_decide_result::Result::Decision(decision)) => decision,
                    other => panic!("{other:?}"),
                }),
        );
    }
    // Of several segments, the first ones sealed.
    for number in [1, 2, COUNT / 2, COUNT - 1, COUNT] {
        let decision = &given[number as usize - 1];
        let by_container = get(&app, container(&container_number(number))).await.unwrap();
        assert_eq!(by_container.declaration_number, decision.declaration_number);
        assert_eq!((by_container.lane(), by_container.revision), (decision.lane(), 1));
        let by_declaration = get(&app, declaration(&decision.declaration_number))
            .await
            .unwrap();
        assert_eq!(by_declaration, by_container);
    }
    let never = get(&app, container(&container_number(COUNT + 1)))
        .await
        .unwrap_err();
    assert_eq!(never.code(), Code::NotFound);
    // Memory holds little more than what was asked for.
    let metrics = app.metrics().await;
    let held = metrics
        .lines()
        .find_map(|line| line.strip_prefix("greenlane_shipments "));
    assert!(held.unwrap().parse::<f64>().unwrap() < 100.0, "{held:?}");
}

#[tokio::test]
async fn a_decision_that_was_given_is_known_however_it_meets_the_questions_for_it() {
    let app = ready().await;
    // One container on all of them, which is asked for all the time.
    let shared = container_number(999_999);
    let mut stream = watch(&app, vec![container(&shared)], "").await.unwrap();
    let mut running = JoinSet::new();
    for caller in 0..4_u32 {
        let (mut facilitation, mut priority) = (app.facilitation(), app.priority());
        let shared = shared.clone();
        running.spawn(async move {
            for round in 0..100 {
                let number = caller * 1_000 + round;
                let mut request = request(number);
                request.container_numbers.push(shared.clone());
                let asked = |key| pb::GetPriorityRequest { key: Some(key) };
                let (own, on_it) = (
                    declaration(&request.declaration_number),
                    container(&container_number(number)),
                );
                let mut other = priority.clone();
                // Before, beside and after.
                let (decided, _, _) = tokio::join!(
                    facilitation.decide(request.clone()),
                    priority.get_priority(asked(own.clone())),
                    other.get_priority(asked(on_it.clone())),
                );
                let decision = decided.unwrap().into_inner().decision.unwrap();
                for key in [own, on_it, container(&shared)] {
                    let found = priority.get_priority(asked(key)).await.unwrap().into_inner();
                    let found = found.shipment.unwrap();
                    if !found.container_numbers.is_empty()
                        && found.declaration_number == request.declaration_number
                    {
                        assert_eq!(found.decision_id, decision.decision_id);
                    }
                    assert_ne!(found.lane(), Lane::Unspecified);
                }
            }
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
    // The watch hears of it, and of what is decided from now on.
    let (first, _) = told(&mut stream).await;
    assert!(first.container_numbers.contains(&shared));
}

#[tokio::test]
async fn what_was_decided_long_before_it_is_asked_for_says_what_holds_now() {
    let app = ready().await;
    let container_number = container_number(7);
    let decision = released(&app, &[&container_number]).await;
    store::put_enterprise(&app.sql(), ADVANCED, "DISCREDITED");
    app.until_caught_up().await;
    let found = get(&app, declaration(&decision.declaration_number))
        .await
        .unwrap();
    assert!(
        found.hold && found.revoked && found.lane() > Lane::Blue,
        "{found:?}"
    );
    assert_eq!(found.decision_id, decision.decision_id);
    // Decided again, it is another decision, and the same shipment.
    let mut again = import(decision.declaration_number[9..].parse().unwrap(), REGULAR);
    again.container_numbers.push(container_number.clone());
    let again = decide(&app, &again).await;
    let by_container = get(&app, container(&container_number)).await.unwrap();
    assert_eq!(by_container.decision_id, again.decision_id);
    assert!(by_container.revision > found.revision);
}

#[tokio::test]
async fn an_inspection_of_a_shipment_that_nobody_asked_for_clears_it() {
    let app = ready().await;
    let decided = decide(&app, &request(5)).await;
    let inspected = pb::RecordInspectionRequest {
        declaration_number: decided.declaration_number.clone(),
        ..pb::RecordInspectionRequest::default()
    };
    app.audit().record_inspection(inspected).await.unwrap();
    let found = get(&app, container(&container_number(5))).await.unwrap();
    assert!(!found.hold, "{found:?}");
}
