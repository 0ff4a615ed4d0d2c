//! Answers that wait for a registry version.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

use super::FacilitationRpc;
use crate::{
    registry::Position,
    service::{deadline::Deadline, status::Refusal},
    wire::pb,
};

/// How long a request waits for `min_registry_version` where its deadline is later.
const VERSION_WAIT: Duration = Duration::from_secs(1);

impl FacilitationRpc {
    /// Waits until the registry has reached a version, at most until the deadline or [`VERSION_WAIT`].
    pub(super) async fn reach(
        &self,
        wanted: &pb::RegistryVersion,
        deadline: Option<Deadline>,
    ) -> Result<(), Refusal> {
        let mut positions = self.feed.positions();
        let reached = |position: &Option<Position>| {
            position
                .as_ref()
                .is_some_and(|position| reaches(position, wanted))
        };
        if reached(&positions.borrow()) {
            return Ok(());
        }
        let bound = Instant::now() + VERSION_WAIT;
        let limit = deadline.map_or(bound, |deadline| deadline.0.min(bound));
        if let Ok(Ok(_)) = tokio::time::timeout_at(limit, positions.wait_for(reached)).await {
            return Ok(());
        }
        Err(Self::not_reached(
            &positions,
            wanted,
            deadline.is_some_and(|deadline| deadline.0 <= bound),
        ))
    }

    fn not_reached(
        positions: &watch::Receiver<Option<Position>>,
        wanted: &pb::RegistryVersion,
        deadline_first: bool,
    ) -> Refusal {
        let ours = positions
            .borrow()
            .as_ref()
            .is_some_and(|position| *position.epoch == *wanted.epoch);
        match (ours, deadline_first) {
            (false, _) => Refusal::OtherEpoch,
            (true, true) => Refusal::DeadlineExceeded,
            (true, false) => Refusal::Behind,
        }
    }

    /// Waits until the registry has reached every version, for as long as one would be waited for alone, and tells which it
    /// has reached.
    pub(super) async fn reach_all(
        &self,
        wanted: &[pb::RegistryVersion],
        deadline: Option<Deadline>,
    ) -> impl Fn(&pb::RegistryVersion) -> Result<(), Refusal> + use<> {
        let mut positions = self.feed.positions();
        let reached = |position: &Option<Position>| {
            position
                .as_ref()
                .is_some_and(|position| wanted.iter().all(|wanted| reaches(position, wanted)))
        };
        let bound = Instant::now() + VERSION_WAIT;
        let limit = deadline.map_or(bound, |deadline| deadline.0.min(bound));
        // Those that were not reached are told so one by one.
        drop(tokio::time::timeout_at(limit, positions.wait_for(reached)).await);
        let deadline_first = deadline.is_some_and(|deadline| deadline.0 <= Instant::now());
        move |wanted| {
            let position = positions.borrow();
            if position
                .as_ref()
                .is_some_and(|position| reaches(position, wanted))
            {
                return Ok(());
            }
            drop(position);
            Err(Self::not_reached(&positions, wanted, deadline_first))
        }
    }
}

fn reaches(position: &Position, wanted: &pb::RegistryVersion) -> bool {
    *position.epoch == *wanted.epoch && position.sequence >= wanted.sequence
}
