//! Batches and streams: whatever is in an item, the others and the message around it are read.
//!
//! The first byte says which: even a `BatchDecideRequest`, odd a `DecideStreamRequest`.

use bytes::Bytes;
use greenlane::wire::{lenient::MAX_BATCH, pb, raw, violations::undecodable_field};
use prost::Message as _;
use prost_reflect::DynamicMessage;

use super::{Seed, decide};
use crate::contract::{message, names_fields};

pub(crate) fn run(data: &[u8]) -> bool {
    let Some((&kind, bytes)) = data.split_first() else {
        return false;
    };
    if kind.is_multiple_of(2) {
        batch(bytes)
    } else {
        stream(bytes)
    }
}

fn batch(bytes: &[u8]) -> bool {
    let read = pb::BatchDecideRequest::decode(bytes);
    let strictly = DynamicMessage::decode(message("BatchDecideRequest"), bytes);
    let batch = match (read, strictly) {
        (Ok(batch), Ok(strictly)) => {
            let requests = strictly.get_field_by_name("requests").expect("a field");
            let sent = requests.as_list().map_or(0, <[_]>::len);
            // Of too many one is kept, so that it shows.
            assert_eq!(batch.requests.len(), sent.min(MAX_BATCH + 1));
            batch
        }
        // One of its items is no request, and is told alone.
        (Ok(batch), Err(_)) => batch,
        (Err(error), strictly) => {
            assert!(strictly.is_err(), "refused ({error}) and yet the contract's");
            names_fields("BatchDecideRequest", &undecodable_field(&error));
            return false;
        }
    };
    let again = pb::BatchDecideRequest::decode(batch.encode_to_vec().as_slice());
    assert_eq!(again.as_ref(), Ok(&batch));
    let decided = batch.requests.iter().filter(|item| decide::valid(item).is_some());
    decided.count() > 0
}

fn stream(bytes: &[u8]) -> bool {
    let frame = pb::DecideStreamRequest::decode(bytes).expect("decoding it never fails");
    let strictly = DynamicMessage::decode(message("DecideStreamRequest"), bytes);
    if let Some(error) = &frame.undecodable {
        assert!(strictly.is_err(), "refused ({error}) and yet the contract's");
        names_fields("DecideStreamRequest", &undecodable_field(error));
        assert!(frame.request.is_none() && frame.correlation_id == 0);
        return false;
    }
    let again = pb::DecideStreamRequest::decode(frame.encode_to_vec().as_slice());
    assert_eq!(again.as_ref(), Ok(&frame));
    let Some(request) = frame.request else {
        return false;
    };
    let raw = raw::DecideRequest::decode(request.clone()).expect("taken whole");
    assert_eq!(raw.encode_to_vec(), request);
    let valid = decide::valid(&request).is_some();
    if valid {
        // The answer carries a decision's bytes as they are.
        let answer = raw::DecideStreamResponse::new(frame.correlation_id, Ok(Bytes::new()));
        let answer = pb::DecideStreamResponse::decode(answer.encode_to_vec().as_slice()).expect("an answer");
        assert_eq!(answer.correlation_id, frame.correlation_id);
    }
    valid
}

pub(crate) fn seeds() -> Vec<Seed> {
    let mut requests: Vec<Bytes> = decide::requests()
        .iter()
        .map(|(_, request)| request.encode_to_vec().into())
        .collect();
    requests.truncate(5);
    let frame = pb::DecideStreamRequest {
        correlation_id: 7,
        request: Some(requests[0].clone()),
        undecodable: None,
    };
    // One of them ends within a field.
    requests[2].truncate(10);
    let batch = pb::BatchDecideRequest { requests };
    vec![
        ("batch".to_owned(), [&[0][..], &batch.encode_to_vec()].concat()),
        ("stream".to_owned(), [&[1][..], &frame.encode_to_vec()].concat()),
    ]
}
