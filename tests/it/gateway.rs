use std::time::{Duration, Instant};

use bytes::Bytes;
use greenlane::{
    app::settings::{AuditDurability, StoreUrl},
    audit::read::LogReader,
    wire::{
        json,
        pb::{self, audit_record::Entry},
    },
};
use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    requests::request,
    support::{
        SOON,
        app::TestApp,
        cases, eventually,
        http::{self, Answer, ask, exchange, post},
        requests::import,
        store::{ADVANCED, REGULAR},
    },
};

const JSON: (&str, &str) = ("content-type", "application/json");

fn value(request: &pb::DecideRequest) -> Value {
    json::to_value("DecideRequest", request).unwrap()
}

fn answered<T: prost::Message + Default>(message: &str, answer: &Answer) -> T {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    json::from_value(message, answer.json()).unwrap()
}

// === what is asked over HTTP is what is asked over gRPC ===

#[tokio::test]
async fn a_decision_over_http_is_logged_as_it_was_given_before_it_is_received_and_replays() {
    for durability in [AuditDurability::Process, AuditDurability::Power] {
        let folder = tempfile::tempdir().unwrap();
        let app = TestApp::ready_with(|settings| {
            settings.audit.directory = folder.path().to_owned();
            settings.audit.durability = durability;
        })
        .await;
        let mut request = import(1, ADVANCED);
        request.accepted_at = Some(greenlane::wire::convert::instant(jiff::Timestamp::now()));
        let answer = post(app.http_address(), "/v1/decide", value(&request).to_string()).await;
        let given: pb::DecideResponse = answered("DecideResponse", &answer);
        let groups = LogReader::open(folder.path(), 0).unwrap().map(Result::unwrap);
        let records = groups.flat_map(|group| group.decoded().collect::<Vec<_>>());
        let Some(Entry::Decision(logged)) = records.last().and_then(|(_, record)| record.entry) else {
            panic!("the last record is no decision");
        };
        assert_eq!(
            (logged.request, &logged.decision),
            (Some(request), &given.decision)
        );
        let decision_id = given.decision.unwrap().decision_id;
        let replayed = app
            .audit()
            .replay_decision(pb::ReplayDecisionRequest { decision_id })
            .await;
        assert_eq!(replayed.unwrap().into_inner().outcome(), pb::ReplayOutcome::Equal);
    }
}

#[tokio::test]
async fn a_batch_answers_each_item_alone_and_a_simulation_decides_nothing() {
    let app = TestApp::ready().await;
    let address = app.http_address();
    let mut wrong = value(&import(2, REGULAR));
    wrong["customsOffice"] = json!("X");
    let mut unread = value(&import(3, REGULAR));
    unread["parties"][0]["customs"] = json!("1");
    unread["direction"] = json!("IMPORT");
    let items = json!([
        value(&import(1, REGULAR)),
        wrong,
        unread,
        null,
        7,
        value(&import(4, ADVANCED))
    ]);
    let answer = post(
        address,
        "/v1/batch-decide",
        json!({"requests": items}).to_string(),
    )
    .await;
    let results: pb::BatchDecideResponse = answered("BatchDecideResponse", &answer);
    let fields = results
        .results
        .into_iter()
        .map(|result| match result.result.unwrap() {
            pb::batch_decide_result::Result::Decision(decision) => vec![decision.declaration_number],
            pb::batch_decide_result::Result::Error(error) => {
                assert_eq!(error.code, 3);
                error
                    .violations
                    .into_iter()
                    .map(|violation| violation.field)
                    .collect()
            }
        });
    let fields: Vec<_> = fields.collect();
    assert_eq!(
        fields,
        [
            vec!["222520261000000001"],
            vec!["customs_office"],
            vec!["direction", "parties[0].customs"],
            vec!["request"],
            vec!["request"],
            vec!["222520261000000004"],
        ]
    );
    let none: pb::BatchDecideResponse = answered(
        "BatchDecideResponse",
        &post(address, "/v1/batch-decide", "{}").await,
    );
    assert_eq!(none.results, []);
    let many = json!({"requests": vec![json!({}); 1_001]});
    for (batch, fields) in [
        (many, ["requests"]),
        (json!({"requests": {}}), ["requests"]),
        (json!({"requests": [], "request": []}), ["request"]),
        (json!([]), ["request"]),
    ] {
        let refused = post(address, "/v1/batch-decide", batch.to_string()).await;
        assert_eq!(
            (refused.status, refused.fields()),
            (400, fields.map(str::to_owned).to_vec())
        );
    }
    let before = app.metrics().await;
    let what_if = json!({"request": value(&import(5, ADVANCED)), "asOf": "2026-04-01T00:00:00+08:00"});
    let simulated: pb::SimulateResponse = answered(
        "SimulateResponse",
        &post(address, "/v1/simulate", what_if.to_string()).await,
    );
    let decision = simulated.decision.unwrap();
    assert_eq!(
        (
            decision.decision_id.as_str(),
            decision.policy.unwrap().id.as_str()
        ),
        ("", "CN-GACC-282")
    );
    let decided = |metrics: &str| {
        let lines = metrics
            .lines()
            .filter(|line| line.starts_with("greenlane_decisions_total"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(decided(&app.metrics().await), decided(&before));
}

#[tokio::test]
async fn enterprises_and_the_status_are_those_of_the_registry_service() {
    let app = TestApp::ready().await;
    let address = app.http_address();
    for id in [
        REGULAR.to_owned(),
        format!("CN{REGULAR}"),
        format!("AEO%20cn%3C{REGULAR}%3E/"),
    ] {
        let answer = ask(address, "GET", &format!("/v1/enterprises/{id}")).await;
        let over_http: pb::GetEnterpriseResponse = answered("GetEnterpriseResponse", &answer);
        let identifier = Some(pb::get_enterprise_request::Identifier::CustomsCode(
            REGULAR.to_owned(),
        ));
        let over_grpc = app
            .registry()
            .get_enterprise(pb::GetEnterpriseRequest { identifier })
            .await;
        assert_eq!(over_http, over_grpc.unwrap().into_inner());
        // A field that is not there would be read as consent.
        assert_eq!(answer.json()["enterprise"]["suspended"], false);
    }
    let unknown = ask(address, "GET", "/v1/enterprises/9999999999").await;
    assert_eq!((unknown.status, &unknown.json()["code"]), (404, &json!(5)));
    for bad in ["", "X", "%FF", "a/b"] {
        let bad = ask(address, "GET", &format!("/v1/enterprises/{bad}")).await;
        assert_eq!((bad.status, bad.fields()), (400, vec!["identifier".to_owned()]));
    }
    let status: pb::GetRegistryStatusResponse = answered(
        "GetRegistryStatusResponse",
        &ask(address, "GET", "/v1/status/").await,
    );
    let over_grpc = app
        .registry()
        .get_registry_status(pb::GetRegistryStatusRequest {})
        .await;
    let over_grpc = over_grpc.unwrap().into_inner();
    assert_eq!((status.digest, status.tiers), (over_grpc.digest, over_grpc.tiers));
}

// === what is no call ===

/// Method, path, headers, body; HTTP code and gRPC code.
type Case<'c> = (&'c str, &'c str, &'c [(&'c str, &'c str)], &'c str, u16, i32);

#[tokio::test]
async fn paths_methods_types_and_deadlines_that_do_not_fit_are_told_as_statuses() {
    let app = TestApp::ready_with(|settings| settings.limits.max_message_bytes = 10_000).await;
    let address = app.http_address();
    let right = value(&import(1, REGULAR)).to_string();
    let large = format!("{}{right}", " ".repeat(10_000));
    let cases: [Case<'_>; 17] = [
        ("GET", "/v1/", &[], "", 404, 5),
        ("POST", "/v1/decide/x", &[JSON], &right, 404, 5),
        ("GET", "/v1/decide", &[], "", 405, 12),
        ("DELETE", "/v1/status", &[], "", 405, 12),
        ("POST", "/v1/enterprises/1101919107", &[JSON], "{}", 405, 12),
        ("POST", "/v1/decide", &[], &right, 415, 3),
        (
            "POST",
            "/v1/decide",
            &[("content-type", "text/plain")],
            &right,
            415,
            3,
        ),
        (
            "POST",
            "/v1/decide",
            &[JSON, ("content-encoding", "gzip")],
            &right,
            415,
            3,
        ),
        ("POST", "/v1/decide", &[JSON], &large, 413, 11),
        (
            "POST",
            "/v1/decide",
            &[JSON, ("grpc-timeout", "0m")],
            &right,
            504,
            4,
        ),
        (
            "POST",
            "/v1/decide",
            &[JSON, ("grpc-timeout", "soon")],
            &right,
            400,
            3,
        ),
        ("GET", "/v1/status", &[("grpc-timeout", "0n")], "", 504, 4),
        ("POST", "/v1/decide", &[JSON], "", 400, 3),
        ("POST", "/v1/decide", &[JSON], "{", 400, 3),
        (
            "POST",
            "/v1/decide/",
            &[("Content-Type", "Application/JSON; charset=utf-8")],
            &right,
            200,
            0,
        ),
        (
            "POST",
            "/v1/decide",
            &[JSON, ("grpc-timeout", "10S"), ("content-encoding", "Identity")],
            &right,
            200,
            0,
        ),
        ("GET", "/v1/status?pretty=1", &[], "", 200, 0),
    ];
    for (method, path, headers, body, status, code) in cases {
        let answer = exchange(address, &http::request(method, path, headers, body.as_bytes())).await;
        let value = answer.json();
        assert_eq!(answer.status, status, "{method} {path} {headers:?}: {value}");
        if status != 200 {
            assert_eq!(value["code"], code, "{method} {path}: {value}");
            assert!(
                value["message"]
                    .as_str()
                    .is_some_and(|message| !message.is_empty()),
                "{value}"
            );
        }
        let allow = (status == 405).then_some(if path == "/v1/decide" { "post" } else { "get, head" });
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
    for path in ["/v1/status", "/livez", "/metrics"] {
        let (head, get) = (ask(address, "HEAD", path).await, ask(address, "GET", path).await);
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"));
    }
    assert_eq!(
        ask(address, "POST", "/livez").await.header("allow"),
        Some("get, head")
    );
}

#[tokio::test]
async fn without_data_every_body_is_told_to_come_back_later() {
    let app = TestApp::with(|settings| {
        settings.upstream.url = StoreUrl::new("postgres://127.0.0.1:1/none".to_owned());
    });
    let address = app.http_address();
    for body in [
        value(&import(1, REGULAR)).to_string(),
        "{".to_owned(),
        String::new(),
    ] {
        for path in ["/v1/decide", "/v1/batch-decide", "/v1/simulate"] {
            for headers in [&[JSON][..], &[]] {
                let answer = exchange(address, &http::request("POST", path, headers, body.as_bytes())).await;
                assert_eq!(
                    (answer.status, &answer.json()["code"]),
                    (503, &json!(14)),
                    "{path}"
                );
            }
        }
    }
    for id in [REGULAR, ""] {
        assert_eq!(
            ask(address, "GET", &format!("/v1/enterprises/{id}")).await.status,
            503
        );
    }
    // An operator asks just when there is none.
    let status = ask(address, "GET", "/v1/status").await;
    assert_eq!(status.json()["state"], "REGISTRY_STATE_LOADING");
}

#[tokio::test]
async fn too_many_calls_at_once_are_told_to_try_again_and_probes_are_answered_meanwhile() {
    const MOST: usize = 128;
    let app = TestApp::ready().await;
    let address = app.http_address();
    let body = value(&import(1, REGULAR)).to_string();
    let whole = http::request("POST", "/v1/decide", &[JSON], body.as_bytes());
    let (begin, end) = whole.split_at(whole.len() - 1);
    let mut unfinished = Vec::new();
    for _ in 0..MOST {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(begin).await.unwrap();
        unfinished.push(socket);
    }
    let refused = eventually("calls are refused", SOON, async || {
        let answer = ask(address, "GET", "/v1/priority/222520261999999999").await;
        (answer.status == 429).then_some(answer)
    })
    .await;
    assert_eq!(refused.header("retry-after"), Some("1"));
    let value = refused.json();
    assert_eq!(value["code"], 8);
    assert_eq!(
        value["details"][0],
        json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"})
    );
    assert_eq!(post(address, "/v1/decide", &body).await.status, 429);
    let asked = Instant::now();
    assert_eq!(ask(address, "GET", "/readyz").await.status, 200);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    let none_shed = "greenlane_requests_shed_total{cause=\"http_calls\"} 0";
    assert!(!app.metrics().await.contains(none_shed));
    for mut socket in unfinished {
        socket.write_all(end).await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        assert_eq!(Answer::read(&answer).status, 200);
    }
    assert_eq!(post(address, "/v1/decide", &body).await.status, 200);
}

// === reading JSON ===

fn read(text: &str) -> Result<pb::SimulateRequest, Vec<String>> {
    match json::read("SimulateRequest", text.as_bytes()) {
        Ok(bytes) => Ok(pb::SimulateRequest::decode(bytes).unwrap()),
        Err(json::JsonError::Invalid(violations)) => {
            Err(violations.0.into_iter().map(|(field, _)| field).collect())
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn every_member_that_does_not_fit_is_told_at_its_path_in_the_contract() {
    let cases = [
        ("", vec!["request"]),
        ("{", vec!["request"]),
        ("{}x", vec!["request"]),
        ("null", vec!["request"]),
        ("[]", vec!["request"]),
        (r#"{"policyId":"\ud800"}"#, vec!["request"]),
        (r#"{"policyId":1,"policy":"x"}"#, vec!["policy_id", "policy"]),
        (r#"{"policyId":"a","policy_id":"b"}"#, vec!["policy_id"]),
        (r#"{"policyId":null,"policyId":"b"}"#, vec!["policy_id"]),
        (
            r#"{"request":[],"tierOverrides":{}}"#,
            vec!["request", "tier_overrides"],
        ),
        (
            r#"{"tierOverrides":[null,{"creditTier":"CERTIFIED"},{"creditTier":1.5}]}"#,
            vec![
                "tier_overrides[0]",
                "tier_overrides[1].credit_tier",
                "tier_overrides[2].credit_tier",
            ],
        ),
        (
            r#"{"tierOverrides":[{"creditTier":2147483648}]}"#,
            vec!["tier_overrides[0].credit_tier"],
        ),
        (
            r#"{"request":{"parties":[{"customsCode":"1","aeoCode":"2"}]}}"#,
            vec!["request.parties[0].identifier"],
        ),
        (
            r#"{"request":{"goods":[{"hsCode":true}],"containerNumbers":["a",1]}}"#,
            vec!["request.goods[0].hs_code", "request.container_numbers[1]"],
        ),
        (
            r#"{"request":{"minRegistryVersion":{"sequence":"-1"}}}"#,
            vec!["request.min_registry_version.sequence"],
        ),
        (
            r#"{"request":{"minRegistryVersion":{"sequence":18446744073709551616}}}"#,
            vec!["request.min_registry_version.sequence"],
        ),
    ];
    for (text, fields) in cases {
        assert_eq!(
            read(text),
            Err(fields.into_iter().map(str::to_owned).collect()),
            "{text}"
        );
    }
}

#[test]
fn both_names_numbers_of_enums_and_integers_as_texts_are_read() {
    let text = r#"{"request":{"declaration_number":"1","direction":2,"transportMode":"TRANSPORT_MODE_AIR","tradeMode":77,
        "parties":[{"role":"PARTY_ROLE_CONSIGNEE","customs_code":""}],"goods":null,
        "minRegistryVersion":{"epoch":"e","sequence":"18446744073709551615"}},
        "tierOverrides":[{"creditTier":1e0}],"as_of":"2026-04-01T08:00:00.5+08:00","knownAt":null}"#;
    let read = read(text).unwrap();
    let request = read.request.unwrap();
    assert_eq!((request.declaration_number.as_str(), request.direction), ("1", 2));
    assert_eq!(
        (request.transport_mode(), request.trade_mode),
        (pb::TransportMode::Air, 77)
    );
    assert_eq!(
        request.parties[0].identifier,
        Some(pb::party::Identifier::CustomsCode(String::new()))
    );
    assert_eq!(request.min_registry_version.unwrap().sequence, u64::MAX);
    assert_eq!(read.tier_overrides[0].credit_tier, 1);
    // 2026-04-01T00:00:00Z, by date(1).
    assert_eq!(
        read.as_of,
        Some(prost_types::Timestamp {
            seconds: 1_775_001_600,
            nanos: 500_000_000
        })
    );
    assert_eq!(read.known_at, None);
}

/// RFC 3339, section 5.6; the years are those of `google.protobuf.Timestamp`.
#[test]
fn a_time_has_its_date_its_time_and_its_offset() {
    let seconds =
        |text: &str| read(&json!({"asOf": text}).to_string()).map(|read| read.as_of.unwrap().seconds);
    for (text, expected) in [
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.25Z", -1),
        ("1970-01-01T00:00:00-01:30", 5_400),
        ("0001-01-01T00:00:00Z", -62_135_596_800),
        ("9999-12-31T23:59:59.999999999Z", 253_402_300_799),
    ] {
        assert_eq!(seconds(text), Ok(expected), "{text}");
    }
    for text in [
        "",
        "2026-04-01",
        "2026-04-01T08:00:00",
        "2026-04-01 08:00:00Z",
        "2026-04-01T08:00Z",
        "2026-04-01T08:00:00.Z",
        "2026-04-01T08:00:00.1234567890Z",
        "2026-04-01T08:00:00+8:00",
        "2026-04-01T08:00:00+0800",
        "2026-04-01T08:00:00+24:00",
        "2026-04-01T08:00:00+01:00Z",
        "2026-04-01T08:00:00[Asia/Shanghai]Z",
        "2026-02-29T08:00:00Z",
        "2026-04-01T25:00:00Z",
        "0000-12-31T23:59:59Z",
        "9999-12-31T23:59:59-00:01",
        "１970-01-01T00:00:00Z",
    ] {
        assert_eq!(seconds(text), Err(vec!["as_of".to_owned()]), "{text}");
    }
    assert_eq!(read(r#"{"asOf":0}"#).unwrap_err(), ["as_of"]);
}

/// The message as prost-reflect writes it, by either names.
fn written(message: &str, bytes: &[u8], proto_names: bool) -> String {
    let pool = DescriptorPool::decode(pb::DESCRIPTORS).unwrap();
    let descriptor = pool
        .get_message_by_name(&format!("greenlane.v1.{message}"))
        .unwrap();
    let message = DynamicMessage::decode(descriptor, bytes).unwrap();
    let options = SerializeOptions::new()
        .use_proto_field_name(proto_names)
        .use_enum_numbers(proto_names);
    let mut json = serde_json::Serializer::new(Vec::new());
    message.serialize_with_options(&mut json, &options).unwrap();
    String::from_utf8(json.into_inner()).unwrap()
}

/// Something that may stand in the place of anything else.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[A-Z_]{0,30}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(
                prop_oneof![
                    "[a-z]{1,8}",
                    Just("parties".to_owned()),
                    Just("direction".to_owned())
                ],
                inner,
                0..4
            )
            .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// The places of a value, in one order.
fn places(value: &mut Value) -> Vec<&mut Value> {
    match value {
        Value::Object(members) => members.values_mut().flat_map(places).collect(),
        Value::Array(elements) => elements.iter_mut().flat_map(places).collect(),
        leaf @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => vec![leaf],
    }
}

/// Reads what-if on a request with something else in one of its places; gives the fields that are wrong.
fn read_altered(sent: pb::DecideRequest, at: prop::sample::Index, other: Value) -> Option<Vec<String>> {
    // JSON cannot write an instant that is none.
    let sent = pb::DecideRequest {
        accepted_at: None,
        ..sent
    };
    let mut value = json!({"request": value(&sent), "asOf": "2026-04-01T00:00:00Z", "tierOverrides": [{"creditTier": 1}]});
    let mut places = places(&mut value);
    let index = at.index(places.len());
    *places[index] = other;
    read(&value.to_string()).err()
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn any_request_is_read_as_the_same_message_in_whatever_way_it_is_written(request in request(), names: bool) {
        let bytes = request.encode_to_vec();
        // What is wrong with an instant is wrong in JSON too, which cannot write it.
        prop_assume!(request.accepted_at.is_none_or(|at| (0..1_000_000_000).contains(&at.nanos)
            && (-62_135_596_800..=253_402_300_799).contains(&at.seconds)));
        let read = json::read("DecideRequest", written("DecideRequest", &bytes, names).as_bytes());
        let read = read.map(|bytes| pb::DecideRequest::decode(bytes).unwrap());
        match read {
            Ok(read) => prop_assert_eq!(read, request),
            Err(error) => prop_assert!(false, "{error}"),
        }
    }

    #[test]
    fn a_request_with_anything_in_one_place_is_read_or_told_what_is_wrong(
        sent in request().boxed(),
        at in any::<prop::sample::Index>(),
        other in anything().boxed(),
    ) {
        let read = read_altered(sent, at, other);
        prop_assert!(
            read.as_ref().is_none_or(|told| !told.is_empty() && told.iter().all(|field| !field.is_empty())),
            "{:?}",
            read
        );
    }

    #[test]
    fn any_bytes_are_read_or_told_what_is_wrong(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for message in ["DecideRequest", "SimulateRequest"] {
            let read = json::read(message, &bytes);
            prop_assert!(matches!(read, Ok(_) | Err(json::JsonError::Invalid(_))));
        }
        let batch = json::read_batch(&bytes);
        prop_assert!(matches!(batch, Ok(_) | Err(json::JsonError::Invalid(_))));
    }
}

/// Deeper than any stack, longer than any list, more members and problems than anyone would tell.
#[test]
fn what_is_meant_to_exhaust_is_refused_in_a_little_time_and_memory() {
    let many = |piece: &str, count: usize| vec![piece; count].join(",");
    let hostile = [
        "[".repeat(1_000_000),
        format!("{{\"request\":{}", "{\"goods\":".repeat(1_000_000)),
        format!("{{\"request\":{{\"goods\":[{}]}}}}", many("{}", 1_000_000)),
        format!("{{{}}}", many("\"x\":1", 1_000_000)),
        format!("{{{}}}", many("\"policyId\":1", 500_000)),
        format!("{{\"{}\":1}}", "x".repeat(4_000_000)),
    ];
    for text in hostile {
        let Err(json::JsonError::Invalid(violations)) = json::read("SimulateRequest", text.as_bytes()) else {
            panic!("{} is read", &text[..60]);
        };
        let told: usize = violations
            .0
            .iter()
            .map(|(field, rule)| field.len() + rule.len())
            .sum();
        assert!(
            violations.0.len() <= 100 && told < 50_000,
            "{} bytes for {}",
            told,
            &text[..60]
        );
    }
    let items = format!("{{\"requests\":[{}]}}", many("{}", 1_000_000));
    assert_eq!(json::read_batch(items.as_bytes()).unwrap().len(), 1_001);
}

#[tokio::test]
async fn whatever_is_posted_is_answered_and_never_by_a_fault_of_the_server() {
    let app = TestApp::ready().await;
    let address = app.http_address();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let bytes = prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
    let values = anything().prop_map(|value| value.to_string().into());
    let requests = request().prop_map(|request| {
        written(
            "DecideRequest",
            &pb::DecideRequest {
                accepted_at: None,
                min_registry_version: None,
                ..request
            }
            .encode_to_vec(),
            false,
        )
        .into()
    });
    let bodies = prop_oneof![bytes, values, requests];
    for _ in 0..60 {
        let body = proptest::strategy::Strategy::new_tree(&bodies, &mut runner).unwrap();
        let body = proptest::strategy::ValueTree::current(&body);
        for path in ["/v1/decide", "/v1/batch-decide", "/v1/simulate"] {
            let answer = post(address, path, &body).await;
            assert!(
                matches!(answer.status, 200 | 400 | 503),
                "{path} {body:?}: {}",
                answer.status
            );
            answer.json();
        }
    }
}
