//! Deletes log rows that nobody follows any more, where that is a reader's to do.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::Follower;

/// How often the log is trimmed.
const TRIM_EVERY: Duration = Duration::from_hours(1);

impl Follower {
    pub(super) async fn trim(&mut self) {
        if self.trimmed.is_some_and(|last| last.elapsed() < TRIM_EVERY) {
            return;
        }
        self.trimmed = Some(Instant::now());
        match self.source.trim(self.settings.change_log_retention).await {
            Ok(0) => {}
            Ok(rows) => info!(rows, "change log trimmed"),
            Err(problem) => warn!(%problem, "change log not trimmed"),
        }
    }
}
