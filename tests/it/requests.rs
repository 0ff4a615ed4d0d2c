use std::{collections::BTreeSet, sync::LazyLock, time::Duration};

use bytes::Bytes;
use greenlane::{
    domain::CreditTier,
    facilitation::{Moment, Simulation},
    wire::{
        encode::Asked,
        pb::{self, batch_decide_result, party::Identifier},
        usual,
        validate::{self, Window},
        violations::{Violations, undecodable_field},
    },
};
use proptest::{prelude::*, strategy::ValueTree as _};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage as _, Value};
use tonic::Code;

use crate::support::{
    SOON,
    app::{SECRET, TestApp},
    cases, eventually, raw,
    replica::{Replica, enterprise},
    requests::{answer, batch, bytes, fields, import, item_fields},
    store::{ADVANCED, EACH_TIER, REGULAR},
};

const DECIDE: &str = "/greenlane.v1.FacilitationService/Decide";
const BATCH_DECIDE: &str = "/greenlane.v1.FacilitationService/BatchDecide";
const DECIDE_STREAM: &str = "/greenlane.v1.FacilitationService/DecideStream";
const SIMULATE: &str = "/greenlane.v1.FacilitationService/Simulate";

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| DescriptorPool::decode(pb::DESCRIPTORS).unwrap());

static REPLICA: LazyLock<Replica> = LazyLock::new(|| {
    let rows: Vec<_> = EACH_TIER
        .iter()
        .zip(CreditTier::ALL)
        .map(|((customs_code, _), tier)| enterprise(customs_code, *tier))
        .collect();
    Replica::new(SECRET, &rows)
});

const NOW: &str = "2026-11-20T04:00:00Z";

fn descriptor(message: &str) -> MessageDescriptor {
    POOL.get_message_by_name(&format!("greenlane.v1.{message}"))
        .unwrap()
}

// === arbitrary messages through validation and decision ===

proptest! {
    #![proptest_config(cases(1_500))]

    #[test]
    fn any_request_is_decided_or_told_which_of_its_fields_are_wrong(request in request()) {
        let moment = Replica::moment(NOW);
        match validate::request(&request, &window(&moment)) {
            Ok(valid) => {
                let decided = REPLICA.facilitation.decide(
                    &valid.declaration,
                    valid.accepted_at,
                    &REPLICA.clock,
                    &moment,
                    |outcome| outcome.decision.parties.len(),
                );
                prop_assert_eq!(decided, Ok(request.parties.len()));
            }
            Err(violations) => exist(&violations, "DecideRequest", &request.encode_to_vec())?,
        }
    }

    #[test]
    fn what_is_read_at_once_is_what_its_message_says(bytes in request_bytes()) {
        let window = window(&Replica::moment(NOW));
        if let Some(read) = usual::request(&bytes, &window) {
            let message = pb::DecideRequest::decode(bytes).unwrap();
            prop_assert_eq!(validate::request(&message, &window), Ok(read.clone()));
            prop_assert_eq!(message.min_registry_version.as_ref(), None);
            prop_assert_eq!(Asked::declaration_number(&message), read.declaration.declaration_number());
            prop_assert!(Asked::parties(&message).eq(Asked::parties(&read.declaration)));
        }
    }

    #[test]
    fn any_simulation_is_answered_or_told_which_of_its_fields_are_wrong(sent in simulation()) {
        let moment = Replica::moment(NOW);
        let book = REPLICA.facilitation.policies();
        let policy = book.by_id(&sent.policy_id).cloned();
        let known = sent.policy_id.is_empty() || policy.is_some();
        match validate::simulation(&sent, moment.timestamp, first_policy(), known) {
            Ok(valid) => {
                let simulation = Simulation { policy, overrides: valid.overrides, known: None };
                let times = (valid.request.accepted_at, valid.decided_at);
                let declaration = &valid.request.declaration;
                let answered = REPLICA.facilitation.simulate(
                    declaration,
                    times,
                    &simulation,
                    &REPLICA.clock,
                    &moment,
                    |outcome| outcome.decision.inspection.rate.0,
                );
                prop_assert!(answered.is_ok_and(|rate| rate <= 1_000_000), "{:?}", answered);
            }
            Err(violations) => exist(&violations, "SimulateRequest", &sent.encode_to_vec())?,
        }
    }

    #[test]
    fn any_bytes_are_a_request_or_told_at_which_field_they_stop_being_one(bytes in request_bytes()) {
        let Err(error) = pb::DecideRequest::decode(bytes) else { return Ok(()) };
        let Violations(violations) = undecodable_field(&error);
        prop_assert_eq!(violations.len(), 1);
        prop_assert!(is_known_path(&violations[0].0, &descriptor("DecideRequest")), "{}: {}", violations[0].0, error);
    }
}

#[test]
fn generated_requests_are_both_right_and_wrong() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let moment = Replica::moment(NOW);
    let right = (0..400)
        .filter(|_| {
            let request = request().new_tree(&mut runner).unwrap().current();
            validate::request(&request, &window(&moment)).is_ok()
        })
        .count();
    assert!((40..360).contains(&right), "{right} of 400");
}

#[test]
fn most_requests_that_are_right_are_read_at_once() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let window = window(&Replica::moment(NOW));
    let (mut right, mut usual) = (0, 0);
    for _ in 0..400 {
        let request = request().new_tree(&mut runner).unwrap().current();
        // Of the generated foreign codes, none is in its normal form.
        let is_foreign = |party: &pb::Party| matches!(party.identifier, Some(Identifier::AeoCode(_)));
        if validate::request(&request, &window).is_ok() && !request.parties.iter().any(is_foreign) {
            right += 1;
            usual += usize::from(usual::request(&request.encode_to_vec(), &window).is_some());
        }
    }
    assert!(right > 20 && usual * 10 > right * 8, "{usual} of {right}");
}

fn window(moment: &Moment) -> Window {
    Window {
        now: moment.timestamp,
        ahead: Duration::from_mins(5),
        behind: Duration::from_hours(168),
        first_policy: first_policy(),
    }
}

fn first_policy() -> greenlane::domain::Date {
    "2014-12-01".parse().unwrap()
}

/// Every violation names something that is in the message, or that is missing in something that is.
fn exist(violations: &Violations, message: &str, bytes: &[u8]) -> Result<(), TestCaseError> {
    let sent = DynamicMessage::decode(descriptor(message), bytes).unwrap();
    prop_assert!(!violations.0.is_empty(), "refused without a reason");
    for (path, rule) in &violations.0 {
        prop_assert!(!rule.is_empty(), "{path}: no rule is told");
        prop_assert!(exists(path, &sent), "{path}: there is no such thing in {sent:?}");
    }
    Ok(())
}

fn exists(path: &str, message: &DynamicMessage) -> bool {
    let (step, rest) = match path.split_once('.') {
        Some((step, rest)) => (step, Some(rest)),
        None => (path, None),
    };
    let (name, index) = match step.strip_suffix(']').and_then(|step| step.split_once('[')) {
        Some((name, index)) => (name, index.parse::<usize>().ok()),
        None => (step, None),
    };
    let descriptor = message.descriptor();
    let Some(field) = descriptor.get_field_by_name(name) else {
        // A choice of which nothing was sent goes by its own name.
        let mut choices = descriptor.oneofs();
        return rest.is_none()
            && choices.any(|choice| {
                choice.name() == name && !choice.fields().any(|field| message.has_field(&field))
            });
    };
    if field.containing_oneof().is_some() && !message.has_field(&field) {
        return false;
    }
    let value = message.get_field(&field);
    let value = match (&*value, index) {
        (Value::List(list), Some(index)) => match list.get(index) {
            Some(element) => element,
            None => return false,
        },
        (_, Some(_)) => return false,
        (value, None) => value,
    };
    match (rest, value) {
        (None, _) => true,
        (Some(rest), Value::Message(inner)) => exists(rest, inner),
        (Some(_), _) => false,
    }
}

/// Whether a path without indexes leads through the message's type; `request` stands for the whole.
fn is_known_path(path: &str, message: &MessageDescriptor) -> bool {
    if path == "request" {
        return true;
    }
    let (step, rest) = match path.split_once('.') {
        Some((step, rest)) => (step, Some(rest)),
        None => (path, None),
    };
    let step = step.split_once('[').map_or(step, |(name, _)| name);
    match (message.get_field_by_name(step), rest) {
        (None, None) => message.oneofs().any(|choice| choice.name() == step),
        (None, Some(_)) => false,
        (Some(_), None) => true,
        (Some(field), Some(rest)) => {
            let kind = field.kind();
            kind.as_message().is_some_and(|inner| is_known_path(rest, inner))
        }
    }
}

// === what is sent: mostly right, sometimes anything ===

fn wild() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[0-9A-Za-z <>]{0,40}",
        "\\PC{0,40}",
        any::<String>(),
        // Digits and capitals that are not ASCII's, and what looks like the end of a text.
        Just("１２３４".to_owned()),
        Just("2225\n".to_owned()),
        Just("AEO".repeat(40)),
    ]
}

fn mostly(right: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![60 => right, 1 => wild()]
}

fn number(right: std::ops::RangeInclusive<i32>) -> impl Strategy<Value = i32> {
    let next = right.end() + 1;
    prop_oneof![80 => right, 1 => any::<i32>(), 1 => Just(0), 1 => Just(next), 1 => Just(-1), 1 => Just(i32::MIN)]
}

fn timestamp() -> impl Strategy<Value = prost_types::Timestamp> {
    let now: jiff::Timestamp = NOW.parse().unwrap();
    let seconds = prop_oneof![
        40 => now.as_second() - 7 * 86_400..=now.as_second() + 300,
        1 => any::<i64>(),
        1 => Just(-62_135_596_800),
        1 => Just(253_402_300_799),
        1 => Just(1_417_363_199),
    ];
    let nanos = prop_oneof![40 => 0..1_000_000_000, 1 => any::<i32>()];
    (seconds, nanos).prop_map(|(seconds, nanos)| prost_types::Timestamp { seconds, nanos })
}

fn identifier() -> impl Strategy<Value = Option<Identifier>> {
    prop_oneof![
        40 => mostly("110191910[1-9]").prop_map(|text| Some(Identifier::CustomsCode(text))),
        15 => mostly("[0-9A-HJ-NPQRTUWXY]{18}").prop_map(|text| Some(Identifier::SocialCreditCode(text))),
        15 => mostly("(AEO|aeo<)?(cn110191910[1-5]|CN 1101919102>)")
            .prop_map(|text| Some(Identifier::AeoCode(text))),
        1 => mostly("(AEO)?(SG|kr)[0-9A-Z]{1,12}").prop_map(|text| Some(Identifier::AeoCode(text))),
        1 => Just(None),
    ]
}

fn list<T: std::fmt::Debug>(
    element: impl Strategy<Value = T> + Clone,
    usual: usize,
    most: usize,
) -> impl Strategy<Value = Vec<T>> {
    prop_oneof![
        40 => proptest::collection::vec(element.clone(), 0..=usual),
        1 => proptest::collection::vec(element, most..=most + 3),
    ]
}

prop_compose! {
    fn goods_item()(
        hs_code in mostly("[0-9]{6,13}"),
        origin_country in mostly("[A-Z]{2}"),
    ) -> pb::GoodsItem {
        pb::GoodsItem { hs_code, origin_country }
    }
}

prop_compose! {
    fn party()(role in number(1..=6), identifier in identifier()) -> pb::Party {
        pb::Party { role, identifier }
    }
}

prop_compose! {
    pub(crate) fn request()(
        declaration_number in mostly("[0-9]{8}1[0-9]{9}"),
        direction in prop_oneof![20 => Just(1), 1 => number(1..=3)],
        mut parties in list(party().boxed(), 4, 16),
        // One party that is right, so that most requests are not refused for having none.
        first in prop_oneof![20 => Just(true), 1 => Just(false)],
        goods in list(goods_item().boxed(), 3, 100),
        customs_office in mostly("[0-9]{4}"),
        transport_mode in number(0..=6),
        trade_mode in number(0..=4),
        transport_document_number in prop_oneof![mostly("[!-~]{0,64}"), Just(String::new())],
        container_numbers in list(
            prop_oneof![60 => Just("MSCU6639870".to_owned()), 1 => "[A-Z]{3}[UJZ][0-9]{7}", 1 => wild()].boxed(),
            2,
            100,
        ),
        accepted_at in proptest::option::of(timestamp()),
        min_registry_version in proptest::option::weighted(0.1, (wild(), any::<u64>())),
    ) -> pb::DecideRequest {
        if first {
            let identifier = Some(Identifier::CustomsCode(REGULAR.to_owned()));
            parties.insert(0, pb::Party { role: 2, identifier });
        }
        pb::DecideRequest {
            declaration_number,
            direction,
            parties,
            goods,
            customs_office,
            transport_mode,
            trade_mode,
            transport_document_number,
            container_numbers,
            accepted_at,
            min_registry_version: min_registry_version
                .map(|(epoch, sequence)| pb::RegistryVersion { epoch, sequence }),
        }
    }
}

prop_compose! {
    fn simulation()(
        request in proptest::option::weighted(0.95, request()),
        policy_id in prop_oneof![4 => Just(String::new()), 2 => "CN-GACC-(225|237|251|282)", 1 => wild()],
        tier_overrides in list(
            (mostly("110191910[1-9]"), number(1..=5))
                .prop_map(|(customs_code, credit_tier)| pb::TierOverride { customs_code, credit_tier })
                .boxed(),
            2,
            1_000,
        ),
        as_of in proptest::option::of(timestamp()),
        known_at in proptest::option::weighted(0.2, timestamp()),
    ) -> pb::SimulateRequest {
        pb::SimulateRequest { request, policy_id, tier_overrides, as_of, known_at }
    }
}

/// A request's bytes: as they should be, cut short, with a byte changed, or none of one.
fn request_bytes() -> impl Strategy<Value = Bytes> {
    let encoded = || request().prop_map(|request| request.encode_to_vec());
    prop_oneof![
        1 => encoded().prop_map(Bytes::from),
        2 => (encoded(), any::<prop::sample::Index>()).prop_map(|(mut bytes, at)| {
            bytes.truncate(at.index(bytes.len() + 1));
            bytes.into()
        }),
        4 => (encoded(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut bytes, at, byte)| {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.into()
        }),
        3 => proptest::collection::vec(any::<u8>(), 0..64).prop_map(Bytes::from),
    ]
}

// === through the server ===

#[tokio::test]
async fn the_server_answers_any_batch_item_by_item() {
    let app = TestApp::ready().await;
    let mut client = app.facilitation();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let items = proptest::collection::vec(request_bytes(), 0..60);
    for _ in 0..40 {
        let items = items.new_tree(&mut runner).unwrap().current();
        // A version that is not there costs a second; here it is told from an item that is wrong.
        let items: Vec<_> = items.into_iter().map(without_version).collect();
        let answered = client
            .batch_decide(batch(items.clone()))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answered.results.len(), items.len());
        for (item, result) in items.iter().zip(answered.results) {
            match result.result.unwrap() {
                batch_decide_result::Result::Decision(decision) => {
                    let request = pb::DecideRequest::decode(item.clone()).unwrap();
                    assert_eq!(decision.declaration_number, request.declaration_number);
                }
                batch_decide_result::Result::Error(error) => {
                    assert_eq!(error.code, Code::InvalidArgument as i32, "{error:?}");
                    assert!(
                        !error.violations.is_empty() && !error.message.is_empty(),
                        "{error:?}"
                    );
                }
            }
        }
    }
}

fn without_version(item: Bytes) -> Bytes {
    match pb::DecideRequest::decode(item.clone()) {
        Ok(request) => bytes(&pb::DecideRequest {
            min_registry_version: None,
            // The server's own time, not that of the generated requests.
            accepted_at: None,
            ..request
        }),
        Err(_) => item,
    }
}

/// Bytes that are no `DecideRequest`, with the field that is at fault.
fn undecodable() -> [(Bytes, &'static str); 6] {
    let not_utf8 = b"\x0a\x01\xff";
    let party_not_utf8 = b"\x1a\x03\x12\x01\xff";
    let party_cut_short = b"\x1a\x09\x12\x0a1101";
    let goods_not_utf8 = b"\x22\x03\x12\x01\xff";
    let nothing_at_all = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff";
    let time_of_another_wire_type = b"\x52\x02\x0a\x00";
    [
        (Bytes::from_static(not_utf8), "declaration_number"),
        (Bytes::from_static(party_not_utf8), "parties"),
        (Bytes::from_static(party_cut_short), "parties"),
        (Bytes::from_static(goods_not_utf8), "goods"),
        (Bytes::from_static(nothing_at_all), "request"),
        (Bytes::from_static(time_of_another_wire_type), "accepted_at"),
    ]
}

#[tokio::test]
async fn bytes_that_are_no_request_are_refused_by_field() {
    let app = TestApp::ready().await;
    for (bytes, field) in undecodable() {
        let refused = raw::unary(app.address(), DECIDE, &bytes).await;
        assert_eq!(refused.http_status, 200);
        assert_eq!(
            refused.status.code(),
            Code::InvalidArgument,
            "{:?}",
            refused.status
        );
        let named = fields(&refused.status);
        assert_eq!(named.len(), 1, "{named:?}");
        assert!(begins_with(&named[0], field), "{named:?} for {field}");
        assert!(
            is_known_path(&named[0], &descriptor("DecideRequest")),
            "{named:?}"
        );

        // The same within a what-if.
        let inside = raw::unary(app.address(), SIMULATE, &nested(1, &bytes)).await;
        assert_eq!(inside.status.code(), Code::InvalidArgument, "{:?}", inside.status);
        let named = fields(&inside.status);
        assert!(
            named.iter().all(|named| begins_with(named, "request")) && named.len() == 1,
            "{named:?} for request.{field}"
        );
    }
    let not_a_batch = raw::unary(app.address(), BATCH_DECIDE, b"\x0a\x05\x0a").await;
    assert_eq!(not_a_batch.status.code(), Code::InvalidArgument);
    assert_eq!(fields(&not_a_batch.status), ["requests"]);
}

fn begins_with(path: &str, step: &str) -> bool {
    path.strip_prefix(step)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with('['))
}

/// A message with that field, of bytes as they are.
fn nested(field: u8, bytes: &[u8]) -> Vec<u8> {
    let mut message = vec![field << 3 | 2, u8::try_from(bytes.len()).unwrap()];
    message.extend_from_slice(bytes);
    message
}

#[tokio::test]
async fn one_bad_item_of_a_batch_is_answered_alone() {
    let app = TestApp::ready().await;
    let mut client = app.facilitation();
    let invalid = pb::DecideRequest {
        customs_office: "22".to_owned(),
        ..import(2, REGULAR)
    };
    for (broken, field) in undecodable() {
        let items = [
            bytes(&import(1, ADVANCED)),
            broken,
            bytes(&invalid),
            Bytes::new(),
            bytes(&import(3, REGULAR)),
        ];
        let answered = client.batch_decide(batch(items)).await.unwrap().into_inner();
        let results: Vec<_> = answered
            .results
            .into_iter()
            .map(|result| match result.result.unwrap() {
                batch_decide_result::Result::Decision(decision) => Ok(decision),
                batch_decide_result::Result::Error(error) => Err(error),
            })
            .collect();
        assert_eq!(results.len(), 5);
        let number = |at: usize| results[at].as_ref().unwrap().declaration_number.as_str();
        assert_eq!(number(0), import(1, ADVANCED).declaration_number);
        assert_eq!(number(4), import(3, REGULAR).declaration_number);
        let error = |at: usize| results[at].as_ref().unwrap_err();
        for at in 1..4 {
            assert_eq!(error(at).code, Code::InvalidArgument as i32);
        }
        let named = item_fields(error(1));
        assert!(
            named.len() == 1 && begins_with(named[0], field),
            "{named:?} for {field}"
        );
        assert_eq!(item_fields(error(2)), ["customs_office"]);
        // An item of which nothing was sent lacks everything that is required, told at once.
        let missing: BTreeSet<_> = item_fields(error(3)).into_iter().collect();
        assert_eq!(
            missing,
            BTreeSet::from(["customs_office", "declaration_number", "direction", "parties"])
        );
    }
}

#[tokio::test]
async fn a_stream_goes_on_after_a_bad_message_and_gives_back_correlation_ids() {
    let app = TestApp::ready().await;
    let mut client = app.facilitation();
    let message = |correlation_id, request| pb::DecideStreamRequest {
        correlation_id,
        request,
        ..pb::DecideStreamRequest::default()
    };
    for (broken, field) in undecodable() {
        let invalid = pb::DecideRequest::default();
        let messages = vec![
            message(7, Some(bytes(&import(1, ADVANCED)))),
            message(7, Some(broken)),
            message(u64::MAX, Some(bytes(&invalid))),
            message(0, None),
            message(8, Some(bytes(&import(2, REGULAR)))),
        ];
        let stream = client.decide_stream(tokio_stream::iter(messages)).await.unwrap();
        let answers = all(stream.into_inner()).await.unwrap();
        let ids: Vec<_> = answers.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, [7, 7, u64::MAX, 0, 8]);
        assert!(answers[0].1.is_ok() && answers[4].1.is_ok(), "{answers:?}");
        let error = |at: usize| answers[at].1.as_ref().unwrap_err();
        let named = item_fields(error(1));
        assert!(
            named.len() == 1 && begins_with(named[0], field),
            "{named:?} for {field}"
        );
        assert!(item_fields(error(2)).contains(&"declaration_number"));
        assert_eq!(item_fields(error(3)), ["request"]);
    }
}

type Answers = Vec<(u64, Result<pb::Decision, pb::ItemError>)>;

async fn all(mut stream: tonic::Streaming<pb::DecideStreamResponse>) -> Result<Answers, tonic::Status> {
    let mut answers = Vec::new();
    while let Some(response) = stream.message().await? {
        answers.push(answer(response));
    }
    Ok(answers)
}

#[tokio::test]
async fn a_stream_goes_on_after_a_message_that_is_no_message_at_all() {
    let app = TestApp::ready().await;
    let good = |correlation_id| {
        let request = Some(bytes(&import(1, REGULAR)));
        pb::DecideStreamRequest {
            correlation_id,
            request,
            ..pb::DecideStreamRequest::default()
        }
        .encode_to_vec()
    };
    let messages = [
        good(1),
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        good(3),
    ];
    let messages: Vec<_> = messages.iter().map(Vec::as_slice).collect();
    let answered = raw::call(app.address(), DECIDE_STREAM, &[], &messages, false).await;
    let answers: Vec<_> = answered
        .messages
        .into_iter()
        .map(|message| answer(pb::DecideStreamResponse::decode(message).unwrap()))
        .collect();
    assert_eq!(answered.status.code(), Code::Ok, "{:?}", answered.status);
    assert_eq!(answers.len(), 3);
    assert!(answers[0].1.is_ok() && answers[2].1.is_ok(), "{answers:?}");
    assert_eq!(answers[2].0, 3);
    let error = answers[1].1.as_ref().unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument as i32);
    assert!(!error.violations.is_empty());
}

#[tokio::test]
async fn a_batch_may_be_empty_and_hold_a_thousand_but_not_one_more() {
    let app = TestApp::ready().await;
    let mut client = app.facilitation();
    let empty = client.batch_decide(batch([])).await.unwrap().into_inner();
    assert!(empty.results.is_empty());
    let items = |count: u32| batch((0..count).map(|sequence| bytes(&import(sequence, REGULAR))));
    let full = client.batch_decide(items(1_000)).await.unwrap().into_inner();
    assert_eq!(full.results.len(), 1_000);
    let number = |result: &pb::BatchDecideResult| match result.result.as_ref().unwrap() {
        batch_decide_result::Result::Decision(decision) => decision.declaration_number.clone(),
        batch_decide_result::Result::Error(error) => panic!("{error:?}"),
    };
    let numbers: Vec<_> = full.results.iter().map(number).collect();
    let sent: Vec<_> = (0..1_000)
        .map(|sequence| import(sequence, REGULAR).declaration_number)
        .collect();
    assert_eq!(numbers, sent, "in the order of the requests");
    let refused = client.batch_decide(items(1_001)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(fields(&refused), ["requests"]);
}

#[tokio::test]
async fn methods_that_are_not_here_are_unimplemented() {
    let app = TestApp::ready().await;
    // Until then, whatever is asked of it is UNAVAILABLE.
    eventually("the shipments are loaded", SOON, async || {
        let asked = raw::unary(app.address(), "/greenlane.v1.PriorityService/Release", b"").await;
        (asked.status.code() != Code::Unavailable).then_some(())
    })
    .await;
    for path in [
        "/greenlane.v1.FacilitationService/Undecide",
        "/greenlane.v1.RegistryService/SetEnterprise",
        "/greenlane.v1.PriorityService/Release",
        "/greenlane.v2.FacilitationService/Decide",
        "/greenlane.v1.FacilitationService",
        "/",
    ] {
        let answered = raw::unary(app.address(), path, b"").await;
        assert_eq!(answered.http_status, 200, "{path}");
        assert_eq!(
            answered.status.code(),
            Code::Unimplemented,
            "{path}: {:?}",
            answered.status
        );
    }
}

#[tokio::test]
async fn every_method_of_the_services_that_are_here_is_served() {
    let app = TestApp::ready().await;
    let contract = POOL
        .services()
        .filter(|service| service.package_name() == "greenlane.v1");
    let mut methods = 0;
    for service in contract {
        methods += service.methods().len();
        for method in service.methods() {
            let path = format!("/{}/{}", service.full_name(), method.name());
            let answered = raw::unary(app.address(), &path, b"").await;
            assert_ne!(answered.status.code(), Code::Unimplemented, "{path}");
        }
    }
    assert!(methods >= 16, "the contract's methods: {methods}");
}

// === deadlines ===

#[tokio::test]
async fn a_timeout_that_is_none_is_refused_by_name() {
    let app = TestApp::ready().await;
    let request = bytes(&import(1, REGULAR));
    for timeout in [
        "",
        "S",
        "5",
        "123456789S",
        "-1S",
        "1x",
        "1.5S",
        "soon",
        " 1S",
        "1 S",
    ] {
        let headers = [("grpc-timeout", timeout)];
        let refused = raw::call(app.address(), DECIDE, &headers, &[&request], false).await;
        assert_eq!(
            refused.status.code(),
            Code::InvalidArgument,
            "{timeout:?}: {:?}",
            refused.status
        );
        assert_eq!(fields(&refused.status), ["grpc-timeout"], "{timeout:?}");
    }
    for timeout in ["99999999H", "10S", "20000m", "9000000u"] {
        let headers = [("grpc-timeout", timeout)];
        let answered = raw::call(app.address(), DECIDE, &headers, &[&request], false).await;
        assert_eq!(
            answered.status.code(),
            Code::Ok,
            "{timeout:?}: {:?}",
            answered.status
        );
    }
}

#[tokio::test]
async fn a_deadline_that_has_passed_is_told_so_on_every_method() {
    let app = TestApp::ready().await;
    let request = import(1, REGULAR);
    let simulation = pb::SimulateRequest {
        request: Some(request.clone()),
        ..pb::SimulateRequest::default()
    };
    for (path, message) in [
        (DECIDE, request.encode_to_vec()),
        (BATCH_DECIDE, batch([bytes(&request)]).encode_to_vec()),
        (SIMULATE, simulation.encode_to_vec()),
        (DECIDE_STREAM, Vec::new()),
        ("/greenlane.v1.RegistryService/GetRegistryStatus", Vec::new()),
    ] {
        for timeout in ["0S", "0n", "1n"] {
            let headers = [("grpc-timeout", timeout)];
            let late = raw::call(app.address(), path, &headers, &[&message], false).await;
            assert_eq!(
                late.status.code(),
                Code::DeadlineExceeded,
                "{path} {timeout}: {:?}",
                late.status
            );
            assert!(late.messages.is_empty(), "{path}");
        }
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_deadline() {
    let app = TestApp::ready().await;
    let message = pb::DecideStreamRequest {
        correlation_id: 5,
        request: Some(bytes(&import(1, REGULAR))),
        ..pb::DecideStreamRequest::default()
    };
    let timeout = Duration::from_millis(300);
    let begun = std::time::Instant::now();
    let headers = [("grpc-timeout", &*raw::milliseconds(timeout))];
    // The caller sends one message and keeps its side open.
    let message = message.encode_to_vec();
    let ended = raw::call(app.address(), DECIDE_STREAM, &headers, &[&message], true).await;
    let after = begun.elapsed();
    assert_eq!(ended.messages.len(), 1, "what came in time is answered");
    assert_eq!(ended.status.code(), Code::DeadlineExceeded, "{:?}", ended.status);
    assert!(after >= timeout && after < SOON / 2, "{after:?}");
}
