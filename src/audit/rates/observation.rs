//! What a decision adds to the realized rates.

use jiff::Timestamp;

use super::{Cell, RateTable};
use crate::{
    domain::{
        CreditTier, Date, Ppm,
        decision::{Inspection, InspectionBasis},
        identifier::{CustomsOffice, DeclarationNumber},
    },
    facilitation::Outcome,
    policy::draw::Epoch,
    wire::pb,
};

/// The word for a draw on a transport document.
const TRANSPORT_DOCUMENT: &str = "transport-document";

/// One decision, as far as rates go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// Where it counts.
    pub cell: Cell,
    /// What its selection rests on.
    pub basis: InspectionBasis,
    /// Whether it was selected.
    pub selected: bool,
    /// The rate that it was drawn at.
    pub rate: Ppm,
    /// What the policy's rate rule demands of it (`Policy::limit`).
    pub limit: Option<Ppm>,
    /// The draw's value where it was made on a transport document: other declarations may share it.
    pub consignment: Option<u64>,
}

impl Observation {
    /// What a decision adds, as it was made on a declaration at that office.
    pub fn made(outcome: &Outcome<'_>, customs_office: CustomsOffice) -> Self {
        let Inspection {
            rate,
            selected,
            basis,
        } = outcome.decision.inspection;
        let drawn = outcome.drawn.as_ref();
        let on_document = drawn.filter(|drawn| drawn.subject.kind() == TRANSPORT_DOCUMENT);
        Self {
            cell: Cell {
                month: Epoch::of(Date::of(outcome.accepted_at)),
                customs_office,
                credit_tier: outcome.decision.credit_tier,
            },
            basis,
            selected,
            rate,
            limit: outcome.limit,
            consignment: on_document.map(|drawn| drawn.draw.0),
        }
    }

    /// What a logged decision adds; `None` where it is on a declaration that had been decided before, or cannot be read.
    pub fn of(entry: &pb::DecisionEntry) -> Option<Self> {
        if entry.repeated_declaration {
            return None;
        }
        let inspection = entry.decision.as_ref()?.inspection.as_ref()?;
        let draw = entry.facts.as_ref().and_then(|facts| facts.draw.as_ref());
        let on_document = draw.filter(|draw| draw.subject_kind == TRANSPORT_DOCUMENT);
        Some(Self {
            cell: Cell::of(entry)?,
            basis: InspectionBasis::from_number(inspection.basis)?,
            selected: inspection.selected,
            rate: Ppm(inspection.rate_ppm),
            limit: (entry.limit_ppm > 0).then_some(Ppm(entry.limit_ppm)),
            consignment: on_document.map(|draw| draw.value),
        })
    }
}

impl Cell {
    /// Where a logged decision counts; `None` where that cannot be read.
    pub fn of(entry: &pb::DecisionEntry) -> Option<Self> {
        Some(Self {
            month: Epoch::of(Date::of(accepted_at(entry)?)),
            customs_office: entry.request.as_ref()?.customs_office.parse().ok()?,
            credit_tier: CreditTier::from_number(entry.decision.as_ref()?.credit_tier)?,
        })
    }
}

impl RateTable {
    /// Counts a record of the log.
    pub fn count_record(&self, record: &pb::AuditRecord) {
        use pb::audit_record::Entry;
        match &record.entry {
            Some(Entry::Decision(entry)) => {
                if let Some(observation) = Observation::of(entry) {
                    self.count(&observation);
                }
            }
            Some(Entry::Inspection(entry)) => {
                if let Some((number, cell)) = inspected(entry) {
                    self.inspected(number, cell);
                }
            }
            _ => {}
        }
    }
}

/// The acceptance time that was taken, or else the decision time.
fn accepted_at(entry: &pb::DecisionEntry) -> Option<Timestamp> {
    let accepted = entry.facts.as_ref().and_then(|facts| facts.accepted_at.as_ref());
    let decided = entry
        .decision
        .as_ref()
        .and_then(|decision| decision.decided_at.as_ref());
    let at = accepted.or(decided)?;
    Timestamp::new(at.seconds, at.nanos).ok()
}

/// The declaration inspected and where that counts.
fn inspected(entry: &pb::InspectionEntry) -> Option<(DeclarationNumber, Cell)> {
    let cell = Cell {
        month: entry.month.parse().ok()?,
        customs_office: entry.customs_office.parse().ok()?,
        credit_tier: CreditTier::from_number(entry.credit_tier)?,
    };
    Some((entry.declaration_number.parse().ok()?, cell))
}
