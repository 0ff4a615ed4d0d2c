//! What the benchmarks share: a country's register, its traffic, and the loops that are measured.

pub mod cases;
pub mod world;
