//! Counts every change, and tells the watches that it concerns.
//!
//! A watch is told which of its keys changed, not how: what is pending for it is bounded by its keys, and what it sends is
//! what holds when it sends.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use foldhash::{HashMap, HashMapExt as _};
use smallvec::SmallVec;
use tokio::sync::Notify;

use super::{
    view::Key,
    watch::{Ended, WatchError},
};

/// Bounds of watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchLimits {
    /// Watches at once.
    pub watches: usize,
    /// How long a watch may leave changes unread before it is cut off.
    pub stall: Duration,
    /// Between two signs of life.
    pub heartbeat: Duration,
}

/// What a watch has not read yet.
#[derive(Debug, Default)]
struct Pending {
    /// Places in its keys, each once.
    places: Vec<u32>,
    /// Whether a place is in there.
    marked: Vec<bool>,
    /// Since when there is something.
    since: Option<Instant>,
    ended: Option<Ended>,
}

/// The publisher's side of a watch.
#[derive(Debug)]
pub(super) struct Subscription {
    pending: Mutex<Pending>,
    pub(super) told: Notify,
}

impl Subscription {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, place: u32) {
        let mut pending = self.pending();
        let marked = pending.marked.get_mut(place as usize);
        if marked.is_some_and(|marked| !std::mem::replace(marked, true)) {
            pending.places.push(place);
            pending.since.get_or_insert_with(Instant::now);
            self.told.notify_one();
        }
    }

    fn tell_everything(&self) {
        let places = self.pending().marked.len();
        (0u32..).take(places).for_each(|place| self.tell(place));
    }

    fn end(&self, why: Ended) {
        self.pending().ended.get_or_insert(why);
        self.told.notify_one();
    }

    /// Why it ended, if it did.
    pub(super) fn ended(&self) -> Option<Ended> {
        self.pending().ended
    }
}

type Subscribers = SmallVec<[(Arc<Subscription>, u32); 1]>;

#[derive(Debug)]
struct Publishing {
    /// Changes so far.
    count: u64,
    /// The count at the last change of everything, such as of the data's freshness.
    everything_at: u64,
    subscribers: HashMap<Key, Subscribers>,
    /// By address: to end them and to look after them.
    watches: HashMap<usize, Arc<Subscription>>,
    ending: bool,
}

/// Tells watches of changes.
#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) limits: WatchLimits,
    publishing: Mutex<Publishing>,
}

/// What a watch takes over: the places of changed keys, and the count up to which it is told then.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) places: Vec<u32>,
    pub(super) count: u64,
}

impl Publisher {
    pub(super) fn new(limits: WatchLimits) -> Self {
        Self {
            limits,
            publishing: Mutex::new(Publishing {
                // A shipment that never changed here stands at 0.
                count: 1,
                everything_at: 0,
                subscribers: HashMap::new(),
                watches: HashMap::new(),
                ending: false,
            }),
        }
    }

    fn publishing(&self) -> MutexGuard<'_, Publishing> {
        self.publishing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A shipment that goes by these keys changed. Gives the count of the change.
    pub(super) fn publish(&self, keys: impl IntoIterator<Item = Key>) -> u64 {
        let mut publishing = self.publishing();
        publishing.count += 1;
        if !publishing.subscribers.is_empty() {
            for key in keys {
                if let Some(subscribers) = publishing.subscribers.get(&key) {
                    subscribers.iter().for_each(|(own, place)| own.tell(*place));
                }
            }
        }
        publishing.count
    }

    /// Everything changed.
    pub(super) fn publish_everything(&self) {
        let mut publishing = self.publishing();
        publishing.count += 1;
        publishing.everything_at = publishing.count;
        let watches: Vec<_> = publishing.watches.values().cloned().collect();
        drop(publishing);
        for own in watches {
            own.tell_everything();
        }
    }

    /// Shows every key that is watched.
    pub(super) fn each_key(&self, mut show: impl FnMut(&Key)) {
        self.publishing().subscribers.keys().for_each(&mut show);
    }

    /// The count at the last change of everything.
    pub(super) fn everything_at(&self) -> u64 {
        self.publishing().everything_at
    }

    /// Subscribes a watch to its keys; all of them are pending.
    pub(super) fn subscribe(&self, keys: &[Key]) -> Result<Arc<Subscription>, WatchError> {
        let subscription = Arc::new(Subscription {
            pending: Mutex::new(Pending {
                places: (0u32..).take(keys.len()).collect(),
                marked: vec![true; keys.len()],
                since: None,
                ended: None,
            }),
            told: Notify::new(),
        });
        let mut publishing = self.publishing();
        if publishing.watches.len() >= self.limits.watches {
            return Err(WatchError::TooMany);
        }
        if publishing.ending {
            subscription.end(Ended::Draining);
        }
        for (place, key) in (0u32..).zip(keys) {
            let subscribers = publishing.subscribers.entry(*key).or_default();
            subscribers.push((Arc::clone(&subscription), place));
        }
        let address = Arc::as_ptr(&subscription).addr();
        publishing.watches.insert(address, Arc::clone(&subscription));
        Ok(subscription)
    }

    /// Tells a watch nothing any more.
    pub(super) fn unsubscribe(&self, subscription: &Arc<Subscription>, keys: &[Key]) {
        let mut publishing = self.publishing();
        for key in keys {
            if let Some(subscribers) = publishing.subscribers.get_mut(key) {
                subscribers.retain(|(own, _)| !Arc::ptr_eq(own, subscription));
                if subscribers.is_empty() {
                    publishing.subscribers.remove(key);
                }
            }
        }
        publishing.watches.remove(&Arc::as_ptr(subscription).addr());
    }

    /// Takes what is pending for a watch.
    pub(super) fn take(&self, subscription: &Subscription) -> Taken {
        // No change is counted and not told while both are held.
        let publishing = self.publishing();
        let mut pending = subscription.pending();
        let places = std::mem::take(&mut pending.places);
        for place in &places {
            if let Some(marked) = pending.marked.get_mut(*place as usize) {
                *marked = false;
            }
        }
        pending.since = None;
        Taken {
            places,
            count: publishing.count,
        }
    }

    /// Ends the watches that have not read for too long; gives how many.
    pub(super) fn cut_stalled(&self, now: Instant) -> u64 {
        let watches: Vec<_> = self.publishing().watches.values().cloned().collect();
        let mut cut = 0;
        for own in watches {
            let since = own.pending().since;
            let stalled = since.is_some_and(|since| now.saturating_duration_since(since) > self.limits.stall);
            if stalled && own.ended().is_none() {
                own.end(Ended::TooSlow);
                cut += 1;
            }
        }
        cut
    }

    /// Ends every watch, and each that comes.
    pub(super) fn end(&self) {
        let mut publishing = self.publishing();
        publishing.ending = true;
        publishing
            .watches
            .values()
            .for_each(|own| own.end(Ended::Draining));
    }

    /// Watches at once.
    pub(super) fn watches(&self) -> usize {
        self.publishing().watches.len()
    }
}
