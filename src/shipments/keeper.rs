//! Keeps what shipments say true: whatever a change of the registry touches is evaluated again.
//!
//! ```text
//! commit, snapshot --touch--> Touched --> shipments that hang on it --> refresh --> watches, store
//! an order begins or ends by the clock ---^
//! data goes STALE, EXPIRED, FRESH --> every watch looks again
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use foldhash::HashSet;
use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    evaluation::{container_tie, country_tie, enterprise_tie, may_concern},
    held::Held,
    memory::{Counts, Shipments},
};
use crate::{
    domain::{Freshness, order::ControlOrder},
    facilitation::Moment,
    metrics::Shed,
    policy::PolicyBook,
    registry::{Change, Keyed},
};

/// Between two looks at the clock and at what was handed over.
const TICK: Duration = Duration::from_millis(20);
/// Between two looks for watches that do not read.
const LOOK_AFTER_WATCHES: Duration = Duration::from_secs(1);
/// Between two clearings of the index.
const CLEAR: Duration = Duration::from_mins(1);
/// From here on everything is evaluated rather than each that is touched.
const MAX_TIES: usize = 200_000;

/// What changed in the registry and was not looked after yet.
#[derive(Debug, Default)]
pub struct Touched {
    everything: bool,
    ties: HashSet<u64>,
    /// As they are from here on; `None` for those that are gone.
    orders: BTreeMap<String, Option<Arc<ControlOrder>>>,
}

impl Touched {
    /// Everything may have changed.
    pub fn everything(&mut self) {
        *self = Self {
            everything: true,
            ..Self::default()
        };
    }

    /// A row changed.
    pub fn change(&mut self, change: &Change) {
        if self.everything {
            return;
        }
        let mut enterprise = |identifier: &str| {
            self.ties.insert(enterprise_tie(identifier));
        };
        match &change.row {
            Keyed::Enterprise(row) => {
                enterprise(row.customs_code.as_str());
                if let Some(code) = &row.social_credit_code {
                    enterprise(code.as_str());
                }
            }
            Keyed::EnterpriseGone(code)
            | Keyed::Scheduled(code, _)
            | Keyed::ScheduledUnreadable(code)
            | Keyed::ScheduledGone(code, _) => enterprise(code.as_str()),
            Keyed::Operator(operator) => enterprise(operator.aeo_code.as_str()),
            Keyed::OperatorGone(code) => enterprise(code.as_str()),
            Keyed::Arrangement(_) | Keyed::ArrangementGone => {
                // The key begins with the country.
                let country = change.key.split('|').next().unwrap_or_default();
                self.ties.insert(country_tie(country));
            }
            Keyed::Order(order) => {
                self.orders.insert(change.key.clone(), Some(Arc::clone(order)));
            }
            Keyed::OrderGone => {
                self.orders.insert(change.key.clone(), None);
            }
            Keyed::Nowhere(_) => {}
        }
        if self.ties.len() > MAX_TIES {
            self.everything();
        }
    }

    fn is_empty(&self) -> bool {
        !self.everything && self.ties.is_empty() && self.orders.is_empty()
    }
}

impl Shipments {
    /// The registry took a commit with these changes.
    pub fn committed(&self, changes: &[Change]) {
        self.touch(|touched| changes.iter().for_each(|change| touched.change(change)));
    }

    /// The registry was replaced whole, or what decisions are made by.
    pub fn replaced(&self) {
        self.touch(Touched::everything);
    }
}

/// Evaluates what is touched. One for all shipments of a replica.
#[derive(Debug)]
pub struct Keeper {
    shipments: Arc<Shipments>,
    orders: BTreeMap<String, Arc<ControlOrder>>,
    /// When orders begin and end.
    agenda: BTreeSet<(Timestamp, String)>,
    /// What decisions are made by.
    policies: Arc<PolicyBook>,
    freshness: Freshness,
    looked_after: Instant,
    cleared: Instant,
}

/// What is to be evaluated, each once.
#[derive(Default)]
struct Due {
    seen: HashSet<usize>,
    held: Vec<Arc<Held>>,
}

impl Due {
    fn add(&mut self, held: impl IntoIterator<Item = Arc<Held>>) {
        for held in held {
            if self.seen.insert(Arc::as_ptr(&held).addr()) {
                self.held.push(held);
            }
        }
    }
}

impl Keeper {
    /// Keeps those shipments.
    pub fn new(shipments: Arc<Shipments>) -> Self {
        let now = Instant::now();
        Self {
            policies: Arc::clone(&shipments.facilitation.policies()),
            shipments,
            orders: BTreeMap::new(),
            agenda: BTreeSet::new(),
            freshness: Freshness::Fresh,
            looked_after: now,
            cleared: now,
        }
    }

    /// Keeps them until `stop` turns true. Evaluates many at once: it has a thread of its own.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let shipments = Arc::clone(&self.shipments);
        while !*stop.borrow() {
            self.step(&Moment::now());
            tokio::select! {
                () = shipments.to_keep.notified() => {}
                () = tokio::time::sleep(TICK) => {}
                _ = stop.changed() => {}
            }
        }
        // What was decided last is saved too.
        shipments.take_in();
    }

    /// Looks after everything that is due now.
    pub fn step(&mut self, now: &Moment) {
        self.shipments.take_in();
        self.shipments.look_up_unseen();
        if !Arc::ptr_eq(&self.policies, &self.shipments.facilitation.policies()) {
            self.policies = Arc::clone(&self.shipments.facilitation.policies());
            self.shipments.replaced();
        }
        let (touched, mark) = self.shipments.take_touched();
        let mut due = Due::default();
        if touched.everything {
            self.read_orders(now.timestamp);
            due.add(self.shipments.index.everything());
        } else if !touched.is_empty() {
            for tie in touched.ties {
                due.add(self.shipments.index.tied(tie));
            }
            for (id, order) in touched.orders {
                self.put_order(&id, order.as_ref(), now.timestamp, &mut due);
            }
        }
        while self.agenda.first().is_some_and(|(at, _)| *at <= now.timestamp) {
            let begun_or_ended = self.agenda.pop_first().and_then(|(_, id)| self.orders.get(&id));
            if let Some(order) = begun_or_ended {
                self.concerned(order, &mut due);
            }
        }
        for held in &due.held {
            self.shipments.refresh(held, &mut held.inner(), now);
        }
        self.shipments.set_kept(mark);
        self.look_after(now);
    }

    /// What goes by the clock.
    fn look_after(&mut self, now: &Moment) {
        let freshness = self.shipments.freshness(now);
        if std::mem::replace(&mut self.freshness, freshness) != freshness {
            self.shipments.publisher().publish_everything();
        }
        if now.monotonic.saturating_duration_since(self.looked_after) >= LOOK_AFTER_WATCHES {
            self.looked_after = now.monotonic;
            let cut = self.shipments.publisher().cut_stalled(now.monotonic);
            self.shipments.metrics.shed(Shed::SlowWatches, cut);
            let Counts {
                shipments,
                unsaved,
                watches,
            } = self.shipments.counts();
            self.shipments
                .metrics
                .shipments
                .counted(shipments, unsaved as u64, watches as u64);
        }
        if now.monotonic.saturating_duration_since(self.cleared) >= CLEAR {
            self.cleared = now.monotonic;
            self.shipments.index.clear();
            self.shipments.renew_asked();
        }
    }

    fn read_orders(&mut self, now: Timestamp) {
        let generation = self.shipments.facilitation.registry().current();
        self.orders = generation
            .map(|generation| generation.orders())
            .unwrap_or_default();
        self.agenda.clear();
        for order in self.orders.values() {
            plan(&mut self.agenda, order, now);
        }
    }

    fn put_order(&mut self, id: &str, order: Option<&Arc<ControlOrder>>, now: Timestamp, due: &mut Due) {
        let former = match order {
            Some(order) => {
                plan(&mut self.agenda, order, now);
                self.concerned(order, due);
                self.orders.insert(id.to_owned(), Arc::clone(order))
            }
            None => self.orders.remove(id),
        };
        if let Some(former) = former {
            self.concerned(&former, due);
        }
    }

    /// The shipments that an order may concern.
    fn concerned(&self, order: &ControlOrder, due: &mut Due) {
        let selectors = &order.selectors;
        let index = &self.shipments.index;
        if let Some(container) = &selectors.container_number {
            due.add(index.tied(container_tie(container)));
        } else if let Some(enterprise) = &selectors.enterprise_id {
            due.add(index.tied(enterprise_tie(enterprise)));
        } else {
            let concerned = |held: &Arc<Held>| may_concern(selectors, &held.inner().shipment.decided);
            due.add(index.everything().into_iter().filter(concerned));
        }
    }
}

/// Notes when an order begins and ends, where that lies ahead.
fn plan(agenda: &mut BTreeSet<(Timestamp, String)>, order: &ControlOrder, now: Timestamp) {
    let instants = [Some(order.valid_from), order.valid_to];
    let ahead = instants.into_iter().flatten().filter(|at| *at > now);
    agenda.extend(ahead.map(|at| (at, order.id.clone())));
}
