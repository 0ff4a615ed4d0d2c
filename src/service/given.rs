//! What the answer to a unary `Decide` leaves for the call that asked for it. Both end in one poll of one thread, so that
//! the clock is read once for both, and nothing need be allocated to hand it on.

use std::{cell::Cell, time::Instant};

use uuid::Uuid;

use crate::domain::decision::Lane;

/// A decision that was given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given {
    /// When it was ready.
    pub(super) at: Instant,
    /// Its identifier.
    pub(super) decision: Uuid,
    /// Its lane.
    pub(super) lane: Lane,
}

/// What became of the answer of the call that was polled last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing that is known.
    None,
    /// All that there was has been handed out, and it is for the caller to take it.
    HandedOut,
    /// That was taken too: more is asked for, and there is none.
    Taken,
}

thread_local! {
    static GIVEN: Cell<Option<Given>> = const { Cell::new(None) };
    static PROGRESS: Cell<Progress> = const { Cell::new(Progress::None) };
}

/// Leaves a decision for the call that is about to end on this thread.
pub(super) fn leave(given: Given) {
    GIVEN.set(Some(given));
}

/// Takes what was left.
pub(super) fn take() -> Option<Given> {
    GIVEN.take()
}

/// Tells how far the answer of the call that is polled now has come.
pub(super) fn tell(progress: Progress) {
    PROGRESS.set(progress);
}

/// Takes what was told.
pub fn take_progress() -> Progress {
    PROGRESS.replace(Progress::None)
}
