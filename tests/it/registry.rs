use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use greenlane::{
    app::settings::Span,
    domain::{CreditTier, identifier::EnterpriseId},
    registry::Generation,
    wire::pb::{
        self, CreditTier as Tier, PartyRole, ReasonCode, batch_decide_result,
        facilitation_service_client::FacilitationServiceClient,
        get_enterprise_request::Identifier as EnterpriseIdentifier, party::Identifier,
        registry_service_client::RegistryServiceClient,
    },
};
use prost::Message as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use rusqlite::{Connection, params};
use tonic::{Code, Status, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::support::{
    SOON,
    app::TestApp,
    eventually, raw,
    replica::enterprise,
    requests::{batch, bytes, import, instant, party, what_if},
    store::{
        self, ADVANCED, CERTIFIED, DISCREDITED, EACH_TIER, REGULAR, SERIOUSLY_DISCREDITED, UNKNOWN,
        put_enterprise,
    },
};

/// Decides on everything that the store holds now.
async fn decide(app: &TestApp, request: pb::DecideRequest) -> pb::Decision {
    let request = pb::DecideRequest {
        min_registry_version: Some(app.head()),
        ..request
    };
    let answered = app.facilitation().decide(request).await.unwrap();
    answered.into_inner().decision.unwrap()
}

async fn simulate(app: &TestApp, request: pb::SimulateRequest) -> pb::Decision {
    let answered = app.facilitation().simulate(request).await.unwrap();
    answered.into_inner().decision.unwrap()
}

async fn status(app: &TestApp) -> pb::GetRegistryStatusResponse {
    let answered = app
        .registry()
        .get_registry_status(pb::GetRegistryStatusRequest {})
        .await;
    answered.unwrap().into_inner()
}

fn has(decision: &pb::Decision, code: ReasonCode) -> bool {
    decision
        .reasons
        .iter()
        .any(|reason| reason.code == i32::from(code))
}

// === readiness ===

#[tokio::test]
async fn before_the_first_enterprise_every_request_is_told_to_come_back_later() {
    let app = TestApp::start();
    eventually("the empty store was read", SOON, async || {
        status(&app).await.registry_version.map(drop)
    })
    .await;
    assert_eq!(status(&app).await.state, i32::from(pb::RegistryState::Loading));
    unavailable(&app).await;
    assert_eq!(health(&app).await, ServingStatus::NotServing);

    put_enterprise(&app.sql(), REGULAR, "REGULAR");
    app.until_caught_up().await;
    assert_eq!(
        decide(&app, import(1, REGULAR)).await.credit_tier,
        i32::from(Tier::Regular)
    );
    eventually("health says so", SOON, async || {
        (health(&app).await == ServingStatus::Serving).then_some(())
    })
    .await;

    // A register that somebody emptied is no data either.
    app.sql().execute("DELETE FROM enterprise", []).unwrap();
    eventually("the empty register is noticed", SOON, async || {
        let answered = app.facilitation().decide(import(1, REGULAR)).await;
        answered.is_err().then_some(())
    })
    .await;
    unavailable(&app).await;
}

/// Whatever is asked: right, wrong, empty or too much.
async fn unavailable(app: &TestApp) {
    fn code<T>(answered: Result<T, Status>) -> Option<Code> {
        answered.err().map(|status| status.code())
    }
    let (mut client, mut registry) = (app.facilitation(), app.registry());
    let mut codes = Vec::new();
    let wrong = pb::DecideRequest::default();
    for request in [import(1, REGULAR), wrong.clone()] {
        codes.push(code(client.decide(request.clone()).await));
        let what_if = what_if(request, instant("2026-11-20T00:00:00Z"));
        codes.push(code(client.simulate(what_if).await));
    }
    codes.push(code(client.simulate(pb::SimulateRequest::default()).await));
    for count in [0, 1, 1_001] {
        let items = batch((0..count).map(|_| bytes(&wrong)));
        codes.push(code(client.batch_decide(items).await));
    }
    let nothing = tokio_stream::iter(Vec::<pb::DecideStreamRequest>::new());
    codes.push(code(client.decide_stream(nothing).await));
    for identifier in [Some(EnterpriseIdentifier::CustomsCode(REGULAR.to_owned())), None] {
        codes.push(code(
            registry
                .get_enterprise(pb::GetEnterpriseRequest { identifier })
                .await,
        ));
    }
    assert!(
        codes.iter().all(|code| *code == Some(Code::Unavailable)),
        "{codes:?}"
    );
}

#[tokio::test]
async fn bytes_that_are_no_request_are_told_to_come_back_later_too() {
    let app = TestApp::start();
    for method in ["Decide", "BatchDecide", "Simulate"] {
        let path = format!("/greenlane.v1.FacilitationService/{method}");
        let refused = raw::unary(app.address(), &path, b"\x0a\x01\xff\xff").await;
        assert_eq!(
            refused.status.code(),
            Code::Unavailable,
            "{method}: {:?}",
            refused.status
        );
    }
}

async fn health(app: &TestApp) -> ServingStatus {
    let channel = tonic::transport::Endpoint::try_from(format!("http://{}", app.address())).unwrap();
    let mut client = HealthClient::new(channel.connect_lazy());
    let mut each = Vec::new();
    for service in [
        "",
        "greenlane.v1.FacilitationService",
        "greenlane.v1.RegistryService",
    ] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        each.push(client.check(request).await.unwrap().into_inner().status());
    }
    // They are told one after the other.
    if each.iter().all(|status| *status == each[0]) {
        each[0]
    } else {
        ServingStatus::Unknown
    }
}

#[tokio::test]
async fn a_version_that_is_not_there_is_waited_for_and_then_told_apart() {
    let app = TestApp::ready().await;
    let head = app.head();
    let later = pb::RegistryVersion {
        sequence: head.sequence + 1,
        ..head.clone()
    };
    let other = pb::RegistryVersion {
        epoch: "another".to_owned(),
        ..head.clone()
    };
    let wanting = |version: &pb::RegistryVersion| pb::DecideRequest {
        min_registry_version: Some(version.clone()),
        ..import(1, ADVANCED)
    };
    let (mut first, mut second, mut third) = (app.facilitation(), app.facilitation(), app.facilitation());
    // More than are decided in one turn: they are waited for once.
    let mut versions = vec![&head; 70];
    (versions[0], versions[40], versions[69]) = (&later, &later, &other);
    let begun = Instant::now();
    let (behind, elsewhere, mixed) = tokio::join!(
        first.decide(wanting(&later)),
        second.decide(wanting(&other)),
        third.batch_decide(batch(versions.iter().map(|version| bytes(&wanting(version))))),
    );
    let waited = begun.elapsed();
    assert!(
        waited >= Duration::from_secs(1) && waited < SOON / 2,
        "{waited:?}"
    );
    assert_eq!(behind.unwrap_err().code(), Code::Unavailable);
    assert_eq!(elsewhere.unwrap_err().code(), Code::FailedPrecondition);
    let codes: Vec<_> = mixed
        .unwrap()
        .into_inner()
        .results
        .into_iter()
        .map(|result| match result.result.unwrap() {
            batch_decide_result::Result::Decision(_) => Code::Ok,
            batch_decide_result::Result::Error(error) => Code::from(error.code),
        })
        .collect();
    let mut expected = vec![Code::Ok; 70];
    (expected[0], expected[40], expected[69]) =
        (Code::Unavailable, Code::Unavailable, Code::FailedPrecondition);
    assert_eq!(codes, expected);

    let request = wanting(&later).encode_to_vec();
    let headers = [("grpc-timeout", "150m")];
    let path = "/greenlane.v1.FacilitationService/Decide";
    let late = raw::call(app.address(), path, &headers, &[&request], false).await;
    assert_eq!(late.status.code(), Code::DeadlineExceeded);
    let counted = "greenlane_grpc_requests_total{service=\"greenlane.v1.FacilitationService\",method=\"Decide\",code=\"DEADLINE_EXCEEDED\"} 1";
    let metrics = app.metrics().await;
    assert!(metrics.lines().any(|line| line == counted), "{metrics}");

    // Written while it is waited for, it is reached.
    let mut client = app.facilitation();
    let write = async {
        put_enterprise(&app.sql(), ADVANCED, "DISCREDITED");
    };
    let (decided, ()) = tokio::join!(client.decide(wanting(&later)), write);
    let decision = decided.unwrap().into_inner().decision.unwrap();
    assert_eq!(decision.credit_tier, i32::from(Tier::Discredited));
}

// === identifiers ===

#[tokio::test]
async fn an_enterprise_is_found_by_each_of_its_identifiers() {
    let app = TestApp::ready().await;
    let code = "91110000600037341L";
    app.sql()
        .execute(
            "UPDATE enterprise SET social_credit_code = ?1 WHERE customs_code = ?2",
            [code, CERTIFIED],
        )
        .unwrap();
    app.until_caught_up().await;
    let aeo = |text: &str| Identifier::AeoCode(text.to_owned());
    let messy = format!("aeo <cn {}> {}", &CERTIFIED[..4], &CERTIFIED[4..]);
    for identifier in [
        Identifier::CustomsCode(CERTIFIED.to_owned()),
        Identifier::SocialCreditCode(code.to_owned()),
        aeo(&format!("CN{CERTIFIED}")),
        aeo(&format!("AEOCN{CERTIFIED}")),
        aeo(&messy),
    ] {
        let mut request = import(1, CERTIFIED);
        request.parties[0].identifier = Some(identifier.clone());
        let decision = decide(&app, request).await;
        let found = &decision.parties[0];
        assert_eq!(found.customs_code, CERTIFIED, "{identifier:?}");
        assert!(found.known && found.counted, "{identifier:?}");
        assert_eq!(
            found.registered_tier,
            i32::from(Tier::Certified),
            "{identifier:?}"
        );
        let (sent, asked) = match identifier {
            Identifier::CustomsCode(text) => (text.clone(), EnterpriseIdentifier::CustomsCode(text)),
            Identifier::SocialCreditCode(text) => {
                (text.clone(), EnterpriseIdentifier::SocialCreditCode(text))
            }
            Identifier::AeoCode(text) => (text.clone(), EnterpriseIdentifier::AeoCode(text)),
        };
        assert_eq!(found.enterprise_id, sent, "as it was sent");
        let request = pb::GetEnterpriseRequest {
            identifier: Some(asked),
        };
        let shown = app.registry().get_enterprise(request).await.unwrap().into_inner();
        assert_eq!(shown.enterprise.unwrap().customs_code, CERTIFIED);
    }
    let decision = decide(&app, import(1, UNKNOWN)).await;
    assert!(!decision.parties[0].known && has(&decision, ReasonCode::PartyUnknown));
    let identifier = Some(EnterpriseIdentifier::CustomsCode(UNKNOWN.to_owned()));
    let missing = app
        .registry()
        .get_enterprise(pb::GetEnterpriseRequest { identifier })
        .await;
    assert_eq!(missing.unwrap_err().code(), Code::NotFound);

    // A code that moves to another enterprise leads there, and from nowhere once it is gone.
    let by_code = || {
        let mut request = import(1, CERTIFIED);
        request.parties[0].identifier = Some(Identifier::SocialCreditCode(code.to_owned()));
        request
    };
    let sql = app.sql();
    let transaction = sql.unchecked_transaction().unwrap();
    transaction
        .execute(
            "UPDATE enterprise SET social_credit_code = NULL WHERE customs_code = ?1",
            [CERTIFIED],
        )
        .unwrap();
    transaction
        .execute(
            "UPDATE enterprise SET social_credit_code = ?1 WHERE customs_code = ?2",
            [code, DISCREDITED],
        )
        .unwrap();
    transaction.commit().unwrap();
    assert_eq!(decide(&app, by_code()).await.parties[0].customs_code, DISCREDITED);
    sql.execute("DELETE FROM enterprise WHERE customs_code = ?1", [DISCREDITED])
        .unwrap();
    assert!(!decide(&app, by_code()).await.parties[0].known);
}

// === dates ===

#[tokio::test]
async fn a_scheduled_tier_is_due_on_its_date_in_china() {
    let app = TestApp::ready().await;
    let sql = app.sql();
    for (customs_code, tier, from) in [
        (ADVANCED, "DISCREDITED", "2026-06-01"),
        (ADVANCED, "REGULAR", "2026-09-01"),
        // On the own row's date the scheduled one wins; one for an enterprise that is not registered makes it no more.
        (CERTIFIED, "DISCREDITED", "2010-01-01"),
        (UNKNOWN, "ADVANCED_CERTIFIED", "2020-01-01"),
    ] {
        sql.execute(
            "INSERT INTO scheduled_tier VALUES (?1, ?2, ?3)",
            [customs_code, tier, from],
        )
        .unwrap();
    }
    app.until_caught_up().await;
    let tier_at = async |customs_code: &str, at: &str| {
        let decision = simulate(&app, what_if(import(1, customs_code), instant(at))).await;
        (decision.parties[0].registered_tier, decision.valid_until.unwrap())
    };
    for (at, tier) in [
        ("2026-05-31T23:59:59+08:00", Tier::AdvancedCertified),
        ("2026-06-01T00:00:00+08:00", Tier::Discredited),
        ("2026-08-31T23:59:59+08:00", Tier::Discredited),
        ("2026-09-01T00:00:00+08:00", Tier::Regular),
    ] {
        assert_eq!(tier_at(ADVANCED, at).await.0, i32::from(tier), "{at}");
    }
    // A decision ends where a change that is known comes first.
    let (_, until) = tier_at(ADVANCED, "2026-05-31T22:00:00+08:00").await;
    assert_eq!(until, instant("2026-06-01T00:00:00+08:00"));
    let (_, until) = tier_at(ADVANCED, "2026-06-01T00:00:00+08:00").await;
    assert_eq!(until, instant("2026-06-01T04:00:00+08:00"));
    assert_eq!(
        tier_at(CERTIFIED, "2026-05-01T00:00:00+08:00").await.0,
        i32::from(Tier::Discredited)
    );
    let decision = simulate(
        &app,
        what_if(import(1, UNKNOWN), instant("2026-05-01T00:00:00+08:00")),
    )
    .await;
    assert!(!decision.parties[0].known);

    sql.execute(
        "DELETE FROM scheduled_tier WHERE effective_from = '2026-06-01'",
        [],
    )
    .unwrap();
    app.until_caught_up().await;
    assert_eq!(
        tier_at(ADVANCED, "2026-07-01T00:00:00+08:00").await.0,
        i32::from(Tier::AdvancedCertified)
    );
}

#[tokio::test]
async fn known_at_takes_the_row_as_it_was_recorded_then() {
    let app = TestApp::ready().await;
    let sql = app.sql();
    let code = "91110000600037341L";
    sql.execute(
        "UPDATE enterprise SET social_credit_code = ?1 WHERE customs_code = ?2",
        [code, ADVANCED],
    )
    .unwrap();
    let before = past(&sql).await;
    put_enterprise(&sql, ADVANCED, "DISCREDITED");
    let between = past(&sql).await;
    sql.execute("DELETE FROM enterprise WHERE customs_code = ?1", [ADVANCED])
        .unwrap();
    let after = past(&sql).await;
    app.until_caught_up().await;
    let social_credit = Some(Identifier::SocialCreditCode(code.to_owned()));
    let by_code = pb::Party {
        role: PartyRole::Consignee.into(),
        identifier: social_credit,
    };
    for party in [party(PartyRole::Consignee, ADVANCED), by_code] {
        let known_at = async |at: &str| {
            let request = pb::DecideRequest {
                parties: vec![party.clone()],
                ..import(1, ADVANCED)
            };
            let simulation = pb::SimulateRequest {
                known_at: Some(instant(at)),
                request: Some(request),
                ..pb::SimulateRequest::default()
            };
            let decision = simulate(&app, simulation).await;
            (decision.parties[0].known, decision.parties[0].registered_tier)
        };
        assert_eq!(
            known_at(&before).await,
            (true, i32::from(Tier::AdvancedCertified)),
            "{party:?}"
        );
        assert_eq!(
            known_at(&between).await,
            (true, i32::from(Tier::Discredited)),
            "{party:?}"
        );
        assert_eq!(known_at(&after).await, (false, 0), "{party:?}");
        assert_eq!(
            known_at("2020-01-01T00:00:00Z").await,
            (false, 0),
            "before it was recorded: {party:?}"
        );
    }
}

/// An instant after all that was written and before all that will be, by the store's own clock of milliseconds.
async fn past(sql: &Connection) -> String {
    let now = || -> String {
        sql.query_row("SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')", [], |row| {
            row.get(0)
        })
        .unwrap()
    };
    let written = now();
    let at = eventually("the clock has moved on", SOON, async || {
        Some(now()).filter(|at| *at > written)
    })
    .await;
    eventually("and once more", SOON, async || (now() > at).then_some(())).await;
    at
}

// === rows that cannot be read ===

#[tokio::test]
async fn a_row_that_cannot_be_read_is_counted_stands_on_the_strict_side_and_heals() {
    let app = TestApp::ready().await;
    let sql = app.sql();
    let quarantined = async || app.until_caught_up().await.quarantined_rows;
    let suspended = async |customs_code: &str| {
        let decision = decide(&app, import(1, customs_code)).await;
        let found = &decision.parties[0];
        assert!(found.known, "{customs_code}");
        assert_eq!(found.suspended, has(&decision, ReasonCode::PartySuspended));
        assert!(!found.suspended || !decision.green_channel.as_ref().unwrap().eligible);
        found.suspended
    };
    assert_eq!(quarantined().await, 0);
    assert!(!suspended(ADVANCED).await);

    for (column, bad, good) in [
        ("credit_tier", "'GOLD'", "'ADVANCED_CERTIFIED'"),
        ("tier_effective_from", "'soon'", "'2010-01-01'"),
        ("tier_valid_until", "'2027-02-30'", "NULL"),
        ("suspended", "'maybe'", "0"),
        ("suspended", "2", "0"),
        ("social_credit_code", "'91110000600037341I'", "NULL"),
    ] {
        let set = |value: &str| {
            let update = format!("UPDATE enterprise SET {column} = {value} WHERE customs_code = ?1");
            assert_eq!(sql.execute(&update, [ADVANCED]).unwrap(), 1);
        };
        set(bad);
        assert_eq!(quarantined().await, 1, "{column} = {bad}");
        assert!(suspended(ADVANCED).await, "{column} = {bad}");
        assert!(!suspended(CERTIFIED).await, "the others are as they were");
        set(good);
        assert_eq!(quarantined().await, 0, "{column} = {good}");
        assert!(!suspended(ADVANCED).await, "{column} = {good}");
    }

    // A scheduled tier suspends its enterprise while it cannot be read.
    sql.execute(
        "INSERT INTO scheduled_tier VALUES (?1, 'GOLD', '2030-01-01')",
        [ADVANCED],
    )
    .unwrap();
    assert_eq!(quarantined().await, 1);
    assert!(suspended(ADVANCED).await);
    sql.execute("UPDATE scheduled_tier SET credit_tier = 'REGULAR'", [])
        .unwrap();
    assert_eq!(quarantined().await, 0);
    assert!(!suspended(ADVANCED).await);

    // What is bad from the start is so for a replica that starts later too.
    sql.execute(
        "UPDATE enterprise SET credit_tier = 'GOLD' WHERE customs_code = ?1",
        [CERTIFIED],
    )
    .unwrap();
    assert_eq!(quarantined().await, 1);
    let replica = app.replica();
    assert_eq!(replica.until_caught_up().await.quarantined_rows, 1);
    assert!(decide(&replica, import(1, CERTIFIED)).await.parties[0].suspended);
    sql.execute("DELETE FROM enterprise WHERE customs_code = ?1", [CERTIFIED])
        .unwrap();
    assert_eq!(quarantined().await, 0, "gone is healed too");
}

#[tokio::test]
async fn an_order_that_cannot_be_read_holds_and_an_arrangement_grants_nothing() {
    let app = TestApp::ready().await;
    let sql = app.sql();
    sql.execute(
        "INSERT INTO control_order (id, kind, basis, hs_prefix, customs_office, valid_from, legal_basis, public_reason)
         VALUES ('O-1', 'DOCUMENTS', 'TARGETED', '8471', '2225', '2020-01-01T00:00:00Z', 'Art 1', 'Papers')",
        [],
    )
    .unwrap();
    let lane = async || pb::Lane::try_from(decide(&app, import(1, ADVANCED)).await.lane).unwrap();
    assert_ne!(lane().await, pb::Lane::Manual);
    for (column, bad, good) in [
        ("kind", "'LOOK'", "'DOCUMENTS'"),
        ("basis", "'HUNCH'", "'TARGETED'"),
        ("valid_from", "'soon'", "'2020-01-01T00:00:00Z'"),
        ("valid_to", "'never'", "NULL"),
        ("hs_prefix", "'goods'", "'8471'"),
    ] {
        sql.execute(&format!("UPDATE control_order SET {column} = {bad}"), [])
            .unwrap();
        assert_eq!(
            app.until_caught_up().await.quarantined_rows,
            1,
            "{column} = {bad}"
        );
        let decision = decide(&app, import(1, ADVANCED)).await;
        assert_eq!(decision.lane, i32::from(pb::Lane::Manual), "{column} = {bad}");
        assert!(has(&decision, ReasonCode::HoldOrder));
        let elsewhere = pb::DecideRequest {
            customs_office: "0101".to_owned(),
            ..import(1, ADVANCED)
        };
        assert_ne!(
            decide(&app, elsewhere).await.lane,
            i32::from(pb::Lane::Manual),
            "it holds only what it matches"
        );
        sql.execute(&format!("UPDATE control_order SET {column} = {good}"), [])
            .unwrap();
        assert_eq!(
            app.until_caught_up().await.quarantined_rows,
            0,
            "{column} = {good}"
        );
        assert_ne!(lane().await, pb::Lane::Manual, "{column} = {good}");
    }
    sql.execute("DELETE FROM control_order", []).unwrap();

    sql.execute(
        "INSERT INTO recognised_operator VALUES ('SG200312345A', 'SG', 'STP-Plus', 'Exporter', '2020-01-01', NULL, 0)",
        [],
    )
    .unwrap();
    let recognised = async || {
        let mut request = import(1, REGULAR);
        request.parties.push(pb::Party {
            role: PartyRole::ForeignParty.into(),
            identifier: Some(Identifier::AeoCode("aeo sg<200312345a>".to_owned())),
        });
        has(&decide(&app, request).await, ReasonCode::RecognitionApplied)
    };
    assert!(recognised().await);
    for (table, column, bad, good) in [
        ("recognised_operator", "valid_from", "'soon'", "'2020-01-01'"),
        ("recognised_operator", "suspended", "'no'", "0"),
        ("mutual_recognition", "transport_modes", "'RAFT'", "'ALL'"),
        ("mutual_recognition", "effective_to", "'never'", "NULL"),
        ("mutual_recognition", "direction", "'UP'", "'IMPORT'"),
    ] {
        let update = |value: &str| {
            let update = format!("UPDATE {table} SET {column} = {value} WHERE country = 'SG'");
            assert_eq!(sql.execute(&update, []).unwrap(), 1, "{table}");
        };
        update(bad);
        assert!(!recognised().await, "{table}.{column} = {bad}");
        assert_eq!(
            app.until_caught_up().await.quarantined_rows,
            1,
            "{table}.{column} = {bad}"
        );
        update(good);
        assert!(recognised().await, "{table}.{column} = {good}");
        assert_eq!(
            app.until_caught_up().await.quarantined_rows,
            0,
            "{table}.{column} = {good}"
        );
    }
}

// === whole commits ===

#[tokio::test]
async fn no_decision_sees_half_of_a_transaction() {
    const SWAPS: u64 = 2_000;
    let app =
        TestApp::ready_with(|settings| settings.upstream.poll_interval = Span::new(Duration::ZERO)).await;
    let sql = app.sql();
    sql.execute(
        "DELETE FROM enterprise WHERE customs_code NOT IN (?1, ?2)",
        [ADVANCED, DISCREDITED],
    )
    .unwrap();
    let base = app.until_caught_up().await.registry_version.unwrap().sequence;
    let done = Arc::new(AtomicBool::new(false));
    let writer = swap_again_and_again(app.sql(), SWAPS, Arc::clone(&done));
    let request = pb::DecideRequest {
        parties: vec![
            party(PartyRole::Consignee, ADVANCED),
            party(PartyRole::Declarant, DISCREDITED),
        ],
        ..import(1, ADVANCED)
    };
    let items: Vec<_> = (0..20).map(|_| bytes(&request)).collect();
    let ask = async || {
        let mut client = app.facilitation();
        let mut seen = [0_u64; 2];
        while !done.load(Ordering::Relaxed) {
            let answered = client
                .batch_decide(batch(items.clone()))
                .await
                .unwrap()
                .into_inner();
            for result in answered.results {
                let Some(batch_decide_result::Result::Decision(decision)) = result.result else {
                    panic!("{result:?}");
                };
                let sequence = decision.registry_version.unwrap().sequence - base;
                assert_eq!(sequence % 2, 0, "a commit has two changes");
                let swapped = sequence / 2 % 2 == 1;
                let tiers = [&decision.parties[0], &decision.parties[1]].map(|party| party.registered_tier);
                let mut expected = [Tier::AdvancedCertified, Tier::Discredited].map(i32::from);
                if swapped {
                    expected.reverse();
                }
                assert_eq!(tiers, expected, "at change {sequence}");
                assert_eq!(decision.inspection.unwrap().rate_ppm, 800_000);
                seen[usize::from(swapped)] += 1;
            }
        }
        seen
    };
    let (first, second) = tokio::join!(ask(), ask());
    writer.join().unwrap();
    let seen = [first[0] + second[0], first[1] + second[1]];
    println!("{seen:?} decisions in either state over {SWAPS} swaps");
    assert!(seen.iter().all(|&count| count > 100), "{seen:?}");
    let end = app.until_caught_up().await.registry_version.unwrap().sequence;
    assert_eq!(end - base, 2 * SWAPS);
}

/// Writes on a thread of its own: two enterprises exchange their tiers in one transaction, so many times.
fn swap_again_and_again(writer: Connection, swaps: u64, done: Arc<AtomicBool>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for swap in 0..swaps {
            let mut tiers = ["DISCREDITED", "ADVANCED_CERTIFIED"];
            if swap % 2 == 1 {
                tiers.reverse();
            }
            let transaction = writer.unchecked_transaction().unwrap();
            put_enterprise(&transaction, ADVANCED, tiers[0]);
            put_enterprise(&transaction, DISCREDITED, tiers[1]);
            transaction.commit().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    })
}

#[test]
fn a_generation_is_read_at_one_commit_however_fast_it_is_written() {
    const COMMITS: u64 = 150_000;
    let rows = |one, other| [enterprise(ADVANCED, one), enterprise(DISCREDITED, other)];
    let (best, worst) = (CreditTier::AdvancedCertified, CreditTier::Discredited);
    let states = [rows(best, worst), rows(worst, best)];
    let generation = Generation::new("epoch", 2);
    generation.load(&states[0]);
    generation.finish_load(0, None);
    let ids = [ADVANCED, DISCREDITED].map(|code| EnterpriseId::Customs(code.parse().unwrap()));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut latest = 0;
                while !done.load(Ordering::Relaxed) {
                    let (tiers, sequence) = generation.read(|view| {
                        ids.map(|id| view.enterprise(&id).map(|found| found.credit.credit_tier))
                    });
                    let expected = if sequence % 2 == 0 {
                        [best, worst]
                    } else {
                        [worst, best]
                    };
                    assert_eq!(tiers, expected.map(Some), "at commit {sequence}");
                    assert!(sequence >= latest, "back from {latest} to {sequence}");
                    latest = sequence;
                }
            });
        }
        for commit in 1..=COMMITS {
            generation.commit(&states[usize::from(commit % 2 == 1)], commit, None);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(generation.position().sequence, COMMITS);
}

// === stores that are not what they were ===

/// Puts another database file in the place of the live one, as a restore does.
fn restore(copy: &Path, live: &Path) {
    let sql = store::connect(live);
    sql.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    drop(sql);
    fs::rename(copy, live).unwrap();
    for suffix in ["-wal", "-shm"] {
        let mut name = live.as_os_str().to_owned();
        name.push(suffix);
        drop(fs::remove_file(PathBuf::from(name)));
    }
}

fn copy_of(app: &TestApp, name: &str) -> PathBuf {
    let copy = app.store().with_file_name(name);
    app.sql()
        .execute("VACUUM INTO ?1", [copy.to_str().unwrap()])
        .unwrap();
    copy
}

#[tokio::test]
async fn an_older_copy_of_the_store_is_noticed_and_followed() {
    let app = TestApp::ready().await;
    let older = app.head();
    let copy = copy_of(&app, "older.db");
    for tier in ["REGULAR", "CERTIFIED", "DISCREDITED"] {
        put_enterprise(&app.sql(), ADVANCED, tier);
    }
    assert_eq!(
        decide(&app, import(1, ADVANCED)).await.credit_tier,
        i32::from(Tier::Discredited)
    );

    restore(&copy, app.store());
    assert_eq!(app.head(), older, "the old epoch is back");
    app.until_caught_up().await;
    assert_eq!(
        decide(&app, import(1, ADVANCED)).await.credit_tier,
        i32::from(Tier::AdvancedCertified)
    );
    put_enterprise(&app.sql(), CERTIFIED, "SERIOUSLY_DISCREDITED");
    let decision = decide(&app, import(2, CERTIFIED)).await;
    assert_eq!(decision.credit_tier, i32::from(Tier::SeriouslyDiscredited));
    assert_eq!(decision.registry_version, Some(app.head()));
}

#[tokio::test]
async fn a_copy_that_went_on_by_itself_to_the_same_position_is_noticed() {
    let app = TestApp::ready().await;
    let copy = copy_of(&app, "branch.db");
    put_enterprise(&app.sql(), ADVANCED, "DISCREDITED");
    put_enterprise(&store::connect(&copy), ADVANCED, "REGULAR");
    assert_eq!(
        decide(&app, import(1, ADVANCED)).await.credit_tier,
        i32::from(Tier::Discredited)
    );
    let head = app.head();
    restore(&copy, app.store());
    assert_eq!(app.head(), head, "nothing in the position tells the two apart");
    eventually("the other branch is in force", SOON, async || {
        let decision = decide(&app, import(1, ADVANCED)).await;
        (decision.credit_tier == i32::from(Tier::Regular)).then_some(())
    })
    .await;
    let replica = app.replica();
    assert_eq!(
        replica.until_caught_up().await.digest,
        app.until_caught_up().await.digest
    );
}

#[tokio::test]
async fn a_log_that_was_written_anew_in_place_is_noticed() {
    let app = TestApp::ready().await;
    put_enterprise(&app.sql(), ADVANCED, "DISCREDITED");
    assert_eq!(
        decide(&app, import(1, ADVANCED)).await.credit_tier,
        i32::from(Tier::Discredited)
    );
    let head = app.head();

    // The last change is undone and another takes its number, in the same file and epoch.
    let sql = app.sql();
    let transaction = sql.unchecked_transaction().unwrap();
    transaction
        .execute("DELETE FROM change_log WHERE sequence = ?1", [head.sequence])
        .unwrap();
    transaction
        .execute("UPDATE registry_meta SET sequence = sequence - 1", [])
        .unwrap();
    put_enterprise(&transaction, ADVANCED, "ADVANCED_CERTIFIED");
    transaction.commit().unwrap();
    assert_eq!(app.head(), head);
    eventually("the fork is in force", SOON, async || {
        let decision = decide(&app, import(1, ADVANCED)).await;
        (decision.credit_tier == i32::from(Tier::AdvancedCertified)).then_some(())
    })
    .await;

    // A head that went back.
    let transaction = sql.unchecked_transaction().unwrap();
    put_enterprise(&transaction, REGULAR, "DISCREDITED");
    transaction
        .execute("DELETE FROM change_log WHERE sequence >= ?1", [head.sequence - 1])
        .unwrap();
    transaction
        .execute("UPDATE registry_meta SET sequence = ?1", [head.sequence - 2])
        .unwrap();
    transaction.commit().unwrap();
    let status = app.until_caught_up().await;
    assert_eq!(status.registry_version.unwrap().sequence, head.sequence - 2);
    assert_eq!(
        decide(&app, import(2, REGULAR)).await.credit_tier,
        i32::from(Tier::Discredited)
    );

    // Another store altogether.
    sql.execute("UPDATE registry_meta SET epoch = 'another'", [])
        .unwrap();
    let status = app.until_caught_up().await;
    assert_eq!(status.registry_version.unwrap().epoch, "another");
}

#[tokio::test]
async fn a_store_that_cannot_be_read_leaves_the_last_good_data_in_force() {
    let app = TestApp::ready().await;
    let aside = app.store().with_extension("aside");
    fs::rename(app.store(), &aside).unwrap();
    let told = eventually("the loss is told", SOON, async || {
        Some(status(&app).await.last_error).filter(|error| !error.is_empty())
    })
    .await;
    assert!(told.contains("greenlane.db"), "{told}");
    let answered = app
        .facilitation()
        .decide(import(1, ADVANCED))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        answered.decision.unwrap().credit_tier,
        i32::from(Tier::AdvancedCertified)
    );
    fs::rename(&aside, app.store()).unwrap();
    eventually("it is over", SOON, async || {
        status(&app).await.last_error.is_empty().then_some(())
    })
    .await;
    put_enterprise(&app.sql(), ADVANCED, "REGULAR");
    assert_eq!(
        decide(&app, import(1, ADVANCED)).await.credit_tier,
        i32::from(Tier::Regular)
    );
}

// === replicas ===

#[tokio::test]
async fn after_random_changes_a_follower_and_a_fresh_replica_are_equal() {
    const WRITES: usize = 3_000;
    let app = TestApp::ready().await;
    let sql = app.sql();
    let mut random = StdRng::seed_from_u64(20_261_120);
    let mut written = 0;
    while written < WRITES {
        let transaction = sql.unchecked_transaction().unwrap();
        for _ in 0..random.random_range(1..8) {
            random_write(&transaction, &mut random);
            written += 1;
        }
        if random.random_range(0..20) == 0 {
            transaction.rollback().unwrap();
        } else {
            transaction.commit().unwrap();
        }
    }
    for (customs_code, tier) in EACH_TIER {
        put_enterprise(&sql, customs_code, tier);
    }
    let followed = app.until_caught_up().await;
    let replica = app.replica();
    let loaded = replica.until_caught_up().await;
    let same = |status: &pb::GetRegistryStatusResponse| {
        (
            status.registry_version.clone(),
            status.digest.clone(),
            status.tiers.clone(),
            (
                status.control_orders,
                status.recognised_operators,
                status.quarantined_rows,
            ),
        )
    };
    assert_eq!(same(&followed), same(&loaded));
    assert_eq!(followed.digest.len(), 64);
    assert!(
        followed.quarantined_rows > 0 && followed.control_orders > 0 && followed.recognised_operators > 0
    );

    // The digest is of the rows; here they are, one by one, as officers and as decisions see them.
    let (mut ours, mut theirs) = (app.registry(), replica.registry());
    let (mut decides, mut also_decides) = (app.facilitation(), replica.facilitation());
    for number in 0..60 {
        let code = customs_code(number);
        let one = shown(&mut ours, &code).await;
        assert_eq!(one, shown(&mut theirs, &code).await, "{code}");
        let one = decided(&mut decides, &code).await;
        assert_eq!(one, decided(&mut also_decides, &code).await, "{code}");
    }
    // And it is of nothing else: one more change makes it another.
    put_enterprise(&sql, SERIOUSLY_DISCREDITED, "REGULAR");
    assert_ne!(app.until_caught_up().await.digest, followed.digest);
    put_enterprise(&sql, SERIOUSLY_DISCREDITED, "SERIOUSLY_DISCREDITED");
    assert_eq!(
        app.until_caught_up().await.digest,
        followed.digest,
        "the same rows have the same digest"
    );
}

async fn shown(client: &mut RegistryServiceClient<Channel>, code: &str) -> Result<pb::Enterprise, Code> {
    let identifier = Some(EnterpriseIdentifier::CustomsCode(code.to_owned()));
    match client
        .get_enterprise(pb::GetEnterpriseRequest { identifier })
        .await
    {
        Ok(answered) => Ok(answered.into_inner().enterprise.unwrap()),
        Err(status) => Err(status.code()),
    }
}

async fn decided(client: &mut FacilitationServiceClient<Channel>, code: &str) -> pb::Decision {
    let mut request = import(1, code);
    request.parties.push(pb::Party {
        role: PartyRole::ForeignParty.into(),
        identifier: Some(Identifier::AeoCode(format!("SG{}", &code[8..]))),
    });
    let answered = client.decide(request).await.unwrap();
    let decision = answered.into_inner().decision.unwrap();
    pb::Decision {
        decision_id: String::new(),
        data_age: None,
        decided_at: None,
        valid_until: None,
        ..decision
    }
}

fn customs_code(number: u32) -> String {
    format!("11019191{number:02}")
}

/// One write of another program: any table, any verb, now and then a row that cannot be read.
fn random_write(sql: &Connection, random: &mut StdRng) {
    let code = customs_code(random.random_range(0..60));
    let pick = |random: &mut StdRng, from: &[&'static str]| *from.choose(random).unwrap();
    let tier = pick(
        random,
        &[
            "ADVANCED_CERTIFIED",
            "CERTIFIED",
            "REGULAR",
            "DISCREDITED",
            "SERIOUSLY_DISCREDITED",
            "GOLD",
        ],
    );
    let social = random
        .random_bool(0.6)
        .then(|| format!("9111000060003734{}L", random.random_range(0..9)));
    let date = format!(
        "20{:02}-0{}-01",
        random.random_range(10..30),
        random.random_range(0..8)
    );
    let verb = pick(random, &["INSERT OR REPLACE", "INSERT OR IGNORE", "REPLACE"]);
    let result = match random.random_range(0..14) {
        0..=3 => sql.execute(
            &format!(
                "{verb} INTO enterprise
                 (customs_code, social_credit_code, name, credit_tier, tier_effective_from, tier_valid_until, suspended)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
            ),
            params![
                code,
                social,
                format!("Name {}", random.random_range(0..5)),
                tier,
                date,
                random.random_bool(0.3).then_some("2028-01-01"),
                random.random_range(0..=1)
            ],
        ),
        4 => sql.execute(
            "UPDATE OR REPLACE enterprise SET customs_code = ?1 WHERE customs_code = ?2",
            [&customs_code(random.random_range(0..60)), &code],
        ),
        5 => sql.execute(
            "UPDATE OR REPLACE enterprise SET social_credit_code = ?1 WHERE customs_code = ?2",
            params![social, code],
        ),
        6 => sql.execute(
            "UPDATE enterprise SET suspended = 1 - suspended WHERE customs_code >= ?1",
            [customs_code(random.random_range(55..60))],
        ),
        7 => sql.execute("DELETE FROM enterprise WHERE customs_code = ?1", [&code]),
        8 => sql.execute(
            &format!("{verb} INTO scheduled_tier VALUES (?1, ?2, ?3)"),
            [&code, tier, &date],
        ),
        9 => sql.execute("DELETE FROM scheduled_tier WHERE customs_code = ?1", [&code]),
        10 => sql.execute(
            &format!("{verb} INTO recognised_operator VALUES (?1, 'SG', 'STP-Plus', 'Operator', ?2, NULL, ?3)"),
            params![format!("SG{}", &code[8..]), date, random.random_range(0..=1)],
        ),
        11 => sql.execute(
            "DELETE FROM recognised_operator WHERE aeo_code = ?1",
            [format!("SG{}", &code[8..])],
        ),
        12 => sql.execute(
            &format!(
                "{verb} INTO control_order
                 (id, kind, basis, enterprise_id, valid_from, valid_to, legal_basis, public_reason)
                 VALUES (?1, ?2, ?3, ?4, '2020-01-01T00:00:00Z', ?5, 'Art', 'Reason')"
            ),
            params![
                format!("O-{}", random.random_range(0..20)),
                pick(random, &["HOLD", "INSPECT", "DOCUMENTS", "LOOK"]),
                pick(random, &["MANDATED", "TARGETED", "EMERGENCY"]),
                code,
                random.random_bool(0.3).then_some("2021-01-01T00:00:00Z"),
            ],
        ),
        _ => sql.execute(
            "UPDATE mutual_recognition SET effective_to = ?1 WHERE country = ?2",
            params![
                random.random_bool(0.5).then_some(date),
                pick(random, &["SG", "KR", "HK", "NZ", "CH"])
            ],
        ),
    };
    // What the constraints refuse is no change.
    if let Err(error) = result {
        let code = error.sqlite_error_code();
        assert_eq!(code, Some(rusqlite::ErrorCode::ConstraintViolation), "{error}");
    }
}
