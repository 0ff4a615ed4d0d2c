//! A whole month against the log: every decision that was accepted in it, and consignments that were drawn twice.
//!
//! A fold over records, in any order and of any number of logs. What it remembers is 16 bytes of each declaration and of
//! each transport document: digests cut so short that among ten million numbers two are taken for one once in 300,000
//! checks, and that a difference goes unseen once in 2^48.

mod consignments;

use std::collections::{BTreeMap, BTreeSet};

use self::consignments::Consignments;
use super::{
    check::{Check, Fault, accepted_on},
    commitment::{Commitment, Worth},
};
use crate::{
    domain::Date,
    policy::draw::{Epoch, EpochKey},
    wire::pb::{self, InspectionBasis, audit_record::Entry},
};

/// Findings that are named one by one; all are counted.
const NAMED: usize = 20;
/// Days beside the month in which a consignment of the month may have been decided before or after: longer than acceptance
/// dates are taken.
const BESIDE: i32 = 31;

/// What was found at one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The replica whose log it is in.
    pub replica: String,
    /// The record's place in that log.
    pub sequence: u64,
    /// The decision, where it is one.
    pub decision_id: String,
    /// What kind of finding.
    pub kind: Kind,
    /// In words.
    pub what: String,
}

/// The kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A draw that the key does not give, or of another subject or epoch.
    Draw,
    /// A selection that is not that of its draw, or rests on nothing.
    Selection,
    /// A declaration that was drawn in two epochs.
    TwoEpochs,
    /// A declaration that was drawn on two subjects.
    TwoSubjects,
    /// A transport document that came with two declaration numbers.
    TwoNumbers,
    /// A commitment in the log that is another than the store's.
    Commitment,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Draw,
        Self::Selection,
        Self::TwoEpochs,
        Self::TwoSubjects,
        Self::TwoNumbers,
        Self::Commitment,
    ];

    /// The words for tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Draw => "draws that do not agree",
            Self::Selection => "selections that do not agree",
            Self::TwoEpochs => "declarations drawn in two epochs",
            Self::TwoSubjects => "declarations drawn on two subjects",
            Self::TwoNumbers => "transport documents under two declaration numbers",
            Self::Commitment => "commitments that do not agree",
        }
    }
}

/// What a month came to.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Decisions of the month, each retry counted.
    pub decisions: u64,
    /// Of these, those with a random draw.
    pub drawn: u64,
    /// Of the draws, those that were recomputed.
    pub recomputed: u64,
    /// Of the draws, those that a declaration kept from an earlier decision.
    pub kept: u64,
    /// Decisions whose draw selected.
    pub selected: u64,
    /// Decisions that an order selected.
    pub ordered: u64,
    /// Decisions without a draw: held, or of expired data.
    pub not_drawn: u64,
    /// Findings of each kind.
    pub findings: BTreeMap<Kind, u64>,
}

/// The check of a month under way.
#[derive(Debug)]
pub struct MonthCheck {
    month: Epoch,
    days: (Date, Date),
    /// The commitment to the month's key that the store holds, if it does.
    commitment: Option<Commitment>,
    replica: String,
    consignments: Consignments,
    /// What it came to, so far.
    pub counts: Counts,
    /// The first findings.
    pub findings: Vec<Finding>,
    /// The keys that say they sign the logs that were read.
    pub public_keys: BTreeSet<String>,
    /// Commitments to the month's key that the logs tell of.
    pub logged: BTreeSet<String>,
}

impl MonthCheck {
    /// Begins a check, against the commitment that the store holds.
    pub fn new(month: Epoch, commitment: Option<Commitment>) -> Self {
        let day = |at: jiff::Timestamp| Date::of(at);
        Self {
            month,
            days: (
                day(month.begins()).plus_days(-BESIDE),
                day(month.ends()).plus_days(BESIDE),
            ),
            commitment,
            replica: String::new(),
            consignments: Consignments::new(month),
            counts: Counts::default(),
            findings: Vec::new(),
            public_keys: BTreeSet::new(),
            logged: BTreeSet::new(),
        }
    }

    /// The log of another replica follows.
    pub fn log_of(&mut self, replica: &str) {
        replica.clone_into(&mut self.replica);
    }

    /// Takes a record; `key` gives the key of an epoch, where it is known.
    pub fn take(
        &mut self,
        sequence: u64,
        record: &pb::AuditRecord,
        key: impl FnOnce(Epoch) -> Option<EpochKey>,
    ) {
        match &record.entry {
            Some(Entry::Decision(entry)) => self.decision(sequence, entry, key),
            Some(Entry::Opened(opened)) => {
                self.replica.clone_from(&opened.replica);
                self.public_keys.insert(hex::encode(&opened.public_key));
            }
            Some(Entry::Commitment(entry)) if entry.epoch == *self.month.name() => {
                self.logged.insert(entry.commitment.clone());
                let stored = self.commitment.as_ref().map(|own| &own.stored.commitment);
                if stored.is_some_and(|stored| *stored != entry.commitment) {
                    let what = format!(
                        "the log tells of the commitment {}, the store of another",
                        entry.commitment
                    );
                    self.found(sequence, "", Kind::Commitment, what);
                }
            }
            _ => {}
        }
    }

    fn decision(
        &mut self,
        sequence: u64,
        entry: &pb::DecisionEntry,
        key: impl FnOnce(Epoch) -> Option<EpochKey>,
    ) {
        let Some(day) = accepted_on(entry).filter(|day| (self.days.0..=self.days.1).contains(day)) else {
            return;
        };
        let of_month = Epoch::of(day) == self.month;
        let id = entry
            .decision
            .as_ref()
            .map_or("", |decision| &decision.decision_id);
        // What is drawn beside the month is another month's to check.
        let check = of_month.then(|| Check::of(entry, key));
        if let Some(check) = &check {
            self.count(check);
            for fault in &check.faults {
                let kind = match fault {
                    Fault::Told { .. } | Fault::Epoch { .. } | Fault::Subject(_) | Fault::Value { .. } => {
                        Kind::Draw
                    }
                    Fault::Lacks(_) | Fault::Stray | Fault::Selection { .. } | Fault::Baseless(_) => {
                        Kind::Selection
                    }
                };
                self.found(sequence, id, kind, fault.to_string());
            }
        }
        for (kind, what) in self.consignments.met(entry, of_month) {
            self.found(sequence, id, kind, what);
        }
    }

    fn count(&mut self, check: &Check) {
        let counts = &mut self.counts;
        counts.decisions += 1;
        match check.basis {
            InspectionBasis::Random => {
                counts.drawn += 1;
                counts.selected += u64::from(check.selected);
            }
            InspectionBasis::Mandated | InspectionBasis::Targeted => counts.ordered += 1,
            InspectionBasis::NotDrawn | InspectionBasis::Unspecified => counts.not_drawn += 1,
        }
        if let Some(drawn) = &check.drawn {
            counts.recomputed += u64::from(drawn.recomputed);
            counts.kept += u64::from(drawn.kept);
        }
    }

    fn found(&mut self, sequence: u64, decision_id: &str, kind: Kind, what: String) {
        *self.counts.findings.entry(kind).or_default() += 1;
        if self.findings.len() < NAMED {
            self.findings.push(Finding {
                replica: self.replica.clone(),
                sequence,
                decision_id: decision_id.to_owned(),
                kind,
                what,
            });
        }
    }

    /// What speaks against the month: nothing where it is proven. `key` is the month's, if it is known.
    pub fn objections(&self, key: Option<&EpochKey>) -> Vec<String> {
        let month = self.month;
        let mut objections = Vec::new();
        match (&self.commitment, key) {
            (_, None) if self.counts.drawn > 0 => {
                objections.push(format!(
                    "the key of {month} is not known: no draw can be recomputed"
                ));
            }
            (Some(commitment), Some(key)) if !commitment.is_of(key) => {
                objections.push(format!("the commitment of {month} is of another key"));
            }
            (Some(commitment), _) if commitment.worth() == Worth::Unsigned => {
                objections.push(format!("the commitment of {month} is {}", Worth::Unsigned));
            }
            (None, Some(key)) if !self.logged.contains(&key.commitment) && self.counts.drawn > 0 => {
                objections.push(format!("neither store nor log commits to the key of {month}"));
            }
            _ => {}
        }
        for (kind, count) in &self.counts.findings {
            objections.push(format!("{count} {}", kind.name()));
        }
        objections
    }

    /// What an auditor should know beside that.
    pub fn remarks(&self) -> Vec<String> {
        let month = self.month;
        let mut remarks = Vec::new();
        match &self.commitment {
            None => remarks.push(format!(
                "the store holds no commitment of {month}: only the log tells of one, if at all"
            )),
            Some(commitment) => {
                if let late @ Worth::Late(_) = commitment.worth() {
                    remarks.push(format!("the commitment was {late}: it does not count"));
                }
                let signer = &commitment.stored.public_key;
                if !self.public_keys.is_empty() && !self.public_keys.contains(signer) {
                    remarks.push(format!(
                        "the commitment is signed by {} ({signer}), whose log is not among those read",
                        commitment.stored.replica
                    ));
                }
            }
        }
        let other = self.counts.drawn - self.counts.recomputed;
        if other > 0 {
            remarks.push(format!(
                "{other} draws were not recomputed, for the want of their epoch's key"
            ));
        }
        remarks
    }
}

#[cfg(test)]
mod tests;
