//! `RecordInspection`: what came of an inspection, so that drawn and done can be told apart.
//!
//! ```text
//! request -> valid -> the declaration's latest decision -> entry -> the audit log -> RateTable::count_inspection
//!                                                                              -> Shipments::inspect -> terminals
//! ```

use jiff::{SignedDuration, Timestamp};

use crate::{
    audit::rates::Cell,
    domain::{Date, date::later, identifier::DeclarationNumber},
    policy::draw::Epoch,
    shipments::shipment::{Decided, Inspected},
    wire::{convert, pb, validate, violations::Violations},
};

/// How far an officer's clock may be ahead of the server's.
const MAX_AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// A request that keeps every rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inspection {
    /// The declaration inspected.
    pub(super) declaration_number: DeclarationNumber,
    inspected_at: Timestamp,
    discrepancy_found: bool,
    documents_only: bool,
}

/// Checks a request against every rule.
pub(super) fn valid(request: &pb::RecordInspectionRequest, now: Timestamp) -> Result<Inspection, Violations> {
    let mut violations = Violations::default();
    let number: Option<DeclarationNumber> = match request.declaration_number.as_str() {
        "" => {
            violations.add("declaration_number", "is required");
            None
        }
        text => text
            .parse()
            .map_err(|error| violations.add("declaration_number", format!("{error}")))
            .ok(),
    };
    let inspected_at = match &request.inspected_at {
        None => Some(now),
        Some(sent) => validate::instant("inspected_at", sent, &mut violations),
    };
    if inspected_at.is_some_and(|at| at > later(now, MAX_AHEAD)) {
        violations.add("inspected_at", "must be at most 5m ahead of the server's time");
    }
    match (number, inspected_at) {
        (Some(declaration_number), Some(inspected_at)) if violations.is_empty() => Ok(Inspection {
            declaration_number,
            inspected_at,
            discrepancy_found: request.discrepancy_found,
            documents_only: request.documents_only,
        }),
        _ => Err(violations),
    }
}

impl Inspection {
    /// As it changes the shipment.
    pub(super) const fn inspected(&self) -> Inspected {
        Inspected {
            inspected_at: self.inspected_at,
            discrepancy_found: self.discrepancy_found,
            documents_only: self.documents_only,
        }
    }

    /// The record of it, after the declaration's latest decision; the inspection counts where that decision does.
    pub(super) fn entry(&self, decided: Latest, caller: String) -> pb::InspectionEntry {
        let Latest { decision_id, cell } = decided;
        pb::InspectionEntry {
            declaration_number: self.declaration_number.to_string(),
            inspected_at: Some(convert::instant(self.inspected_at)),
            discrepancy_found: self.discrepancy_found,
            documents_only: self.documents_only,
            caller,
            decision_id,
            credit_tier: convert::tier(cell.map(|cell| cell.credit_tier)),
            customs_office: cell
                .map(|cell| cell.customs_office.to_string())
                .unwrap_or_default(),
            month: cell.map(|cell| cell.month.name().to_string()).unwrap_or_default(),
        }
    }
}

/// The latest decision on a declaration, and where it counts.
#[derive(Debug, Clone)]
pub(super) struct Latest {
    decision_id: String,
    cell: Option<Cell>,
}

impl From<&Decided> for Latest {
    fn from(decided: &Decided) -> Self {
        Self {
            decision_id: decided.decision_id.to_string(),
            cell: Some(Cell {
                credit_tier: decided.credit_tier,
                customs_office: decided.office,
                month: Epoch::of(Date::of(decided.accepted_at)),
            }),
        }
    }
}

impl From<&pb::DecisionEntry> for Latest {
    fn from(entry: &pb::DecisionEntry) -> Self {
        let decision = entry.decision.as_ref();
        Self {
            decision_id: decision
                .map(|decision| decision.decision_id.clone())
                .unwrap_or_default(),
            cell: Cell::of(entry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: &str, inspected_at: Option<(i64, i32)>) -> pb::RecordInspectionRequest {
        pb::RecordInspectionRequest {
            declaration_number: number.to_owned(),
            inspected_at: inspected_at.map(|(seconds, nanos)| prost_types::Timestamp { seconds, nanos }),
            discrepancy_found: true,
            documents_only: false,
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_764_547_200).expect("an instant")
    }

    #[test]
    fn every_field_that_breaks_a_rule_is_named() {
        let violated = |number: &str, at| {
            let violations = valid(&request(number, at), now()).expect_err("refused");
            violations
                .0
                .into_iter()
                .map(|(field, _)| field)
                .collect::<Vec<_>>()
        };
        assert_eq!(violated("", None), ["declaration_number"]);
        assert_eq!(
            violated("22252026X000000001", Some((1_764_547_501, 0))),
            ["declaration_number", "inspected_at"],
            "over five minutes ahead"
        );
        assert_eq!(
            violated("222520261000000001", Some((0, -1))),
            ["inspected_at"],
            "no instant"
        );
        assert!(valid(&request("222520261000000001", Some((1_764_547_500, 0))), now()).is_ok());
    }

    #[test]
    fn the_record_names_the_decision_and_where_it_counts() {
        let inspection = valid(&request("222520261000000001", None), now()).expect("valid");
        let decided = pb::DecisionEntry {
            request: Some(pb::DecideRequest {
                customs_office: "2225".to_owned(),
                ..pb::DecideRequest::default()
            }),
            decision: Some(pb::Decision {
                decision_id: "0199".to_owned(),
                credit_tier: 3,
                decided_at: Some(convert::instant(now())),
                ..pb::Decision::default()
            }),
            // The latest decision counts, be it a repeated one.
            repeated_declaration: true,
            ..pb::DecisionEntry::default()
        };
        let expected = pb::InspectionEntry {
            declaration_number: "222520261000000001".to_owned(),
            inspected_at: Some(convert::instant(now())),
            discrepancy_found: true,
            documents_only: false,
            caller: "anonymous".to_owned(),
            decision_id: "0199".to_owned(),
            credit_tier: 3,
            customs_office: "2225".to_owned(),
            month: "2025-12".to_owned(),
        };
        assert_eq!(
            inspection.entry((&decided).into(), "anonymous".to_owned()),
            expected
        );
    }
}
