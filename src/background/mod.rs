//! Work behind the answers, which lets calls go first: a leaf.
//!
//! The niceness of a thread says how much of a processor it gets, and not when: once it runs, the kernel leaves it there for
//! some milliseconds, and a call that comes meanwhile waits for all of them. So work that takes longer than that says
//! where it may be interrupted ([`give_way`]), and whoever waits for the processor gets it there. It holds nothing there
//! that calls wait for.

use std::{
    cell::Cell,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How long work goes on before it lets others go first: about what one call takes several times over.
const PIECE: Duration = Duration::from_micros(50);

/// The work of a thread.
#[derive(Debug, Clone, Copy)]
struct Work {
    /// Since when it has the processor for itself.
    since: Instant,
    /// Until when it gives way.
    patient_until: Instant,
}

thread_local! {
    /// `None` where nothing has been begun: calls, and commands that somebody waits for.
    static WORK: Cell<Option<Work>> = const { Cell::new(None) };
}

/// Whether the program ends.
static ENDS: AtomicBool = AtomicBool::new(false);

/// No work of this program gives way any more: it ends, there are no calls, and what is left has a bound.
pub fn hurry() {
    ENDS.store(true, Ordering::Relaxed);
}

/// This thread, and those that it starts, get less of a processor by so much niceness where others want the same one. Where
/// that is not allowed they take their share.
pub fn be_nice(niceness: i32) {
    let _niceness = rustix::process::nice(niceness);
}

/// Begins work on this thread that gives way for `patience` at most, and then takes its share of the processor: it shall be
/// done on one that is never idle too.
pub fn begin(patience: Duration) {
    let now = Instant::now();
    WORK.set(Some(Work {
        since: now,
        // Patience beyond what the clock can tell is none.
        patient_until: now.checked_add(patience).unwrap_or(now),
    }));
}

/// What another thread does to help with the work of this one: it gives way as this one does.
pub fn helping<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let own = WORK.get();
    move || {
        WORK.set(own);
        work()
    }
}

/// A place where the work of this thread may be interrupted, since nothing is held that a call could wait for. Costs a look at
/// the clock, and a nanosecond where nothing was begun.
#[inline]
pub fn give_way() {
    let Some(work) = WORK.get() else { return };
    let now = Instant::now();
    let long = now.duration_since(work.since) >= PIECE;
    if long && now < work.patient_until && !ENDS.load(Ordering::Relaxed) {
        thread::yield_now();
        WORK.set(Some(Work {
            since: Instant::now(),
            ..work
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since() -> Option<Instant> {
        WORK.get().map(|work| work.since)
    }

    /// Whether a place behind a long piece of work hands the processor over.
    fn gives_way() -> bool {
        let begun = Instant::now();
        while begun.elapsed() < 2 * PIECE {
            std::hint::spin_loop();
        }
        let before = since();
        give_way();
        since() != before
    }

    #[test]
    fn work_gives_way_while_it_is_patient_and_calls_never_do() {
        let patient = Duration::from_hours(1);
        thread::scope(|scope| {
            scope.spawn(|| assert!(!gives_way(), "nothing was begun"));
            scope.spawn(|| {
                begin(patient);
                assert!(gives_way());
                assert!(gives_way());
                begin(Duration::ZERO);
                assert!(!gives_way(), "it shall be done");
                begin(patient);
                scope.spawn(helping(|| assert!(gives_way(), "as who is helped does")));
            });
        });
        begin(patient);
        hurry();
        assert!(!gives_way(), "nobody is left to give way to");
    }

    #[test]
    fn a_short_piece_is_not_interrupted() {
        begin(Duration::from_hours(1));
        let begun = since();
        give_way();
        let short = begun.is_some_and(|begun| begun.elapsed() < PIECE);
        assert!(!short || since() == begun);
    }
}
