//! The last ten minutes, a look a second: so that a page that is opened shows them, and however many are open show the same.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{sync::watch, time::MissedTickBehavior};

use crate::{domain::decision::Lane, facilitation::Moment, metrics::Metrics};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Looks that are kept.
const KEPT: usize = 600;

const LANES: usize = Lane::ALL.len();

/// What happened between two looks.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// When it ended, in milliseconds since 1970.
    at: i64,
    /// Decisions a second, by lane.
    decided: [f64; LANES],
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
        while !*stop.borrow() {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.changed() => continue,
            }
            let look = Look::now(&metrics);
            // The first tick comes at once.
            if let Some(sample) = look.since(&last) {
                self.add(sample);
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

    /// What ended after that instant, a row each: when, then decisions a second by lane.
    pub(super) fn rows(&self, after: i64) -> Value {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let row = |sample: &Sample| {
            let [green, blue, yellow, red, manual] = sample.decided.map(rounded);
            json!([sample.at, green, blue, yellow, red, manual])
        };
        let later = samples.partition_point(|sample| sample.at <= after);
        samples.range(later..).map(row).collect()
    }
}

/// The counters at one instant.
struct Look {
    at: Moment,
    decided: [u64; LANES],
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
        }
    }

    fn since(&self, earlier: &Self) -> Option<Sample> {
        let took = elapsed(earlier.at.monotonic, self.at.monotonic)?;
        let rate = |lane: usize| {
            let decided = self.decided[lane].saturating_sub(earlier.decided[lane]);
            #[expect(clippy::cast_precision_loss, reason = "decisions of one second")]
            let decided = decided as f64;
            decided / took.as_secs_f64()
        };
        Some(Sample {
            at: self.at.timestamp.as_millisecond(),
            decided: std::array::from_fn(rate),
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
                [998_000, 1.3, 0.0, 0.0, 2.0, 0.0],
                [999_000, 1.3, 0.0, 0.0, 2.0, 0.0]
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
        let (earlier, later) = (
            Look { at, decided: [5; 5] },
            Look {
                at: later,
                decided: [5, 7, 5, 5, 9],
            },
        );
        let sample = later.since(&earlier).expect("two seconds");
        assert_eq!(sample.decided.map(rounded), [0.0, 1.0, 0.0, 0.0, 2.0]);
        assert!(earlier.since(&earlier).is_none());
    }
}
