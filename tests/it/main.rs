//! Behaviour of the whole service, seen from outside and through the library's own doors.
//!
//! One binary, one file a behaviour. Tests that need a server start one of their own on port 0 with a store in a
//! folder of their own (`support::TestApp`), so that all of them may run at once.

#![allow(
    clippy::print_stdout,
    clippy::assigning_clones,
    clippy::format_push_string,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at what it did not expect"
)]

mod support;

/// What the evaluation holds over generated facts: better tiers, more parties, other orders, the same inputs.
mod properties;

/// Answers and records as bytes: the same as their messages give, and read back without loss.
mod records;

/// Logged decisions decided again: what was decided is equal, one altered fact is not.
mod replay;

/// What any request whatsoever is answered with: a decision, or the fields that are wrong.
mod requests;

/// RPCs as JSON over HTTP: the same answers, the same refusals, and whatever a body may be.
mod gateway;

/// The HTTP side against clients that take their time, or all the room.
mod slow_clients;

/// What each decree gives each tier, from its first instant on, and which acceptance times are taken.
mod decrees;

/// The random draw: realized shares, and that nothing re-rolls.
mod draws;

/// The audit log: what is in it, and before what.
mod audit;

/// Realized rates: how seldom they cry wolf, how soon a breach is shown, and what is told of them.
mod rates;

/// The registry against its store: readiness, identifiers, dates, bad rows, whole commits, restores, replicas.
mod registry;

/// Commitments to the keys of the draw: put ahead, compared, revealed, in every kind of store.
mod commitments;

/// Shipments in every kind of store: one change a revision, in one order for all, whoever writes and whatever breaks.
mod shipments;

/// Shipments that nobody has asked for: in the log alone, and there when somebody does.
mod asked;

/// Shipments in memory, by whatever happens in whatever order.
mod terminals;

/// Policies and parameters that change while the server runs.
mod reload;

/// The console: what its parts forbid the browser, and what its figures are.
mod console;

/// Images and snapshot files: of one position whatever goes on, and the commands about them.
mod snapshot;

/// The feed: what is refused, what is compared with the store, what is told of it.
mod feed;
/// `PostgreSQL` as the store: what its triggers log, and what a replica makes of it, whatever breaks between.
mod postgres;

/// A log that was damaged or tampered with: what `verify` says of it.
mod damage;

/// What others wrote, its checksums right and its numbers nobody's: each was found by a fuzzer.
mod forged;

/// Seals, indexes, proofs of single decisions, and what is deleted by age and size.
mod sealing;

/// Decisions looked up in a log and in the database that logs are shipped to: what a scan of everything finds.
mod queries;

/// The commands that write a store: the same of either kind.
mod commands;

/// What port terminals are told: one, many, as it changes, and over HTTP.
mod priority;

/// Connections that come of age: what is under way on them ends in order.
mod connections;
