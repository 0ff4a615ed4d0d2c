//! Greenlane: customs facilitation decisions over gRPC.

pub mod app;
pub mod cli;
pub mod domain;
pub mod policy;
pub mod registry;
pub mod upstream;
