//! The few fields of a logged record that count; everything else is passed over unread, for whole segments are counted.
//!
//! The tags are those of `audit_record.proto` and of the messages in it.

use jiff::Timestamp;
use prost::Message as _;

use super::{Cell, Observation, RateTable};
use crate::{
    domain::{CreditTier, Date, Ppm, decision::InspectionBasis, identifier::DeclarationNumber},
    policy::draw::Epoch,
    wire::pb,
};

#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    #[prost(message, optional, tag = "2")]
    decision: Option<DecisionEntry>,
    #[prost(message, optional, tag = "6")]
    inspection: Option<pb::InspectionEntry>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DecisionEntry {
    #[prost(message, optional, tag = "1")]
    request: Option<Request>,
    #[prost(message, optional, tag = "2")]
    decision: Option<Decision>,
    #[prost(message, optional, tag = "3")]
    facts: Option<Facts>,
    #[prost(bool, tag = "5")]
    repeated_declaration: bool,
    #[prost(uint32, tag = "6")]
    limit_ppm: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(string, tag = "5")]
    customs_office: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Decision {
    #[prost(int32, tag = "3")]
    credit_tier: i32,
    #[prost(message, optional, tag = "6")]
    inspection: Option<Inspection>,
    #[prost(message, optional, tag = "17")]
    decided_at: Option<prost_types::Timestamp>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Inspection {
    #[prost(uint32, tag = "1")]
    rate_ppm: u32,
    #[prost(bool, tag = "2")]
    selected: bool,
    #[prost(int32, tag = "3")]
    basis: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Facts {
    #[prost(message, optional, tag = "1")]
    accepted_at: Option<prost_types::Timestamp>,
    #[prost(message, optional, tag = "5")]
    draw: Option<Draw>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Draw {
    #[prost(string, tag = "2")]
    subject_kind: String,
    #[prost(fixed64, tag = "4")]
    value: u64,
}

impl DecisionEntry {
    fn observation(&self) -> Option<Observation> {
        let (decision, facts) = (self.decision.as_ref()?, self.facts.as_ref());
        let inspection = decision.inspection.as_ref()?;
        let draw = facts.and_then(|facts| facts.draw.as_ref());
        let on_document = draw.filter(|draw| draw.subject_kind == super::observation::TRANSPORT_DOCUMENT);
        Some(Observation {
            cell: cell(
                facts.and_then(|facts| facts.accepted_at.as_ref()),
                decision.decided_at.as_ref(),
                &self.request.as_ref()?.customs_office,
                decision.credit_tier,
            )?,
            basis: InspectionBasis::from_number(inspection.basis)?,
            selected: inspection.selected,
            rate: Ppm(inspection.rate_ppm),
            limit: (self.limit_ppm > 0).then_some(Ppm(self.limit_ppm)),
            consignment: on_document.map(|draw| draw.value),
        })
    }
}

/// The month is that of the acceptance time that was taken, or else of the decision time.
fn cell(
    accepted_at: Option<&prost_types::Timestamp>,
    decided_at: Option<&prost_types::Timestamp>,
    customs_office: &str,
    credit_tier: i32,
) -> Option<Cell> {
    let at = accepted_at.or(decided_at)?;
    let at = Timestamp::new(at.seconds, at.nanos).ok()?;
    Some(Cell {
        month: Epoch::of(Date::of(at)),
        customs_office: customs_office.parse().ok()?,
        credit_tier: CreditTier::from_number(credit_tier)?,
    })
}

impl Cell {
    /// Where a logged decision counts; `None` where that cannot be read.
    pub fn of(entry: &pb::DecisionEntry) -> Option<Self> {
        let decision = entry.decision.as_ref()?;
        cell(
            entry.facts.as_ref().and_then(|facts| facts.accepted_at.as_ref()),
            decision.decided_at.as_ref(),
            &entry.request.as_ref()?.customs_office,
            decision.credit_tier,
        )
    }
}

impl Observation {
    /// What an encoded `AuditRecord` adds; `None` where it is no decision, is on a declaration that had been decided before,
    /// or cannot be read.
    pub fn logged(record: &[u8]) -> Option<Self> {
        let entry = Record::decode(record).ok()?.decision?;
        entry.observation().filter(|_| !entry.repeated_declaration)
    }
}

impl RateTable {
    /// Counts an encoded `AuditRecord`; what cannot be read adds nothing.
    pub fn count_record(&self, record: &[u8]) {
        let Ok(Record { decision, inspection }) = Record::decode(record) else {
            return;
        };
        if let Some(entry) = decision.filter(|entry| !entry.repeated_declaration)
            && let Some(observation) = entry.observation()
        {
            self.count(&observation);
        }
        if let Some(entry) = inspection {
            self.count_inspection(&entry);
        }
    }

    /// Counts a recorded inspection, once a declaration.
    pub fn count_inspection(&self, entry: &pb::InspectionEntry) {
        let inspected = || -> Option<(DeclarationNumber, Cell)> {
            let cell = Cell {
                month: entry.month.parse().ok()?,
                customs_office: entry.customs_office.parse().ok()?,
                credit_tier: CreditTier::from_number(entry.credit_tier)?,
            };
            Some((entry.declaration_number.parse().ok()?, cell))
        };
        if let Some((number, cell)) = inspected() {
            self.inspected(number, cell);
        }
    }
}
