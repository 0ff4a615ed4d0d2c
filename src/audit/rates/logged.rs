//! What of a logged record counts.

use jiff::Timestamp;

use super::{Cell, Observation, RateTable};
use crate::{
    audit::outline::{DecisionEntry, Outline},
    domain::{CreditTier, Date, Ppm, decision::InspectionBasis, identifier::DeclarationNumber},
    policy::draw::Epoch,
    wire::pb,
};

fn observation(entry: &DecisionEntry<'_>) -> Option<Observation> {
    let (decision, facts) = (entry.decision.as_ref()?, entry.facts.as_ref());
    let inspection = decision.inspection.as_ref()?;
    let draw = facts.and_then(|facts| facts.draw.as_ref());
    let on_document =
        draw.filter(|draw| draw.subject_kind == super::observation::TRANSPORT_DOCUMENT.as_bytes());
    Some(Observation {
        cell: cell(
            facts.and_then(|facts| facts.accepted_at.as_ref()),
            decision.decided_at.as_ref(),
            std::str::from_utf8(entry.request.as_ref()?.customs_office).ok()?,
            decision.credit_tier,
        )?,
        basis: InspectionBasis::from_number(inspection.basis)?,
        selected: inspection.selected,
        rate: Ppm(inspection.rate_ppm),
        limit: (entry.limit_ppm > 0).then_some(Ppm(entry.limit_ppm)),
        consignment: on_document.map(|draw| draw.value),
    })
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
        let entry = Outline::of(record)?.decision?;
        observation(&entry).filter(|_| !entry.repeated_declaration)
    }
}

/// What of a record counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// A decision on a declaration that had not been decided before.
    Decided(Observation),
    /// A recorded inspection of a declaration, and where that was decided.
    Inspected(DeclarationNumber, Cell),
}

impl Counted {
    /// Gives what of a logged record counts.
    pub fn each(record: &Outline<'_>, mut give: impl FnMut(Self)) {
        let decision = record.decision.as_ref();
        let first = decision.filter(|entry| !entry.repeated_declaration);
        if let Some(observation) = first.and_then(observation) {
            give(Self::Decided(observation));
        }
        if let Some(inspected) = record.inspection.as_ref().and_then(Self::inspected) {
            give(inspected);
        }
    }

    fn inspected(entry: &pb::InspectionEntry) -> Option<Self> {
        let cell = Cell {
            month: entry.month.parse().ok()?,
            customs_office: entry.customs_office.parse().ok()?,
            credit_tier: CreditTier::from_number(entry.credit_tier)?,
        };
        Some(Self::Inspected(entry.declaration_number.parse().ok()?, cell))
    }
}

impl RateTable {
    /// Counts a logged record.
    pub fn count_record(&self, record: &Outline<'_>) {
        Counted::each(record, |counted| self.add(&counted));
    }

    /// Counts a recorded inspection, once a declaration.
    pub fn count_inspection(&self, entry: &pb::InspectionEntry) {
        if let Some(inspected) = Counted::inspected(entry) {
            self.add(&inspected);
        }
    }

    /// Counts what counts.
    pub fn add(&self, counted: &Counted) {
        match counted {
            Counted::Decided(observation) => self.count(observation),
            Counted::Inspected(number, cell) => {
                self.inspected(*number, *cell);
            }
        }
    }
}
