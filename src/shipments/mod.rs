//! What port terminals ask: the latest decision on a declaration or a container, and every change of what it grants.
//!
//! ```text
//! decisions -> queue -> Shipments (memory) <- feed -- store <- other replicas
//!          \               |   ^    \-- saving: compare-and-set --^
//!           \- asked for? -|---|---------------- audit log <-- lookups
//! registry -> touched -> keeper: evaluates again
//!                          |
//!                       Publisher -> watches
//! ```
//!
//! Where nobody shares the store, only what somebody has asked for is taken in (`asked.rs`): the audit log has the rest, and is
//! looked into when it is asked for.
//!
//! **Invariants.** Nothing here stands between a declaration and its decision: decisions are handed over and taken in later,
//! at the latest by who reads. What a shipment says was evaluated on fresh data; freshness and the end of validity are
//! laid over when it is read. A revision belongs to one content: the store takes it only where it follows on its own.
//! An evaluation never draws: a declaration keeps its first draw.

mod asked;
mod evaluation;
mod handed_over;
mod held;
mod index;
mod keeper;
mod memory;
mod publisher;
mod reading;
pub mod rebuild;
pub mod record;
mod saving;
pub mod shipment;
mod taking;
mod view;
mod watch;

pub use evaluation::Ties;
pub use handed_over::{HandedOver, NewDecision};
pub use keeper::{Keeper, Touched};
pub use memory::{Counts, Limits, Shipments};
pub use publisher::WatchLimits;
pub use saving::{Lookup, Saving, Unsaved};
pub use view::{Key, Unreachable, View};
pub use watch::{Ended, Event, Token as WatchToken, Watch, WatchError};
