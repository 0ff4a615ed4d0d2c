//! Where the follower is a relay's: what it is about to apply is published first.

use std::sync::Arc;

use super::{
    super::{Asked, Commit, LogEntry, MAX_COMMIT_IN_PLACE, relay::Publisher},
    Follower, StepError,
};
use crate::registry::{Change, Generation};

impl Follower {
    /// Publishes whatever it applies from now on.
    #[must_use]
    pub fn publishing(mut self, publisher: Publisher) -> Self {
        self.publisher = Some(publisher);
        self
    }

    /// Publishes commits that are about to be applied to what is in force.
    pub(super) async fn publish(
        &mut self,
        held: &Arc<Generation>,
        commits: &[Commit],
    ) -> Result<(), StepError> {
        let Some(publisher) = &mut self.publisher else {
            return Ok(());
        };
        if commits
            .iter()
            .any(|commit| commit.entries.len() > MAX_COMMIT_IN_PLACE)
        {
            // A snapshot is taken instead, and published as one.
            return Ok(());
        }
        // What the guard refuses must reach no replica.
        let entries = commits.iter().flat_map(|commit| &commit.entries);
        let changes: Vec<Change> = entries.filter_map(LogEntry::change).collect();
        self.guard.check_commit(held, &changes)?;
        Ok(publisher.publish(held, commits).await?)
    }

    /// Tells replicas that what is in force was the store's head when it was asked.
    pub(super) async fn publish_head(&mut self, asked: Asked) -> Result<(), StepError> {
        if let (Some(publisher), Some(held)) = (&mut self.publisher, self.registry.current()) {
            publisher.confirm(&held, asked).await?;
        }
        Ok(())
    }
}
