//! The last ten minutes, a look a second: so that a page that is opened shows them, and however many are open show the same.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{sync::watch, time::MissedTickBehavior};

use crate::{
    domain::decision::Lane,
    facilitation::Moment,
    metrics::{Distribution, Metrics},
};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Looks that are kept.
const KEPT: usize = 600;

/// Looks that a quantile is taken over: of one second alone the last of a thousand says little.
const QUANTILES_OVER: usize = 10;
/// The quantiles of the time to answer that are told.
const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];

const LANES: usize = Lane::ALL.len();

/// What happened between two looks.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// When it ended, in milliseconds since 1970.
    at: i64,
    /// Decisions a second, by lane.
    decided: [f64; LANES],
    /// Each of [`QUANTILES`], in seconds; `None` where nothing was decided.
    took: [Option<f64>; QUANTILES.len()],
}

/// The last minutes of this process.
#[derive(Debug, Default)]
pub struct History {
    samples: Mutex<VecDeque<Sample>>,
}

impl History {
    /// Looks once a second until `stop` turns true.
    pub async fn run(self: Arc<Self>, metrics: Arc<Metrics>, mut stop: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Look::now(&metrics);
        let mut took = VecDeque::from([last.took.clone()]);
        while !*stop.borrow() {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.changed() => continue,
            }
            let look = Look::now(&metrics);
            // The first tick comes at once.
            if let Some(sample) = look.since(&last, took.front().unwrap_or(&last.took)) {
                self.add(sample);
                if took.len() == QUANTILES_OVER {
                    took.pop_front();
                }
                took.push_back(look.took.clone());
                last = look;
            }
        }
    }

    fn add(&self, sample: Sample) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == KEPT {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// What ended after that instant, a row each: when, decisions a second by lane, quantiles of the time to answer.
    pub(super) fn rows(&self, after: i64) -> Value {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let row = |sample: &Sample| {
            let [green, blue, yellow, red, manual] = sample.decided.map(rounded);
            let [p50, p99, p999] = sample.took;
            json!([sample.at, green, blue, yellow, red, manual, p50, p99, p999])
        };
        let later = samples.partition_point(|sample| sample.at <= after);
        samples.range(later..).map(row).collect()
    }
}

/// The counters at one instant.
struct Look {
    at: Moment,
    decided: [u64; LANES],
    took: Distribution,
}

impl Look {
    fn now(metrics: &Metrics) -> Self {
        let mut decided = [0; LANES];
        for (_, lane, count) in metrics.decisions() {
            decided[usize::from(lane.number()) - 1] += count;
        }
        Self {
            at: Moment::now(),
            decided,
            took: metrics.decision_durations(),
        }
    }

    /// What happened since the last look; quantiles since an earlier one.
    fn since(&self, earlier: &Self, took_by_then: &Distribution) -> Option<Sample> {
        let took = elapsed(earlier.at.monotonic, self.at.monotonic)?;
        let rate = |lane: usize| {
            let decided = self.decided[lane].saturating_sub(earlier.decided[lane]);
            #[expect(clippy::cast_precision_loss, reason = "decisions of one second")]
            let decided = decided as f64;
            decided / took.as_secs_f64()
        };
        let recent = self.took.since(took_by_then);
        Some(Sample {
            at: self.at.timestamp.as_millisecond(),
            decided: std::array::from_fn(rate),
            took: QUANTILES.map(|quantile| recent.quantile(quantile).map(|took| took.as_secs_f64())),
        })
    }
}

/// The time between two looks; `None` where that is too short to say anything.
fn elapsed(from: Instant, to: Instant) -> Option<Duration> {
    Some(to.saturating_duration_since(from)).filter(|took| *took >= EVERY / 2)
}

/// To a tenth: nobody reads more.
fn rounded(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: i64) -> Sample {
        Sample {
            at,
            decided: [1.26, 0.0, 0.0, 2.0, 0.0],
            took: [Some(0.000_25), Some(0.003), None],
        }
    }

    #[test]
    fn the_last_ten_minutes_are_kept_and_only_news_is_told() {
        let history = History::default();
        for at in 0..1000 {
            history.add(sample(at * 1000));
        }
        assert_eq!(history.rows(0).as_array().map(Vec::len), Some(600));
        let news = history.rows(997_999);
        assert_eq!(
            news,
            json!([
                [998_000, 1.3, 0.0, 0.0, 2.0, 0.0, 0.000_25, 0.003, null],
                [999_000, 1.3, 0.0, 0.0, 2.0, 0.0, 0.000_25, 0.003, null]
            ])
        );
    }

    #[test]
    fn rates_are_of_the_time_that_really_passed() {
        let at = Moment::now();
        let later = Moment {
            monotonic: at.monotonic + Duration::from_secs(2),
            ..at
        };
        let metrics = Metrics::default();
        let look = |at, decided| Look {
            at,
            decided,
            took: metrics.decision_durations(),
        };
        let (earlier, later) = (look(at, [5; 5]), look(later, [5, 7, 5, 5, 9]));
        let sample = later.since(&earlier, &earlier.took).expect("two seconds");
        let in_tenths = sample.decided.map(|rate| format!("{rate:.1}"));
        assert_eq!(in_tenths, ["0.0", "1.0", "0.0", "0.0", "2.0"]);
        assert_eq!(sample.took, [None; 3], "nothing was timed");
        assert!(earlier.since(&earlier, &earlier.took).is_none());
    }
}
