use greenlane::{
    domain::{CreditTier, Ppm, declaration::Declaration},
    facilitation::{DrawKeys, Remembered},
    policy::draw::{Epoch, EpochKey, MasterSecret, Subject},
};

use crate::support::{
    app::SECRET,
    facts::{World, declaration},
    replica::{Replica, enterprise},
};

const DECLARATIONS: u32 = 1_000_000;

/// Two-sided: a normal deviate is beyond it once in 10,000 times.
const DEVIATIONS_9999: f64 = 3.890_592;

fn key() -> EpochKey {
    let secret = MasterSecret::new(&hex::decode(SECRET).unwrap()).unwrap();
    secret.epoch_key(Epoch::of("2026-11-20".parse().unwrap()))
}

/// The rate of a tier under the decree in force, as the evaluation gives it.
fn rate(tier: CreditTier) -> Ppm {
    World::import("2026-11-20", &[tier]).decide().inspection.rate
}

/// The bounds of a binomial count, by the normal approximation with the correction for continuity: with a variance of
/// over 4800 they are within a few counts of the exact ones.
fn bounds(rate: Ppm) -> (f64, f64) {
    let (count, share) = (f64::from(DECLARATIONS), f64::from(rate.0) / 1e6);
    let mean = count * share;
    let reach = DEVIATIONS_9999 * (mean * (1.0 - share)).sqrt() + 0.5;
    (mean - reach, mean + reach)
}

/// So many declarations, with numbers of that place's own.
fn each(place: usize, count: u32, mut visit: impl FnMut(&Declaration)) {
    let mut one = declaration("222520261000000001");
    for sequence in 0..count {
        one.number = format!("222{place}20261{sequence:09}").parse().unwrap();
        visit(&one);
    }
}

/// The draws are a function of the secret and the numbers: this passes on every machine, or on none.
fn held(tier: CreditTier) {
    let (key, rate, place) = (key(), rate(tier), tier.index());
    let mut selected = 0_u32;
    each(place, DECLARATIONS, |declaration| {
        selected += u32::from(key.draw(&Subject::of(declaration)).selects(rate));
    });
    let (low, high) = bounds(rate);
    let selected = f64::from(selected);
    println!(
        "{tier}: rate {} ppm, realized {selected} of {DECLARATIONS}, bounds {low:.1} to {high:.1}",
        rate.0
    );
    assert!(
        (low..=high).contains(&selected),
        "{tier}: {selected} is not within {low} and {high}"
    );
}

#[test]
fn a_million_advanced_certified_declarations_are_drawn_at_their_rate() {
    assert_eq!(rate(CreditTier::AdvancedCertified), Ppm(4_879));
    held(CreditTier::AdvancedCertified);
}

#[test]
fn a_million_certified_declarations_are_drawn_at_their_rate() {
    assert_eq!(rate(CreditTier::Certified), Ppm(12_200));
    held(CreditTier::Certified);
}

#[test]
fn a_million_regular_declarations_are_drawn_at_their_rate() {
    assert_eq!(rate(CreditTier::Regular), Ppm(24_400));
    held(CreditTier::Regular);
}

#[test]
fn a_million_discredited_declarations_are_drawn_at_their_rate() {
    assert_eq!(rate(CreditTier::Discredited), Ppm(800_000));
    held(CreditTier::Discredited);
}

#[test]
fn a_million_seriously_discredited_declarations_are_drawn_at_their_rate() {
    assert_eq!(rate(CreditTier::SeriouslyDiscredited), Ppm(800_000));
    held(CreditTier::SeriouslyDiscredited);
}

#[test]
fn the_draws_spread_evenly_and_a_higher_rate_keeps_every_selection() {
    let key = key();
    let mut tenths = [0_u32; 10];
    let rates = [
        Ppm(0),
        Ppm(500),
        Ppm(4_879),
        Ppm(24_400),
        Ppm(800_000),
        Ppm(999_999),
        Ppm::ALWAYS,
    ];
    each(9, 100_000, |declaration| {
        let draw = key.draw(&Subject::of(declaration));
        tenths[usize::try_from(draw.ppm().0 / 100_000).unwrap()] += 1;
        let selections = rates.map(|rate| draw.selects(rate));
        assert!(
            selections.is_sorted(),
            "a higher rate unselected {}",
            declaration.number
        );
        assert_eq!((selections[0], selections[6]), (false, true));
    });
    // Chi-square with 9 degrees of freedom is beyond 33.72 once in 10,000 times.
    let square: f64 = tenths
        .iter()
        .map(|&count| (f64::from(count) - 10_000.0).powi(2) / 10_000.0)
        .sum();
    assert!(square < 33.72, "{square}: {tenths:?}");
}

#[test]
fn a_retry_and_another_replica_draw_the_same() {
    let day = "2026-11-20".parse().unwrap();
    let (one, other) = (
        DrawKeys::from_hex(SECRET).unwrap(),
        DrawKeys::from_hex(SECRET).unwrap(),
    );
    let stranger = DrawKeys::from_hex(&"ab".repeat(32)).unwrap();
    let mut strange = 0;
    each(8, 10_000, |declaration| {
        let drawn = one.draw(declaration, day).drawn;
        assert_eq!(drawn.epoch.name().as_str(), "2026-11");
        assert_eq!(
            drawn.draw,
            key().draw(&Subject::of(declaration)),
            "as anybody recomputes it"
        );
        assert_eq!(one.draw(declaration, day).drawn, drawn, "a retry");
        assert_eq!(other.draw(declaration, day).drawn, drawn, "another replica");
        strange += u32::from(stranger.draw(declaration, day).drawn.draw != drawn.draw);
    });
    assert_eq!(strange, 10_000, "another secret draws otherwise");
}

#[test]
fn a_transport_document_that_comes_later_does_not_draw_again() {
    let day = "2026-11-20".parse().unwrap();
    let keys = DrawKeys::from_hex(SECRET).unwrap();
    let fresh = DrawKeys::from_hex(SECRET).unwrap();
    let mut otherwise = 0;
    each(7, 2_000, |plain| {
        let first = keys.draw(plain, day);
        let mut with_document = plain.clone();
        let document = format!("BL-{}", plain.number);
        with_document.transport_document = Some(arrayvec::ArrayString::from(&document).unwrap());
        assert!(!first.repeated);
        let again = Remembered {
            repeated: true,
            ..first
        };
        assert_eq!(keys.draw(&with_document, day), again, "the first subject stays");
        let next_month = "2026-12-01".parse().unwrap();
        assert_eq!(keys.draw(plain, next_month), again, "the first epoch stays");
        // Elsewhere, where the declaration was never decided, the document is what is drawn on.
        otherwise += u32::from(fresh.draw(&with_document, day).drawn.draw != first.drawn.draw);
    });
    assert_eq!(otherwise, 2_000);
}

#[test]
fn a_declaration_whose_decision_was_not_given_is_no_repetition() {
    let day = "2026-11-20".parse().unwrap();
    let keys = DrawKeys::from_hex(SECRET).unwrap();
    each(8, 10, |declaration| {
        let first = keys.draw(declaration, day);
        keys.forget(&declaration.number);
        assert_eq!(
            keys.draw(declaration, day),
            first,
            "the same draw, and again the first"
        );
        assert!(keys.draw(declaration, day).repeated);
    });
}

#[test]
fn declarations_of_one_consignment_are_drawn_as_one() {
    let day = "2026-11-20".parse().unwrap();
    let keys = DrawKeys::from_hex(SECRET).unwrap();
    let mut draws = Vec::new();
    each(6, 100, |declaration| {
        let number = if draws.len() % 2 == 0 {
            "MAEU123456a"
        } else {
            "maeu123456A"
        };
        let transport_document = Some(arrayvec::ArrayString::from(number).unwrap());
        let declaration = Declaration {
            transport_document,
            ..declaration.clone()
        };
        draws.push(keys.draw(&declaration, day).drawn);
    });
    assert!(
        draws.iter().all(|draw| *draw == draws[0]),
        "capitals or not, it is the same document"
    );
}

#[test]
fn decisions_are_drawn_with_the_epoch_of_the_acceptance_date_in_china() {
    let replica = Replica::new(SECRET, &[enterprise("1101919103", CreditTier::Regular)]);
    let decide = |sequence: u32, accepted_at: &str| {
        let mut world = World::import("2026-11-20", &[CreditTier::Regular]);
        world.declaration.number = format!("222520261{sequence:09}").parse().unwrap();
        let moment = Replica::moment(accepted_at);
        let declaration = &world.declaration;
        let draw = |outcome: greenlane::facilitation::Outcome<'_>| {
            let epoch = outcome.drawn.unwrap().epoch;
            (epoch.name().to_string(), outcome.decision.inspection.selected)
        };
        let clock = &replica.clock;
        replica
            .facilitation
            .decide(declaration, moment.timestamp, clock, &moment, draw)
            .unwrap()
    };
    assert_eq!(decide(1, "2026-10-31T15:59:59Z").0, "2026-10");
    assert_eq!(decide(2, "2026-10-31T16:00:00Z").0, "2026-11");
    for sequence in 3..500 {
        let answers = [(); 3].map(|()| decide(sequence, "2026-11-20T04:00:00Z"));
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{sequence}");
    }
}

#[test]
fn the_latest_declarations_keep_their_first_draw_however_many_came_before() {
    let day = "2026-11-20".parse().unwrap();
    let (keys, key) = (DrawKeys::from_hex(SECRET).unwrap(), key());
    each(5, 300_000, |declaration| {
        keys.draw(declaration, day);
    });
    // 1000 of the latest 50,000, where 2^16 are remembered without shipments.
    let (mut number, mut asked, mut rolled) = (0, 0, 0);
    each(5, 300_000, |plain| {
        number += 1;
        if number > 250_000 && number % 50 == 0 {
            let transport_document = Some(arrayvec::ArrayString::from("BL-LATER").unwrap());
            let with_document = Declaration {
                transport_document,
                ..plain.clone()
            };
            asked += 1;
            rolled += u32::from(keys.draw(&with_document, day).drawn.draw != key.draw(&Subject::of(plain)));
        }
    });
    assert_eq!(
        (asked, rolled),
        (1_000, 0),
        "no transport document that came later drew again"
    );
}
