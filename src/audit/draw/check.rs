//! One decision's selection, recomputed from its record: from the draw, or from the orders that it rests on.

use std::fmt;

use jiff::Timestamp;
use thiserror::Error;

use super::commitment::{Commitment, Worth};
use crate::{
    domain::{Date, Ppm},
    policy::draw::{Draw, Epoch, EpochKey, Subject},
    wire::pb::{self, InspectionBasis},
};

/// What does not hold of a decision's selection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// The record lacks something.
    #[error("the record has no {0}")]
    Lacks(&'static str),
    /// A draw is logged beside a selection that does not rest on one.
    #[error("a draw is logged, but the selection does not rest on one")]
    Stray,
    /// The answer names another epoch than the draw.
    #[error("the answer names the epoch {told:?}, the draw is of {drawn}")]
    Told {
        /// By the answer.
        told: String,
        /// By the draw.
        drawn: Epoch,
    },
    /// The epoch is not the month of the acceptance date, and the declaration was not drawn before.
    #[error("drawn in {drawn}, but accepted in {accepted}")]
    Epoch {
        /// By the draw.
        drawn: Epoch,
        /// By the acceptance date.
        accepted: Epoch,
    },
    /// The subject is not the request's, and the declaration was not drawn before.
    #[error("drawn on {0:?}, which is not what the request sent")]
    Subject(String),
    /// The key gives another draw.
    #[error("the key draws {own:016x}, {logged:016x} is logged")]
    Value {
        /// By the key.
        own: u64,
        /// By the record.
        logged: u64,
    },
    /// Selected or not, against the draw.
    #[error("the draw {ppm} against the rate {rate} does not give the logged selection")]
    Selection {
        /// The draw, in ppm.
        ppm: u32,
        /// The rate, in ppm.
        rate: u32,
    },
    /// A selection by order, or no draw at all, without what it rests on.
    #[error("{0}")]
    Baseless(&'static str),
}

/// What a decision's selection was found to be.
#[derive(Debug, Clone)]
pub struct Check {
    /// What it rests on.
    pub basis: InspectionBasis,
    /// The draw that is logged; `None` unless it rests on one.
    pub drawn: Option<LoggedDraw>,
    /// Selected, by the record.
    pub selected: bool,
    /// The rate, in ppm.
    pub rate_ppm: u32,
    /// What does not hold.
    pub faults: Vec<Fault>,
}

/// A logged draw.
#[derive(Debug, Clone, Copy)]
pub struct LoggedDraw {
    /// Its epoch.
    pub epoch: Epoch,
    /// What was drawn on.
    pub subject: Subject,
    /// Its value, by the record.
    pub draw: Draw,
    /// It was recomputed with the epoch's key; else there was none.
    pub recomputed: bool,
    /// The declaration had been drawn before, and kept its epoch or subject: not those of this request.
    pub kept: bool,
}

impl Check {
    /// Checks a decision; `key` gives the key of an epoch, where it is known.
    pub fn of(entry: &pb::DecisionEntry, key: impl FnOnce(Epoch) -> Option<EpochKey>) -> Self {
        let inspection = entry
            .decision
            .as_ref()
            .and_then(|decision| decision.inspection.as_ref());
        let mut check = Self {
            basis: inspection.map_or(InspectionBasis::Unspecified, pb::Inspection::basis),
            drawn: None,
            selected: inspection.is_some_and(|inspection| inspection.selected),
            rate_ppm: inspection.map_or(0, |inspection| inspection.rate_ppm),
            faults: Vec::new(),
        };
        let Some(inspection) = inspection else {
            check.faults.push(Fault::Lacks("inspection"));
            return check;
        };
        let logged = entry.facts.as_ref().and_then(|facts| facts.draw.as_ref());
        match check.basis {
            InspectionBasis::Random => check.random(entry, inspection, logged, key),
            InspectionBasis::Unspecified => check.faults.push(Fault::Lacks("basis")),
            InspectionBasis::Mandated | InspectionBasis::Targeted | InspectionBasis::NotDrawn => {
                if logged.is_some() || !inspection.draw_epoch.is_empty() {
                    check.faults.push(Fault::Stray);
                }
                check.by_order(entry);
            }
        }
        check
    }

    fn random(
        &mut self,
        entry: &pb::DecisionEntry,
        inspection: &pb::Inspection,
        logged: Option<&pb::DrawFacts>,
        key: impl FnOnce(Epoch) -> Option<EpochKey>,
    ) {
        let Some(logged) = logged else {
            return self.faults.push(Fault::Lacks("draw"));
        };
        let Ok(epoch) = logged.epoch.parse::<Epoch>() else {
            return self.faults.push(Fault::Lacks("epoch that is a month"));
        };
        let Some(subject) = Subject::new(&logged.subject_kind, &logged.subject) else {
            return self.faults.push(Fault::Lacks("subject that can be drawn on"));
        };
        if inspection.draw_epoch != logged.epoch {
            self.faults.push(Fault::Told {
                told: inspection.draw_epoch.clone(),
                drawn: epoch,
            });
        }
        let request = entry.request.clone().unwrap_or_default();
        let Some(accepted) = accepted_in(entry) else {
            return self.faults.push(Fault::Lacks("acceptance time"));
        };
        let (same_epoch, own) = (
            epoch == accepted,
            Subject::of_numbers(&request.declaration_number, &request.transport_document_number),
        );
        // A declaration that was drawn before keeps its epoch and subject; a subject of its own number stays that number.
        let kept = entry.repeated_declaration;
        if !same_epoch && !kept {
            self.faults.push(Fault::Epoch {
                drawn: epoch,
                accepted,
            });
        }
        let same_subject = own == Some(subject);
        let other_declaration =
            subject.kind() == "declaration" && subject.value() != request.declaration_number;
        if !same_subject && (!kept || other_declaration) {
            self.faults.push(Fault::Subject(subject.value().to_owned()));
        }
        let draw = Draw(logged.value);
        let key = key(epoch);
        if let Some(key) = &key {
            let recomputed = key.draw(&subject);
            if recomputed != draw {
                self.faults.push(Fault::Value {
                    own: recomputed.0,
                    logged: draw.0,
                });
            }
        }
        if draw.selects(Ppm(inspection.rate_ppm)) != inspection.selected {
            self.faults.push(Fault::Selection {
                ppm: draw.ppm().0,
                rate: inspection.rate_ppm,
            });
        }
        self.drawn = Some(LoggedDraw {
            epoch,
            subject,
            draw,
            recomputed: key.is_some(),
            kept: !same_epoch || !same_subject,
        });
    }

    fn by_order(&mut self, entry: &pb::DecisionEntry) {
        let orders = entry.facts.iter().flat_map(|facts| &facts.orders);
        let (mut hold, mut mandated, mut targeted) = (false, false, false);
        for order in orders {
            match (order.kind.as_str(), order.basis.as_str()) {
                ("INSPECT", "MANDATED") => mandated = true,
                ("INSPECT", _) => targeted = true,
                ("DOCUMENTS", _) => {}
                // One that cannot be read holds too.
                _ => hold = true,
            }
        }
        let expired = entry
            .decision
            .as_ref()
            .is_some_and(|decision| decision.freshness() == pb::Freshness::Expired);
        let by_hand = hold || expired;
        let fault = match self.basis {
            InspectionBasis::NotDrawn if self.selected => "not drawn, and selected all the same",
            InspectionBasis::NotDrawn if !by_hand => {
                "not drawn, but no order holds and the data had not expired"
            }
            InspectionBasis::NotDrawn => return,
            _ if !self.selected => "ordered, and not selected all the same",
            _ if self.rate_ppm != 1_000_000 => "ordered, at a rate below always",
            _ if by_hand => "ordered, though a hold or expired data comes first",
            InspectionBasis::Mandated if !mandated => "no order mandates the inspection",
            InspectionBasis::Targeted if mandated => "an order mandates the inspection",
            InspectionBasis::Targeted if !targeted => "no order targets the inspection",
            InspectionBasis::Mandated
            | InspectionBasis::Targeted
            | InspectionBasis::Random
            | InspectionBasis::Unspecified => return,
        };
        self.faults.push(Fault::Baseless(fault));
    }

    /// The answer to an auditor: with the commitment to the epoch's key, where there is one.
    pub fn answer(&self, commitment: Option<&Commitment>, key: Option<&EpochKey>) -> pb::VerifyDrawResponse {
        let mut problems: Vec<String> = self.faults.iter().map(Fault::to_string).collect();
        let mut remarks = vec![self.to_string()];
        if let Some(drawn) = &self.drawn {
            let epoch = drawn.epoch;
            match commitment {
                None => problems.push(format!("there is no commitment to the key of {epoch}")),
                Some(commitment) if key.is_some_and(|key| !commitment.is_of(key)) => {
                    problems.push(format!("the commitment of {epoch} is of another key"));
                }
                Some(commitment) => match commitment.worth() {
                    Worth::Ahead => remarks.push(format!("the key's commitment was {}", Worth::Ahead)),
                    late @ Worth::Late(_) => {
                        remarks.push(format!("but the key's commitment was {late}: it does not count"));
                    }
                    unsigned @ Worth::Unsigned => {
                        problems.push(format!("the commitment of {epoch} is {unsigned}"));
                    }
                },
            }
            if !drawn.recomputed {
                problems.push(format!("the key of {epoch} is not known here"));
            }
        }
        let valid = problems.is_empty();
        let words = if valid { remarks } else { problems };
        let verdict = if valid { "valid" } else { "NOT valid" };
        pb::VerifyDrawResponse {
            valid,
            draw_ppm: self.drawn.map_or(0, |drawn| drawn.draw.ppm().0),
            explanation: format!("{verdict}: {}", words.join("; ")),
        }
    }
}

/// What the selection rests on, in words.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.basis, &self.drawn) {
            (InspectionBasis::Random, Some(drawn)) => {
                let (ppm, rate) = (drawn.draw.ppm().0, self.rate_ppm);
                let relation = if ppm < rate {
                    "is below the rate"
                } else {
                    "is not below the rate"
                };
                let selected = if self.selected { "selected" } else { "not selected" };
                let (kind, subject) = (drawn.subject.kind(), drawn.subject.value());
                write!(
                    f,
                    "drawn in {} on the {kind} {subject}: {ppm} {relation} {rate}, {selected}",
                    drawn.epoch
                )?;
                if drawn.kept {
                    f.write_str(" (the declaration had been drawn before, and keeps that draw)")?;
                }
                Ok(())
            }
            (InspectionBasis::Random | InspectionBasis::Unspecified, _) => {
                f.write_str("the record tells of no draw")
            }
            (InspectionBasis::Mandated, _) => {
                f.write_str("no draw was made: an inspection order mandates the selection")
            }
            (InspectionBasis::Targeted, _) => {
                f.write_str("no draw was made: a targeted or emergency order selects")
            }
            (InspectionBasis::NotDrawn, _) => {
                f.write_str("no draw was made: a hold or expired data sends the declaration to an officer")
            }
        }
    }
}

/// The month of the acceptance date.
pub fn accepted_in(entry: &pb::DecisionEntry) -> Option<Epoch> {
    accepted_on(entry).map(Epoch::of)
}

/// The acceptance date.
pub fn accepted_on(entry: &pb::DecisionEntry) -> Option<Date> {
    let at = entry.facts.as_ref()?.accepted_at.as_ref()?;
    Timestamp::new(at.seconds, at.nanos).ok().map(Date::of)
}

#[cfg(test)]
pub(super) mod tests;
