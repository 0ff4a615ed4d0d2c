//! Answers that wait for a registry version.

use std::{slice, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::FacilitationRpc;
use crate::{
    registry::Position,
    service::{deadline::Deadline, status::Refusal},
    wire::pb,
};

/// How long a call waits for `min_registry_version` where its deadline is later, however many it names.
const VERSION_WAIT: Duration = Duration::from_secs(1);

/// Versions that a call waits for.
pub(super) struct Versions {
    positions: watch::Receiver<Option<Position>>,
    /// Until when.
    until: Instant,
    /// Whether that is the call's deadline.
    is_deadline: bool,
}

impl FacilitationRpc {
    /// Versions that a call waits for from now on, until its deadline or for [`VERSION_WAIT`].
    pub(super) fn versions(&self, deadline: Option<Deadline>) -> Versions {
        let bound = Instant::now() + VERSION_WAIT;
        let deadline = deadline
            .map(|deadline| deadline.0)
            .filter(|deadline| *deadline <= bound);
        Versions {
            positions: self.feed.positions(),
            until: deadline.unwrap_or(bound),
            is_deadline: deadline.is_some(),
        }
    }

    /// Waits until the registry has reached a version.
    pub(super) async fn reach(
        &self,
        wanted: &pb::RegistryVersion,
        deadline: Option<Deadline>,
    ) -> Result<(), Refusal> {
        let mut versions = self.versions(deadline);
        versions.reach_all(slice::from_ref(wanted)).await;
        versions.reached(wanted)
    }
}

impl Versions {
    /// Waits until the registry has reached every one of these, as long as there is time.
    pub(super) async fn reach_all(&mut self, wanted: &[pb::RegistryVersion]) {
        let all =
            |position: &Option<Position>| wanted.iter().all(|wanted| reaches(position.as_ref(), wanted));
        // Those that were not reached are told so one by one.
        drop(timeout_at(self.until, self.positions.wait_for(all)).await);
    }

    /// Whether the registry has reached a version that was waited for.
    pub(super) fn reached(&self, wanted: &pb::RegistryVersion) -> Result<(), Refusal> {
        let position = self.positions.borrow();
        if reaches(position.as_ref(), wanted) {
            return Ok(());
        }
        let is_ours = position
            .as_ref()
            .is_some_and(|position| *position.epoch == *wanted.epoch);
        Err(match (is_ours, self.is_deadline) {
            (false, _) => Refusal::OtherEpoch,
            (true, true) => Refusal::DeadlineExceeded,
            (true, false) => Refusal::Behind,
        })
    }
}

fn reaches(position: Option<&Position>, wanted: &pb::RegistryVersion) -> bool {
    position.is_some_and(|position| *position.epoch == *wanted.epoch && position.sequence >= wanted.sequence)
}
