//! Bounds on a rate that stay valid however often they are looked at: a confidence sequence.
//!
//! # What is bounded
//!
//! Draw `i` selects (`x = 1`) with a probability `p` that may differ from draw to draw (tier, office, uplifts,
//! recognition) and may depend on everything before it. After `n` draws with `s` selections the bounds enclose
//! `(p_1 + ... + p_n) / n`, the running mean of those probabilities, and they do so **at every `n` at once**: the
//! probability that they ever fail, at any look, is at most `alpha` a side.
//!
//! # How
//!
//! For a fixed tilt `l > 0`, the product over the draws of `exp(l x) / (1 + p (e^l - 1))` is a non-negative martingale
//! that begins at 1: the wealth of a gambler who bets on more selections at fair odds. A mixture over fixed tilts is one
//! too (the method of mixtures: Robbins 1970), and by Ville's inequality (1939) it ever reaches `1 / alpha` with
//! probability at most `alpha`. `ln(1 + p (e^l - 1))` is concave in `p`, so that, by Jensen's inequality, the mixture is
//! at least
//!
//! ```text
//! W(m) = sum over k of  w_k exp(l_k s - n ln(1 + m (e^l_k - 1)))     at m = (p_1 + ... + p_n) / n
//! ```
//!
//! whatever the single `p` are. `W` falls as `m` grows: the lower bound is the largest `m` with `W(m) >= 1 / alpha`. The
//! upper bound is the same of the draws that did not select.
//!
//! It is the discrete mixture of Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic
//! confidence sequences", Annals of Statistics 49(2), 2021, section 3.3, with the Bernoulli cumulant itself in place of a
//! bound on it; read as a bet, that of Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
//! betting", JRSS-B 86(1), 2024. A beta mixture, tighter by a little, holds only where every draw has the same probability.
//! The tilts do not depend on `m`, on `n` or on the data; they must not, for the argument above.
//!
//! Nothing here can overflow or lose its digits: no gamma functions, exponents that are finite up to any `u64`, and a
//! search over whole parts per million, so that bounds are rounded outward by construction.

use std::sync::LazyLock;

/// Parts in a million.
const MILLION: u32 = 1_000_000;

/// Bounds of a rate, in ppm: it lies strictly between them, or at the end of the scale where a bound is 0 or 1000000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Rounded down.
    pub lower_ppm: u32,
    /// Rounded up.
    pub upper_ppm: u32,
}

/// How sure one side of one sequence is: `ln(1 / alpha)`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Confidence(f64);

impl Confidence {
    /// Fails with at most that probability, on each side; taken as 1 where it is no probability.
    pub fn failing_at_most(alpha: f64) -> Self {
        let sure = if alpha > 0.0 { -alpha.ln() } else { f64::INFINITY };
        Self(sure.max(0.0))
    }

    /// The same, shared out equally over so many sequences that are watched together (union bound).
    #[must_use]
    pub fn shared_by(self, sequences: u32) -> Self {
        Self(self.0 + f64::from(sequences.max(1)).ln())
    }
}

/// One bet of the mixture.
struct Tilt {
    weight: f64,
    lambda: f64,
    /// `e^lambda - 1`
    excess: f64,
}

/// Tilts 2^k / 4 for k from -10 to 5, from 0.00024 to 8, with weights in proportion to 1 / (1 + k^2).
///
/// A small rate that is `r` times the limit is found fastest by a tilt of `ln r`: 1/4 is a rate 28 % over it. There the
/// mixture needs about 1.15 times as many draws as if the excess were known beforehand; from 3 % over the limit to ten
/// times the limit, at most 1.6 times as many.
static TILTS: LazyLock<Vec<Tilt>> = LazyLock::new(|| {
    let steps = -10_i32..=5;
    let share = |k: i32| 1.0 / f64::from(1 + k * k);
    let total: f64 = steps.clone().map(share).sum();
    let tilt = |k: i32| {
        let lambda = f64::from(k).exp2() / 4.0;
        Tilt {
            weight: share(k) / total,
            lambda,
            excess: lambda.exp_m1(),
        }
    };
    steps.map(tilt).collect()
});

/// Bounds after `draws` of which `selected` selected (more than `draws` count as all of them).
pub fn bounds(selected: u64, draws: u64, confidence: Confidence) -> Bounds {
    let selected = selected.min(draws);
    Bounds {
        lower_ppm: lower_ppm(selected, draws, confidence),
        upper_ppm: MILLION - lower_ppm(draws - selected, draws, confidence),
    }
}

/// Whether the lower bound is above that rate; cheaper than both bounds.
pub fn lies_above(ppm: u32, selected: u64, draws: u64, confidence: Confidence) -> bool {
    // The bound falls short of a whole ppm exactly when that ppm is not exceeded.
    ppm < MILLION && exceeds(selected.min(draws), draws, ppm + 1, confidence)
}

/// Whether the upper bound is below that rate; cheaper than both bounds.
pub fn lies_below(ppm: u32, selected: u64, draws: u64, confidence: Confidence) -> bool {
    lies_above(
        MILLION.saturating_sub(ppm),
        draws.saturating_sub(selected),
        draws,
        confidence,
    )
}

/// The largest whole ppm that the rate is shown to exceed, 0 where there is none.
fn lower_ppm(selected: u64, draws: u64, confidence: Confidence) -> u32 {
    let (mut shown, mut open) = (0, MILLION);
    while open - shown > 1 {
        let middle = shown.midpoint(open);
        if exceeds(selected, draws, middle, confidence) {
            shown = middle;
        } else {
            open = middle;
        }
    }
    shown
}

/// Whether the rate is shown to exceed `ppm`: `W(ppm) >= 1 / alpha`.
fn exceeds(selected: u64, draws: u64, ppm: u32, confidence: Confidence) -> bool {
    let (selected, draws, rate) = (real(selected), real(draws), f64::from(ppm) / 1e6);
    if selected <= draws * rate {
        return false; // W is at most 1 from the realized rate on.
    }
    let bet = |tilt: &Tilt| {
        let wealth = tilt.lambda * selected - draws * (rate * tilt.excess).ln_1p();
        tilt.weight * (wealth - confidence.0).exp()
    };
    TILTS.iter().map(bet).sum::<f64>() >= 1.0
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts below 2^53 are exact, and nobody draws more often"
)]
fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
