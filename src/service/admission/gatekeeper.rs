//! One serving thread's queue, and who comes into it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, oneshot},
    task::yield_now,
};

use super::{
    account::{Account, Charged},
    conduct::Conduct,
    fair::Fair,
    pace::{MOST_IN_TURN, Pace},
};
use crate::{
    metrics::{Metrics, Shed},
    service::status::Refusal,
};

/// What a refusal by quota weighs of what a caller has of them, and the longest that a connection is left unread for it: its
/// peer may ping it.
const BY_QUOTA: (u64, Duration) = (10, Duration::from_secs(1));
/// The same for overload, in which whoever multiplexes many callers on one connection is not to blame.
const BY_OVERLOAD: (u64, Duration) = (1, Duration::from_millis(100));

/// What goes before what where there is too little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Decisions, and what is asked beside them.
    Decision,
    /// What can wait: simulations, what auditors ask, reflection.
    Other,
    /// Never refused and never late.
    Health,
}

/// When a call is to begin.
#[derive(Debug)]
pub enum Turn {
    /// At once.
    Now,
    /// When this is told, or its sender is gone.
    Later(oneshot::Receiver<()>),
}

/// A call that may be worked on.
#[derive(Debug)]
pub struct Admitted {
    /// When.
    pub turn: Turn,
    /// To be kept as long as the call is open.
    pub charged: Option<Charged>,
}

impl Admitted {
    const HEALTH: Self = Self {
        turn: Turn::Now,
        charged: None,
    };
}

/// Lets calls begin on one serving thread.
#[derive(Debug)]
pub struct Gatekeeper {
    /// Calls open on this thread.
    load: Arc<AtomicUsize>,
    max_load: usize,
    /// Calls begun since the thread was idle, or since the loop came around with some waiting.
    begun: AtomicUsize,
    /// Calls refused since.
    refused: AtomicUsize,
    /// Those that wait. Written under the lock of the queue.
    waiting: AtomicUsize,
    queue: Mutex<Queue>,
    some_wait: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Queue {
    decisions: Fair<oneshot::Sender<()>>,
    others: Fair<oneshot::Sender<()>>,
    pace: Pace,
    /// When the loop came around last, where some waited then.
    came_around: Option<Instant>,
}

impl Queue {
    /// All that wait.
    const fn len(&self) -> usize {
        self.decisions.len() + self.others.len()
    }
}

/// What a call is counted as that was refused for its caller's quota; `None` of one that was refused for something else.
pub fn over_quota(refusal: &Refusal) -> Option<Shed> {
    if matches!(refusal, Refusal::CallerRate(_)) {
        Some(Shed::CallerRate)
    } else {
        (*refusal == Refusal::CallerCalls).then_some(Shed::CallerCalls)
    }
}

/// A call of that account was refused: of many, each has its connection read later.
fn slow_down(account: &Account, conduct: &Conduct, now: Instant, (weight, longest): (u64, Duration)) {
    conduct.slow_down(account.refused(weight, now).min(longest));
}

impl Gatekeeper {
    /// For a thread whose open calls are counted in `load`; `max_delay` is how long calls may wait, zero for any time.
    pub fn new(load: Arc<AtomicUsize>, max_load: usize, max_delay: Duration, metrics: Arc<Metrics>) -> Self {
        Self {
            load,
            max_load,
            begun: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            queue: Mutex::new(Queue {
                decisions: Fair::default(),
                others: Fair::default(),
                pace: Pace::new(max_delay),
                came_around: None,
            }),
            some_wait: Notify::new(),
            metrics,
        }
    }

    /// Whether a call may begin, and when. What is refused is counted, and has its connection read more slowly.
    pub fn admit(
        &self,
        class: Class,
        account: &Arc<Account>,
        conduct: &Conduct,
        now: Instant,
    ) -> Result<Admitted, Refusal> {
        if class == Class::Health {
            return Ok(Admitted::HEALTH);
        }
        let admitted = account.begin(now).and_then(|charged| {
            let turn = self.enter(class, account, now)?;
            let charged = Some(charged);
            Ok(Admitted { turn, charged })
        });
        if let Err(refusal) = &admitted {
            self.turn_away(refusal, account, conduct, now);
        }
        admitted
    }

    /// A call was turned away for who called: its connection is read more slowly, as that of whoever is refused.
    pub fn turned_away(&self, account: &Account, conduct: &Conduct, now: Instant) {
        self.count_refused();
        slow_down(account, conduct, now, BY_QUOTA);
    }

    /// Counts a call that its caller does not wait for any more.
    pub fn count_late(&self) {
        self.metrics.shed(Shed::Late, 1);
    }

    fn turn_away(&self, refusal: &Refusal, account: &Account, conduct: &Conduct, now: Instant) {
        let (cause, pause) = match over_quota(refusal) {
            Some(cause) => (cause, BY_QUOTA),
            None => (Shed::Overload, BY_OVERLOAD),
        };
        self.metrics.shed(cause, 1);
        self.count_refused();
        slow_down(account, conduct, now, pause);
    }

    /// Of one thread: nothing comes between.
    fn count_refused(&self) {
        let refused = self.refused.load(Ordering::Relaxed);
        self.refused.store(refused + 1, Ordering::Relaxed);
    }

    fn enter(&self, class: Class, account: &Arc<Account>, now: Instant) -> Result<Turn, Refusal> {
        if self.load.load(Ordering::Relaxed) >= self.max_load {
            return Err(Refusal::Overloaded);
        }
        let begun = self.begun.load(Ordering::Relaxed);
        if begun < MOST_IN_TURN && self.waiting.load(Ordering::Relaxed) == 0 {
            // Of one thread: nothing comes between.
            self.begun.store(begun + 1, Ordering::Relaxed);
            return Ok(Turn::Now);
        }
        let owner = Arc::as_ptr(account).addr();
        let mut queue = self.queue();
        let (line, ahead) = match class {
            Class::Other => (&queue.others, queue.len()),
            Class::Decision | Class::Health => (&queue.decisions, queue.decisions.len()),
        };
        let room = queue.pace.room(now);
        if ahead >= room && !line.is_below_share(owner, |since| queue.pace.room_for(since, now)) {
            return Err(Refusal::Overloaded);
        }
        let (sender, receiver) = oneshot::channel();
        match class {
            Class::Other => queue.others.push(owner, sender, now),
            Class::Decision | Class::Health => queue.decisions.push(owner, sender, now),
        }
        queue.pace.begin_waiting(now);
        if self.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            self.some_wait.notify_one();
        }
        Ok(Turn::Later(receiver))
    }

    /// Lets calls that wait begin as the loop comes around; never ends. To be run on the thread.
    pub async fn run(&self) {
        loop {
            self.some_wait.notified().await;
            loop {
                // Comes back after all that was to be done and a look at the sockets.
                yield_now().await;
                if !self.come_around(Instant::now()) {
                    break;
                }
            }
        }
    }

    /// The thread has nothing to do.
    pub fn rest(&self) {
        self.begun.store(0, Ordering::Relaxed);
        self.refused.store(0, Ordering::Relaxed);
    }

    /// The loop has come around: lets some begin, and tells whether there were any.
    fn come_around(&self, now: Instant) -> bool {
        let mut queue = self.queue();
        let begun = self.begun.load(Ordering::Relaxed);
        if let Some(before) = queue.came_around.replace(now) {
            let took = now.saturating_duration_since(before);
            queue
                .pace
                .measure(begun, self.refused.load(Ordering::Relaxed), took);
        }
        let waiting = queue.len();
        if waiting == 0 {
            queue.came_around = None;
            queue.pace.end_waiting();
        }
        let (mut begun, turn) = (0, queue.pace.turn());
        while begun < turn {
            // One of the others in each turn, so that they are late and not never.
            let next = if begun + 1 == turn {
                queue.others.pop().or_else(|| queue.decisions.pop())
            } else {
                queue.decisions.pop().or_else(|| queue.others.pop())
            };
            let Some(next) = next else { break };
            // Who is gone needs no turn.
            begun += usize::from(next.send(()).is_ok());
        }
        self.begun.store(begun, Ordering::Relaxed);
        self.refused.store(0, Ordering::Relaxed);
        self.waiting.store(queue.len(), Ordering::Relaxed);
        waiting > 0
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it is held.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
