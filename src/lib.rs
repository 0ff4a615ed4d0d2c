//! Greenlane answers, on every customs declaration and from memory alone: which inspection rate applies, whether this
//! shipment is drawn, which priority it has, whether it may take the green channel, and why.
//!
//! # Where to find what
//!
//! In reading order; an arrow means "may import":
//!
//! ```text
//! main -> cli -> app -> { web -> service, upstream } -> facilitation -> { policy, registry } -> domain
//!                                upstream ------> metrics ------------------------------> domain
//! ```
//!
//! - [`domain`]: what the field talks about; values only.
//! - [`policy`]: the law as data, and the evaluation as one pure function.
//! - [`registry`]: every enterprise in memory, with one writer.
//! - [`facilitation`]: the use case: look up, draw, decide.
//! - [`metrics`]: every metric, a leaf.
//! - [`background`]: work that lets calls go first; a leaf.
//! - [`access`]: who calls, and what a caller may ask and see; a leaf.
//! - [`trust`]: TLS, its files, and how they are renewed.
//! - [`upstream`]: the stores that feed the registry.
//! - [`wire`]: the contract's messages, and their ways to the domain.
//! - [`audit`]: the log of every answered decision, and its proofs.
//! - [`shipments`]: what port terminals ask, and every change of it.
//! - [`service`]: the gRPC services.
//! - [`web`]: probes, metrics and JSON over HTTP.
//! - [`app`]: settings, wiring, supervision.
//! - [`cli`]: the commands.
//!
//! # How a decision flows
//!
//! ```text
//! bytes -> wire::validate -> facilitation: one consistent read of registry::Generation
//!                                             policy by acceptance date, parameters
//!                                             draw by keyed hash
//!                             -> policy::decide(policy, parameters, facts, draw)
//!       <- wire::convert   <- Outcome
//! ```
//!
//! Nothing on this way awaits, locks across an await, or asks upstream.

pub mod domain;

pub mod policy;

pub mod registry;

pub mod facilitation;

pub mod metrics;

pub mod background;

pub mod access;

pub mod trust;

pub mod upstream;

pub mod wire;

pub mod audit;

pub mod shipments;

pub mod service;

pub mod web;

pub mod app;

pub mod cli;
