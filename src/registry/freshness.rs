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
    /// Upstream answered a question that was asked at these instants. An older question than the last one says nothing.
    pub fn confirm(&self, asked: Instant, asked_wall: SystemTime) {
        self.put(self.monotonic_nanoseconds(asked), wall_nanoseconds(asked_wall));
    }

    /// The data was confirmed in an earlier life of this process, at that wall time, as a snapshot file says.
    ///
    /// A time that lies ahead says nothing about how old the data is: it counts as `if_ahead` old.
    pub fn restore(&self, confirmed: SystemTime, now: Instant, now_wall: SystemTime, if_ahead: Duration) {
        let (wall, now_wall) = (wall_nanoseconds(confirmed), wall_nanoseconds(now_wall));
        let age = if wall > now_wall {
            nanoseconds(if_ahead)
        } else {
            now_wall - wall
        };
        let monotonic = self.monotonic_nanoseconds(now).saturating_sub(age);
        self.put(monotonic, now_wall.saturating_sub(age));
    }

    /// Nanoseconds since the clock was made; negative before.
    fn monotonic_nanoseconds(&self, at: Instant) -> i64 {
        match at.checked_duration_since(self.start) {
            Some(after) => nanoseconds(after),
            None => -nanoseconds(self.start.saturating_duration_since(at)),
        }
    }

    fn put(&self, monotonic: i64, wall: i64) {
        if monotonic >= self.monotonic.load(Ordering::Relaxed) {
            self.wall.store(wall, Ordering::Relaxed);
            self.monotonic.store(monotonic, Ordering::Relaxed);
        }
    }

    /// The age at these instants; everything there is before the first confirmation.
    pub fn age(&self, now: Instant, now_wall: SystemTime) -> Age {
        let monotonic = self.monotonic.load(Ordering::Relaxed);
        if monotonic == i64::MIN {
            return Age(Duration::MAX);
        }
        let elapsed = self.monotonic_nanoseconds(now).saturating_sub(monotonic);
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
    fn a_file_is_as_old_as_it_says_and_one_from_the_future_is_stale() {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let (hour, day) = (Duration::from_hours(1), Duration::from_hours(24));
        let clock = FreshnessClock::default();
        clock.restore(
            wall - day,
            now,
            wall,
            LIMITS.relief_max_age + Duration::from_secs(1),
        );
        assert_eq!(clock.age(now, wall).0, day);
        assert_eq!(
            clock.age(now + hour, wall).0,
            day + hour,
            "it goes on getting older"
        );
        clock.confirm(now, wall);
        assert_eq!(clock.age(now, wall).0, Duration::ZERO, "the store has answered");
        clock.confirm(now.checked_sub(hour).expect("an hour ago"), wall - hour);
        assert_eq!(
            clock.age(now, wall).0,
            Duration::ZERO,
            "an older answer says nothing"
        );

        let clock = FreshnessClock::default();
        clock.restore(
            wall + day,
            now,
            wall,
            LIMITS.relief_max_age + Duration::from_secs(1),
        );
        assert_eq!(LIMITS.of(clock.age(now, wall)), Freshness::Stale);
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
