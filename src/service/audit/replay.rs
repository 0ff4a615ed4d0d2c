//! `ReplayDecision`.

use std::{
    path::PathBuf,
    sync::{Arc, RwLock},
};

use prost::Message as _;
use tonic::Status;

use crate::{
    audit::{
        archive::PolicyArchive,
        replay::{Replayed, Replayer},
    },
    facilitation::Facilitation,
    wire::pb,
};

/// Replays a logged decision with the policies of the log in a directory, those in force, and the embedded ones.
pub(super) async fn replay(
    entry: &pb::DecisionEntry,
    facilitation: &Arc<Facilitation>,
    log: Option<PathBuf>,
) -> Result<pb::ReplayDecisionResponse, Status> {
    let (entry, facilitation) = (entry.encode_to_vec(), Arc::clone(facilitation));
    // A log of many segments takes a while to look through.
    let replayed = tokio::task::spawn_blocking(move || {
        let mut archive = PolicyArchive::embedded();
        archive.add(&facilitation.policies());
        if let Some(log) = log
            && let Err(error) = archive.admit_log(&log)
        {
            return Replayed::NotReplayable(format!("the log's policies cannot be read: {error}"));
        }
        Replayer::new(&RwLock::new(archive)).replay(&entry)
    });
    let replayed = replayed
        .await
        .map_err(|_| Status::internal("the replay failed"))?;
    Ok(replayed.message())
}
