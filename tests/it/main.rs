//! Behaviour of the whole service, seen from outside and through the library's own doors.
//!
//! One binary, one file a behaviour. Tests that need a server start one of their own on port 0 with a store in a
//! folder of their own (`support::TestApp`), so that all of them may run at once.

mod support;

/// What the evaluation holds over generated facts: better tiers, more parties, other orders, the same inputs.
mod properties;

/// What any request whatsoever is answered with: a decision, or the fields that are wrong.
mod requests;
