//! Draws that were computed with openssl: see the test in `policy::draw`.

use super::*;

/// `openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt hexkey:00..00 -kdfopt info:2026-11 HKDF`, of 32 zero bytes.
fn key() -> EpochKey {
    let secret = crate::policy::draw::MasterSecret::new(&[0; 32]).unwrap();
    secret.epoch_key("2026-11".parse().unwrap())
}

/// `printf 'greenlane-draw-v1\x1fdeclaration\x1f222520261000000001' | openssl dgst -sha256 -mac HMAC -macopt hexkey:..`
const DRAW: u64 = 0xb213_4756_d341_0277;
/// floor(DRAW * 1000000 / 2^64), by bc.
const DRAW_PPM: u32 = 695_606;

/// A decision that was drawn on its number, at that rate.
pub(in super::super) fn drawn(rate_ppm: u32) -> pb::DecisionEntry {
    pb::DecisionEntry {
        request: Some(pb::DecideRequest {
            declaration_number: "222520261000000001".to_owned(),
            ..pb::DecideRequest::default()
        }),
        decision: Some(pb::Decision {
            decision_id: "0193".to_owned(),
            inspection: Some(pb::Inspection {
                rate_ppm,
                selected: DRAW_PPM < rate_ppm,
                basis: InspectionBasis::Random.into(),
                draw_epoch: "2026-11".to_owned(),
            }),
            ..pb::Decision::default()
        }),
        facts: Some(pb::DecisionFacts {
            // 2026-11-23 in China.
            accepted_at: Some(prost_types::Timestamp {
                seconds: 1_795_392_000,
                nanos: 0,
            }),
            draw: Some(pb::DrawFacts {
                epoch: "2026-11".to_owned(),
                subject_kind: "declaration".to_owned(),
                subject: "222520261000000001".to_owned(),
                value: DRAW,
            }),
            ..pb::DecisionFacts::default()
        }),
        ..pb::DecisionEntry::default()
    }
}

fn ordered(basis: InspectionBasis, orders: &[(&str, &str)]) -> pb::DecisionEntry {
    let mut entry = drawn(1_000_000);
    let order = |(kind, basis): &(&str, &str)| pb::ControlOrder {
        kind: (*kind).to_owned(),
        basis: (*basis).to_owned(),
        ..pb::ControlOrder::default()
    };
    let facts = entry.facts.as_mut().unwrap();
    facts.draw = None;
    facts.orders = orders.iter().map(order).collect();
    let inspection = entry.decision.as_mut().unwrap().inspection.as_mut().unwrap();
    inspection.basis = basis.into();
    inspection.draw_epoch.clear();
    inspection.selected = basis != InspectionBasis::NotDrawn;
    entry
}

fn faults(entry: &pb::DecisionEntry) -> Vec<Fault> {
    Check::of(entry, |_| Some(key())).faults
}

#[test]
fn a_draw_that_openssl_agrees_with_is_valid_on_both_sides_of_the_rate() {
    for rate in [0, DRAW_PPM, DRAW_PPM + 1, 1_000_000] {
        let check = Check::of(&drawn(rate), |_| Some(key()));
        assert_eq!(check.faults, []);
        assert_eq!(check.drawn.unwrap().draw.ppm().0, DRAW_PPM);
        assert_eq!(check.selected, rate > DRAW_PPM);
    }
}

type Alteration = (fn(&mut pb::DecisionEntry), fn(&Fault) -> bool);

#[test]
fn whatever_is_altered_is_found() {
    fn draw(entry: &mut pb::DecisionEntry) -> &mut pb::DrawFacts {
        entry.facts.as_mut().unwrap().draw.as_mut().unwrap()
    }
    fn inspection(entry: &mut pb::DecisionEntry) -> &mut pb::Inspection {
        entry.decision.as_mut().unwrap().inspection.as_mut().unwrap()
    }
    let alterations: [Alteration; 9] = [
        (
            |entry| draw(entry).value ^= 1,
            |fault| matches!(fault, Fault::Value { .. }),
        ),
        (
            |entry| draw(entry).subject = "222520261000000002".to_owned(),
            |fault| matches!(fault, Fault::Subject(_)),
        ),
        (
            |entry| draw(entry).epoch = "2026-10".to_owned(),
            |fault| matches!(fault, Fault::Epoch { .. }),
        ),
        (
            |entry| draw(entry).epoch = "soon".to_owned(),
            |fault| matches!(fault, Fault::Lacks(_)),
        ),
        (
            |entry| inspection(entry).draw_epoch = "2026-10".to_owned(),
            |fault| matches!(fault, Fault::Told { .. }),
        ),
        (
            |entry| inspection(entry).selected ^= true,
            |fault| matches!(fault, Fault::Selection { .. }),
        ),
        (
            |entry| inspection(entry).rate_ppm = DRAW_PPM,
            |fault| matches!(fault, Fault::Selection { .. }),
        ),
        (
            |entry| entry.facts.as_mut().unwrap().draw = None,
            |fault| matches!(fault, Fault::Lacks("draw")),
        ),
        (
            |entry| entry.request.as_mut().unwrap().transport_document_number = "BL1".to_owned(),
            |fault| matches!(fault, Fault::Subject(_)),
        ),
    ];
    for (at, (alter, expected)) in alterations.into_iter().enumerate() {
        let mut entry = drawn(1_000_000);
        alter(&mut entry);
        let found = faults(&entry);
        assert!(found.iter().any(expected), "{at}: {found:?}");
        let answer = Check::of(&entry, |_| Some(key())).answer(None, None);
        assert!(!answer.valid && answer.explanation.starts_with("NOT valid"));
    }
}

#[test]
fn a_declaration_that_was_drawn_before_keeps_its_epoch_and_subject() {
    let mut entry = drawn(0);
    entry.repeated_declaration = true;
    entry.request.as_mut().unwrap().transport_document_number = "bl-1".to_owned();
    // The 2nd of December.
    entry
        .facts
        .as_mut()
        .unwrap()
        .accepted_at
        .as_mut()
        .unwrap()
        .seconds += 9 * 86_400;
    let check = Check::of(&entry, |_| Some(key()));
    assert_eq!(check.faults, []);
    assert!(check.to_string().contains("keeps that draw"));
    entry.repeated_declaration = false;
    assert_eq!(faults(&entry).len(), 2);
}

#[test]
fn what_an_order_selects_must_rest_on_that_order() {
    use InspectionBasis::{Mandated, NotDrawn, Targeted};
    let (mandated, targeted) = (("INSPECT", "MANDATED"), ("INSPECT", "EMERGENCY"));
    let (hold, documents) = (("HOLD", "TARGETED"), ("DOCUMENTS", "MANDATED"));
    for (basis, orders, sound) in [
        (Mandated, &[mandated, targeted, documents][..], true),
        (Mandated, &[targeted], false),
        (Mandated, &[mandated, hold], false),
        (Targeted, &[targeted], true),
        (Targeted, &[targeted, mandated], false),
        (Targeted, &[documents], false),
        (NotDrawn, &[hold, mandated], true),
        (NotDrawn, &[mandated], false),
        (NotDrawn, &[], false),
    ] {
        let entry = ordered(basis, orders);
        assert_eq!(faults(&entry).is_empty(), sound, "{basis:?} {orders:?}");
        assert_eq!(Check::of(&entry, |_| None).answer(None, None).valid, sound);
    }
    let mut not_selected = ordered(Mandated, &[mandated]);
    not_selected
        .decision
        .as_mut()
        .unwrap()
        .inspection
        .as_mut()
        .unwrap()
        .selected = false;
    assert_eq!(faults(&not_selected).len(), 1);
    let mut expired = ordered(NotDrawn, &[]);
    expired.decision.as_mut().unwrap().freshness = pb::Freshness::Expired.into();
    assert_eq!(faults(&expired), []);
}

#[test]
fn a_late_commitment_is_told_and_another_keys_makes_it_invalid() {
    let folder = tempfile::tempdir().unwrap();
    let signing =
        crate::audit::signing::SigningKey::load_or_make(&folder.path().join("signing.key")).unwrap();
    let commitment = |key: &EpochKey, at: &str| {
        let epoch = "2026-11".parse().unwrap();
        let record = super::super::commitment::commit(epoch, key, at.parse().unwrap(), "a", &signing);
        Commitment::read(record).unwrap()
    };
    let check = Check::of(&drawn(0), |_| Some(key()));
    let answer = |commitment: &Commitment| check.answer(Some(commitment), Some(&key()));
    let ahead = answer(&commitment(&key(), "2026-10-01T00:00:00Z"));
    assert!(
        ahead.valid && ahead.explanation.contains("published ahead"),
        "{ahead:?}"
    );
    assert_eq!(ahead.draw_ppm, DRAW_PPM);
    let late = answer(&commitment(&key(), "2026-11-02T00:00:00Z"));
    assert!(
        late.valid && late.explanation.contains("published late"),
        "{late:?}"
    );
    let other = answer(&commitment(&EpochKey::new([1; 32]), "2026-10-01T00:00:00Z"));
    assert!(
        !other.valid && other.explanation.contains("another key"),
        "{other:?}"
    );
    assert!(!check.answer(None, Some(&key())).valid);
    let mut unsigned = commitment(&key(), "2026-10-01T00:00:00Z");
    unsigned.signed = false;
    assert!(!answer(&unsigned).valid);
    assert!(
        !Check::of(&drawn(0), |_| None)
            .answer(Some(&commitment(&key(), "2026-10-01T00:00:00Z")), None)
            .valid
    );
}
