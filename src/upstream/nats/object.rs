//! Snapshots in the object store: the bytes of a snapshot file, in chunks, with a digest that is checked when they are read.
//!
//! An object's metadata is written last and names its chunks, so that one half put is never seen. Its name is made of what
//! it holds: two relays that make the same snapshot put one object.

use std::{
    io::{self, Read},
    time::Duration,
};

use async_nats::jetstream::{
    message::StreamMessage,
    object_store::{ObjectInfo, ObjectMetadata, ObjectStore},
    stream::{self, LastRawMessageErrorKind},
};
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::{io::AsyncReadExt as _, sync::mpsc};
use tracing::{info, warn};

use super::{super::UpstreamError, Names, Stream, unavailable};
use crate::background;

/// Snapshots that are kept: the newest, and the one before it for whoever is just fetching that.
const KEPT: usize = 2;
/// Chunks without metadata are somebody's who is still putting them, until they are as old as this.
const ABANDONED: Duration = Duration::from_mins(10);
/// Bytes that are read at once.
const PIECE: usize = 256 << 10;
/// Pieces that may wait for the decoder.
const PIECES: usize = 8;

/// What an object says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotObject {
    /// Its name: `snapshot-<epoch>-<sequence>-<beginning of the digest>-<sequence in the stream>`. All of that, because a
    /// restored backup comes to the same sequence with other rows, and may come back to the same rows.
    pub name: String,
    /// The store's identity.
    pub epoch: String,
    /// Where the snapshot stands.
    pub sequence: u64,
    /// The identity of the stream that it belongs to.
    pub stream: u64,
    /// What the stream holds after this may be new to it; nothing before is.
    pub stream_sequence: u64,
    /// The digest of all rows, 64 hex digits.
    pub digest: String,
    /// Its size in bytes.
    pub size: usize,
    /// Names its chunks.
    nuid: String,
}

const EPOCH: &str = "epoch";
const SEQUENCE: &str = "sequence";
const STREAM: &str = "stream";
const STREAM_SEQUENCE: &str = "stream-sequence";
const DIGEST: &str = "digest";

impl SnapshotObject {
    /// A snapshot that is to be put.
    pub fn new(epoch: &str, sequence: u64, digest: &str, stream: u64, stream_sequence: u64) -> Self {
        let beginning = digest.get(..16).unwrap_or(digest);
        Self {
            name: format!("snapshot-{epoch}-{sequence}-{beginning}-{stream_sequence}"),
            epoch: epoch.to_owned(),
            sequence,
            stream,
            stream_sequence,
            digest: digest.to_owned(),
            size: 0,
            nuid: String::new(),
        }
    }

    /// Reads the metadata; `None` where it is no snapshot's.
    fn of(info: ObjectInfo) -> Option<Self> {
        let text = |key: &str| info.metadata.get(key).cloned();
        let number = |key: &str| info.metadata.get(key)?.parse().ok();
        Some(Self {
            epoch: text(EPOCH)?,
            sequence: number(SEQUENCE)?,
            stream: number(STREAM)?,
            stream_sequence: number(STREAM_SEQUENCE)?,
            digest: text(DIGEST)?,
            size: info.size,
            nuid: info.nuid.clone(),
            name: info.name,
        })
    }

    fn metadata(&self) -> ObjectMetadata {
        let metadata = [
            (EPOCH, self.epoch.clone()),
            (SEQUENCE, self.sequence.to_string()),
            (STREAM, self.stream.to_string()),
            (STREAM_SEQUENCE, self.stream_sequence.to_string()),
            (DIGEST, self.digest.clone()),
        ];
        ObjectMetadata {
            name: self.name.clone(),
            metadata: metadata.map(|(key, value)| (key.to_owned(), value)).into(),
            ..ObjectMetadata::default()
        }
    }
}

/// The bucket.
pub struct Snapshots {
    store: ObjectStore,
    stream: Stream,
}

impl std::fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshots")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

impl Snapshots {
    /// The bucket that belongs to a stream.
    pub async fn open(stream: &Stream) -> Result<Self, UpstreamError> {
        let opened = stream.context().get_object_store(stream.names().bucket()).await;
        Ok(Self {
            store: opened.map_err(|error| unavailable("object store", error))?,
            stream: stream.clone(),
        })
    }

    /// What everything is called.
    pub fn names(&self) -> &Names {
        self.stream.names()
    }

    /// The whole snapshots that belong to this stream, the newest first.
    pub async fn list(&self) -> Result<Vec<SnapshotObject>, UpstreamError> {
        let mut objects = self.all().await?;
        objects.retain(|object| object.stream == self.stream.identity);
        Ok(objects)
    }

    async fn all(&self) -> Result<Vec<SnapshotObject>, UpstreamError> {
        let read = async {
            let mut objects = Vec::new();
            let mut listed = self
                .store
                .list()
                .await
                .map_err(|error| unavailable("objects", error))?;
            while let Some(object) = listed.next().await {
                let object = object.map_err(|error| unavailable("objects", error))?;
                objects.extend(SnapshotObject::of(object));
            }
            Ok::<_, UpstreamError>(objects)
        };
        let mut objects = tokio::time::timeout(self.stream.timeout(), read)
            .await
            .map_err(|_| UpstreamError::timed_out("nats: objects", self.stream.timeout()))??;
        objects.sort_by(|a, b| (b.stream_sequence, &b.name).cmp(&(a.stream_sequence, &a.name)));
        Ok(objects)
    }

    /// Puts a snapshot; the metadata comes last.
    pub async fn put(&self, object: &SnapshotObject, file: std::fs::File) -> Result<usize, UpstreamError> {
        let mut file = tokio::fs::File::from_std(file);
        let put = self.store.put(object.metadata(), &mut file).await;
        Ok(put.map_err(|error| unavailable("put a snapshot", error))?.size)
    }

    /// Fetches a snapshot and gives its bytes to `decode`, which runs on a thread of its own while they arrive. A
    /// fetch that stands still for as long as one answer may take has failed.
    pub async fn fetch<T: Send + 'static>(
        &self,
        object: &SnapshotObject,
        decode: impl FnOnce(Arriving) -> Result<T, UpstreamError> + Send + 'static,
    ) -> Result<T, UpstreamError> {
        let bound = self.stream.timeout();
        let stood_still = |_| UpstreamError::timed_out("nats: snapshot", bound);
        let got = tokio::time::timeout(bound, self.store.get(object.name.as_str())).await;
        let mut bytes = got
            .map_err(stood_still)?
            .map_err(|error| unavailable("snapshot", error))?;
        let (send, pieces) = mpsc::channel(PIECES);
        let arriving = Arriving {
            pieces,
            piece: Bytes::new(),
        };
        let decoding = tokio::task::spawn_blocking(background::helping(move || decode(arriving)));
        let mut read = Ok(());
        loop {
            let mut piece = BytesMut::with_capacity(PIECE);
            let arrived = tokio::time::timeout(bound, bytes.read_buf(&mut piece)).await;
            match arrived.map_err(stood_still) {
                Ok(Ok(0)) => break,
                Ok(Ok(_)) => {}
                // The digest is not the one that the metadata name.
                Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                    read = Err(UpstreamError::Corrupt(format!("{}: {error}", object.name)));
                }
                Ok(Err(error)) => read = Err(unavailable("snapshot", error)),
                Err(error) => read = Err(error),
            }
            if read.is_err() || send.send(piece.freeze()).await.is_err() {
                break;
            }
        }
        drop(send);
        let decoded = decoding.await.map_err(|error| unavailable("snapshot", error))?;
        read.and(decoded)
    }

    /// Drops all but the newest snapshots, what the stream holds from before them, and chunks that nobody names.
    pub async fn tidy(&self) -> Result<(), UpstreamError> {
        let bucket = self
            .stream
            .context()
            .get_stream(self.stream.names().bucket_stream())
            .await;
        let bucket = bucket.map_err(|error| unavailable("object store", error))?;
        let mut kept = self.list().await?;
        kept.truncate(KEPT);
        for object in self.all().await? {
            if !kept.contains(&object) {
                let deleted = self.store.delete(object.name.as_str()).await;
                deleted.map_err(|error| unavailable("delete a snapshot", error))?;
                info!(object = object.name, "older snapshot dropped");
            }
        }
        if let Some(oldest) = kept.last().filter(|_| kept.len() == KEPT) {
            self.stream.drop_before(oldest.stream_sequence).await?;
        }
        for (subject, message) in self.last_messages(&bucket, "M").await? {
            // A deleted object leaves a note, which would stay for ever.
            let info = serde_json::from_slice::<ObjectInfo>(&message.payload);
            if info.is_ok_and(|info| info.deleted) {
                purge(&bucket, &subject).await?;
            }
        }
        for (subject, message) in self.last_messages(&bucket, "C").await? {
            let known = kept
                .iter()
                .any(|object| subject.ends_with(&format!(".{}", object.nuid)));
            let age = Duration::try_from(async_nats::datetime::now() - message.time);
            if !known && age.is_ok_and(|age| age > ABANDONED) {
                warn!(subject, "chunks of a snapshot that was never finished: dropped");
                purge(&bucket, &subject).await?;
            }
        }
        Ok(())
    }

    /// The last message of each subject of the bucket's metadata (`M`) or chunks (`C`).
    async fn last_messages(
        &self,
        bucket: &stream::Stream,
        kind: &str,
    ) -> Result<Vec<(String, StreamMessage)>, UpstreamError> {
        let filter = format!("$O.{}.{kind}.>", self.stream.names().bucket());
        let subjects = bucket.info_with_subjects(filter).await;
        let mut subjects = subjects.map_err(|error| unavailable("object store", error))?;
        let mut messages = Vec::new();
        while let Some(subject) = subjects.next().await {
            let (subject, _) = subject.map_err(|error| unavailable("object store", error))?;
            let last = bucket.get_last_raw_message_by_subject(&subject).await;
            match last {
                Ok(message) => messages.push((subject, message)),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {}
                Err(error) => return Err(unavailable("object store", error)),
            }
        }
        Ok(messages)
    }
}

async fn purge(bucket: &stream::Stream, subject: &str) -> Result<(), UpstreamError> {
    let purged = bucket.purge().filter(subject).await;
    purged
        .map_err(|error| unavailable("object store", error))
        .map(drop)
}

/// The bytes of a snapshot, as they arrive.
#[derive(Debug)]
pub struct Arriving {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Arriving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
