//! A shipment as bytes, for the store that replicas share. What the store looks at stands beside them.
//!
//! Numbers of fields are never reused: replicas of two versions share a store while they are updated.

use bytes::Bytes;
use jiff::Timestamp;
use prost::Message as _;
use thiserror::Error;
use uuid::Uuid;

use super::shipment::{Decided, Inspected, Inspection, OrderIds, Outlook, Shipment, State, Version};
use crate::{
    domain::{
        CreditTier,
        decision::{Lane, PriorityClass},
    },
    policy::draw::{Draw, Drawn, Subject},
    upstream::shipments::StoredShipment,
    wire::convert,
};

/// A shipment in the store that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a stored shipment without a readable {0}")]
pub struct BadShipment(pub &'static str);

#[derive(Clone, PartialEq, prost::Message)]
struct Entry {
    #[prost(bytes = "bytes", tag = "1")]
    request: Bytes,
    #[prost(message, optional, tag = "2")]
    accepted_at: Option<prost_types::Timestamp>,
    #[prost(message, optional, tag = "3")]
    valid_at_most: Option<prost_types::Timestamp>,
    #[prost(bytes = "bytes", tag = "4")]
    decision_id: Bytes,
    #[prost(int32, tag = "5")]
    credit_tier: i32,
    #[prost(string, tag = "6")]
    office: String,
    #[prost(string, tag = "7")]
    draw_epoch: String,
    #[prost(string, tag = "8")]
    draw_kind: String,
    #[prost(string, tag = "9")]
    draw_subject: String,
    #[prost(fixed64, tag = "10")]
    draw: u64,
    #[prost(int32, tag = "11")]
    lane: i32,
    #[prost(int32, tag = "12")]
    class: i32,
    #[prost(uint32, tag = "13")]
    rank: u32,
    #[prost(message, optional, tag = "14")]
    valid_until: Option<prost_types::Timestamp>,
    #[prost(string, repeated, tag = "15")]
    orders: Vec<String>,
    #[prost(bool, tag = "16")]
    revoked: bool,
    #[prost(message, optional, boxed, tag = "17")]
    inspection: Option<Box<InspectionEntry>>,
    #[prost(fixed64, tag = "18")]
    registry_epoch: u64,
    #[prost(uint64, tag = "19")]
    registry_sequence: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct InspectionEntry {
    #[prost(message, optional, tag = "1")]
    inspected_at: Option<prost_types::Timestamp>,
    #[prost(bool, tag = "2")]
    discrepancy_found: bool,
    #[prost(bool, tag = "3")]
    documents_only: bool,
    #[prost(int32, tag = "4")]
    lane: i32,
    #[prost(string, repeated, tag = "5")]
    orders: Vec<String>,
    #[prost(bool, tag = "6")]
    is_void: bool,
}

fn texts(orders: &[Box<str>]) -> Vec<String> {
    orders.iter().map(ToString::to_string).collect()
}

/// The shipment as the store keeps it.
pub fn stored(shipment: &Shipment) -> StoredShipment {
    let Shipment { decided, state } = shipment;
    let outlook = &state.outlook;
    let inspected = |inspection: &Inspection| {
        Box::new(InspectionEntry {
            inspected_at: Some(convert::instant(inspection.inspected.inspected_at)),
            discrepancy_found: inspection.inspected.discrepancy_found,
            documents_only: inspection.inspected.documents_only,
            lane: inspection.lane.number().into(),
            orders: texts(&inspection.orders),
            is_void: inspection.is_void,
        })
    };
    let entry = Entry {
        request: decided.request.clone(),
        accepted_at: Some(convert::instant(decided.accepted_at)),
        valid_at_most: Some(convert::instant(decided.valid_at_most)),
        decision_id: Bytes::copy_from_slice(decided.decision_id.as_bytes()),
        credit_tier: decided.credit_tier.number().into(),
        office: decided.office.to_string(),
        draw_epoch: decided.first.epoch.name().to_string(),
        draw_kind: decided.first.subject.kind().to_owned(),
        draw_subject: decided.first.subject.value().to_owned(),
        draw: decided.first.draw.0,
        lane: outlook.lane.number().into(),
        class: outlook.class.number().into(),
        rank: outlook.rank,
        valid_until: Some(convert::instant(outlook.valid_until)),
        orders: texts(&outlook.orders),
        revoked: state.revoked,
        inspection: state.inspection.as_deref().map(inspected),
        registry_epoch: state.evaluated.epoch,
        registry_sequence: state.evaluated.sequence,
    };
    StoredShipment {
        declaration_number: decided.number.to_string(),
        container_numbers: decided.containers.iter().map(ToString::to_string).collect(),
        revision: state.revision,
        decided_at: decided.decided_at,
        entry: entry.encode_to_vec().into(),
    }
}

fn instant(field: &'static str, sent: Option<&prost_types::Timestamp>) -> Result<Timestamp, BadShipment> {
    sent.and_then(|sent| Timestamp::new(sent.seconds, sent.nanos).ok())
        .ok_or(BadShipment(field))
}

fn lane(number: i32) -> Result<Lane, BadShipment> {
    Lane::from_number(number).ok_or(BadShipment("lane"))
}

fn orders(texts: Vec<String>) -> OrderIds {
    texts.into_iter().map(String::into_boxed_str).collect()
}

/// What the store keeps, read.
pub fn read(stored: &StoredShipment) -> Result<Shipment, BadShipment> {
    let bad = |field| move |_| BadShipment(field);
    let entry = Entry::decode(stored.entry.clone()).map_err(|_| BadShipment("entry"))?;
    let containers = stored.container_numbers.iter().map(|number| number.parse());
    let number = stored
        .declaration_number
        .parse()
        .map_err(|_| BadShipment("declaration_number"))?;
    // Revisions count from 1, and databases' numbers end there: one that is higher could not be followed by another.
    if !(1..=i64::MAX.unsigned_abs()).contains(&stored.revision) {
        return Err(BadShipment("revision"));
    }
    let subject = Subject::new(&entry.draw_kind, &entry.draw_subject).ok_or(BadShipment("draw_subject"))?;
    let decided = Decided {
        number,
        // Not a part of what came from the store, which may be much larger.
        request: Bytes::copy_from_slice(&entry.request),
        containers: containers
            .collect::<Result<_, _>>()
            .map_err(bad("container_numbers"))?,
        office: entry.office.parse().map_err(|_| BadShipment("office"))?,
        accepted_at: instant("accepted_at", entry.accepted_at.as_ref())?,
        decided_at: stored.decided_at,
        decision_id: Uuid::from_slice(&entry.decision_id).map_err(|_| BadShipment("decision_id"))?,
        first: Drawn {
            epoch: entry.draw_epoch.parse().map_err(|_| BadShipment("draw_epoch"))?,
            subject,
            draw: Draw(entry.draw),
        },
        credit_tier: CreditTier::from_number(entry.credit_tier).ok_or(BadShipment("credit_tier"))?,
        valid_at_most: instant("valid_at_most", entry.valid_at_most.as_ref())?,
    };
    let inspection = entry.inspection.map(|entry| {
        Ok::<_, BadShipment>(Box::new(Inspection {
            inspected: Inspected {
                inspected_at: instant("inspected_at", entry.inspected_at.as_ref())?,
                discrepancy_found: entry.discrepancy_found,
                documents_only: entry.documents_only,
            },
            lane: lane(entry.lane)?,
            orders: orders(entry.orders),
            is_void: entry.is_void,
        }))
    });
    Ok(Shipment {
        decided,
        state: State {
            revision: stored.revision,
            outlook: Outlook {
                lane: lane(entry.lane)?,
                class: PriorityClass::from_number(entry.class).ok_or(BadShipment("class"))?,
                rank: entry.rank,
                valid_until: instant("valid_until", entry.valid_until.as_ref())?,
                orders: orders(entry.orders),
            },
            revoked: entry.revoked,
            inspection: inspection.transpose()?,
            evaluated: Version {
                epoch: entry.registry_epoch,
                sequence: entry.registry_sequence,
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_shipment_is_read_as_it_was_unless_its_revision_counts_nothing() {
        let number = "222520261000000001";
        let at: Timestamp = "2026-11-23T02:00:00Z".parse().expect("an instant");
        let decided = Decided {
            number: number.parse().expect("a number"),
            request: Bytes::from_static(b"request"),
            containers: std::iter::once("CSQU3054383".parse().expect("a container")).collect(),
            office: "2225".parse().expect("an office"),
            accepted_at: at,
            decided_at: at,
            decision_id: Uuid::from_u128(7),
            first: Drawn {
                epoch: "2026-11".parse().expect("a month"),
                subject: Subject::of_numbers(number, "").expect("a subject"),
                draw: Draw(7),
            },
            credit_tier: CreditTier::Regular,
            valid_at_most: at,
        };
        let outlook = Outlook {
            lane: Lane::Yellow,
            class: PriorityClass::Normal,
            rank: 200,
            valid_until: at,
            orders: OrderIds::new(),
        };
        let mut shipment = Shipment::first(decided, outlook, Version::default());
        for (revision, counts) in [
            (0, false),
            (1, true),
            (i64::MAX.unsigned_abs(), true),
            (i64::MAX.unsigned_abs() + 1, false),
            (u64::MAX, false),
        ] {
            shipment.state.revision = revision;
            let expected = if counts {
                Ok(shipment.clone())
            } else {
                Err(BadShipment("revision"))
            };
            assert_eq!(read(&stored(&shipment)), expected, "{revision}");
        }
    }
}
