//! What the field talks about: declarations, enterprises, credit tiers, control orders, recognition, decisions.
//!
//! **Invariant:** values only. No clock, no I/O, no async, no log; everything is compared with `==` and most of it is
//! `Copy`, so that a decision can be recomputed years later from recorded facts.

#[macro_use]
mod named;

mod bits;
pub mod date;
pub mod decision;
pub mod declaration;
pub mod enterprise;
pub mod identifier;
pub mod measure;
pub mod order;
pub mod rate;
pub mod recognition;
pub mod terms;

pub use date::Date;
pub use named::UnknownName;
pub use rate::Ppm;
pub use terms::{CreditTier, Direction, Freshness, PartyRole, TradeMode, TransportMode};
