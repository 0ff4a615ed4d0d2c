//! What the follower has seen, for whoever asks.

mod events;

pub use events::{Event, EventKind};

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use tokio::sync::watch;

use self::events::Events;
use crate::registry::{FreshnessClock, Position};

/// What the follower has seen, for whoever asks.
#[derive(Debug)]
pub struct FeedStatus {
    /// How old the data is.
    pub clock: FreshnessClock,
    position: watch::Sender<Option<Position>>,
    ready: AtomicBool,
    told: Mutex<Told>,
    events: Mutex<Events>,
}

/// The parts of the status that change seldom.
#[derive(Debug, Clone)]
pub struct Told {
    /// The last problem, until it is over; empty when there is none.
    pub last_error: String,
    /// Since when the registry has been ready, or not.
    pub since: SystemTime,
    /// Where the data in force came from: "sqlite", "postgres", "nats", or "file" before the first contact.
    pub source: &'static str,
}

impl FeedStatus {
    /// The status of a feed from a store of that kind, before its first look.
    pub fn new(source: &'static str) -> Self {
        Self {
            clock: FreshnessClock::default(),
            position: watch::Sender::new(None),
            ready: AtomicBool::new(false),
            told: Mutex::new(Told {
                last_error: String::new(),
                since: SystemTime::now(),
                source,
            }),
            events: Mutex::default(),
        }
    }

    /// Whether the registry has caught up with a head, or serves from a file, and holds enough to decide on.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// The position in force, and a notice of each new one.
    pub fn positions(&self) -> watch::Receiver<Option<Position>> {
        self.position.subscribe()
    }

    /// The last problem, since when the registry has been ready or not, and where its data came from.
    pub fn told(&self) -> Told {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last fresh snapshots and refusals, the latest first.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).all()
    }

    /// Remembers that something happened just now.
    pub fn happened(&self, kind: EventKind, cause: &'static str, text: String) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.add(kind, cause, text, SystemTime::now());
    }

    pub(super) fn tell(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn set_ready(&self, ready: bool) {
        if self.ready.swap(ready, Ordering::AcqRel) != ready {
            self.tell(|told| told.since = SystemTime::now());
        }
    }

    pub(super) fn set_position(&self, position: Position) {
        self.position.send_replace(Some(position));
    }
}
