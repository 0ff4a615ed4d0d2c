//! Requests in JSON. The first byte says of which message; 2 is a batch, of which each item is read alone.

use bytes::Bytes;
use greenlane::wire::{
    json::{self, JsonError},
    pb,
    violations::Violations,
};
use prost::Message;

use super::{Seed, decide};
use crate::contract::names_fields;

pub(crate) fn run(data: &[u8]) -> bool {
    let Some((&kind, text)) = data.split_first() else {
        return false;
    };
    match kind % 3 {
        0 => one::<pb::DecideRequest>("DecideRequest", text),
        1 => one::<pb::SimulateRequest>("SimulateRequest", text),
        _ => batch(text),
    }
}

fn one<T: Message + Default + PartialEq>(name: &str, text: &[u8]) -> bool {
    match json::read(name, text) {
        Ok(bytes) => {
            survives::<T>(name, &bytes);
            // Where the library's own reader takes it too (it does not take 2.0 for an enum), it makes the same message of it.
            let value = serde_json::from_slice(text).expect("JSON");
            if let Ok(other) = json::from_value::<T>(name, value) {
                assert_eq!(other.encode_to_vec(), bytes);
            }
            true
        }
        Err(error) => {
            refused(name, error);
            false
        }
    }
}

/// A message that was read is written as JSON that is read as the same.
fn survives<T: Message + Default>(name: &str, bytes: &Bytes) {
    let read = T::decode(bytes.clone()).expect("its own bytes");
    let value = json::to_value(name, &read).expect("every message has a text");
    let again = json::read(name, value.to_string().as_bytes());
    assert_eq!(again.ok().as_ref(), Some(bytes), "{value}");
}

fn refused(name: &str, error: JsonError) {
    let told = error.to_string();
    let JsonError::Invalid(violations) = error else {
        panic!("refused without a field: {told}");
    };
    names_fields(name, &violations);
}

fn batch(text: &[u8]) -> bool {
    let items: Vec<Result<Bytes, Violations>> = match json::read_batch(text) {
        Ok(items) => items,
        Err(error) => {
            refused("BatchDecideRequest", error);
            return false;
        }
    };
    let mut read = 0;
    for item in items {
        match item {
            Ok(bytes) => {
                survives::<pb::DecideRequest>("DecideRequest", &bytes);
                read += 1;
            }
            Err(violations) => names_fields("DecideRequest", &violations),
        }
    }
    read > 0
}

pub(crate) fn seeds() -> Vec<Seed> {
    let requests: Vec<_> = decide::requests()
        .into_iter()
        .map(|(name, request)| (name, json::to_value("DecideRequest", &request).expect("JSON")))
        .collect();
    let text = |kind: u8, value: &serde_json::Value| [&[kind][..], value.to_string().as_bytes()].concat();
    let kept = ["import", "export", "waits"];
    let mut seeds: Vec<Seed> = requests
        .iter()
        .filter(|(name, _)| kept.contains(name))
        .map(|(name, value)| ((*name).to_owned(), text(0, value)))
        .collect();
    let (_, import) = &requests[0];
    let simulation = serde_json::json!({"request": import, "policyId": "CN-GACC-251", "asOf": "2026-11-20T08:00:00+08:00",
        "tierOverrides": [{"customsCode": "1101919201", "creditTier": "CREDIT_TIER_ADVANCED_CERTIFIED"}], "knownAt": null});
    seeds.push(("simulation".to_owned(), text(1, &simulation)));
    let bad = serde_json::json!({"declarationNumber": 7, "nothing": {"of": ["ours"]}, "parties": [null], "goods": {}});
    let batch = serde_json::json!({"requests": [import, bad, null, "request"]});
    seeds.push(("batch".to_owned(), text(2, &batch)));
    let odd = br#"{"declaration_number":"222520261000000001","direction":2e0,"transportMode":1,"acceptedAt":"2026-11-23T09:00:00.5+08:00",
        "minRegistryVersion":{"epoch":"e","sequence":"18446744073709551615"},"customsOffice":"\u0032225","goods":null}"#;
    seeds.push(("odd".to_owned(), [&[0][..], odd].concat()));
    seeds
}
