//! The drift guard: data that moves a tier further than credit management ever does is refused, and the last good stays.
//!
//! Certified enterprises move by 1 to 20 % a *year*. A tier that loses a fifth of its enterprises within a day was
//! emptied by a mistake or by somebody; so was one that gains as many while the register as a whole did not grow. A
//! register that is being filled grows in all its tiers, and that is no drift.

use std::time::{Duration, Instant};

use thiserror::Error;

use crate::{
    domain::CreditTier,
    registry::{Change, Generation},
};

/// How long movements add up before they count as usual.
const WINDOW: Duration = Duration::from_hours(24);
/// So many times as much as in one step may move within the window, where the share of the tier is not more: a small
/// register may be put in order row by row.
const STEPS: u64 = 4;

/// Enterprises of each tier, from best to worst.
pub type TierCounts = [u64; CreditTier::COUNT];

/// How far a tier may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriftLimits {
    /// Share of a tier's enterprises, in ppm.
    pub max_ppm: u64,
    /// Movements up to this number in one step (a commit, a snapshot) are never drift; nor are four times as many in a day.
    pub max_rows: u64,
}

/// A movement over the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "{} would go from {before} to {after} enterprises: more than upstream.max_drift_ppm allows; the last good data stays \
     (restart with --accept-drift if this is right)",
    .tier.name()
)]
pub struct Drift {
    /// Which tier.
    pub tier: CreditTier,
    /// Its enterprises as they were accepted.
    pub before: u64,
    /// Its enterprises as they would be.
    pub after: u64,
}

/// Compares what is to come in force with what was accepted last, and a day ago.
#[derive(Debug)]
pub struct DriftGuard {
    limits: DriftLimits,
    accepted: Option<Accepted>,
}

#[derive(Debug, Clone, Copy)]
struct Accepted {
    last: TierCounts,
    /// As they were at the beginning of the window, and what the register has grown by since.
    granted: TierCounts,
    since: Instant,
}

impl DriftGuard {
    /// A guard that has accepted nothing yet: a first fill is no drift.
    pub fn new(limits: DriftLimits) -> Self {
        Self {
            limits,
            accepted: None,
        }
    }

    /// Takes these counts for granted from now on.
    pub fn accept(&mut self, counts: TierCounts, now: Instant) {
        self.accepted = counts.iter().any(|&count| count > 0).then_some(Accepted {
            last: counts,
            granted: counts,
            since: now,
        });
    }

    /// Learns from counts that were let through: what the register has grown by is granted at once, any other movement
    /// only when a day has passed, because drift is a matter of hours, not of years.
    pub fn settle(&mut self, counts: TierCounts, now: Instant) {
        match &mut self.accepted {
            Some(accepted) if now.saturating_duration_since(accepted.since) <= WINDOW => {
                let mut growth = sum(counts).saturating_sub(sum(accepted.granted));
                for (granted, count) in accepted.granted.iter_mut().zip(counts) {
                    let grown = count.saturating_sub(*granted).min(growth);
                    *granted += grown;
                    growth -= grown;
                }
                accepted.last = counts;
            }
            _ => self.accept(counts, now),
        }
    }

    /// Whether these counts may come in force.
    pub fn check(&self, counts: TierCounts) -> Result<(), Drift> {
        let Some(Accepted { last, granted, .. }) = self.accepted else {
            return Ok(());
        };
        let max_rows = self.limits.max_rows;
        self.limits.check(last, counts, max_rows)?;
        self.limits.check(granted, counts, max_rows.saturating_mul(STEPS))
    }

    /// Whether a commit may be applied to a generation whose counts were the last to be accepted.
    pub fn check_commit(&self, generation: &Generation, changes: &[Change]) -> Result<(), Drift> {
        let Some(Accepted { last, granted, .. }) = self.accepted else {
            return Ok(());
        };
        // Far from any limit the commit need not be looked into: each row moves one enterprise at most.
        let rows = changes.len() as u64;
        let moved = |granted: u64, last: u64| granted.abs_diff(last).saturating_add(rows);
        let mut counts = granted.into_iter().zip(last);
        let far = rows <= self.limits.max_rows
            && counts.all(|(granted, last)| moved(granted, last) <= self.limits.max_rows);
        if far {
            return Ok(());
        }
        self.check(generation.tier_counts_after(changes))
    }
}

fn sum(counts: TierCounts) -> u64 {
    counts.iter().sum()
}

impl DriftLimits {
    fn check(&self, before: TierCounts, after: TierCounts, max_rows: u64) -> Result<(), Drift> {
        let allowed = |before: u64| {
            let share = u128::from(before) * u128::from(self.max_ppm) / 1_000_000;
            u64::try_from(share).unwrap_or(u64::MAX).max(max_rows)
        };
        let growth = sum(after).saturating_sub(sum(before));
        for (&tier, (before, after)) in CreditTier::ALL.iter().zip(before.into_iter().zip(after)) {
            let lost = before.saturating_sub(after);
            let gained = after.saturating_sub(before).saturating_sub(growth);
            if lost.max(gained) > allowed(before) {
                return Err(Drift { tier, before, after });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: DriftLimits = DriftLimits {
        max_ppm: 200_000,
        max_rows: 100,
    };

    fn checked(before: TierCounts, after: TierCounts) -> Option<CreditTier> {
        LIMITS
            .check(before, after, LIMITS.max_rows)
            .err()
            .map(|drift| drift.tier)
    }

    #[test]
    fn a_tier_that_loses_or_gains_more_than_a_fifth_is_drift() {
        let before = [1_000, 0, 10_000, 1_000, 0];
        assert_eq!(checked(before, [800, 0, 10_200, 1_000, 0]), None);
        assert_eq!(
            checked(before, [799, 0, 10_201, 1_000, 0]),
            Some(CreditTier::AdvancedCertified)
        );
        assert_eq!(
            checked(before, [1_201, 0, 9_799, 1_000, 0]),
            Some(CreditTier::AdvancedCertified),
            "a mass upgrade"
        );
        assert_eq!(
            checked(before, [1_000, 0, 3_000, 1_000, 0]),
            Some(CreditTier::Regular),
            "a mass deletion"
        );
        assert_eq!(checked(before, [0; 5]), Some(CreditTier::AdvancedCertified));
    }

    #[test]
    fn a_small_register_and_a_growing_one_may_move() {
        assert_eq!(checked([1, 1, 1, 1, 1], [0, 5, 0, 0, 0]), None);
        assert_eq!(
            checked([100, 0, 1_000, 100, 0], [10_000, 0, 1_000_000, 14_000, 0]),
            None
        );
        assert_eq!(
            checked([99, 99, 99, 99, 99], [0; 5]),
            None,
            "readiness is another matter"
        );
    }

    #[test]
    fn what_a_register_has_grown_by_may_not_vanish_again() {
        let mut guard = DriftGuard::new(LIMITS);
        let begun = Instant::now();
        guard.accept([1, 1, 1, 1, 1], begun);
        guard.settle([200, 1, 4_000, 1, 1], begun);
        guard.settle([400, 1, 8_000, 1, 1], begun);
        assert!(guard.check([400, 1, 6_400, 1, 1]).is_ok());
        assert!(guard.check([400, 1, 6_399, 1, 1]).is_err());
        assert!(guard.check([502, 1, 7_800, 1, 1]).is_err(), "an upgrade");
        assert!(guard.check([501, 1, 8_000, 1, 1]).is_ok(), "a registration");
    }

    #[test]
    fn small_steps_add_up_until_they_have_settled() {
        let mut guard = DriftGuard::new(LIMITS);
        let begun = Instant::now();
        assert!(guard.check([0, 0, 9, 0, 0]).is_ok(), "a first fill");
        guard.settle([0; 5], begun);
        guard.settle([0, 0, 10_000, 0, 0], begun);
        for count in (8_000..10_000_u64).rev().step_by(100) {
            assert!(guard.check([0, 0, count, 0, 0]).is_ok());
            guard.settle([0, 0, count, 0, 0], begun + Duration::from_hours(1));
        }
        assert!(guard.check([0, 0, 7_999, 0, 0]).is_err());
        guard.settle([0, 0, 8_000, 0, 0], begun + Duration::from_hours(25));
        assert!(guard.check([0, 0, 7_999, 0, 0]).is_ok());
    }

    #[test]
    fn a_small_register_may_be_put_in_order_step_by_step_but_not_at_once() {
        let mut guard = DriftGuard::new(LIMITS);
        let begun = Instant::now();
        guard.accept([0, 0, 450, 0, 0], begun);
        assert!(
            guard.check([101, 0, 349, 0, 0]).is_err(),
            "more than a hundred at once"
        );
        for moved in (0..=400).step_by(100) {
            assert!(guard.check([moved, 0, 450 - moved, 0, 0]).is_ok(), "{moved}");
            guard.settle([moved, 0, 450 - moved, 0, 0], begun);
        }
        assert!(guard.check([401, 0, 49, 0, 0]).is_err(), "too much for a day");
    }
}
