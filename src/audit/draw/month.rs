//! A whole month against the log: every decision that was accepted in it, and consignments that were drawn twice.
//!
//! A fold over records, in any order and of any number of logs. What it remembers is 16 bytes of each declaration and of
//! each transport document: digests cut so short that among ten million numbers two are taken for one once in 300,000
//! checks, and that a difference goes unseen once in 2^48.

use std::collections::{BTreeMap, BTreeSet, HashMap, hash_map};

use ring::digest::{SHA256, digest};

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
    declarations: HashMap<u64, Seen>,
    documents: HashMap<u64, Seen>,
    /// What it came to, so far.
    pub counts: Counts,
    /// The first findings.
    pub findings: Vec<Finding>,
    /// The keys that say they sign the logs that were read.
    pub public_keys: BTreeSet<String>,
    /// Commitments to the month's key that the logs tell of.
    pub logged: BTreeSet<String>,
}

/// What is remembered of a number, in 8 bytes: the beginning of the digest that first went with it, and the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    high: u32,
    low: u16,
    /// Months from the one checked, and 64; 0 where nothing was drawn.
    epoch: u8,
    /// By a decision of the month.
    of_month: bool,
}

/// The first 8 bytes of a number's SHA-256.
fn short(number: &str) -> u64 {
    let digest = digest(&SHA256, number.as_bytes());
    digest
        .as_ref()
        .first_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

impl Seen {
    fn new(digest: u64, epoch: u8, of_month: bool) -> Self {
        let [.., a, b, c, d, e, f] = digest.to_be_bytes();
        Self {
            high: u32::from_be_bytes([a, b, c, d]),
            low: u16::from_be_bytes([e, f]),
            epoch,
            of_month,
        }
    }

    fn is(self, other: Self) -> bool {
        (self.high, self.low) == (other.high, other.low)
    }
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
            declarations: HashMap::new(),
            documents: HashMap::new(),
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
        self.consignment(sequence, id, entry, of_month);
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

    /// Holds a decision against the first one on the same declaration, and the first one under the same document.
    fn consignment(&mut self, sequence: u64, id: &str, entry: &pb::DecisionEntry, of_month: bool) {
        let Some(request) = &entry.request else { return };
        let number = &request.declaration_number;
        let draw = entry.facts.as_ref().and_then(|facts| facts.draw.as_ref());
        let (epoch, subject) = draw.map_or((0, 0), |draw| {
            (
                self.months_from(&draw.epoch),
                short(&format!("{}\u{1f}{}", draw.subject_kind, draw.subject)),
            )
        });
        if draw.is_some() {
            let seen = Seen::new(subject, epoch, of_month);
            if let Some(first) = first(&mut self.declarations, short(number), seen)
                && (of_month || first.of_month)
            {
                if first.epoch != seen.epoch {
                    let what = format!("{number} was drawn in another epoch before");
                    self.found(sequence, id, Kind::TwoEpochs, what);
                }
                if !first.is(seen) {
                    let what = format!("{number} was drawn on another subject before");
                    self.found(sequence, id, Kind::TwoSubjects, what);
                }
            }
        }
        let document = &request.transport_document_number;
        if !document.is_empty() {
            let document = document.to_ascii_uppercase();
            let seen = Seen::new(short(number), epoch, of_month);
            if let Some(first) = first(&mut self.documents, short(&document), seen)
                && (of_month || first.of_month)
            {
                let drawn = first.epoch != 0 && seen.epoch != 0;
                if drawn && first.epoch != seen.epoch {
                    let what = format!("the transport document {document} was drawn in another epoch before");
                    self.found(sequence, id, Kind::TwoEpochs, what);
                }
                if !first.is(seen) {
                    let what =
                        format!("{document} came under another declaration number than {number} before");
                    self.found(sequence, id, Kind::TwoNumbers, what);
                }
            }
        }
    }

    /// Months from the one checked, and 64; what is no month or out of reach is the last one.
    fn months_from(&self, epoch: &str) -> u8 {
        let months = |name: &str| {
            let (year, month) = name.split_once('-')?;
            Some(year.parse::<i32>().ok()? * 12 + month.parse::<i32>().ok()?)
        };
        let own = months(&self.month.name()).unwrap_or_default();
        let distance = months(epoch).map_or(i32::MAX, |other| other.saturating_sub(own));
        u8::try_from(distance.saturating_add(64).clamp(1, 127)).unwrap_or(127)
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

/// What was seen first with a number, if it was seen before.
fn first(map: &mut HashMap<u64, Seen>, number: u64, seen: Seen) -> Option<Seen> {
    match map.entry(number) {
        hash_map::Entry::Occupied(first) => Some(*first.get()),
        hash_map::Entry::Vacant(place) => {
            place.insert(seen);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::check::tests::drawn, *};

    fn key(epoch: Epoch) -> Option<EpochKey> {
        let secret = crate::policy::draw::MasterSecret::new(&[0; 32])?;
        Some(secret.epoch_key(epoch))
    }

    /// A decision on that declaration and document, accepted so many days after the 23rd of November, drawn honestly.
    fn decided(number: &str, document: &str, days: i64) -> pb::DecisionEntry {
        let mut entry = drawn(0);
        let request = entry.request.as_mut().unwrap();
        number.clone_into(&mut request.declaration_number);
        document.clone_into(&mut request.transport_document_number);
        let facts = entry.facts.as_mut().unwrap();
        facts.accepted_at.as_mut().unwrap().seconds += days * 86_400;
        let day: Date = "2026-11-23".parse().unwrap();
        let epoch = Epoch::of(day.plus_days(i32::try_from(days).unwrap()));
        let subject = crate::policy::draw::Subject::of_numbers(number, document).unwrap();
        facts.draw = Some(pb::DrawFacts {
            epoch: epoch.to_string(),
            subject_kind: subject.kind().to_owned(),
            subject: subject.value().to_owned(),
            value: key(epoch).unwrap().draw(&subject).0,
        });
        let inspection = entry.decision.as_mut().unwrap().inspection.as_mut().unwrap();
        inspection.draw_epoch = epoch.to_string();
        entry
    }

    fn checked(entries: &[pb::DecisionEntry]) -> MonthCheck {
        let mut check = MonthCheck::new("2026-11".parse().unwrap(), None);
        for (sequence, entry) in (1..).zip(entries) {
            let record = pb::AuditRecord {
                recorded_at: None,
                entry: Some(Entry::Decision(entry.clone())),
            };
            check.take(sequence, &record, key);
        }
        check
    }

    fn kinds(entries: &[pb::DecisionEntry]) -> Vec<(u64, Kind)> {
        let check = checked(entries);
        check
            .findings
            .iter()
            .map(|found| (found.sequence, found.kind))
            .collect()
    }

    const A: &str = "222520261000000001";
    const B: &str = "222520261000000002";

    #[test]
    fn an_honest_month_has_no_findings_and_retries_are_none() {
        let entries = [
            decided(A, "", 0),
            decided(A, "", 1),
            decided(B, "BL1", 0),
            decided(B, "bl1", 2),
        ];
        assert_eq!(kinds(&entries), []);
        let check = checked(&entries);
        assert_eq!((check.counts.decisions, check.counts.recomputed), (4, 4));
    }

    #[test]
    fn a_consignment_under_two_epochs_subjects_or_numbers_is_flagged() {
        // Accepted in November, and in December by another replica, which did not know.
        let epochs = [decided(A, "", 0), decided(A, "", 8)];
        assert_eq!(kinds(&epochs), [(2, Kind::TwoEpochs)]);
        let backwards = [decided(A, "", 8), decided(A, "", 0)];
        assert_eq!(kinds(&backwards), [(2, Kind::TwoEpochs)]);
        let subjects = [decided(A, "", 0), decided(A, "BL1", 0)];
        assert_eq!(kinds(&subjects), [(2, Kind::TwoSubjects)]);
        let numbers = [decided(A, "BL1", 0), decided(B, "bl1", 0)];
        assert_eq!(kinds(&numbers), [(2, Kind::TwoNumbers)]);
        // What is wholly of another month is not this one's.
        assert_eq!(kinds(&[decided(A, "", 8), decided(A, "BL1", 9)]), []);
        assert_eq!(checked(&[decided(A, "", 8)]).counts.decisions, 0);
    }

    #[test]
    fn a_draw_or_selection_that_does_not_agree_is_named() {
        let (mut draw, mut selection) = (decided(A, "", 0), decided(B, "", 0));
        draw.facts.as_mut().unwrap().draw.as_mut().unwrap().value ^= 1 << 63;
        selection
            .decision
            .as_mut()
            .unwrap()
            .inspection
            .as_mut()
            .unwrap()
            .selected = true;
        assert_eq!(
            kinds(&[draw.clone(), selection]),
            [(1, Kind::Draw), (2, Kind::Selection)]
        );
        let many = checked(&vec![draw; 50]);
        assert_eq!(
            (many.findings.len(), many.counts.findings[&Kind::Draw]),
            (NAMED, 50)
        );
        assert!(!many.objections(key(many.month).as_ref()).is_empty());
    }

    #[test]
    fn a_month_without_key_or_commitment_is_not_proven() {
        let check = checked(&[decided(A, "", 0)]);
        assert_eq!(check.objections(None).len(), 1);
        assert_eq!(check.objections(key(check.month).as_ref()).len(), 1);
        let mut check = check;
        check.logged.insert(key(check.month).unwrap().commitment);
        assert!(check.objections(key(check.month).as_ref()).is_empty());
    }

    #[test]
    fn what_is_remembered_of_a_number_is_16_bytes() {
        assert_eq!(size_of::<(u64, Seen)>(), 16);
    }
}
