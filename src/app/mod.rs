//! Wiring: settings, telemetry, and the only place that constructs and supervises.

pub mod settings;
