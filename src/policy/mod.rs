//! The law: pure functions over `domain` and tables read from TOML.
//!
//! ```text
//! decrees/*.toml -> decree.rs -> Policy --+
//! parameters.toml -> parameters.rs -------+-> decide(policy, parameters, facts, draw) -> Decision
//! ```
//!
//! **Invariant:** no clock, no I/O, no async, no randomness; the same inputs give the same bytes.

pub mod book;
pub mod cases;
pub mod check;
pub mod decide;
pub mod decree;
pub mod diff;
pub mod draw;
pub mod facts;
#[cfg(test)]
mod mutation;
pub mod parameters;
mod reasons;
pub mod standing;

pub use book::PolicyBook;
pub use decide::decide;
pub use decree::Policy;
pub use facts::{Facts, PartyFacts};
pub use parameters::Parameters;

use ring::digest::{SHA256, digest};
use serde::Serialize;

/// SHA-256 of a document's canonical form, as 64 lower-case hex digits.
///
/// The canonical form is compact JSON with the keys of every object in byte order, so that comments, white space and
/// the order of keys in a file change nothing.
fn canonical_digest(document: &impl Serialize) -> Result<String, serde_json::Error> {
    let canonical = serde_json::to_vec(&serde_json::to_value(document)?)?;
    Ok(hex::encode(digest(&SHA256, &canonical)))
}
