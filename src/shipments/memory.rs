//! The shipments that this replica holds, and who is told of their changes.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use foldhash::{HashMap, fast::RandomState};
use moka::{policy::EvictionPolicy, sync::Cache};
use tokio::sync::{Notify, mpsc};

use super::{
    asked::Asked,
    handed_over::NewDecision,
    held::Held,
    index::{Index, Pins},
    keeper::Touched,
    publisher::{Publisher, WatchLimits},
    saving::Lookup,
    view::Key,
};
use crate::{
    domain::identifier::DeclarationNumber,
    facilitation::{Facilitation, First},
    metrics::Metrics,
    upstream::status::FeedStatus,
};

/// How long the store's word counts that nobody had decided a declaration.
const UNDECIDED_FOR: Duration = Duration::from_secs(2);

/// How much is held, and for how long a watch may stall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Whether anybody may ask at all; without, nothing is held.
    pub served: bool,
    /// Bytes of shipments by declaration, about.
    pub max_bytes: u64,
    /// Containers of which every shipment is held.
    pub max_containers: u64,
    /// Changes that may wait for the store.
    pub max_unsaved: usize,
    /// Decisions are taken in once somebody has asked for them: until then the audit log has them.
    pub from_log: bool,
    /// Bounds of watches.
    pub watches: WatchLimits,
}

/// What the store does not have yet.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    pub(super) shipments: HashMap<DeclarationNumber, Arc<Held>>,
    /// Some were left out, because too many waited: the audit log has them.
    pub(super) overflowed: bool,
}

impl Unsaved {
    /// Whether the store has everything.
    pub(super) fn is_empty(&self) -> bool {
        self.shipments.is_empty() && !self.overflowed
    }
}

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Shipments in memory.
    pub shipments: u64,
    /// Changes that wait for the store.
    pub unsaved: usize,
    /// Watches.
    pub watches: usize,
}

/// The shipments of a replica.
#[derive(Debug)]
pub struct Shipments {
    /// Whether anybody may ask.
    pub(super) served: bool,
    pub(super) facilitation: Arc<Facilitation>,
    pub(super) feed: Arc<FeedStatus>,
    pub(super) metrics: Arc<Metrics>,
    instance: u64,
    max_unsaved: usize,
    queue: Mutex<Vec<NewDecision>>,
    /// Whether there is something in the queue: readers look at this alone.
    queued: AtomicBool,
    taking: Mutex<()>,
    /// `None` where every decision is taken in.
    pub(super) asked: Option<Asked>,
    pub(super) by_declaration: Cache<DeclarationNumber, Arc<Held>, RandomState>,
    /// Containers of which every shipment is held, and those.
    pub(super) by_container: Cache<Key, Pins, RandomState>,
    /// Declarations that nobody had decided a moment ago.
    pub(super) undecided: Cache<Key, (), RandomState>,
    pub(super) index: Index,
    publisher: Publisher,
    unsaved: Mutex<Unsaved>,
    /// Something is to be saved.
    pub(super) to_save: Notify,
    pub(super) lookups: mpsc::Sender<Lookup>,
    touched: Mutex<Touched>,
    /// Something was decided or touched.
    pub(super) to_keep: Notify,
    /// How often something was touched, and up to where it was looked after.
    told: AtomicU64,
    kept: AtomicU64,
    ready: AtomicBool,
}

impl Shipments {
    /// Holds nothing yet. What is not in memory is asked for through `lookups`.
    pub fn new(
        facilitation: Arc<Facilitation>,
        feed: Arc<FeedStatus>,
        metrics: Arc<Metrics>,
        limits: Limits,
        lookups: mpsc::Sender<Lookup>,
    ) -> Arc<Self> {
        // A shipment takes about a kibibyte, and has one container.
        let asked = || Asked::new(limits.max_bytes / 512 + limits.max_containers);
        let weight = |_: &DeclarationNumber, held: &Arc<Held>| held.weight();
        Arc::new(Self {
            served: limits.served,
            facilitation,
            feed,
            metrics,
            instance: rand::random(),
            max_unsaved: limits.max_unsaved,
            queue: Mutex::default(),
            queued: AtomicBool::new(false),
            taking: Mutex::default(),
            asked: limits.from_log.then(asked),
            by_declaration: Cache::builder()
                .max_capacity(limits.max_bytes)
                .weigher(weight)
                // The latest count: a newcomer is never turned away.
                .eviction_policy(EvictionPolicy::lru())
                .build_with_hasher(RandomState::default()),
            by_container: Cache::builder()
                .max_capacity(limits.max_containers)
                .eviction_policy(EvictionPolicy::lru())
                .build_with_hasher(RandomState::default()),
            undecided: Cache::builder()
                .max_capacity(limits.max_containers)
                .time_to_live(UNDECIDED_FOR)
                .build_with_hasher(RandomState::default()),
            index: Index::default(),
            publisher: Publisher::new(limits.watches),
            unsaved: Mutex::default(),
            to_save: Notify::new(),
            lookups,
            touched: Mutex::default(),
            to_keep: Notify::new(),
            told: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            // Where nothing is held there is nothing to wait for.
            ready: AtomicBool::new(!limits.served),
        })
    }

    /// Hands over a decision that was given.
    pub fn decided(&self, decision: NewDecision) {
        let mut queue = lock(&self.queue);
        queue.push(decision);
        // Nobody is woken: the keeper looks by itself, and a reader takes in what there is.
        self.queued.store(true, Ordering::Release);
    }

    /// Whether something was handed over and not taken in.
    pub(super) fn has_queued(&self) -> bool {
        self.queued.load(Ordering::Acquire)
    }

    /// What was handed over. The caller holds [`Self::taking`].
    pub(super) fn take_queue(&self) -> Vec<NewDecision> {
        self.queued.store(false, Ordering::Release);
        std::mem::take(&mut *lock(&self.queue))
    }

    /// Held while shipments are taken in, so that there is one for a declaration.
    pub(super) fn taking(&self) -> MutexGuard<'_, ()> {
        lock(&self.taking)
    }

    /// What is known of a declaration that was decided before.
    pub fn first(&self, number: &DeclarationNumber) -> Option<First> {
        if let Some(asked) = &self.asked
            && !asked.has_any(&[Key::Declaration(*number)])
        {
            return None;
        }
        let held = self.by_declaration.get(number)?;
        let inner = held.inner();
        Some(First {
            drawn: inner.shipment.decided.first,
            lane: Some(inner.shipment.state.outlook.lane),
        })
    }

    /// Notes that a shipment is to be saved.
    pub(super) fn save(&self, held: &Arc<Held>) {
        let mut unsaved = lock(&self.unsaved);
        if unsaved.shipments.len() < self.max_unsaved || unsaved.shipments.contains_key(&held.number) {
            unsaved.shipments.insert(held.number, Arc::clone(held));
        } else {
            unsaved.overflowed = true;
        }
        let is_first = unsaved.shipments.len() == 1;
        drop(unsaved);
        if is_first {
            self.to_save.notify_one();
        }
    }

    pub(super) fn unsaved(&self) -> MutexGuard<'_, Unsaved> {
        lock(&self.unsaved)
    }

    /// Notes what changed in the registry.
    pub(super) fn touch(&self, change: impl FnOnce(&mut Touched)) {
        change(&mut lock(&self.touched));
        self.told.fetch_add(1, Ordering::AcqRel);
        self.to_keep.notify_one();
    }

    /// Takes what was touched, and the mark to give to [`Self::set_kept`] once it was looked after.
    pub(super) fn take_touched(&self) -> (Touched, u64) {
        // In this order: what is touched later has a later mark.
        let mark = self.told.load(Ordering::Acquire);
        (std::mem::take(&mut *lock(&self.touched)), mark)
    }

    pub(super) fn set_kept(&self, mark: u64) {
        self.kept.store(mark, Ordering::Release);
    }

    /// Whether something was touched that was not looked after yet.
    pub(super) fn is_behind(&self) -> bool {
        self.told.load(Ordering::Acquire) != self.kept.load(Ordering::Acquire)
    }

    /// Whether anybody may ask.
    pub const fn is_served(&self) -> bool {
        self.served
    }

    /// Whether questions can be answered: there is registry data, and the store has told what it holds or could not.
    pub fn is_ready(&self) -> bool {
        self.feed.is_ready() && self.ready.load(Ordering::Acquire)
    }

    pub(super) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// What tells the watches.
    pub(super) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// This life of this replica.
    pub(super) fn instance(&self) -> u64 {
        self.instance
    }

    /// How much there is.
    pub fn counts(&self) -> Counts {
        Counts {
            shipments: self.by_declaration.entry_count(),
            unsaved: self.unsaved().shipments.len(),
            watches: self.publisher.watches(),
        }
    }

    /// Ends every watch: the replica stops.
    pub fn end_watches(&self) {
        self.publisher.end();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
