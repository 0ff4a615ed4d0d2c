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

thread_local! {
    static GIVEN: Cell<Option<Given>> = const { Cell::new(None) };
    static ANSWERED: Cell<bool> = const { Cell::new(false) };
}

/// Leaves a decision for the call that is about to end on this thread.
pub(super) fn leave(given: Given) {
    GIVEN.set(Some(given));
}

/// Takes what was left.
pub(super) fn take() -> Option<Given> {
    GIVEN.take()
}

/// A call that is polled now has its whole answer: what is still to be done is for its caller to take it.
pub(super) fn answer() {
    ANSWERED.set(true);
}

/// Whether the call that was polled last got its whole answer then.
pub fn take_answered() -> bool {
    ANSWERED.replace(false)
}
