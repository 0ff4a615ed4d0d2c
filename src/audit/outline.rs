//! A record as far as whole segments are read for, for the index, the counts and the draws that are remembered: the same messages as the contract's with
//! few of their fields, so that reading whole segments costs a fraction of decoding every record. Texts are bytes of the group,
//! not copies.
//!
//! The tags are those of `audit_record.proto` and of the messages in it.

use bytes::Bytes;
use prost_types::Timestamp;

use crate::wire::pb;

/// `AuditRecord`. What is kept as bytes is only there or not.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Outline {
    #[prost(message, tag = "1")]
    pub(super) recorded_at: Option<Timestamp>,
    #[prost(message, tag = "2")]
    pub(super) decision: Option<DecisionEntry>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    opened: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "4")]
    activation: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "5")]
    order_change: Option<Bytes>,
    #[prost(message, tag = "6")]
    pub(super) inspection: Option<pb::InspectionEntry>,
    #[prost(bytes = "bytes", optional, tag = "7")]
    unlogged: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "8")]
    commitment: Option<Bytes>,
}

/// `DecisionEntry`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DecisionEntry {
    #[prost(message, tag = "1")]
    pub(super) request: Option<Request>,
    #[prost(message, tag = "2")]
    pub(super) decision: Option<Decision>,
    #[prost(message, tag = "3")]
    pub(super) facts: Option<Facts>,
    #[prost(bool, tag = "5")]
    pub(super) repeated_declaration: bool,
    #[prost(uint32, tag = "6")]
    pub(super) limit_ppm: u32,
}

/// `DecideRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Request {
    #[prost(message, repeated, tag = "3")]
    pub(super) parties: Vec<Party>,
    #[prost(bytes = "bytes", tag = "5")]
    pub(super) customs_office: Bytes,
    #[prost(bytes = "bytes", tag = "8")]
    pub(super) transport_document_number: Bytes,
    #[prost(bytes = "bytes", repeated, tag = "9")]
    pub(super) container_numbers: Vec<Bytes>,
}

/// `Party`.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(clippy::struct_field_names, reason = "the contract's names")]
pub(super) struct Party {
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) customs_code: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) social_credit_code: Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) aeo_code: Bytes,
}

/// `Decision`.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(clippy::struct_field_names, reason = "the contract's names")]
pub(super) struct Decision {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) decision_id: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) declaration_number: Bytes,
    #[prost(int32, tag = "3")]
    pub(super) credit_tier: i32,
    #[prost(message, repeated, tag = "4")]
    pub(super) parties: Vec<PartyAssessment>,
    #[prost(message, tag = "6")]
    pub(super) inspection: Option<Inspection>,
    #[prost(int32, tag = "10")]
    pub(super) lane: i32,
    #[prost(message, tag = "17")]
    pub(super) decided_at: Option<Timestamp>,
}

/// `PartyAssessment`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PartyAssessment {
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) enterprise_id: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) customs_code: Bytes,
}

/// `Inspection`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Inspection {
    #[prost(uint32, tag = "1")]
    pub(super) rate_ppm: u32,
    #[prost(bool, tag = "2")]
    pub(super) selected: bool,
    #[prost(int32, tag = "3")]
    pub(super) basis: i32,
}

/// `DecisionFacts`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Facts {
    #[prost(message, tag = "1")]
    pub(super) accepted_at: Option<Timestamp>,
    #[prost(message, repeated, tag = "2")]
    pub(super) parties: Vec<PartyFacts>,
    #[prost(message, tag = "5")]
    pub(super) draw: Option<Draw>,
}

/// `PartyFacts`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PartyFacts {
    #[prost(message, tag = "1")]
    pub(super) enterprise: Option<Codes>,
    #[prost(message, tag = "2")]
    pub(super) operator: Option<Codes>,
}

/// `EnterpriseFacts` by its customs code and its social credit code, or `OperatorFacts` by its AEO code and country.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Codes {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) first: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) second: Bytes,
}

/// `DrawFacts`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Draw {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) epoch: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) subject_kind: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) subject: Bytes,
    #[prost(fixed64, tag = "4")]
    pub(super) value: u64,
}

impl Outline {
    /// The number of the entry's field; 0 for none that this program knows.
    pub(super) fn kind(&self) -> u8 {
        let set = [
            (2, self.decision.is_some()),
            (3, self.opened.is_some()),
            (4, self.activation.is_some()),
            (5, self.order_change.is_some()),
            (6, self.inspection.is_some()),
            (7, self.unlogged.is_some()),
            (8, self.commitment.is_some()),
        ];
        set.into_iter()
            .find(|(_, is_set)| *is_set)
            .map_or(0, |(kind, _)| kind)
    }
}
