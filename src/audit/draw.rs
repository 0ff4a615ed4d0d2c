//! The proof of the draw: commitments to its keys, and the check of what was drawn with them.
//!
//! ```text
//! commitment  what a record in the store is worth: signed? by whom? ahead of its epoch?
//! verify      one decision: subject, epoch, draw and selection, recomputed
//! month       every decision of a month, and consignments drawn twice
//! ```

pub mod commitment;
