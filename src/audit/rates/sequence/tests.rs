use proptest::prelude::*;

use super::*;

/// Bounds by the formula of the module's head in 60 decimal digits, from Python's `decimal` (bisection over whole ppm):
/// selected, draws, 1 / alpha, lower, upper.
const REFERENCE: [(u64, u64, f64, u32, u32); 30] = [
    (0, 0, 40.0, 0, 1_000_000),
    (0, 0, 12e6, 0, 1_000_000),
    (1, 1, 40.0, 22, 1_000_000),
    (1, 1, 12e6, 0, 1_000_000),
    (0, 1, 40.0, 0, 999_978),
    (0, 1, 12e6, 0, 1_000_000),
    (0, 100, 40.0, 0, 63_395),
    (0, 100, 12e6, 0, 180_015),
    (100, 100, 40.0, 936_605, 1_000_000),
    (100, 100, 12e6, 819_985, 1_000_000),
    (3, 100, 40.0, 905, 129_064),
    (3, 100, 12e6, 11, 260_874),
    (50, 100, 40.0, 340_962, 659_038),
    (50, 100, 12e6, 211_827, 788_173),
    (488, 100_000, 40.0, 4_193, 5_634),
    (488, 100_000, 12e6, 3_686, 6_296),
    (7_000, 1_000_000, 40.0, 6_696, 7_314),
    (7_000, 1_000_000, 12e6, 6_490, 7_533),
    (801_234, 1_000_000, 40.0, 799_614, 802_847),
    (801_234, 1_000_000, 12e6, 798_689, 803_763),
    (4_879_000, 1_000_000_000, 40.0, 4_869, 4_889),
    (4_879_000, 1_000_000_000, 12e6, 4_864, 4_894),
    (0, 1_000_000_000, 40.0, 0, 1),
    (0, 1_000_000_000, 12e6, 0, 1),
    (1_000_000_000, 1_000_000_000, 40.0, 999_999, 1_000_000),
    (1_000_000_000, 1_000_000_000, 12e6, 999_999, 1_000_000),
    (799_900_000, 1_000_000_000, 40.0, 799_844, 799_956),
    (799_900_000, 1_000_000_000, 12e6, 799_816, 799_984),
    (500_000_000, 1_000_000_000, 40.0, 499_931, 500_069),
    (500_000_000, 1_000_000_000, 12e6, 499_894, 500_106),
];

#[test]
fn bounds_are_those_of_another_implementation_in_sixty_digits() {
    for (selected, draws, odds, lower_ppm, upper_ppm) in REFERENCE {
        let expected = Bounds { lower_ppm, upper_ppm };
        let confidence = Confidence::failing_at_most(1.0 / odds);
        assert_eq!(
            bounds(selected, draws, confidence),
            expected,
            "{selected} of {draws} at 1 / {odds}"
        );
    }
}

/// The exact probability that the lower bound ever lies above the running mean of the probabilities within `draws`
/// draws: no simulation, but the distribution of the paths that have not been wrong so far, draw by draw.
fn ever_wrong(draws: usize, probability: impl Fn(usize) -> f64, confidence: Confidence) -> f64 {
    let (mut alive, mut wrong, mut sum) = (vec![1.0], 0.0, 0.0);
    // The fewest selections at which the bound is wrong; it moves slowly, and only up where the mean stands.
    for n in 1..=draws {
        let p = probability(n);
        sum += p;
        let mut next = vec![0.0; alive.len() + 1];
        for (selected, path) in alive.iter().enumerate() {
            next[selected] += path * (1.0 - p);
            next[selected + 1] += path * p;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a mean of probabilities in ppm"
        )]
        let mean_ppm = (sum / n as f64 * 1e6).ceil() as u32;
        // The bound rises with the selections: what is wrong is a tail.
        while let Some(&path) = next.last()
            && (path < 1e-18 || exceeds(next.len() as u64 - 1, n as u64, mean_ppm, confidence))
        {
            wrong += path;
            next.pop();
        }
        alive = next;
    }
    wrong
}

#[test]
fn the_exact_probability_of_ever_being_wrong_is_within_what_was_promised() {
    for alpha in [0.05, 0.01] {
        let confidence = Confidence::failing_at_most(alpha);
        let ever = [
            ever_wrong(20_000, |_| 0.004_879, confidence),
            ever_wrong(3_000, |_| 0.2, confidence),
            ever_wrong(3_000, |_| 0.8, confidence),
            // Offices, uplifts and recognition: no two draws alike, and a drift from one extreme to the other.
            ever_wrong(3_000, |n| [0.0005, 0.3, 0.0122, 0.8][n % 4], confidence),
            ever_wrong(3_000, |n| if n < 1_500 { 0.002 } else { 0.9 }, confidence),
            ever_wrong(3_000, |n| if n < 1_500 { 0.9 } else { 0.002 }, confidence),
        ];
        for (case, &ever) in ever.iter().enumerate() {
            assert!(ever <= alpha, "case {case}: {ever} at {alpha}");
        }
        assert!(ever[0] > alpha / 20.0, "and not for being idle: {ever:?}");
    }
}

#[test]
fn counts_of_any_size_give_bounds() {
    let confidence = Confidence::failing_at_most(0.01);
    for (selected, draws) in [
        (u64::MAX, u64::MAX),
        (0, u64::MAX),
        (5, 3),
        (u64::MAX / 2, u64::MAX),
    ] {
        let Bounds { lower_ppm, upper_ppm } = bounds(selected, draws, confidence);
        assert!(
            lower_ppm < upper_ppm && upper_ppm <= MILLION,
            "{selected} of {draws}"
        );
    }
    for alpha in [0.0, -1.0, 2.0, f64::NAN, f64::INFINITY] {
        let Bounds { lower_ppm, upper_ppm } = bounds(5, 10, Confidence::failing_at_most(alpha));
        assert!(lower_ppm <= 500_000 && 500_000 <= upper_ppm, "alpha {alpha}");
    }
}

proptest! {
    #[test]
    fn bounds_hold_the_realized_rate_between_them(draws in 1_u64..2_000_000_000, share in 0.0..=1.0_f64, odds in 1.0..1e9_f64) {
        let selected = part(draws, share);
        let Bounds { lower_ppm, upper_ppm } = bounds(selected, draws, Confidence::failing_at_most(1.0 / odds));
        let (selected, draws) = (u128::from(selected) * 1_000_000, u128::from(draws));
        prop_assert!(u128::from(lower_ppm) * draws <= selected && selected <= u128::from(upper_ppm) * draws);
    }

    #[test]
    fn bounds_narrow_with_more_draws_of_the_same_rate(draws in 1_u64..1_000_000, share in 0.0..=1.0_f64, times in 2_u64..1_000) {
        let selected = part(draws, share);
        let confidence = Confidence::failing_at_most(0.001);
        let (few, many) = (bounds(selected, draws, confidence), bounds(selected * times, draws * times, confidence));
        prop_assert!(few.lower_ppm <= many.lower_ppm && many.upper_ppm <= few.upper_ppm);
    }

    #[test]
    fn surer_bounds_are_wider(draws in 1_u64..1_000_000, share in 0.0..=1.0_f64, odds in 1.0..1e6_f64, more in 1.0..1e6_f64) {
        let selected = part(draws, share);
        let narrow = bounds(selected, draws, Confidence::failing_at_most(1.0 / odds));
        let wide = bounds(selected, draws, Confidence::failing_at_most(1.0 / (odds * more)));
        prop_assert!(wide.lower_ppm <= narrow.lower_ppm && narrow.upper_ppm <= wide.upper_ppm);
    }

    #[test]
    fn a_single_comparison_says_what_the_bounds_say(draws in 1_u64..1_000_000, share in 0.0..=1.0_f64, ppm in 0..=MILLION) {
        let selected = part(draws, share);
        let confidence = Confidence::failing_at_most(0.001);
        let Bounds { lower_ppm, upper_ppm } = bounds(selected, draws, confidence);
        for ppm in [ppm, lower_ppm, lower_ppm.saturating_sub(1), upper_ppm, (upper_ppm + 1).min(MILLION)] {
            prop_assert_eq!(lies_above(ppm, selected, draws, confidence), lower_ppm > ppm);
            prop_assert_eq!(lies_below(ppm, selected, draws, confidence), upper_ppm < ppm);
        }
    }

    #[test]
    fn one_more_selection_raises_both_bounds(draws in 1_u64..1_000_000, share in 0.0..1.0_f64) {
        let selected = part(draws, share).min(draws - 1);
        let confidence = Confidence::failing_at_most(0.001);
        let (before, after) = (bounds(selected, draws, confidence), bounds(selected + 1, draws, confidence));
        prop_assert!(before.lower_ppm <= after.lower_ppm && before.upper_ppm <= after.upper_ppm);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a count below 2^53"
)]
fn part(draws: u64, share: f64) -> u64 {
    (draws as f64 * share) as u64
}
