//! What the benchmarks share: a country's register, its traffic, and the loops that are measured.

pub(crate) mod cases;
pub(crate) mod world;
