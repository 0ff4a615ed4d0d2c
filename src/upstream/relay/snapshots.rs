//! Snapshots that a relay puts into the object store: made from its own registry, while commits go on.

use std::{
    fs::File,
    io::{Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use tracing::info;

use super::super::{
    UpstreamError,
    nats::{
        Stream,
        object::{SnapshotObject, Snapshots},
        snapshot_file,
    },
};
use crate::registry::Generation;

/// Makes a snapshot and puts it, unless one of the same name is there. What the stream holds up to `stream_sequence` is in
/// the generation already.
pub(super) async fn put(
    generation: Arc<Generation>,
    stream: &Stream,
    stream_sequence: u64,
    folder: &Path,
) -> Result<SnapshotObject, UpstreamError> {
    let begun = Instant::now();
    let folder: PathBuf = folder.to_owned();
    let made = tokio::task::spawn_blocking(move || make(&generation, &folder)).await;
    let (made, file) = made.map_err(|error| UpstreamError::Unavailable(error.to_string()))??;
    let object = SnapshotObject::new(
        &made.epoch,
        made.sequence,
        &made.digest,
        stream.identity,
        stream_sequence,
    );
    let snapshots = Snapshots::open(stream).await?;
    if let Some(there) = snapshots
        .list()
        .await?
        .into_iter()
        .find(|there| there.name == object.name)
    {
        return Ok(there);
    }
    let bytes = snapshots.put(&object, file).await?;
    info!(
        object = object.name,
        stream_sequence,
        bytes,
        seconds = begun.elapsed().as_secs_f64(),
        "snapshot put into NATS"
    );
    Ok(object)
}

/// Puts a snapshot, unless another relay has put one since the newest one known, and drops what is older than the two
/// newest.
pub(super) async fn refresh(
    generation: Arc<Generation>,
    stream: Stream,
    stream_sequence: u64,
    newest: Option<u64>,
    folder: PathBuf,
) -> Result<SnapshotObject, UpstreamError> {
    let snapshots = Snapshots::open(&stream).await?;
    let there = snapshots.list().await?.into_iter().next();
    let there = there.filter(|there| newest.is_none_or(|newest| there.stream_sequence > newest));
    if let Some(there) = there {
        return Ok(there);
    }
    let object = put(generation, &stream, stream_sequence, &folder).await?;
    snapshots.tidy().await?;
    Ok(object)
}

/// Writes a snapshot to a file that has no name: it is gone with whoever holds it.
fn make(generation: &Generation, folder: &Path) -> Result<(snapshot_file::Made, File), UpstreamError> {
    let unwritable = |error| UpstreamError::Unavailable(format!("{}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(unwritable)?;
    let path = folder.join(format!(".snapshot-{:016x}", rand::random::<u64>()));
    let mut options = File::options();
    let mut file = options
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(unwritable)?;
    std::fs::remove_file(&path).map_err(unwritable)?;
    let made = snapshot_file::write(generation, &mut file)?;
    file.seek(SeekFrom::Start(0)).map_err(unwritable)?;
    Ok((made, file))
}
