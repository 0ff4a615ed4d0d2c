use super::*;

const KEY: &str = "222520261000000001";
const OTHER: &str = "222520261000000002";
const CONTAINER: &str = "CSQU3054383";

fn shipment(declaration: &str, lane: pb::Lane, rank: u32, revision: u64) -> pb::Shipment {
    pb::Shipment {
        declaration_number: declaration.to_owned(),
        container_numbers: vec![CONTAINER.to_owned()],
        priority: Some(pb::Priority {
            priority_class: pb::PriorityClass::Normal.into(),
            rank,
        }),
        lane: lane.into(),
        hold: lane > pb::Lane::Blue,
        revision,
        valid_until: Some(prost_types::Timestamp {
            seconds: 253_402_300_799,
            nanos: 0,
        }),
        ..pb::Shipment::default()
    }
}

fn yard(keys: &[&str]) -> Yard {
    let keys: Vec<_> = keys.iter().map(|&key| key.to_owned()).collect();
    Yard::new(&keys)
}

/// The lines of shipments, without what stands above them.
fn table(yard: &Yard, silent: bool) -> Vec<String> {
    let lines = yard.lines(Instant::now(), silent, 24);
    let heading = lines.iter().position(|line| line.text.contains("gate")).unwrap();
    lines[heading + 1..]
        .iter()
        .map(|line| line.text.clone())
        .collect()
}

#[test]
fn a_change_is_marked_and_a_revocation_stands_out() {
    let mut yard = yard(&[KEY, OTHER]);
    let now = Instant::now();
    yard.take(shipment(KEY, pb::Lane::Green, 100, 1), now);
    assert!(table(&yard, false)[0].starts_with(&format!("  {KEY} open ")));
    assert!(table(&yard, false)[1].contains("not decided"));
    let revoked = pb::Shipment {
        revoked: true,
        ..shipment(KEY, pb::Lane::Red, 300, 2)
    };
    yard.take(revoked, now);
    let row = &table(&yard, false)[0];
    assert!(row.starts_with(&format!("* {KEY} HOLD REVOKED ")), "{row}");
    assert!(row.contains("GREEN > RED"), "{row}");
    let lines = yard.lines(now, false, 24);
    assert!(
        lines
            .iter()
            .any(|line| line.style == Style::Alarm && line.text.contains("do not let out"))
    );
    assert!(yard.lines(now, false, 4).len() <= 4, "it fits the terminal");
}

#[test]
fn a_state_of_a_lower_revision_is_dropped() {
    let mut yard = yard(&[KEY]);
    yard.take(shipment(KEY, pb::Lane::Red, 300, 5), Instant::now());
    yard.take(shipment(KEY, pb::Lane::Green, 100, 4), Instant::now());
    assert!(table(&yard, false)[0].contains("RED"));
    // What is laid over at reading has no revision of its own.
    yard.take(shipment(KEY, pb::Lane::Manual, 300, 5), Instant::now());
    assert!(table(&yard, false)[0].contains("MANUAL"));
}

#[test]
fn silence_is_no_consent() {
    let mut yard = yard(&[KEY]);
    yard.take(shipment(KEY, pb::Lane::Green, 100, 1), Instant::now());
    assert!(table(&yard, false)[0].contains(" open "));
    assert!(table(&yard, true)[0].contains("HOLD, no word"));
    yard.begin_anew();
    assert!(
        table(&yard, false)[0].contains("HOLD, no word"),
        "not heard again yet"
    );
    yard.take(shipment(KEY, pb::Lane::Green, 100, 1), Instant::now());
    assert!(table(&yard, false)[0].contains(" open "));
}

#[test]
fn a_container_follows_the_declaration_that_answers_for_it() {
    let mut yard = yard(&[CONTAINER]);
    yard.take(shipment(KEY, pb::Lane::Red, 300, 7), Instant::now());
    yard.take(shipment(OTHER, pb::Lane::Green, 100, 1), Instant::now());
    let row = &table(&yard, false)[0];
    assert!(
        row.contains(" open ") && row.contains(&format!("now on {OTHER}")),
        "{row}"
    );
    // It has left the declaration that answered.
    let without = pb::Shipment {
        container_numbers: Vec::new(),
        ..shipment(OTHER, pb::Lane::Green, 100, 2)
    };
    yard.take(without, Instant::now());
    assert!(table(&yard, false)[0].contains("not decided"));
}

#[test]
fn a_state_that_may_be_of_another_key_frees_no_container() {
    let mut yard = yard(&[CONTAINER, OTHER]);
    yard.take(shipment(KEY, pb::Lane::Red, 300, 1), Instant::now());
    yard.take(shipment(OTHER, pb::Lane::Green, 100, 1), Instant::now());
    let rows = table(&yard, false);
    assert!(rows[0].contains(OTHER) && rows[0].contains(" open "), "{rows:?}");
    assert!(rows[1].contains(CONTAINER) && rows[1].contains("RED"), "{rows:?}");
}
