//! What one connection does, between those who answer its calls and those who serve it. Both are of one thread: the atomics
//! are there for the compiler, and nobody contends for them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::bucket::nanos;
use crate::metrics::Shed;

/// Calls after which what was before counts half.
const REMEMBERED: u32 = 1 << 16;

/// Why a connection is to end at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condemned {
    /// Its peer resets what it asks for.
    Resets,
    /// Its peer sends what is part of no call.
    ControlFrames,
}

impl Condemned {
    /// As it is counted.
    pub const fn shed(self) -> Shed {
        match self {
            Self::Resets => Shed::StreamResets,
            Self::ControlFrames => Shed::ControlFrames,
        }
    }
}

/// The conduct of one connection.
#[derive(Debug)]
pub struct Conduct {
    /// Calls open on all connections of this thread.
    load: Arc<AtomicUsize>,
    max_resets: u32,
    /// HTTP/2 is spoken.
    greeted: AtomicBool,
    /// Calls with a task.
    open: AtomicU32,
    /// Calls that began.
    begun: AtomicU32,
    /// Of these, reset before they were answered.
    resets: AtomicU32,
    /// In [`nanos`]; 0: none.
    not_read_until: AtomicU64,
    /// Since when the socket takes nothing, in [`nanos`]; 0: it does.
    unwritten_since: AtomicU64,
    /// The call that begins next is refused.
    refuses: AtomicBool,
    condemned: AtomicU8,
}

impl Conduct {
    /// Of a new connection; `load` counts the open calls of the thread.
    pub fn new(load: Arc<AtomicUsize>, max_resets: u32) -> Self {
        Self {
            load,
            max_resets,
            greeted: AtomicBool::new(false),
            open: AtomicU32::new(0),
            begun: AtomicU32::new(0),
            resets: AtomicU32::new(0),
            not_read_until: AtomicU64::new(0),
            unwritten_since: AtomicU64::new(0),
            refuses: AtomicBool::new(false),
            condemned: AtomicU8::new(0),
        }
    }

    /// The peer speaks HTTP/2.
    pub fn greet(&self) {
        self.greeted.store(true, Ordering::Relaxed);
    }

    /// Whether it does.
    pub fn is_greeted(&self) -> bool {
        self.greeted.load(Ordering::Relaxed)
    }

    /// A call has a task from now on, until what is given is dropped.
    pub fn open(self: &Arc<Self>) -> OpenCall {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.load.fetch_add(1, Ordering::Relaxed);
        OpenCall(Arc::clone(self))
    }

    /// The call whose task begins next is refused.
    pub fn refuse(&self) {
        self.refuses.store(true, Ordering::Relaxed);
    }

    /// Whether it is; the one behind it is not.
    pub fn takes_refusal(&self) -> bool {
        let refuses = self.refuses.load(Ordering::Relaxed);
        if refuses {
            self.refuses.store(false, Ordering::Relaxed);
        }
        refuses
    }

    /// How many are open.
    pub fn open_calls(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// How many began; the number only tells whether there were any since another look.
    pub fn begun_calls(&self) -> u32 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Its peer has reset a call that was not answered yet.
    pub fn reset(&self) {
        let (resets, begun) = (
            self.resets.fetch_add(1, Ordering::Relaxed) + 1,
            self.begun.load(Ordering::Relaxed),
        );
        if resets > self.max_resets && resets > begun / 2 {
            self.condemn(Condemned::Resets);
        }
        if begun > REMEMBERED {
            self.begun.store(begun / 2, Ordering::Relaxed);
            self.resets.store(resets / 2, Ordering::Relaxed);
        }
    }

    /// Not to be read for so long.
    pub fn slow_down(&self, by: Duration) {
        if !by.is_zero() {
            let until = nanos(Instant::now() + by);
            self.not_read_until.fetch_max(until, Ordering::Relaxed);
        }
    }

    /// How long not to read it; forgotten when it is over.
    pub fn pause(&self) -> Option<Duration> {
        let until = self.not_read_until.load(Ordering::Relaxed);
        if until == 0 {
            return None;
        }
        let left = until.saturating_sub(nanos(Instant::now()));
        if left == 0 {
            self.not_read_until.store(0, Ordering::Relaxed);
            return None;
        }
        Some(Duration::from_nanos(left))
    }

    /// Whether its socket takes what is written.
    pub fn writes(&self, taken: bool) {
        let since = self.unwritten_since.load(Ordering::Relaxed);
        if taken && since != 0 {
            self.unwritten_since.store(0, Ordering::Relaxed);
        } else if !taken && since == 0 {
            self.unwritten_since
                .store(nanos(Instant::now()), Ordering::Relaxed);
        }
    }

    /// How long its socket has taken nothing, although there is something.
    pub fn unwritten_for(&self, now: Instant) -> Duration {
        match self.unwritten_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_nanos(nanos(now).saturating_sub(since)),
        }
    }

    /// It is to end; the first reason counts.
    pub fn condemn(&self, why: Condemned) {
        let number = match why {
            Condemned::Resets => 1,
            Condemned::ControlFrames => 2,
        };
        // Of one thread: nothing comes between.
        if self.condemned.load(Ordering::Relaxed) == 0 {
            self.condemned.store(number, Ordering::Relaxed);
        }
    }

    /// Whether it is to end, and why.
    pub fn condemned(&self) -> Option<Condemned> {
        match self.condemned.load(Ordering::Relaxed) {
            1 => Some(Condemned::Resets),
            2 => Some(Condemned::ControlFrames),
            _ => None,
        }
    }
}

/// A call that has a task.
#[derive(Debug)]
pub struct OpenCall(Arc<Conduct>);

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conduct(max_resets: u32) -> Arc<Conduct> {
        Arc::new(Conduct::new(Arc::default(), max_resets))
    }

    #[test]
    fn a_connection_of_which_most_calls_are_reset_is_condemned() {
        let conduct = conduct(10);
        for _ in 0..11 {
            assert_eq!(conduct.condemned(), None);
            drop(conduct.open());
            conduct.reset();
        }
        assert_eq!(conduct.condemned(), Some(Condemned::Resets));
    }

    #[test]
    fn who_resets_now_and_then_is_not_and_old_calls_do_not_hide_new_ones() {
        let conduct = conduct(10);
        for call in 0..1_000_000 {
            drop(conduct.open());
            if call % 3 == 0 {
                conduct.reset();
            }
        }
        assert_eq!(conduct.condemned(), None);
        let mut more = 0;
        while conduct.condemned().is_none() {
            drop(conduct.open());
            conduct.reset();
            more += 1;
        }
        assert!(more < REMEMBERED, "{more}");
    }

    #[test]
    fn open_calls_count_for_the_connection_and_the_thread() {
        let load = Arc::new(AtomicUsize::new(0));
        let connections = [(); 2].map(|()| Arc::new(Conduct::new(Arc::clone(&load), 1)));
        let calls: Vec<_> = connections.iter().map(Conduct::open).collect();
        assert_eq!(
            (load.load(Ordering::Relaxed), connections[0].open_calls()),
            (2, 1)
        );
        drop(calls);
        assert_eq!(
            (load.load(Ordering::Relaxed), connections[0].open_calls()),
            (0, 0)
        );
        assert_eq!(connections[0].begun_calls(), 1);
    }

    #[test]
    fn a_pause_ends_and_a_socket_that_takes_something_is_not_stuck() {
        let conduct = conduct(1);
        assert_eq!(conduct.pause(), None);
        conduct.slow_down(Duration::from_mins(1));
        conduct.slow_down(Duration::from_nanos(1));
        assert!(conduct.pause().unwrap() > Duration::from_secs(50));
        let later = Instant::now() + Duration::from_mins(1);
        assert_eq!(conduct.unwritten_for(later), Duration::ZERO);
        conduct.writes(false);
        assert!(conduct.unwritten_for(later) > Duration::from_secs(50));
        conduct.writes(true);
        assert_eq!(conduct.unwritten_for(later), Duration::ZERO);
    }
}
