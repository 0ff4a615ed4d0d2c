//! What tests share: a server of their own, its store, requests, and a wait with a deadline.

pub(crate) mod app;
pub(crate) mod audit;
pub(crate) mod facts;
pub(crate) mod http;
pub(crate) mod nats;
pub(crate) mod postgres;
pub(crate) mod raw;
pub(crate) mod records;
pub(crate) mod replica;
pub(crate) mod requests;
pub(crate) mod store;

use std::time::{Duration, Instant};

use proptest::test_runner::Config as ProptestConfig;

/// Long enough for anything that is to happen, on a machine that has other things to do.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Asks again and again until the condition gives something, at most until the deadline.
pub(crate) async fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(
            begun.elapsed() < deadline,
            "it did not come to this within {deadline:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// So many generated cases, unless `PROPTEST_CASES` asks for another number.
pub(crate) fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: if asked { default.cases } else { usual },
        // A failure is told with its input; what deserves to stay becomes a test of its own.
        failure_persistence: None,
        ..default
    }
}
