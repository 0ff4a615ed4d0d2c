//! A token bucket in one number: the instant at which it is full again (the generic cell rate algorithm, ITU-T I.371).

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// So many nanoseconds after an instant before the first that was asked for; never 0.
pub fn nanos(at: Instant) -> u64 {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let since = at.saturating_duration_since(*ORIGIN).as_nanos();
    u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1)
}

/// What may be spent, at a rate and so much at once. May be shared.
#[derive(Debug)]
pub struct Bucket {
    /// Nanoseconds that one token takes to come; 0: there are always some.
    token: u64,
    /// Nanoseconds' worth of tokens that it holds.
    holds: u64,
    /// When it is full again.
    full_at: AtomicU64,
}

impl Bucket {
    /// Full, with so many tokens a second, and as many as come within that time at once. A rate of 0 is no limit.
    pub fn new(rate: u32, holds: Duration) -> Self {
        Self {
            token: 1_000_000_000_u64.checked_div(u64::from(rate)).unwrap_or(0),
            holds: u64::try_from(holds.as_nanos()).unwrap_or(u64::MAX),
            full_at: AtomicU64::new(0),
        }
    }

    /// Whether there is a rate.
    pub const fn is_limit(&self) -> bool {
        self.token != 0
    }

    /// Takes so many tokens, unless it is empty: then, how long until it is not. More than there are leave a debt.
    pub fn take(&self, tokens: u64, now: u64) -> Result<(), Duration> {
        if self.token == 0 {
            return Ok(());
        }
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let ahead = full_at.saturating_sub(now);
            if ahead.saturating_add(self.token) > self.holds.max(self.token) {
                return Err(Duration::from_nanos(
                    (ahead + self.token).saturating_sub(self.holds.max(self.token)),
                ));
            }
            match self.swap(full_at, tokens, now) {
                Ok(()) => return Ok(()),
                Err(moved) => full_at = moved,
            }
        }
    }

    /// Takes so many tokens whatever there is, and tells how long until it is out of debt.
    pub fn owe(&self, tokens: u64, now: u64) -> Duration {
        if self.token == 0 {
            return Duration::ZERO;
        }
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        while let Err(moved) = self.swap(full_at, tokens, now) {
            full_at = moved;
        }
        let ahead = full_at.max(now).saturating_add(self.token.saturating_mul(tokens)) - now;
        Duration::from_nanos(ahead.saturating_sub(self.holds))
    }

    /// Whether nothing has been taken that has not come again.
    pub fn is_full(&self, now: u64) -> bool {
        self.full_at.load(Ordering::Relaxed) <= now
    }

    fn swap(&self, full_at: u64, tokens: u64, now: u64) -> Result<(), u64> {
        let then = full_at.max(now).saturating_add(self.token.saturating_mul(tokens));
        self.full_at
            .compare_exchange_weak(full_at, then, Ordering::Relaxed, Ordering::Relaxed)
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn as_many_pass_as_come_and_a_burst_at_once() {
        let bucket = Bucket::new(100, Duration::from_secs(1));
        let (mut passed, mut now) = (0, SECOND);
        while now < 11 * SECOND {
            passed += u32::from(bucket.take(1, now).is_ok());
            now += SECOND / 1000;
        }
        assert!((1_099..=1_101).contains(&passed), "{passed}");
    }

    #[test]
    fn who_is_refused_is_told_when_it_is_worth_another_try() {
        let bucket = Bucket::new(10, Duration::from_secs(1));
        // More than there is: a debt of two seconds.
        assert_eq!(bucket.take(30, SECOND), Ok(()));
        let wait = bucket.take(1, SECOND).unwrap_err();
        assert_eq!(wait, Duration::from_millis(2_100));
        let then = SECOND + u64::try_from(wait.as_nanos()).unwrap();
        assert!(bucket.take(1, then - 1).is_err());
        assert_eq!(bucket.take(1, then), Ok(()));
        assert!(!bucket.is_full(then) && bucket.is_full(then + 2 * SECOND));
    }

    #[test]
    fn a_debt_is_told_and_no_rate_is_no_limit() {
        let bucket = Bucket::new(1_000, Duration::from_millis(100));
        assert_eq!(bucket.owe(100, SECOND), Duration::ZERO);
        assert_eq!(bucket.owe(50, SECOND), Duration::from_millis(50));
        let none = Bucket::new(0, Duration::from_secs(1));
        assert_eq!(
            (none.take(u64::MAX, 1), none.owe(u64::MAX, 1)),
            (Ok(()), Duration::ZERO)
        );
    }

    #[test]
    fn a_rate_of_less_than_one_at_once_lets_single_ones_pass() {
        let bucket = Bucket::new(1, Duration::from_millis(1));
        assert_eq!(bucket.take(1, SECOND), Ok(()));
        assert!(bucket.take(1, SECOND).is_err());
        assert_eq!(bucket.take(1, 2 * SECOND), Ok(()));
    }
}
