//! A shipment in the shared store: read, changed, merged with another, written.
//!
//! The input is one shipment as NATS keeps it; or behind a byte 255 two of them, the first with its length (2 bytes) before it.

use bytes::Bytes;
use greenlane::{
    shipments::{
        NewDecision,
        record::{read, stored},
        shipment::{Inspected, Outlook, Shipment, Version},
    },
    upstream::{nats::shipment_value, shipments::StoredShipment},
};
use jiff::{SignedDuration, Timestamp};
use prost::Message as _;
use uuid::Uuid;

use super::{Seed, decide};
use crate::world::{DECISION_ID, WORLD, now};

const NUMBER: &str = "222520261000000001";

pub(crate) fn run(data: &[u8]) -> bool {
    let Some((255, rest)) = data.split_first() else {
        return shipment(data).is_some();
    };
    let Some((length, rest)) = rest.split_first_chunk() else {
        return false;
    };
    let split = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (one, other) = rest.split_at(split);
    let (Some(one), Some(other)) = (shipment(one), shipment(other)) else {
        return false;
    };
    let mut merged = one.clone();
    merged.merge(&other);
    assert!(merged.state.revision >= one.state.revision);
    let mut reverse = other.clone();
    reverse.merge(&one);
    // Both sides come to the same decision, and both to its inspection.
    assert_eq!(merged.decided.decided_at, reverse.decided.decided_at);
    assert_eq!(
        merged.state.inspection.is_some(),
        reverse.state.inspection.is_some()
    );
    if merged.state.revision < u64::from(u32::MAX) {
        survives(&merged);
    }
    true
}

/// Reads a value; what is read is written as the same.
fn shipment(value: &[u8]) -> Option<Shipment> {
    let value = Bytes::copy_from_slice(value);
    let kept: StoredShipment = shipment_value::decode(NUMBER, value.clone())?;
    assert_eq!(
        shipment_value::encode(&kept),
        Some(value),
        "it encodes to another value"
    );
    let shipment = read(&kept).ok()?;
    survives(&shipment);
    // Revisions do not end while anybody counts.
    if shipment.state.revision < u64::from(u32::MAX) {
        changes(shipment.clone());
    }
    Some(shipment)
}

fn survives(shipment: &Shipment) {
    let again = read(&stored(shipment));
    assert_eq!(again.as_ref(), Ok(shipment), "stored, it is another shipment");
}

/// Whatever happens to it, its revision counts.
fn changes(mut shipment: Shipment) {
    let before = shipment.state.revision;
    let outlook = Outlook {
        valid_until: Timestamp::MAX,
        orders: ["O-1".into()].into_iter().collect(),
        ..shipment.state.outlook.clone()
    };
    let changed = shipment.evaluate(outlook.clone(), Version::new("epoch", 7));
    assert_eq!(shipment.state.revision, before + u64::from(changed));
    assert!(
        !shipment.evaluate(outlook.clone(), Version::new("epoch", 8)),
        "the same again"
    );
    let inspected = Inspected {
        inspected_at: now(),
        discrepancy_found: true,
        documents_only: false,
    };
    let changed = shipment.inspect(&inspected);
    assert!(!changed || !shipment.state.grants(), "what was found holds it");
    assert!(!shipment.inspect(&inspected), "the same again");
    let decided = shipment.decided.clone();
    let before = shipment.state.revision;
    shipment.decide(decided, outlook, Version::new("epoch", 9));
    assert_eq!(shipment.state.revision, before + 1);
    survives(&shipment);
}

/// A shipment that a decision made, in a state of its own.
fn example(name: &str, change: impl FnOnce(&mut Shipment)) -> Vec<u8> {
    let mut requests = decide::requests().into_iter();
    let (_, request) = requests.find(|(own, _)| *own == name).expect("a request");
    let bytes = Bytes::from(request.encode_to_vec());
    let (_, valid) = decide::valid(&bytes).expect("a valid request");
    let id = Uuid::parse_str(DECISION_ID).expect("an identifier");
    let declaration = &valid.declaration;
    let made = WORLD.facilitation.decide(
        declaration,
        valid.accepted_at,
        &WORLD.clock,
        &WORLD.moment(0),
        |outcome| NewDecision::of(declaration, &bytes, id, &outcome),
    );
    WORLD.facilitation.draws().forget(&declaration.number);
    let made = made.expect("decided").expect("no simulation");
    let mut shipment = Shipment::first(made.decided, made.outlook, made.evaluated);
    change(&mut shipment);
    let value = shipment_value::encode(&stored(&shipment)).expect("few containers");
    value.to_vec()
}

pub(crate) fn seeds() -> Vec<Seed> {
    let inspected = |discrepancy_found, documents_only| Inspected {
        inspected_at: now(),
        discrepancy_found,
        documents_only,
    };
    let import = example("import", |_| {});
    let cleared = example("import", |shipment| {
        assert!(shipment.inspect(&inspected(false, false)));
    });
    let found = example("regular", |shipment| {
        assert!(shipment.inspect(&inspected(true, true)));
    });
    let held = example("held", |shipment| shipment.state.revoked = true);
    let later = example("import", |shipment| {
        shipment.decided.decided_at = now() + SignedDuration::from_mins(1);
        shipment.state.evaluated.sequence += 1;
    });
    let two = |one: &[u8], other: &[u8]| {
        let length = u16::try_from(one.len()).expect("short").to_le_bytes();
        [&[255], &length[..], one, other].concat()
    };
    vec![
        ("merge-later".to_owned(), two(&import, &later)),
        ("merge-cleared".to_owned(), two(&cleared, &import)),
        ("merge-found".to_owned(), two(&found, &cleared)),
        ("import".to_owned(), import),
        ("cleared".to_owned(), cleared),
        ("found".to_owned(), found),
        ("held".to_owned(), held),
    ]
}
