//! What was measured.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

/// The percentiles that are told.
pub(super) const PERCENTILES: [(&str, f64); 6] = [
    ("p50", 50.0),
    ("p90", 90.0),
    ("p99", 99.0),
    ("p99.9", 99.9),
    ("p99.99", 99.99),
    ("max", 100.0),
];

/// The longest latency that is told apart from longer ones, in nanoseconds.
const LONGEST: u64 = 600_000_000_000;

/// Latencies and outcomes of calls.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    /// From the instant at which a call should have left to its answer, in nanoseconds, of those that were answered well.
    pub(super) latency: Histogram<u64>,
    /// From the instant at which a call should have left to that at which it did, in nanoseconds: how well the load was kept up.
    pub(super) lateness: Histogram<u64>,
    /// Decisions that were given.
    pub(super) decisions: u64,
    /// Calls and items that were refused or failed, by code.
    pub(super) failures: BTreeMap<String, u64>,
    /// From the first to the last answer that counts.
    pub(super) took: Duration,
}

impl Sample {
    /// Of nothing yet.
    pub(super) fn new() -> anyhow::Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, LONGEST, 3);
        Ok(Self {
            latency: histogram()?,
            lateness: histogram()?,
            decisions: 0,
            failures: BTreeMap::new(),
            took: Duration::ZERO,
        })
    }

    /// A call that was answered so long after it should have left.
    pub(super) fn answered(&mut self, after: Duration) {
        self.latency.saturating_record(nanoseconds(after));
    }

    /// A call that left so long after it should have.
    pub(super) fn left(&mut self, after: Duration) {
        self.lateness.saturating_record(nanoseconds(after));
    }

    /// A call or an item that failed.
    pub(super) fn failed(&mut self, code: String) {
        *self.failures.entry(code).or_default() += 1;
    }

    /// Both together; they were taken at the same time.
    pub(super) fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.latency.add(&other.latency)?;
        self.lateness.add(&other.lateness)?;
        self.decisions += other.decisions;
        for (code, count) in &other.failures {
            *self.failures.entry(code.clone()).or_default() += count;
        }
        self.took = self.took.max(other.took);
        Ok(())
    }

    /// How many failed.
    pub(super) fn failed_in_all(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Failures in words.
    pub(super) fn errors(&self) -> String {
        if self.failures.is_empty() {
            return "none".to_owned();
        }
        let each = self
            .failures
            .iter()
            .map(|(code, count)| format!("{count} {code}"));
        each.collect::<Vec<_>>().join(", ")
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_threads_add_up() {
        let (mut one, mut other) = (Sample::new().unwrap(), Sample::new().unwrap());
        one.answered(Duration::from_millis(1));
        one.decisions = 1;
        other.answered(Duration::from_mins(50));
        other.decisions = 2;
        other.failed("UNAVAILABLE".to_owned());
        other.took = Duration::from_secs(1);
        one.add(&other).unwrap();
        assert_eq!((one.latency.len(), one.decisions, one.failed_in_all()), (2, 3, 1));
        assert_eq!(one.took, Duration::from_secs(1));
        assert_eq!(one.errors(), "1 UNAVAILABLE");
        // Longer than what is told apart, it still counts as long.
        assert!(one.latency.max() >= LONGEST / 2);
    }
}
