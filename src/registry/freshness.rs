//! How old the data is: counted from when the replica asked upstream and was told the head.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant, SystemTime},
};

use crate::domain::Freshness;

/// The ages at which data stops being FRESH and STALE.
#[derive(Debug, Clone, Copy)]
pub struct FreshnessLimits {
    /// Over this age no relief is granted.
    pub relief_max_age: Duration,
    /// Over this age an officer decides.
    pub decision_max_age: Duration,
}

/// The age of the data at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age(pub Duration);

impl FreshnessLimits {
    /// What an age means; relief always expires before strictness.
    pub fn of(&self, age: Age) -> Freshness {
        if age.0 > self.decision_max_age {
            Freshness::Expired
        } else if age.0 > self.relief_max_age {
            Freshness::Stale
        } else {
            Freshness::Fresh
        }
    }
}

/// When upstream last confirmed its head, by the monotonic and by the wall clock.
///
/// The age is the larger of the two elapsed times: a clock set back cannot make old data young, and neither can a
/// machine that slept. The two halves are written apart; a reader between them sees an age that is too old by one
/// confirmation at most.
#[derive(Debug)]
pub struct FreshnessClock {
    start: Instant,
    monotonic: AtomicI64,
    wall: AtomicI64,
}

impl Default for FreshnessClock {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            monotonic: AtomicI64::new(i64::MIN),
            wall: AtomicI64::new(i64::MIN),
        }
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn wall_nanoseconds(at: SystemTime) -> i64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, nanoseconds)
}

impl FreshnessClock {
    /// Upstream answered a question that was asked at these instants.
    pub fn confirm(&self, asked: Instant, asked_wall: SystemTime) {
        self.wall.store(wall_nanoseconds(asked_wall), Ordering::Relaxed);
        self.monotonic.store(
            nanoseconds(asked.saturating_duration_since(self.start)),
            Ordering::Relaxed,
        );
    }

    /// The age at these instants; everything there is before the first confirmation.
    pub fn age(&self, now: Instant, now_wall: SystemTime) -> Age {
        let monotonic = self.monotonic.load(Ordering::Relaxed);
        if monotonic == i64::MIN {
            return Age(Duration::MAX);
        }
        let elapsed = nanoseconds(now.saturating_duration_since(self.start)) - monotonic;
        let elapsed_wall = wall_nanoseconds(now_wall) - self.wall.load(Ordering::Relaxed);
        Age(Duration::from_nanos(
            u64::try_from(elapsed.max(elapsed_wall)).unwrap_or_default(),
        ))
    }

    /// The wall time of the last confirmation.
    pub fn confirmed_at(&self) -> Option<SystemTime> {
        let wall = u64::try_from(self.wall.load(Ordering::Relaxed)).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(wall))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FreshnessLimits = FreshnessLimits {
        relief_max_age: Duration::from_mins(5),
        decision_max_age: Duration::from_hours(24),
    };

    #[test]
    fn relief_expires_before_strictness_and_only_over_the_limit() {
        for (seconds, freshness) in [
            (300, Freshness::Fresh),
            (301, Freshness::Stale),
            (86_400, Freshness::Stale),
            (86_401, Freshness::Expired),
        ] {
            assert_eq!(LIMITS.of(Age(Duration::from_secs(seconds))), freshness);
        }
    }

    #[test]
    fn the_larger_of_both_clocks_counts() {
        let clock = FreshnessClock::default();
        let (asked, asked_wall) = (Instant::now(), SystemTime::now());
        assert_eq!(
            LIMITS.of(clock.age(asked, asked_wall)),
            Freshness::Expired,
            "never confirmed"
        );
        clock.confirm(asked, asked_wall);
        let (hour, day) = (Duration::from_hours(1), Duration::from_hours(24));
        assert_eq!(
            clock.age(asked + hour, asked_wall - day).0,
            hour,
            "the wall clock was set back"
        );
        assert_eq!(clock.age(asked, asked_wall + day).0, day, "the machine slept");
        assert_eq!(clock.age(asked, asked_wall).0, Duration::ZERO);
    }
}
