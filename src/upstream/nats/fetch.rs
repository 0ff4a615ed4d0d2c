//! A fleet that starts together does not fetch together: relays permit a few fetches at a time.

use std::{sync::Arc, time::Duration};

use async_nats::Client;
use bytes::Bytes;
use rand::RngExt as _;
use tracing::debug;

use super::{
    super::UpstreamError,
    Names,
    head::{Permit, PermitRequest},
    object::{SnapshotObject, Snapshots},
    snapshot_file, unavailable,
};
use crate::registry::Generation;

/// How long a relay may take to answer; without an answer nobody is waited for.
const ANSWER: Duration = Duration::from_secs(1);
/// Between two requests for a permit that was not granted, and the longest wait where no relay answers.
const WAIT: Duration = Duration::from_secs(1);
/// A permit ends by itself unless the replica says that it goes on.
const GOING_ON: Duration = Duration::from_secs(10);

/// Fetches a snapshot once a relay permits it, and reads it.
pub(super) async fn fetch(
    client: &Client,
    snapshots: &Snapshots,
    object: &SnapshotObject,
) -> Result<Arc<Generation>, UpstreamError> {
    let names = snapshots.names();
    let replica = format!("{:016x}", rand::rng().random::<u64>());
    let permit = permit(client, names, &replica).await;
    let wanted = object.clone();
    let fetching = snapshots.fetch(object, move |bytes| snapshot_file::read(bytes, &wanted));
    let fetched = tokio::select! {
        fetched = fetching => fetched,
        () = go_on_telling(client, names, permit.as_ref(), &replica) => Err(unavailable("snapshot", "not fetched")),
    };
    tell(client, names, permit.as_ref(), &replica, true).await;
    fetched
}

/// Never completes.
async fn go_on_telling(client: &Client, names: &Names, permit: Option<&Permit>, replica: &str) {
    loop {
        tokio::time::sleep(GOING_ON).await;
        tell(client, names, permit, replica, false).await;
    }
}

/// Waits for a permit; none where no relay answers.
async fn permit(client: &Client, names: &Names, replica: &str) -> Option<Permit> {
    let request = PermitRequest {
        replica: replica.to_owned(),
        ended: false,
    };
    let request: Bytes = serde_json::to_vec(&request).unwrap_or_default().into();
    loop {
        let asked = tokio::time::timeout(ANSWER, client.request(names.permit(), request.clone())).await;
        let answer = asked.ok().and_then(Result::ok);
        let answer = answer.and_then(|answer| serde_json::from_slice::<Permit>(&answer.payload).ok());
        let wait = WAIT.mul_f64(rand::rng().random_range(0.5..=1.0));
        match answer {
            Some(permit) if permit.granted => return Some(permit),
            Some(_) => tokio::time::sleep(wait).await,
            None => {
                debug!("no relay answers for permits");
                tokio::time::sleep(wait).await;
                return None;
            }
        }
    }
}

/// Tells the relay that gave the permit that the fetch goes on, or has ended.
async fn tell(client: &Client, names: &Names, permit: Option<&Permit>, replica: &str, ended: bool) {
    let Some(permit) = permit else {
        return;
    };
    let request = PermitRequest {
        replica: replica.to_owned(),
        ended,
    };
    let request = serde_json::to_vec(&request).unwrap_or_default();
    let sent = client
        .publish(names.permit_back(&permit.relay), request.into())
        .await;
    if let Err(error) = sent {
        // The permit ends by itself.
        debug!(%error, "relay not told");
    }
}
