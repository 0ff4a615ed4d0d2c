//! The relay's side of NATS: what its follower is about to apply is published first, and replicas are told where the store
//! stands.
//!
//! ```text
//! follower --commits------> Publisher --expected last sequence--> stream       (one of two relays wins each place)
//!          --at the head--> Publisher --Answers-----------------> head, permit (nothing of it is kept)
//!                                     --now and then, or reset--> object store, then the stream's beginning is dropped
//! ```
//!
//! **Invariants:** the stream's own last message says where it stands, never a relay's memory of what it published. A
//! relay publishes only what follows on that, and only cuts where a commit ends or goes on. It claims a head only while
//! its own look at the store and its place in the stream agree.

mod answers;
mod publisher;
mod snapshots;

pub use self::publisher::{Publisher, RelaySettings};
