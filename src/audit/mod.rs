//! Proof: the log in which every answered decision stands, and what can be shown from it.
//!
//! ```text
//! Lane::append -> group -> Writer -> <first sequence>.segment -> seal -> index, rates, ship
//!                   |                      |
//!                   +-> notes              +-> read -> verify, query, replay, draws, rates
//! ```
//!
//! **Invariants.** An answer leaves after the group with its record was written. Sequences are gap-free. A reader needs
//! nothing but the segments: no registry, no running service.

pub mod archive;
pub mod decision;
pub mod draw;
pub mod frame;
pub mod group;
pub mod head;
pub mod index;
pub mod log;
pub mod merkle;
pub mod outline;
pub mod prove;
pub mod query;
pub mod rates;
pub mod read;
mod recover;
pub mod remembered;
pub mod replay;
pub mod retention;
pub mod scan;
pub mod seal;
pub mod sealer;
pub mod segment;
pub mod ship;
pub mod sidecar;
pub mod signing;
pub mod statement;
pub mod verify;
pub mod what_if;
pub mod writer;
