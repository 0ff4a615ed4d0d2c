//! What counts say: the realized rate, its bounds, what the law demands, and whether that is broken.
//!
//! # How sure
//!
//! Everything is watched at once: every tier at every office in every month, and each tier over all offices, upper bound and
//! lower bound. A quarter as a whole may go wrong with probability [`QUARTER_ALPHA`], at whatever instants one looks. Its
//! three months have equal shares; in a month, each tier over all offices has as much as the tier at every single office
//! together; and what a tier has for single offices is shared by all 10,000 codes that an office can have. So nothing depends
//! on how many offices there are or on which come first (union bound). The price of 10,000 instead of 100 is `ln 100`: about
//! 1.4 times the draws until a breach at a single office is shown; over all offices it costs nothing.
//!
//! The ratio to REGULAR takes no share: it follows from two of these sequences.

use std::collections::BTreeMap;

use super::{
    Cell, Counts, RateTable,
    sequence::{Bounds, Confidence, bounds, lies_above, lies_below},
};
use crate::{
    domain::{CreditTier, Ppm},
    metrics::RateReading,
    policy::draw::Epoch,
};

/// The probability that any bound of a quarter ever fails.
pub const QUARTER_ALPHA: f64 = 0.05;
const MONTHS: u32 = 3;
const TIERS: u32 = 5;
const SIDES: u32 = 2;
const SCOPES: u32 = 2;
/// Every code of four digits.
const OFFICES: u32 = 10_000;

/// What a rate is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One office.
    Office,
    /// All of them.
    AllOffices,
}

impl Scope {
    /// How sure each side of a sequence of that scope is.
    pub fn confidence(self) -> Confidence {
        let sequences = MONTHS * TIERS * SIDES * SCOPES;
        Confidence::failing_at_most(QUARTER_ALPHA).shared_by(match self {
            Self::Office => sequences * OFFICES,
            Self::AllOffices => sequences,
        })
    }
}

/// The limit that stands for none in a sum: a rate that every draw keeps to.
pub(super) fn no_limit(tier: CreditTier) -> u32 {
    if tier < CreditTier::Regular {
        Ppm::ALWAYS.0
    } else {
        0
    }
}

/// What the counts of one tier, in one month, at one office or all, say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The realized rate of the draw, to the nearest ppm; 0 where nothing was drawn.
    pub realized: Ppm,
    /// Bounds of it.
    pub bounds: Bounds,
    /// The mean of the rates that were drawn at, to the nearest ppm; 0 where nothing was drawn.
    pub demanded: Ppm,
    /// The mean of what the policy's rule demanded of the draws, rounded to the lax side; `None` where it demanded nothing.
    pub limit: Option<Ppm>,
    /// The bounds lie wholly beyond the limit.
    pub breached: bool,
}

/// What counts of a tier say.
///
/// The limit is a mean over the same draws as the rate, so that baselines may differ by office, direction and mode, and
/// change within the month: where every draw kept to its own limit, the mean of their probabilities is within the mean of the
/// limits, and the bounds enclose the former.
pub fn report(tier: CreditTier, counts: &Counts, scope: Scope) -> Report {
    let Counts {
        drawn,
        drawn_selected,
        demanded_ppm,
        limits_ppm,
        ..
    } = *counts;
    let limit = limit(tier, limits_ppm, drawn);
    let of_draws = |sum: u128| Ppm(quotient(sum + u128::from(drawn) / 2, drawn).min(Ppm::ALWAYS.0));
    Report {
        realized: of_draws(u128::from(drawn_selected) * 1_000_000),
        bounds: bounds(drawn_selected, drawn, scope.confidence()),
        demanded: of_draws(demanded_ppm.into()),
        limit,
        breached: breached(tier, counts, scope),
    }
}

/// Whether the bounds lie wholly beyond the limit: `report(..).breached`, without the bounds.
pub fn breached(tier: CreditTier, counts: &Counts, scope: Scope) -> bool {
    let Counts {
        drawn,
        drawn_selected,
        limits_ppm,
        ..
    } = *counts;
    let Some(Ppm(limit)) = limit(tier, limits_ppm, drawn) else {
        return false;
    };
    if tier < CreditTier::Regular {
        lies_above(limit, drawn_selected, drawn, scope.confidence())
    } else {
        lies_below(limit, drawn_selected, drawn, scope.confidence())
    }
}

fn limit(tier: CreditTier, limits_ppm: u64, drawn: u64) -> Option<Ppm> {
    let sum = u128::from(limits_ppm);
    let limit = match tier.cmp(&CreditTier::Regular) {
        std::cmp::Ordering::Less => quotient(sum + u128::from(drawn.saturating_sub(1)), drawn),
        std::cmp::Ordering::Equal => return None,
        std::cmp::Ordering::Greater => quotient(sum, drawn),
    };
    (drawn > 0 && limit != no_limit(tier)).then_some(Ppm(limit))
}

/// Rounded down, at most `u32::MAX`; 0 where it is of nothing.
fn quotient(sum: u128, of: u64) -> u32 {
    let quotient = sum.checked_div(of.into()).unwrap_or_default();
    u32::try_from(quotient).unwrap_or(u32::MAX)
}

/// The cells of each month and tier, added up over their offices.
pub fn over_all_offices(cells: &BTreeMap<Cell, Counts>) -> BTreeMap<(Epoch, CreditTier), Counts> {
    let mut all = BTreeMap::<_, Counts>::new();
    for (cell, counts) in cells {
        all.entry((cell.month, cell.credit_tier)).or_default().add(counts);
    }
    all
}

/// A tier's realized rate as a share of that of REGULAR, in ppm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio {
    /// To the nearest ppm; `None` while REGULAR has not been selected.
    pub realized_ppm: Option<u32>,
    /// Rounded down.
    pub lower_ppm: u32,
    /// Rounded up; `None` while nothing bounds it.
    pub upper_ppm: Option<u32>,
}

/// The ratio of a tier to REGULAR, both over all offices of a month.
///
/// Decrees 237 and 251 speak of a share of the regular tier's average. The bounds hold whenever those of both rates do.
pub fn ratio_to_regular(tier: &Counts, regular: &Counts) -> Ratio {
    let confidence = Scope::AllOffices.confidence();
    let of = |counts: &Counts| bounds(counts.drawn_selected, counts.drawn, confidence);
    let (own, regular_bounds) = (of(tier), of(regular));
    let product = |one: u64, other: u64| u128::from(one) * u128::from(other);
    let (above, below) = (
        product(tier.drawn_selected, regular.drawn).saturating_mul(1_000_000),
        product(tier.drawn, regular.drawn_selected),
    );
    let nearest = above.saturating_add(below / 2).checked_div(below);
    Ratio {
        realized_ppm: nearest.map(|ratio| u32::try_from(ratio).unwrap_or(u32::MAX)),
        lower_ppm: quotient(
            u128::from(own.lower_ppm) * 1_000_000,
            regular_bounds.upper_ppm.into(),
        ),
        upper_ppm: (u128::from(own.upper_ppm) * 1_000_000)
            .div_ceil(u128::from(regular_bounds.lower_ppm).max(1))
            .try_into()
            .ok()
            .filter(|_| regular_bounds.lower_ppm > 0),
    }
}

impl RateTable {
    /// The rates of each tier over all offices of a month, for metrics.
    pub fn reading(&self, month: Epoch) -> [RateReading; CreditTier::COUNT] {
        let cells = self.month(month);
        let all = over_all_offices(&cells);
        let mut readings = [RateReading::default(); CreditTier::COUNT];
        for (&tier, reading) in CreditTier::ALL.iter().zip(&mut readings) {
            let counts = all.get(&(month, tier)).copied().unwrap_or_default();
            let report = report(tier, &counts, Scope::AllOffices);
            *reading = RateReading {
                realized_ppm: report.realized.0,
                lower_bound_ppm: report.bounds.lower_ppm,
                upper_bound_ppm: report.bounds.upper_ppm,
                limit_ppm: report.limit.map_or(0, |limit| limit.0),
                breached: report.breached,
                breached_offices: 0,
            };
        }
        for (cell, counts) in &cells {
            let tier = cell.credit_tier;
            readings[tier.index()].breached_offices += u64::from(breached(tier, counts, Scope::Office));
        }
        readings
    }
}
