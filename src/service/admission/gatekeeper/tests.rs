//! A serving thread simulated, with a clock of its own: what its callers get of it, whatever they ask for.

#![allow(clippy::cast_precision_loss, reason = "numbers of calls are small")]

use std::collections::VecDeque;

use super::*;
use crate::service::admission::Quota;

/// What a decision takes, and what a refusal does.
const DECISION: Duration = Duration::from_micros(25);
const REFUSAL: Duration = Duration::from_micros(3);
const MAX_DELAY: Duration = Duration::from_millis(10);

/// One caller.
struct Caller {
    account: Arc<Account>,
    class: Class,
    /// Calls a second, one at a time or so many together.
    rate: f64,
    together: usize,
    /// When the next ones come.
    next: Instant,
    asked: u64,
    answered: u64,
    longest: Duration,
}

impl Caller {
    fn new(rate: f64, together: usize, class: Class, now: Instant) -> Self {
        Self {
            account: Arc::new(Account::new(Quota::default())),
            class,
            rate,
            together,
            next: now,
            asked: 0,
            answered: 0,
            longest: Duration::ZERO,
        }
    }
}

/// A call that waits: whose, since when, and for what.
type Waiting = (usize, Instant, oneshot::Receiver<()>);

struct Thread {
    gatekeeper: Gatekeeper,
    conduct: Conduct,
    begun: Instant,
    now: Instant,
    /// Calls to be worked on: whose, since when.
    ready: VecDeque<(usize, Instant)>,
    waiting: Vec<Waiting>,
    is_waiting: bool,
}

impl Thread {
    fn new(max_delay: Duration) -> Self {
        let begun = Instant::now();
        Self {
            gatekeeper: Gatekeeper::new(Arc::default(), 1_000_000, max_delay, Arc::default()),
            conduct: Conduct::new(Arc::default(), 1),
            begun,
            now: begun,
            ready: VecDeque::new(),
            waiting: Vec::new(),
            is_waiting: false,
        }
    }

    /// Runs until that instant, counted from the beginning.
    fn run(&mut self, until: Duration, callers: &mut [Caller]) {
        while self.now < self.begun + until {
            // The sockets are looked at.
            for (index, caller) in callers.iter_mut().enumerate() {
                while caller.next <= self.now {
                    let came = caller.next;
                    caller.next += Duration::from_secs_f64(caller.together as f64 / caller.rate);
                    // Whoever hammers asks again each time that it is read.
                    let hammers = caller.rate.is_infinite();
                    for _ in 0..caller.together {
                        caller.asked += 1;
                        let admitted =
                            self.gatekeeper
                                .admit(caller.class, &caller.account, &self.conduct, self.now);
                        match admitted.map(|admitted| admitted.turn) {
                            Ok(Turn::Now) => self.ready.push_back((index, came)),
                            Ok(Turn::Later(turn)) => self.waiting.push((index, came, turn)),
                            Err(_) => self.now += REFUSAL,
                        }
                    }
                    if hammers {
                        break;
                    }
                }
            }
            // All that is ready is worked on.
            for (index, came) in self.ready.drain(..) {
                self.now += DECISION;
                let caller = &mut callers[index];
                caller.answered += 1;
                caller.longest = caller.longest.max(self.now - came);
            }
            // The loop comes around.
            if self.is_waiting || !self.waiting.is_empty() {
                self.is_waiting = self.gatekeeper.come_around(self.now);
                let mut still = Vec::new();
                for (index, came, mut turn) in self.waiting.drain(..) {
                    match turn.try_recv() {
                        Ok(()) => self.ready.push_back((index, came)),
                        Err(_) => still.push((index, came, turn)),
                    }
                }
                self.waiting = still;
            }
            if self.ready.is_empty() && self.waiting.is_empty() {
                self.gatekeeper.rest();
                let next = callers.iter().map(|caller| caller.next).min();
                self.now = next.unwrap_or(self.now).max(self.now + Duration::from_nanos(100));
            }
        }
    }
}

/// What a thread can do in a second.
fn peak() -> f64 {
    1.0 / DECISION.as_secs_f64()
}

/// The share of the peak that is left for decisions of a `load`, in peaks, within so much of a thread, the rest being refused.
fn possible(thread: f64, load: f64) -> f64 {
    let refusal = REFUSAL.as_secs_f64() / DECISION.as_secs_f64();
    (thread - load * refusal) / (1.0 - refusal)
}

fn one(times_peak: f64, now: Instant) -> Caller {
    Caller::new(times_peak * peak(), 1, Class::Decision, now)
}

#[test]
fn what_can_be_done_is_done_and_nothing_is_refused() {
    for load in [0.1, 0.5, 0.9] {
        let mut thread = Thread::new(MAX_DELAY);
        let mut callers = [one(load, thread.now)];
        thread.run(Duration::from_secs(2), &mut callers);
        let [caller] = callers;
        assert!(
            caller.asked - caller.answered < 64,
            "{load}: {}",
            caller.asked - caller.answered
        );
        assert!(caller.longest < MAX_DELAY, "{load}: {:?}", caller.longest);
    }
}

#[test]
fn three_times_too_much_costs_little_of_what_can_be_done_and_nobody_waits_long() {
    let mut thread = Thread::new(MAX_DELAY);
    let mut callers = [one(3.0, thread.now)];
    // Until it is no burst any more.
    thread.run(Duration::from_millis(300), &mut callers);
    let [caller] = &mut callers;
    (caller.asked, caller.answered, caller.longest) = (0, 0, Duration::ZERO);
    thread.run(Duration::from_millis(2_300), &mut callers);
    let [caller] = &callers;
    let goodput = caller.answered as f64 / (2.0 * peak());
    let possible = possible(1.0, 3.0);
    assert!(goodput > 0.98 * possible, "{goodput} of {possible}");
    assert!(caller.longest < 2 * MAX_DELAY, "{:?}", caller.longest);

    // It is over as soon as the load is.
    let [caller] = &mut callers;
    caller.rate = 0.5 * peak();
    thread.run(Duration::from_millis(2_350), &mut callers);
    let [caller] = &mut callers;
    let refused = caller.asked - caller.answered;
    caller.longest = Duration::ZERO;
    thread.run(Duration::from_secs(3), &mut callers);
    let [caller] = &callers;
    assert!(
        caller.asked - caller.answered <= refused,
        "none is refused any more"
    );
    assert!(caller.longest < MAX_DELAY / 10, "{:?}", caller.longest);
}

#[test]
fn a_burst_is_answered_whole_and_a_standing_queue_is_not() {
    let mut thread = Thread::new(MAX_DELAY);
    // 2000 calls together, twice a second: 50 ms of work each time.
    let mut callers = [Caller::new(4_000.0, 2_000, Class::Decision, thread.now)];
    thread.run(Duration::from_secs(3), &mut callers);
    let [caller] = &callers;
    assert_eq!(caller.asked, caller.answered);
    // Twenty times a second: too much.
    let mut callers = [Caller::new(50_000.0, 2_000, Class::Decision, thread.now)];
    thread.run(Duration::from_secs(6), &mut callers);
    assert!(callers[0].answered < callers[0].asked);
}

#[test]
fn whoever_floods_costs_another_nothing_but_a_moment() {
    let mut thread = Thread::new(MAX_DELAY);
    let mut callers = [one(0.3, thread.now), one(3.0, thread.now)];
    thread.run(Duration::from_secs(2), &mut callers);
    let [modest, flooder] = &callers;
    assert!(
        modest.asked - modest.answered < 64,
        "{}",
        modest.asked - modest.answered
    );
    assert!(modest.longest < MAX_DELAY, "{:?}", modest.longest);
    let rest = flooder.answered as f64 / (2.0 * peak());
    assert!(rest > 0.98 * possible(0.7, 3.0), "{rest}");
}

#[test]
fn whoever_hammers_without_a_pause_takes_time_and_no_turns() {
    let mut thread = Thread::new(MAX_DELAY);
    // More refusals each time than calls may wait.
    let hammering = Caller::new(f64::INFINITY, 4_000, Class::Decision, thread.now);
    let mut callers = [one(0.025, thread.now), hammering];
    thread.run(Duration::from_secs(2), &mut callers);
    let [modest, hammering] = &callers;
    assert!(
        modest.asked - modest.answered < 200,
        "{}",
        modest.asked - modest.answered
    );
    assert!(modest.longest < 6 * MAX_DELAY, "{:?}", modest.longest);
    // As many as there are turns.
    let turns = 2.0 / (4_000.0 * REFUSAL.as_secs_f64() + 64.0 * DECISION.as_secs_f64());
    assert!(
        hammering.answered as f64 > 20.0 * turns,
        "{} in {turns}",
        hammering.answered
    );
}

#[test]
fn decisions_go_before_what_can_wait_which_is_late_and_not_never() {
    let mut thread = Thread::new(MAX_DELAY);
    let mut others = one(1.0, thread.now);
    others.class = Class::Other;
    let mut callers = [one(0.8, thread.now), others];
    thread.run(Duration::from_secs(2), &mut callers);
    let [decisions, others] = &callers;
    let share = |caller: &Caller| caller.answered as f64 / (2.0 * peak());
    assert!(share(decisions) > 0.75, "{}", share(decisions));
    assert!((0.01..0.2).contains(&share(others)), "{}", share(others));
}

#[test]
fn health_is_never_refused_and_a_thread_holds_so_many_calls_and_no_more() {
    let thread = Thread::new(MAX_DELAY);
    let account = Arc::new(Account::new(Quota { rate: 1, calls: 1 }));
    let keeper = Gatekeeper::new(Arc::new(AtomicUsize::new(5)), 5, MAX_DELAY, Arc::default());
    let admit = |class| keeper.admit(class, &account, &thread.conduct, thread.now);
    for _ in 0..1_000 {
        assert!(matches!(
            admit(Class::Health),
            Ok(Admitted { turn: Turn::Now, .. })
        ));
    }
    assert_eq!(admit(Class::Decision).unwrap_err(), Refusal::Overloaded);
    assert_eq!(
        admit(Class::Other).unwrap_err(),
        Refusal::CallerRate(Duration::from_secs(1))
    );
}

#[tokio::test]
async fn a_call_whose_caller_is_gone_takes_nobodys_turn_and_the_others_get_theirs() {
    let keeper = Gatekeeper::new(Arc::default(), 1_000, MAX_DELAY, Arc::default());
    let account = Arc::new(Account::new(Quota::default()));
    let conduct = Conduct::new(Arc::default(), 1);
    let mut turns = Vec::new();
    for _ in 0..3 * MOST_IN_TURN {
        let admitted = keeper
            .admit(Class::Decision, &account, &conduct, Instant::now())
            .unwrap();
        turns.push(admitted.turn);
    }
    let waiting = turns.split_off(MOST_IN_TURN);
    assert!(turns.iter().all(|turn| matches!(turn, Turn::Now)));
    let kept = waiting
        .into_iter()
        .enumerate()
        .filter(|(place, _)| place % 2 == 0);
    let kept: Vec<_> = kept.map(|(_, turn)| turn).collect();
    tokio::select! {
        () = keeper.run() => {}
        () = async {
            for turn in kept {
                let Turn::Later(turn) = turn else { panic!("{turn:?}") };
                turn.await.unwrap();
            }
        } => {}
    }
}
