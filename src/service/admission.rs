//! Who may have work done now: what a call passes before its message is read.
//!
//! ```text
//! call -> quota of its caller -> queue of the serving thread, by class and by caller -> its turn -> is its deadline past? -> work
//!             `-- over it            `-- what is ahead takes too long                                      `-- not worked on
//!                 `------- RESOURCE_EXHAUSTED with RetryInfo; the connection is read more slowly
//! ```
//!
//! A decision takes tens of microseconds and waits for nothing but the log, so that an overloaded replica does not show in
//! how many calls are open, but in how late their turn comes. So a serving thread begins a few calls each time its loop comes
//! around, and those behind them wait in a queue of ours, whose length in time is known: more of them are refused
//! at once, while the refusal still costs little. Health checks pass all of this.

mod account;
mod bucket;
mod conduct;
mod fair;
mod gatekeeper;
mod pace;

pub use account::{Account, Accounts, Charged, Holding, Quota, source};
pub use bucket::{Bucket, nanos};
pub use conduct::{Condemned, Conduct, OpenCall};
pub use gatekeeper::{Admitted, Class, Gatekeeper, Turn, over_quota};
