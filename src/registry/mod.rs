//! The replica in memory: every enterprise, operator, arrangement and control order, with one writer.
//!
//! ```text
//! upstream (one writer) -> Generation (tables + rules + position) <- requests (many readers)
//!                           replaced whole by a snapshot, changed in place commit by commit
//! ```
//!
//! **Invariants:** a request sees one commit: it reads between two equal values of the commit counter. No reference
//! into a table leaves this module. Nothing here awaits.

mod commit;
mod digest;
pub mod freshness;
mod generation;
pub mod image;
mod key;
mod load;
mod names;
mod orders;
mod prepare;
mod record;
pub mod row;
mod table;
mod view;

pub use digest::StoreDigest;
pub use freshness::{Age, FreshnessClock, FreshnessLimits};
pub use generation::{EnterpriseEntry, Generation, Mark, Place, Position, Quarantined};
pub use orders::{PartyIdentifiers, Rules};
pub use row::{Change, Keyed};
pub use view::View;

use std::sync::Arc;

use arc_swap::ArcSwapOption;

/// What requests read: the generation in force, once there is one.
#[derive(Debug, Default)]
pub struct Registry {
    generation: ArcSwapOption<Generation>,
}

impl Registry {
    /// The generation in force; `None` while nothing has been loaded.
    pub fn current(&self) -> Option<Arc<Generation>> {
        self.generation.load_full()
    }

    /// The generation in force, without touching its reference count: for the length of one request.
    pub fn borrowed(&self) -> arc_swap::Guard<Option<Arc<Generation>>> {
        self.generation.load()
    }

    /// Puts another generation in force; gives the former one, so that the caller drops it and not a request.
    pub fn replace(&self, generation: Arc<Generation>) -> Option<Arc<Generation>> {
        self.generation.swap(Some(generation))
    }
}
