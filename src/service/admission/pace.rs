//! How fast a serving thread works off what waits, and how much more may wait: the rule by which calls are refused.
//!
//! What waits may wait for `limits.max_queue_delay`, unless there was nothing waiting a moment ago: then it is a burst, and
//! the thread may come to the end of it. (The two bounds are those of `CoDel`, RFC 8289: it tells a standing queue by whether
//! there was an instant without one within an interval. It drops at the head, though, and here a refusal that comes after the
//! wait would be of no use; as each call takes about as long as the one before, what a new one would wait for is known.)

use std::time::{Duration, Instant};

/// A queue that has been there for longer is no burst.
const BURST: Duration = Duration::from_millis(100);
/// What a thread may begin before it looks at its connections again, in time and in calls.
const TURN: Duration = Duration::from_millis(1);
/// The same in calls.
pub(super) const MOST_IN_TURN: usize = 64;
/// One turn in so many makes the measure new.
const SMOOTHING: f64 = 8.0;
/// By how much one turn may be longer than expected and still count as what calls take, not as a pause of the machine.
const OUTLIER: f64 = 4.0;

/// What a thread has shown of its speed.
#[derive(Debug)]
pub(super) struct Pace {
    /// Zero: none.
    max_delay: Duration,
    /// Nanoseconds that a call takes, with all that is done between two of them.
    a_call: Option<f64>,
    waiting_since: Option<Instant>,
}

impl Pace {
    pub(super) const fn new(max_delay: Duration) -> Self {
        Self {
            max_delay,
            a_call: None,
            waiting_since: None,
        }
    }

    /// The first call waits.
    pub(super) fn begin_waiting(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// None waits any more.
    pub(super) const fn end_waiting(&mut self) {
        self.waiting_since = None;
    }

    /// So many calls took so long, while others were refused. Where most were, nothing is learnt: by what it takes to refuse, calls
    /// would seem to take so long that ever more of them had to be refused.
    #[allow(
        clippy::cast_precision_loss,
        reason = "a turn is neither as long nor as large"
    )]
    pub(super) fn measure(&mut self, calls: usize, refused: usize, took: Duration) {
        if calls == 0 || refused > calls {
            return;
        }
        let measured = took.as_nanos() as f64 / calls as f64;
        self.a_call = Some(match self.a_call {
            None => measured,
            Some(known) => known + (measured.min(known * OUTLIER) - known) / SMOOTHING,
        });
    }

    /// How many calls may wait now.
    pub(super) fn room(&self, now: Instant) -> usize {
        self.room_for(self.waiting_since.unwrap_or(now), now)
    }

    /// How many might, if all had waited as long as those of one caller: what it has come to have at once is a burst, whatever
    /// others have standing.
    pub(super) fn room_for(&self, since: Instant, now: Instant) -> usize {
        let is_burst = now.saturating_duration_since(since) < BURST;
        match self.a_call {
            Some(a_call) if !self.max_delay.is_zero() => {
                let delay = if is_burst {
                    self.max_delay.max(BURST)
                } else {
                    self.max_delay
                };
                fitting(delay, a_call)
            }
            // Without a measure, or a bound.
            _ => usize::MAX,
        }
    }

    /// How many calls are begun in one turn.
    pub(super) fn turn(&self) -> usize {
        self.a_call
            .map_or(MOST_IN_TURN, |a_call| fitting(TURN, a_call).min(MOST_IN_TURN))
    }
}

/// At least one.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "neither is negative, and a cast saturates"
)]
fn fitting(time: Duration, a_call: f64) -> usize {
    ((time.as_nanos() as f64 / a_call.max(1.0)) as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROSECOND: Duration = Duration::from_micros(1);

    #[test]
    fn a_burst_may_wait_longer_than_what_stands() {
        let begun = Instant::now();
        let mut pace = Pace::new(Duration::from_millis(10));
        assert_eq!((pace.room(begun), pace.turn()), (usize::MAX, MOST_IN_TURN));
        pace.measure(10, 0, 1_000 * MICROSECOND);
        pace.begin_waiting(begun);
        assert_eq!((pace.room(begun), pace.turn()), (1_000, 10));
        assert_eq!(pace.room(begun + BURST), 100);
        pace.end_waiting();
        pace.begin_waiting(begun + 2 * BURST);
        assert_eq!(pace.room(begun + 2 * BURST), 1_000);
    }

    #[test]
    fn a_pause_of_the_machine_counts_little_and_another_speed_soon() {
        let mut pace = Pace::new(Duration::from_millis(10));
        pace.measure(64, 0, 64 * 20 * MICROSECOND);
        pace.measure(64, 0, Duration::from_secs(1));
        assert!(pace.a_call.unwrap() < 30_000.0, "{:?}", pace.a_call);
        for _ in 0..60 {
            pace.measure(64, 0, 64 * 200 * MICROSECOND);
        }
        assert!(
            (190_000.0..=200_000.0).contains(&pace.a_call.unwrap()),
            "{:?}",
            pace.a_call
        );
        assert_eq!(pace.turn(), 5);
    }

    #[test]
    fn what_it_takes_to_refuse_is_not_what_a_call_takes() {
        let mut pace = Pace::new(Duration::from_millis(10));
        pace.measure(50, 0, 1_000 * MICROSECOND);
        for _ in 0..100 {
            pace.measure(50, 1_000, 11_000 * MICROSECOND);
        }
        assert_eq!((pace.a_call, pace.turn()), (Some(20_000.0), 50));
    }

    #[test]
    fn without_a_bound_nothing_is_too_much() {
        let mut pace = Pace::new(Duration::ZERO);
        pace.measure(1, 0, Duration::from_secs(1));
        assert_eq!((pace.room(Instant::now()), pace.turn()), (usize::MAX, 1));
    }
}
