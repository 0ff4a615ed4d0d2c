use proptest::prelude::*;

use super::*;

fn text(own: &str) -> String {
    own.to_owned()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 5 }
}

fn decision() -> pb::DecisionEntry {
    let party = |identifier| pb::Party {
        role: 1,
        identifier: Some(identifier),
    };
    pb::DecisionEntry {
        request: Some(pb::DecideRequest {
            declaration_number: text("222520261000000001"),
            parties: vec![
                party(pb::party::Identifier::CustomsCode(text("1101919999"))),
                party(pb::party::Identifier::AeoCode(text("DEAEOF1"))),
            ],
            goods: vec![pb::GoodsItem::default()],
            customs_office: text("2225"),
            transport_document_number: text("BL1"),
            container_numbers: vec![text("CSQU3054383"), text("MSCU1234566")],
            ..pb::DecideRequest::default()
        }),
        decision: Some(pb::Decision {
            decision_id: text("id"),
            declaration_number: text("222520261000000001"),
            credit_tier: 3,
            parties: vec![pb::PartyAssessment {
                role: 1,
                enterprise_id: text("1101919999"),
                customs_code: text("1101919999"),
                ..pb::PartyAssessment::default()
            }],
            inspection: Some(pb::Inspection {
                rate_ppm: 50_000,
                selected: true,
                basis: 2,
                draw_epoch: text("2026-11"),
            }),
            lane: 2,
            decided_at: Some(at(-7)),
            ..pb::Decision::default()
        }),
        facts: Some(pb::DecisionFacts {
            accepted_at: Some(at(9)),
            parties: vec![pb::PartyFacts {
                enterprise: Some(pb::EnterpriseFacts {
                    customs_code: text("1101919999"),
                    social_credit_code: text("91310000MA1FL2XX0X"),
                    ..pb::EnterpriseFacts::default()
                }),
                operator: Some(pb::OperatorFacts {
                    aeo_code: text("DEAEOF1"),
                    country: text("DE"),
                    ..pb::OperatorFacts::default()
                }),
            }],
            draw: Some(pb::DrawFacts {
                epoch: text("2026-11"),
                subject_kind: text("transport_document"),
                subject: text("BL1"),
                value: u64::MAX,
            }),
            ..pb::DecisionFacts::default()
        }),
        caller: text("window"),
        repeated_declaration: true,
        limit_ppm: 7,
        ..pb::DecisionEntry::default()
    }
}

fn record(entry: pb::audit_record::Entry) -> Vec<u8> {
    let recorded_at = Some(at(1));
    pb::AuditRecord {
        recorded_at,
        entry: Some(entry),
    }
    .encode_to_vec()
}

#[test]
fn an_outline_has_what_the_record_has() {
    let bytes = record(pb::audit_record::Entry::Decision(decision()));
    let outline = Outline::of(&bytes).expect("a record");
    assert_eq!((outline.kind(), outline.recorded_at), (2, Some(at(1))));
    let entry = outline.decision.expect("a decision");
    assert!(entry.repeated_declaration && entry.limit_ppm == 7);
    let request = entry.request.expect("a request");
    assert_eq!(
        (request.customs_office, request.transport_document_number),
        (&b"2225"[..], &b"BL1"[..])
    );
    assert_eq!(
        request.container_numbers[..],
        [&b"CSQU3054383"[..], &b"MSCU1234566"[..]]
    );
    let codes = |party: &Party<'_>| (party.customs_code.to_vec(), party.aeo_code.to_vec());
    assert_eq!(
        request.parties.iter().map(codes).collect::<Vec<_>>(),
        [
            (b"1101919999".to_vec(), Vec::new()),
            (Vec::new(), b"DEAEOF1".to_vec())
        ]
    );
    let own = entry.decision.expect("a decision");
    assert_eq!(
        (own.decision_id, own.declaration_number, own.credit_tier, own.lane),
        (&b"id"[..], &b"222520261000000001"[..], 3, 2)
    );
    assert_eq!(
        (own.parties[0].enterprise_id, own.decided_at),
        (&b"1101919999"[..], Some(at(-7)))
    );
    let inspection = own.inspection.expect("an inspection");
    assert_eq!(
        (inspection.rate_ppm, inspection.selected, inspection.basis),
        (50_000, true, 2)
    );
    let facts = entry.facts.expect("facts");
    assert_eq!(facts.accepted_at, Some(at(9)));
    let (enterprise, operator) = (&facts.parties[0].enterprise, &facts.parties[0].operator);
    assert_eq!(enterprise.as_ref().expect("one").second, b"91310000MA1FL2XX0X");
    assert_eq!(operator.as_ref().expect("one").first, b"DEAEOF1");
    let draw = facts.draw.expect("a draw");
    assert_eq!((draw.epoch, draw.value), (&b"2026-11"[..], u64::MAX));
    assert_eq!(
        (draw.subject_kind, draw.subject),
        (&b"transport_document"[..], &b"BL1"[..])
    );
}

#[test]
fn an_entry_of_another_kind_is_known_by_its_number() {
    use pb::audit_record::Entry;
    let inspection = pb::InspectionEntry {
        declaration_number: text("1"),
        ..pb::InspectionEntry::default()
    };
    let bytes = record(Entry::Inspection(inspection.clone()));
    let outline = Outline::of(&bytes).expect("a record");
    assert_eq!((outline.kind(), outline.inspection), (6, Some(inspection)));
    for (kind, entry) in [
        (3, Entry::Opened(pb::LogOpened::default())),
        (4, Entry::Activation(pb::PolicyActivation::default())),
        (5, Entry::OrderChange(pb::ControlOrderChange::default())),
        (7, Entry::Unlogged(pb::UnloggedDecisions::default())),
        (8, Entry::Commitment(pb::DrawCommitmentEntry::default())),
    ] {
        assert_eq!(Outline::of(&record(entry)).expect("a record").kind(), kind);
    }
    assert_eq!(Outline::of(&[]).expect("an empty one").kind(), 0);
}

#[test]
fn a_record_that_stands_twice_goes_on() {
    let mut other = decision();
    other.limit_ppm = 9;
    let one = record(pb::audit_record::Entry::Decision(decision()));
    let two = [one.clone(), record(pb::audit_record::Entry::Decision(other))].concat();
    let merged = pb::AuditRecord::decode(&two[..])
        .expect("a record")
        .encode_to_vec();
    assert_eq!(Outline::of(&two), Outline::of(&merged));
    assert_ne!(Outline::of(&two), Outline::of(&one));
}

proptest! {
    /// Whatever is damaged in it.
    #[test]
    fn what_is_a_record_has_an_outline(at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>()) {
        let mut bytes = record(pb::audit_record::Entry::Decision(decision()));
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(cut.index(bytes.len() * 2).max(1));
        if let Ok(record) = pb::AuditRecord::decode(&bytes[..]) {
            let again = record.encode_to_vec();
            let (own, again) = (Outline::of(&bytes), Outline::of(&again));
            prop_assert!(own.is_some());
            // Of two kinds in one record, prost keeps the last.
            if own.as_ref().map(Outline::kind) == again.as_ref().map(Outline::kind) {
                prop_assert_eq!(own, again);
            }
        }
    }
}
