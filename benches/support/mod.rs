//! What the benchmarks share: a country's register, its traffic, and the loops that are measured.

pub(crate) mod cases;
#[allow(dead_code, reason = "not every benchmark opens one")]
pub(crate) mod connection;
#[allow(dead_code, reason = "not every benchmark writes them")]
pub(crate) mod frames;
#[allow(dead_code, reason = "not every benchmark starts one")]
pub(crate) mod server;
pub(crate) mod world;
