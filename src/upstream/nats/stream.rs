//! The stream of changes as a relay writes it: where it ends, and one more message at its end.

use std::time::{Duration, Instant};

use async_nats::jetstream::{
    self, ErrorCode,
    context::{CreateStreamErrorKind, GetStreamError, GetStreamErrorKind, PublishErrorKind},
    message::PublishMessage,
    stream::{Config, DiscardPolicy, LastRawMessageErrorKind, RetentionPolicy, StorageType},
};
use bytes::Bytes;
use foldhash::fast::FixedState;
use std::hash::BuildHasher as _;
use tracing::{info, warn};

use super::{
    super::{LogEntry, Mark, Place, UpstreamError},
    Names,
    message::{BadMessage, Message},
    unavailable,
};
use crate::registry::Position;

/// Copies of stream and bucket, where the cluster has servers for as many.
const COPIES: usize = 3;
/// For how long a message's id is remembered.
const DUPLICATES: Duration = Duration::from_mins(2);
/// Between two tries to get the copies.
const AGAIN: Duration = Duration::from_millis(250);
/// Bytes of a message beside its payload: subject, headers.
const AROUND: usize = 4 << 10;
/// No message is larger than this, whatever the server takes.
const LARGEST: usize = 1 << 20;

/// The stream and the context that reaches it.
#[derive(Debug, Clone)]
pub struct Stream {
    context: jetstream::Context,
    names: Names,
    timeout: Duration,
    /// Tells it from a stream of the same name that is made anew.
    pub identity: u64,
}

/// The last message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Last {
    /// Its sequence in the stream.
    pub stream_sequence: u64,
    /// Where the stream leads.
    pub epoch: String,
    /// The last sequence of the store's log in it.
    pub sequence: u64,
    /// What the store showed there; `None` in the midst of a commit.
    pub mark: Mark,
    /// The fingerprint of its last row; none after a reset.
    pub fingerprint: Option<u64>,
}

impl Last {
    /// Where a reader of the store would stand.
    pub fn place(&self) -> Place {
        Place {
            position: Position {
                epoch: self.epoch.as_str().into(),
                sequence: self.sequence,
            },
            mark: self.mark,
        }
    }
}

/// What became of a message that was to be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It has this sequence in the stream.
    At(u64),
    /// The stream does not end where it was said to.
    Elsewhere,
}

/// What a stream shows of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The first sequence that is still there, or the next one where none is.
    pub first: u64,
    /// The last sequence that ever was.
    pub last: u64,
}

impl Stream {
    /// The stream, as it is; `None` where there is none.
    pub async fn open(
        client: async_nats::Client,
        names: &Names,
        timeout: Duration,
    ) -> Result<Option<Self>, UpstreamError> {
        Self::in_context(jetstream::new(client), names, timeout).await
    }

    async fn in_context(
        mut context: jetstream::Context,
        names: &Names,
        timeout: Duration,
    ) -> Result<Option<Self>, UpstreamError> {
        context.set_timeout(timeout);
        let created = created(&context, &names.stream()).await?;
        Ok(created.map(|identity| Self {
            context,
            names: names.clone(),
            timeout,
            identity,
        }))
    }

    /// The stream; made, with the bucket, if it is not there.
    pub async fn open_or_create(
        client: async_nats::Client,
        names: &Names,
        timeout: Duration,
    ) -> Result<Self, UpstreamError> {
        let clustered = client.server_info().cluster.is_some();
        let mut context = jetstream::new(client);
        context.set_timeout(timeout);
        let changes = Config {
            name: names.stream(),
            subjects: vec![names.changes()],
            description: Some("Greenlane: changes of the registry".to_owned()),
            duplicate_window: DUPLICATES,
            ..kept()
        };
        let bucket = Config {
            name: names.bucket_stream(),
            subjects: vec![
                format!("$O.{}.C.>", names.bucket()),
                format!("$O.{}.M.>", names.bucket()),
            ],
            description: Some("Greenlane: snapshots of the registry".to_owned()),
            discard: DiscardPolicy::New,
            allow_rollup: true,
            ..kept()
        };
        for config in [changes, bucket] {
            ensure(&context, config, clustered, timeout).await?;
        }
        Self::in_context(context, names, timeout)
            .await?
            .ok_or_else(|| unavailable("stream", "gone as soon as it was made"))
    }

    /// The context.
    pub fn context(&self) -> &jetstream::Context {
        &self.context
    }

    /// What everything is called.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Bound on one answer.
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The largest message that goes into it, in bytes.
    pub fn largest_message(&self) -> usize {
        largest_message(&self.context)
    }

    /// What it holds, if it is still the same stream; `None` where it is gone, or made anew.
    pub async fn extent(&self) -> Result<Option<Extent>, UpstreamError> {
        let stream = match self.context.get_stream(self.names.stream()).await {
            Ok(stream) => stream,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(unavailable("stream", error)),
        };
        let info = stream.cached_info();
        let same = identity(&info.config.name, info.created.unix_timestamp_nanos()) == self.identity;
        Ok(same.then_some(Extent {
            first: info.state.first_sequence,
            last: info.state.last_sequence,
        }))
    }

    /// The last message's sequence in the stream, and what it says, as the stream's leader has it; `None` in an empty stream.
    pub async fn last(&self) -> Result<Option<(u64, Result<Last, BadMessage>)>, UpstreamError> {
        let stream = self.context.get_stream_no_info(self.names.stream()).await;
        let stream = stream.map_err(|error| unavailable("stream", error))?;
        let subject = self.names.changes();
        let read = stream.get_last_raw_message_by_subject(&subject);
        let read = tokio::time::timeout(self.timeout, read).await;
        let message = match read.map_err(|_| UpstreamError::timed_out("nats: last message", self.timeout))? {
            Ok(message) => message,
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(None),
            Err(error) => return Err(unavailable("last message", error)),
        };
        let decoded = Message::decode(&message.payload);
        let said = decoded.map(|decoded| last(message.sequence, decoded));
        Ok(Some((message.sequence, said)))
    }

    /// Appends a message if the stream still ends at `after` (0 for an empty one).
    pub async fn append(&self, payload: Bytes, id: &str, after: u64) -> Result<Appended, UpstreamError> {
        let message = PublishMessage::build()
            .payload(payload)
            .message_id(id)
            .expected_stream(self.names.stream())
            .expected_last_subject_sequence(after);
        let sent = self.context.send_publish(self.names.changes(), message).await;
        let sent = sent.map_err(|error| unavailable("publish", error))?;
        match sent.await {
            // The same message, a second time: it stands further back, and the stream may have grown since.
            Ok(ack) if ack.duplicate => Ok(Appended::Elsewhere),
            Ok(ack) => Ok(Appended::At(ack.sequence)),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(Appended::Elsewhere),
            Err(error) => Err(unavailable("publish", error)),
        }
    }

    /// Drops what stands before a sequence; it stays itself.
    pub async fn drop_before(&self, stream_sequence: u64) -> Result<(), UpstreamError> {
        if stream_sequence <= 1 {
            // To the server, 0 means everything.
            return Ok(());
        }
        let stream = self.context.get_stream_no_info(self.names.stream()).await;
        let stream = stream.map_err(|error| unavailable("stream", error))?;
        let purged = stream.purge().sequence(stream_sequence).await;
        purged.map_err(|error| unavailable("purge", error)).map(drop)
    }
}

fn last(stream_sequence: u64, message: Message) -> Last {
    match message {
        Message::Changes(changes) => {
            let end = changes.commits.last();
            Last {
                stream_sequence,
                sequence: changes.to(),
                mark: end.and_then(|commit| commit.mark),
                fingerprint: end
                    .and_then(|commit| commit.entries.last())
                    .map(LogEntry::fingerprint),
                epoch: changes.epoch,
            }
        }
        Message::Reset(reset) => Last {
            stream_sequence,
            epoch: reset.epoch,
            sequence: reset.sequence,
            mark: reset.mark,
            fingerprint: None,
        },
    }
}

/// The largest message that these servers take and we make, in bytes.
pub(super) fn largest_message(context: &jetstream::Context) -> usize {
    let taken = context.client().max_payload();
    taken.min(LARGEST).saturating_sub(AROUND)
}

/// What streams and bucket have in common.
pub(super) fn kept() -> Config {
    Config {
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        num_replicas: COPIES,
        allow_direct: true,
        max_bytes: -1,
        max_messages: -1,
        ..Config::default()
    }
}

/// When a stream was made, as a number; `None` where there is none.
async fn created(context: &jetstream::Context, name: &str) -> Result<Option<u64>, UpstreamError> {
    match context.get_stream(name).await {
        Ok(stream) => {
            let created = stream.cached_info().created.unix_timestamp_nanos();
            Ok(Some(identity(name, created)))
        }
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(unavailable("stream", error)),
    }
}

/// Whether the servers know for sure that there is no such stream.
fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Tells a stream from one of the same name that is made anew.
pub(super) fn identity(name: &str, created: i128) -> u64 {
    FixedState::with_seed(0).hash_one((name, created))
}

/// Makes a stream with as many copies as the cluster can give, or gives one that has fewer as many as it can by now.
pub(super) async fn ensure(
    context: &jetstream::Context,
    config: Config,
    clustered: bool,
    timeout: Duration,
) -> Result<(), UpstreamError> {
    let begun = Instant::now();
    loop {
        if let Some(copies) = copies(context, &config.name).await? {
            if clustered && copies < COPIES {
                match context.update_stream(config.clone()).await {
                    Ok(_) => info!(
                        stream = config.name,
                        copies = COPIES,
                        "more copies of a NATS stream"
                    ),
                    Err(error) => {
                        warn!(stream = config.name, copies, %error, "a NATS stream without all its copies");
                    }
                }
            }
            return Ok(());
        }
        let Err(error) = context.create_stream(config.clone()).await else {
            info!(
                stream = config.name,
                copies = config.num_replicas,
                "NATS stream made"
            );
            return Ok(());
        };
        let CreateStreamErrorKind::JetStream(answer) = error.kind() else {
            return Err(unavailable("create a stream", error));
        };
        match answer.error_code() {
            // Another relay was first, with other copies.
            ErrorCode::STREAM_NAME_EXIST => return Ok(()),
            ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED => {}
            // The servers of a cluster that has just started do not all know one another yet.
            ErrorCode::CLUSTER_NO_PEERS | ErrorCode::INSUFFICIENT_RESOURCES if begun.elapsed() < timeout => {
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            ErrorCode::CLUSTER_NO_PEERS | ErrorCode::INSUFFICIENT_RESOURCES => {
                warn!(
                    stream = config.name,
                    "the NATS cluster has no servers for {COPIES} copies: one only"
                );
            }
            _ => return Err(unavailable("create a stream", error)),
        }
        let alone = Config {
            num_replicas: 1,
            ..config.clone()
        };
        return match context.create_stream(alone).await {
            Ok(_) => {
                info!(stream = config.name, copies = 1, "NATS stream made");
                Ok(())
            }
            Err(error) => Err(unavailable("create a stream", error)),
        };
    }
}

async fn copies(context: &jetstream::Context, name: &str) -> Result<Option<usize>, UpstreamError> {
    match context.get_stream(name).await {
        Ok(stream) => Ok(Some(stream.cached_info().config.num_replicas)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(unavailable("stream", error)),
    }
}
