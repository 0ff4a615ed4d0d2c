//! How shipments come into memory: from this replica's decisions, from its log, from the store.

use std::sync::Arc;

use bytes::Bytes;
use tracing::error;

use super::{
    evaluation::Ties,
    handed_over::NewDecision,
    held::{Held, Inner},
    memory::Shipments,
    rebuild::LogEntry,
    record,
    shipment::{Decided, Inspected, Shipment},
    view::{Key, Unreachable},
};
use crate::{
    domain::{
        Freshness,
        identifier::{ContainerNumber, DeclarationNumber},
    },
    facilitation::Moment,
    upstream::shipments::StoredShipment,
};

impl Shipments {
    /// Takes in what was handed over. Whoever reads does so first: a decision that was given is known.
    pub(super) fn take_in(&self) {
        if !self.has_queued() {
            return;
        }
        let _taking = self.taking();
        self.take_queue().into_iter().for_each(|decision| {
            self.take(decision, None);
        });
    }

    /// Takes decisions in that an earlier life gave, in their order; gives how many were not known.
    pub fn take_logged(&self, decisions: impl IntoIterator<Item = NewDecision>) -> usize {
        let _taking = self.taking();
        let taken = decisions.into_iter().map(|decision| self.take(decision, None));
        taken.filter(|is_new| *is_new).count()
    }

    /// Takes in what the log tells of what was asked for, in its order.
    pub(super) fn recall(&self, entries: impl IntoIterator<Item = LogEntry>) {
        let now = Moment::now();
        for entry in entries {
            match entry {
                LogEntry::Decision(decision) => {
                    let _taking = self.taking();
                    self.take(*decision, Some(&now));
                }
                LogEntry::Inspection(number, inspected) => {
                    self.inspect_held(number, &inspected);
                }
            }
        }
    }

    /// Takes a decision in; `false` where it is known already. One of `earlier` is made to say what it comes to by then. The
    /// caller holds `taking`.
    fn take(&self, decision: NewDecision, earlier: Option<&Moment>) -> bool {
        let NewDecision {
            decided,
            outlook,
            evaluated,
            mut ties,
        } = decision;
        let decided = Decided {
            // It may be a part of something much larger.
            request: Bytes::copy_from_slice(&decided.request),
            ..decided
        };
        let Some(held) = self.held(&decided.number) else {
            let mut shipment = Shipment::first(decided, outlook, evaluated);
            if let Some(now) = earlier {
                self.bring_up_to(now, &mut shipment, &mut ties);
            }
            let held = self.hold(shipment, ties);
            self.changed(&held, &mut held.inner(), &[], true);
            return true;
        };
        let mut inner = held.inner();
        let known = &inner.shipment.decided;
        // A log that is read again tells of what is known.
        if (decided.decided_at, decided.decision_id) <= (known.decided_at, known.decision_id) {
            return false;
        }
        let former = known.containers.clone();
        inner.shipment.decide(decided, outlook, evaluated);
        if let Some(now) = earlier {
            self.bring_up_to(now, &mut inner.shipment, &mut ties);
        }
        self.tie(&held, &mut inner, ties);
        self.changed(&held, &mut inner, &former, true);
        true
    }

    /// Takes in what the store holds of a declaration.
    pub(super) fn absorb(&self, stored: &StoredShipment) {
        // Most of what the store tells of is what this replica told it.
        if self
            .stored(stored)
            .is_some_and(|held| stored.revision <= held.inner().base)
        {
            return;
        }
        let theirs = match record::read(stored) {
            Ok(theirs) => theirs,
            Err(problem) => {
                let declaration = &stored.declaration_number;
                error!(declaration, %problem, "a stored shipment was passed over");
                return;
            }
        };
        let _taking = self.taking();
        let now = Moment::now();
        let Some(held) = self.held(&theirs.decided.number) else {
            let held = self.hold(theirs, Ties::new());
            let mut inner = held.inner();
            inner.base = stored.revision;
            let changes = self.follow(&held, &mut inner, &now);
            self.changed(&held, &mut inner, &[], changes);
            return;
        };
        let mut inner = held.inner();
        if stored.revision <= inner.base {
            return;
        }
        let before = inner.shipment.clone();
        if inner.shipment.state.revision == inner.base {
            inner.shipment = theirs;
        } else {
            inner.shipment.merge(&theirs);
        }
        inner.base = stored.revision;
        self.follow(&held, &mut inner, &now);
        let is_unsaved = inner.shipment.state.revision > inner.base;
        if is_unsaved || inner.shipment != before {
            self.changed(&held, &mut inner, &before.decided.containers, is_unsaved);
        }
    }

    /// Takes in what the store holds where it did not take ours.
    pub(super) fn absorb_conflict(&self, stored: &StoredShipment) {
        if let Some(held) = self.stored(stored) {
            let mut inner = held.inner();
            // A store that was put back to an older state: ours follows on what it holds now.
            inner.base = inner.base.min(stored.revision.saturating_sub(1));
        }
        self.absorb(stored);
    }

    /// What memory holds of the same declaration.
    fn stored(&self, stored: &StoredShipment) -> Option<Arc<Held>> {
        let number = stored.declaration_number.parse().ok()?;
        self.held(&number)
    }

    /// What is known of a declaration, from memory or the store; `None` where it was never decided.
    pub async fn find(&self, number: DeclarationNumber) -> Result<Option<Decided>, Unreachable> {
        self.load(&[Key::Declaration(number)]).await?;
        Ok(self
            .held(&number)
            .map(|held| held.inner().shipment.decided.clone()))
    }

    /// An officer recorded an inspection. `false` where the declaration was never decided.
    pub async fn inspect(
        &self,
        number: DeclarationNumber,
        inspected: Inspected,
    ) -> Result<bool, Unreachable> {
        self.load(&[Key::Declaration(number)]).await?;
        Ok(self.inspect_held(number, &inspected))
    }

    /// As [`Self::inspect`], of what is in memory.
    fn inspect_held(&self, number: DeclarationNumber, inspected: &Inspected) -> bool {
        let Some(held) = self.held(&number) else {
            return false;
        };
        let mut inner = held.inner();
        if inner.shipment.inspect(inspected) {
            self.changed(&held, &mut inner, &[], true);
        }
        true
    }

    /// Makes a shipment say what it comes to now, unless it was evaluated on newer data; gives whether that changes it.
    pub(super) fn follow(&self, held: &Arc<Held>, inner: &mut Inner, now: &Moment) -> bool {
        let Some(evaluated) = self.evaluate(&inner.shipment, Freshness::Fresh, now) else {
            return false;
        };
        self.tie(held, inner, evaluated.ties);
        if evaluated.version.is_before(inner.shipment.state.evaluated) {
            return false;
        }
        inner.shipment.evaluate(evaluated.outlook, evaluated.version)
    }

    /// Makes a shipment that nobody has seen yet say what it comes to now.
    fn bring_up_to(&self, now: &Moment, shipment: &mut Shipment, ties: &mut Ties) {
        let Some(evaluated) = self.evaluate(shipment, Freshness::Fresh, now) else {
            return;
        };
        ties.extend(evaluated.ties);
        if !evaluated.version.is_before(shipment.state.evaluated) {
            shipment.evaluate(evaluated.outlook, evaluated.version);
        }
    }

    /// Holds a shipment. The caller holds `taking`, and there is none of its declaration.
    fn hold(&self, shipment: Shipment, ties: Ties) -> Arc<Held> {
        if let Some(asked) = &self.asked {
            asked.add(&Key::Declaration(shipment.decided.number));
        }
        let held = Arc::new(Held::new(shipment));
        self.index.add(&held);
        self.tie(&held, &mut held.inner(), ties);
        self.by_declaration.insert(held.number, Arc::clone(&held));
        held
    }

    /// Puts a shipment under what it hangs on. What it hung on stays: an evaluation too many does no harm.
    fn tie(&self, held: &Arc<Held>, inner: &mut Inner, ties: Ties) {
        let new = ties.iter().filter(|tie| !inner.ties.contains(tie));
        new.for_each(|tie| self.index.tie(held, *tie));
        if !ties.is_empty() {
            inner.ties = ties.into_boxed_slice();
        }
    }

    /// Tells of a change: to who watches, and to the store. `former` are containers that were on it.
    pub(super) fn changed(
        &self,
        held: &Arc<Held>,
        inner: &mut Inner,
        former: &[ContainerNumber],
        to_save: bool,
    ) {
        let containers = &inner.shipment.decided.containers;
        for container in containers {
            let key = Key::Container(*container);
            // Of a container that is not known whole, nothing is said.
            if let Some(mut known) = self.by_container.get(&key)
                && !known.iter().any(|own| Arc::ptr_eq(own, held))
            {
                known.push(Arc::clone(held));
                self.by_container.insert(key, known);
            }
        }
        let containers = containers.iter().chain(former);
        let keys = containers.map(|container| Key::Container(*container));
        let own = Key::Declaration(held.number);
        inner.changed_at = self.publisher().publish(keys.chain([own]));
        if to_save {
            self.save(held);
        }
    }
}
