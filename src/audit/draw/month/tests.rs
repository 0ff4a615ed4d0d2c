//! Honest months have no findings; whatever is done to one is named.

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
    // Held first, and drawn in two epochs then.
    let mut held = decided(A, "BL1", 0);
    held.facts.as_mut().unwrap().draw = None;
    let inspection = held.decision.as_mut().unwrap().inspection.as_mut().unwrap();
    (inspection.basis, inspection.draw_epoch) = (InspectionBasis::NotDrawn.into(), String::new());
    held.decision.as_mut().unwrap().freshness = pb::Freshness::Expired.into();
    let twice = [held, decided(A, "BL1", 0), decided(A, "BL1", 8)];
    assert_eq!(kinds(&twice), [(3, Kind::TwoEpochs), (3, Kind::TwoEpochs)]);
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
    assert_eq!(size_of::<(u64, super::consignments::Seen)>(), 16);
}
