//! Requests as clearance systems send them.

use greenlane::wire::pb::{self, Direction, PartyRole, decide_stream_response, party::Identifier};
use prost::Message as _;
use tonic::Status;
use tonic_types::StatusExt as _;

/// An import through office 2225 for that enterprise; the ninth digit and the direction agree.
pub(crate) fn import(sequence: u32, customs_code: &str) -> pb::DecideRequest {
    pb::DecideRequest {
        declaration_number: format!("222520261{sequence:09}"),
        direction: Direction::Import.into(),
        parties: vec![party(PartyRole::Consignee, customs_code)],
        goods: vec![pb::GoodsItem {
            hs_code: "847130".to_owned(),
            origin_country: "KR".to_owned(),
        }],
        customs_office: "2225".to_owned(),
        ..pb::DecideRequest::default()
    }
}

pub(crate) fn party(role: PartyRole, customs_code: &str) -> pb::Party {
    pb::Party {
        role: role.into(),
        identifier: Some(Identifier::CustomsCode(customs_code.to_owned())),
    }
}

/// What-if at an instant.
pub(crate) fn what_if(request: pb::DecideRequest, as_of: prost_types::Timestamp) -> pb::SimulateRequest {
    pb::SimulateRequest {
        request: Some(request),
        as_of: Some(as_of),
        ..pb::SimulateRequest::default()
    }
}

/// An instant such as `2026-04-01T00:00:00+08:00`.
pub(crate) fn instant(text: &str) -> prost_types::Timestamp {
    let at: jiff::Timestamp = text.parse().unwrap();
    greenlane::wire::convert::instant(at)
}

pub(crate) fn bytes(request: &pb::DecideRequest) -> bytes::Bytes {
    request.encode_to_vec().into()
}

/// A batch, each item as its bytes.
pub(crate) fn batch(items: impl IntoIterator<Item = bytes::Bytes>) -> pb::BatchDecideRequest {
    pb::BatchDecideRequest {
        requests: items.into_iter().collect(),
    }
}

/// The fields that a `BadRequest` names, in its order.
pub(crate) fn fields(status: &Status) -> Vec<String> {
    let bad = status.get_details_bad_request();
    let violations = bad.map(|bad| bad.field_violations).unwrap_or_default();
    violations.into_iter().map(|violation| violation.field).collect()
}

/// The fields that an item's error names.
pub(crate) fn item_fields(error: &pb::ItemError) -> Vec<&str> {
    error
        .violations
        .iter()
        .map(|violation| violation.field.as_str())
        .collect()
}

/// A stream's answer as the decision or the error that it holds.
pub(crate) fn answer(response: pb::DecideStreamResponse) -> (u64, Result<pb::Decision, pb::ItemError>) {
    let result = match response.result {
        Some(decide_stream_response::Result::Decision(decision)) => Ok(decision),
        Some(decide_stream_response::Result::Error(error)) => Err(error),
        None => panic!("an answer without a result: {response:?}"),
    };
    (response.correlation_id, result)
}
