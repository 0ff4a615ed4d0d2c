//! A record as far as an index needs it: the same messages as the contract's with few of their fields, so that making an index
//! costs a fraction of decoding every record. Texts are bytes of the group, not copies.

use bytes::Bytes;
use prost_types::Timestamp;

use super::{Kind, hash};

/// `AuditRecord`. What is kept as bytes is only there or not.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Record {
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
    inspection: Option<InspectionEntry>,
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
    facts: Option<Facts>,
}

/// `DecideRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Request {
    #[prost(message, repeated, tag = "3")]
    parties: Vec<Party>,
    #[prost(bytes = "bytes", tag = "5")]
    pub(super) customs_office: Bytes,
    #[prost(bytes = "bytes", tag = "8")]
    transport_document_number: Bytes,
}

/// `Party`.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(clippy::struct_field_names, reason = "the contract's names")]
struct Party {
    #[prost(bytes = "bytes", tag = "2")]
    customs_code: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    social_credit_code: Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    aeo_code: Bytes,
}

/// `Decision`.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(clippy::struct_field_names, reason = "the contract's names")]
pub(super) struct Decision {
    #[prost(bytes = "bytes", tag = "1")]
    decision_id: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    declaration_number: Bytes,
    #[prost(message, repeated, tag = "4")]
    parties: Vec<PartyAssessment>,
    #[prost(int32, tag = "10")]
    pub(super) lane: i32,
    #[prost(message, tag = "17")]
    pub(super) decided_at: Option<Timestamp>,
}

/// `PartyAssessment`.
#[derive(Clone, PartialEq, prost::Message)]
struct PartyAssessment {
    #[prost(bytes = "bytes", tag = "2")]
    enterprise_id: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    customs_code: Bytes,
}

/// `DecisionFacts`.
#[derive(Clone, PartialEq, prost::Message)]
struct Facts {
    #[prost(message, repeated, tag = "2")]
    parties: Vec<PartyFacts>,
}

/// `PartyFacts`.
#[derive(Clone, PartialEq, prost::Message)]
struct PartyFacts {
    #[prost(message, tag = "1")]
    enterprise: Option<Codes>,
    #[prost(message, tag = "2")]
    operator: Option<Codes>,
}

/// `EnterpriseFacts` by its customs code and its social credit code, or `OperatorFacts` by its AEO code and country.
#[derive(Clone, PartialEq, prost::Message)]
struct Codes {
    #[prost(bytes = "bytes", tag = "1")]
    first: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    second: Bytes,
}

/// `InspectionEntry`.
#[derive(Clone, PartialEq, prost::Message)]
struct InspectionEntry {
    #[prost(bytes = "bytes", tag = "1")]
    declaration_number: Bytes,
    #[prost(bytes = "bytes", tag = "6")]
    decision_id: Bytes,
}

impl Record {
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

    /// Gives the hash of every key that the record names; some more than once.
    pub(super) fn keys(&self, mut give: impl FnMut(u64)) {
        let mut give = |kind: Kind, text: &Bytes| {
            if !text.is_empty() {
                give(hash(kind, text));
            }
        };
        if let Some(entry) = &self.decision {
            if let Some(decision) = &entry.decision {
                give(Kind::Decision, &decision.decision_id);
                give(Kind::Declaration, &decision.declaration_number);
                for party in &decision.parties {
                    // As sent, normalised, and the customs code that it leads to.
                    give(Kind::Enterprise, &party.enterprise_id);
                    give(Kind::Enterprise, &party.customs_code);
                }
            }
            if let Some(request) = &entry.request {
                give(Kind::TransportDocument, &request.transport_document_number);
                for party in &request.parties {
                    give(Kind::Enterprise, &party.customs_code);
                    give(Kind::Enterprise, &party.social_credit_code);
                    give(Kind::Enterprise, &party.aeo_code);
                }
            }
            for party in entry.facts.iter().flat_map(|facts| &facts.parties) {
                if let Some(enterprise) = &party.enterprise {
                    give(Kind::Enterprise, &enterprise.first);
                    give(Kind::Enterprise, &enterprise.second);
                }
                if let Some(operator) = &party.operator {
                    give(Kind::Enterprise, &operator.first);
                }
            }
        }
        if let Some(entry) = &self.inspection {
            give(Kind::Decision, &entry.decision_id);
            give(Kind::Declaration, &entry.declaration_number);
        }
    }
}
