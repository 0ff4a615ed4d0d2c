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
use thiserror::Error;

/// A document's canonical form: compact JSON with the keys of every object in byte order, so that comments, white space and
/// the order of keys in a file change nothing.
fn canonical(document: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_string(&serde_json::to_value(document)?)
}

/// SHA-256 of a canonical form, as 64 lower-case hex digits.
fn digest_of(canonical: &str) -> String {
    hex::encode(digest(&SHA256, canonical.as_bytes()))
}

/// A canonical form that does not have the digest under which it is known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the canonical form has the digest {found}, not {named}")]
pub struct WrongDigest {
    /// What it is known under.
    pub named: String,
    /// What it has.
    pub found: String,
}

/// Holds a canonical form against the digest under which it is known.
fn check_digest(canonical: &str, named: &str) -> Result<(), WrongDigest> {
    let found = digest_of(canonical);
    if found == named {
        Ok(())
    } else {
        let named = named.to_owned();
        Err(WrongDigest { named, found })
    }
}
