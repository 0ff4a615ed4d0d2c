//! The proof of the draw: commitments to its keys, and the check of what was drawn with them.
//!
//! ```text
//! commitment  what a record in the store is worth: signed? ahead of its epoch?
//! check       one decision: subject, epoch, draw and selection, recomputed from its record
//! month       every decision of a month, and consignments that were drawn twice
//! ```

pub mod check;
pub mod commitment;
pub mod month;
