//! What a decision adds to the realized rates.

use super::Cell;
use crate::{
    domain::{
        Date, Ppm,
        decision::{Inspection, InspectionBasis},
        identifier::CustomsOffice,
    },
    facilitation::Outcome,
    policy::draw::Epoch,
};

/// The word for a draw on a transport document.
pub(super) const TRANSPORT_DOCUMENT: &str = "transport-document";

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
            // A record has no word for a limit of 0; with a baseline of 0 there is nothing to have a share of.
            limit: outcome.limit.filter(|limit| limit.0 > 0),
            consignment: on_document.map(|drawn| drawn.draw.0),
        }
    }
}
