//! Which shipments in memory hang on what.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::{evaluation::declaration_tie, held::Held};
use crate::domain::identifier::DeclarationNumber;

/// Some shipments, as long as they are held.
pub(super) type Pins = SmallVec<[Arc<Held>; 1]>;

/// Those that stand under one tie; who is gone is cleared away when the list has grown to twice what it was.
#[derive(Debug, Default)]
struct Tied {
    held: SmallVec<[Weak<Held>; 1]>,
    clear_at: usize,
}

impl Tied {
    fn add(&mut self, held: &Arc<Held>) {
        if self.held.len() >= self.clear_at {
            self.held.retain(|own| own.strong_count() > 0);
            self.clear_at = (self.held.len() * 2).max(8);
        }
        self.held.push(Arc::downgrade(held));
    }

    fn living(&self) -> impl Iterator<Item = Arc<Held>> {
        self.held.iter().filter_map(Weak::upgrade)
    }
}

/// Shipments by what they hang on. Keeps none of them alive.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_tie: DashMap<u64, Tied, RandomState>,
    all: Mutex<Tied>,
}

impl Index {
    /// Puts a new shipment in.
    pub(super) fn add(&self, held: &Arc<Held>) {
        self.all().add(held);
        self.tie(held, declaration_tie(held.number.as_str()));
    }

    /// Puts a shipment under something that it hangs on.
    pub(super) fn tie(&self, held: &Arc<Held>, tie: u64) {
        self.by_tie.entry(tie).or_default().add(held);
    }

    /// Those that stand under a tie.
    pub(super) fn tied(&self, tie: u64) -> Pins {
        self.by_tie
            .get(&tie)
            .map(|tied| tied.living().collect())
            .unwrap_or_default()
    }

    /// The shipment of a declaration.
    pub(super) fn of(&self, number: &DeclarationNumber) -> Option<Arc<Held>> {
        let tied = self.tied(declaration_tie(number.as_str()));
        tied.into_iter().find(|held| held.number == *number)
    }

    /// Everything.
    pub(super) fn everything(&self) -> Vec<Arc<Held>> {
        self.all().living().collect()
    }

    /// Clears away what lists of those that are gone are left.
    pub(super) fn clear(&self) {
        self.by_tie
            .retain(|_, tied| tied.held.iter().any(|own| own.strong_count() > 0));
    }

    fn all(&self) -> MutexGuard<'_, Tied> {
        // Nothing panics while it holds the lock.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
