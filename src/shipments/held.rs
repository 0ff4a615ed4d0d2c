//! A shipment in memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::shipment::Shipment;
use crate::domain::identifier::{ContainerNumber, DeclarationNumber};

/// A shipment in memory: one for a declaration, as long as anybody holds it.
#[derive(Debug)]
pub(super) struct Held {
    /// The declaration.
    pub(super) number: DeclarationNumber,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) shipment: Shipment,
    /// The revision that the store is known to have; 0 for none.
    pub(super) base: u64,
    /// The publisher's count at its last change.
    pub(super) changed_at: u64,
    /// Under which it stands in the index.
    pub(super) ties: Box<[u64]>,
}

impl Held {
    pub(super) fn new(shipment: Shipment) -> Self {
        Self {
            number: shipment.decided.number,
            inner: Mutex::new(Inner {
                shipment,
                base: 0,
                changed_at: 0,
                ties: Box::default(),
            }),
        }
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its bytes, about: for the bound of the memory.
    pub(super) fn weight(&self) -> u32 {
        /// What the tables spend on an entry, the cache's and the index's, as `benches/terminals` measures it.
        const OVERHEAD: usize = 620;
        let inner = self.inner();
        let decided = &inner.shipment.decided;
        let containers = decided.containers.len() * size_of::<ContainerNumber>();
        let bytes = OVERHEAD + size_of::<Self>() + decided.request.len() + containers;
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}
