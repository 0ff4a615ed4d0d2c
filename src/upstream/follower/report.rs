//! What the follower says of what it does: status, metrics, log.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use tracing::{error, info, warn};

use super::{
    super::{Asked, Commit, ResyncCause, status::EventKind},
    Follower, MAX_BACKOFF, Next, StepError, backoff,
};
use crate::registry::{Change, Generation, row::Entity};

/// Longest wait between two snapshots while what the store holds is refused.
const MAX_REFUSED_BACKOFF: Duration = Duration::from_mins(5);

impl Follower {
    /// What is in force is the store's head, as the store said when it was asked.
    pub(super) fn confirm(&self, asked: Asked) {
        self.status.clock.confirm(asked.monotonic, asked.wall);
        let kind = self.source.kind();
        self.status.tell(|told| told.source = kind);
    }

    /// Tells everybody where the generation in force stands now.
    pub(super) fn in_force(&self, generation: &Generation) {
        let enough = generation.enterprise_count() >= self.settings.min_enterprises;
        if !enough && self.status.is_ready() {
            error!("the registry has too few enterprises to decide on: not ready");
        }
        self.status.set_ready(enough);
        self.status.tell(|told| {
            told.last_error = if enough {
                String::new()
            } else {
                format!(
                    "fewer than {} enterprises: not ready",
                    self.settings.min_enterprises
                )
            };
        });
        self.status.set_position(generation.position());
    }

    /// Says what came of a step, and what to do next.
    pub(super) async fn told(&mut self, result: Result<Next, StepError>) -> Next {
        let problem = match result {
            Ok(next) => {
                if self.failures > 0 {
                    info!(failures = self.failures, "upstream answers again");
                    if self.refusals == 0 {
                        self.status.tell(|told| told.last_error.clear());
                    }
                    self.failures = 0;
                }
                self.trim().await;
                return next;
            }
            Err(problem) => problem,
        };
        self.status.tell(|told| told.last_error = problem.to_string());
        if let Some(publisher) = &self.publisher {
            publisher.silence();
        }
        match problem {
            StepError::Upstream(problem) => {
                if self.failures == 0 {
                    warn!(%problem, "upstream does not answer; the last good data stays in force");
                }
                self.metrics.failed(problem.kind());
                self.failures = self.failures.saturating_add(1);
                Next::After(backoff(self.failures, MAX_BACKOFF))
            }
            StepError::Older { .. } => {
                error!(%problem, "REFUSED: the last good data stays in force");
                self.refused("older", problem.to_string());
                // The log says whether the store has another history.
                self.failures = self.failures.saturating_add(1);
                Next::After(backoff(self.failures, MAX_BACKOFF))
            }
            StepError::Drift(drift) => {
                error!(%drift, "REFUSED: the last good data stays in force");
                self.refused("drift", drift.to_string());
                self.refusals = self.refusals.saturating_add(1);
                // A commit cannot be skipped: what the store holds by then is looked at whole, now and then.
                self.candidate = None;
                self.due = Some(ResyncCause::Refused);
                Next::After(backoff(self.refusals.saturating_add(3), MAX_REFUSED_BACKOFF))
            }
        }
    }

    /// A fresh snapshot was taken.
    pub(super) fn resynced(&self, cause: ResyncCause, taken: &Generation, took: Duration) {
        self.metrics.resynced(cause.name());
        let (enterprises, sequence) = (taken.enterprise_count(), taken.position().sequence);
        let seconds = took.as_secs_f64();
        let text = format!("{enterprises} enterprises at sequence {sequence}, read in {seconds:.2} s");
        self.status.happened(EventKind::Resync, cause.name(), text);
    }

    /// Something was refused, and the last good data stays.
    pub(super) fn refused(&self, cause: &'static str, text: String) {
        self.metrics.refused(cause);
        self.status.happened(EventKind::Refusal, cause, text);
    }

    pub(super) fn count(&self, changes: &[Change], commit: &Commit) {
        let mut rows = BTreeMap::<Entity, u64>::new();
        for change in changes {
            *rows.entry(change.row.entity()).or_default() += 1;
        }
        for (entity, rows) in rows {
            self.metrics.changed(entity.name(), rows);
        }
        let committed_at = commit
            .entries
            .last()
            .and_then(|entry| entry.committed_at.parse::<Timestamp>().ok());
        if let Some(committed_at) = committed_at {
            // The store's clock may run ahead of ours.
            let after = Timestamp::now().duration_since(committed_at);
            self.metrics
                .propagated(Duration::try_from(after).unwrap_or_default());
        }
    }
}
