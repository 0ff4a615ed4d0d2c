//! Histograms that the hot path may count in: two relaxed atomics an observation, no lock.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};

const NANOS_A_SECOND: f64 = 1e9;

/// How long things took. A clone counts in the same buckets.
#[derive(Debug, Clone)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    /// Upper bounds, inclusive and ascending, in nanoseconds.
    bounds: &'static [u64],
    /// One more than there are bounds: the last is for what took longer than all of them.
    counts: Box<[AtomicU64]>,
    /// In nanoseconds. It may wrap after years of calls, which Prometheus takes for a restart.
    sum: AtomicU64,
}

impl Histogram {
    /// Nothing observed yet; the bounds are inclusive and ascending, in nanoseconds.
    pub(super) fn new(bounds: &'static [u64]) -> Self {
        Self(Arc::new(Buckets {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }))
    }

    /// Something took so long.
    pub fn observe(&self, took: Duration) {
        let Buckets { bounds, counts, sum } = &*self.0;
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let place = bounds.partition_point(|&bound| bound < nanos);
        counts[place].fetch_add(1, Ordering::Relaxed);
        sum.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What was observed so far.
    pub fn reading(&self) -> Distribution {
        let Buckets { bounds, counts, sum } = &*self.0;
        Distribution {
            bounds,
            counts: counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: sum.load(Ordering::Relaxed),
        }
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let reading = self.reading();
        let bounds = reading.bounds.iter().map(|&bound| in_seconds(bound));
        let bounds = bounds.chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(reading.counts.iter().copied()).collect();
        encoder.encode_histogram::<NoLabelSet>(in_seconds(reading.sum), reading.count(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a sum of more than 104 days is told to the microsecond"
)]
fn in_seconds(nanos: u64) -> f64 {
    nanos as f64 / NANOS_A_SECOND
}

/// How a histogram's observations are spread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    bounds: &'static [u64],
    counts: Vec<u64>,
    sum: u64,
}

impl Distribution {
    /// How many observations there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What they come to.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// What came since an earlier reading of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let counts = self.counts.iter().zip(&earlier.counts);
        Self {
            bounds: self.bounds,
            counts: counts.map(|(now, then)| now.saturating_sub(*then)).collect(),
            sum: self.sum.wrapping_sub(earlier.sum),
        }
    }

    /// The estimate that Prometheus' `histogram_quantile` gives: linear within a bucket, and the last bound for what is
    /// beyond it. `quantile` is between 0 and 1; `None` where nothing was observed.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate between two bounds"
    )]
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = quantile.clamp(0.0, 1.0) * count as f64;
        let (mut below, mut from) = (0.0, 0_u64);
        for (&bound, &inside) in self.bounds.iter().zip(&self.counts) {
            let inside = inside as f64;
            if inside > 0.0 && below + inside >= rank {
                let part = (rank - below) / inside;
                let width = (bound - from) as f64;
                return Some(Duration::from_nanos(from + (width * part) as u64));
            }
            (below, from) = (below + inside, bound);
        }
        Some(Duration::from_nanos(from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [u64; 3] = [10_000, 100_000, 1_000_000];

    fn observed(micros: &[u64]) -> Histogram {
        let histogram = Histogram::new(&BOUNDS);
        for &micros in micros {
            histogram.observe(Duration::from_micros(micros));
        }
        histogram
    }

    #[test]
    fn a_bound_belongs_to_its_bucket_and_what_is_beyond_the_last_is_counted_too() {
        let reading = observed(&[0, 10, 11, 100, 1_000, 1_001, 5_000_000]).reading();
        assert_eq!(reading.counts, [2, 2, 1, 2]);
        assert_eq!(reading.count(), 7);
        assert_eq!(reading.sum(), Duration::from_micros(5_002_122));
    }

    #[test]
    fn quantiles_are_estimated_as_prometheus_estimates_them() {
        let reading = observed(&[5; 4]).reading();
        assert_eq!(reading.quantile(0.5), Some(Duration::from_micros(5)));
        assert_eq!(reading.quantile(1.0), Some(Duration::from_micros(10)));
        let reading = observed(&[5, 5, 50, 50, 50, 50, 500, 500]).reading();
        assert_eq!(reading.quantile(0.25), Some(Duration::from_micros(10)));
        assert_eq!(reading.quantile(0.5), Some(Duration::from_micros(55)));
        assert_eq!(reading.quantile(0.875), Some(Duration::from_micros(550)));
        let beyond = observed(&[2_000]).reading();
        assert_eq!(beyond.quantile(0.99), Some(Duration::from_millis(1)));
        assert_eq!(observed(&[]).reading().quantile(0.5), None);
    }

    #[test]
    fn two_readings_tell_what_came_between_them() {
        let histogram = observed(&[5, 5_000]);
        let earlier = histogram.reading();
        histogram.observe(Duration::from_micros(60));
        let between = histogram.reading().since(&earlier);
        assert_eq!((between.count(), between.sum()), (1, Duration::from_micros(60)));
        assert_eq!(between.quantile(1.0), Some(Duration::from_micros(100)));
    }
}
