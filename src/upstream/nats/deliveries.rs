//! The stream as a replica reads it: message after message, and no message in silence left out.

use std::{collections::VecDeque, time::Duration};

use async_nats::jetstream::{
    self,
    consumer::{
        AckPolicy, Consumer, DeliverPolicy, ReplayPolicy,
        pull::{Config, Stream as Messages},
    },
};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use tracing::debug;

use super::{
    super::{ResyncCause, UpstreamError},
    stream::Stream,
    unavailable,
};

/// Messages that may be on their way at once: a slow replica holds no more than that many.
const ON_THE_WAY: usize = 64;
/// A consumer that nobody asks is forgotten by the server after so long.
const FORGOTTEN: Duration = Duration::from_mins(1);
/// How long one request for messages stands.
const REQUEST: Duration = Duration::from_secs(30);

/// A message as it was delivered.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) stream_sequence: u64,
    pub(super) payload: Bytes,
}

/// Messages after a place in the stream, in order and without a hole.
pub(super) struct Deliveries {
    messages: Messages,
    /// The next message's sequence in the stream.
    next: u64,
    waiting: VecDeque<Delivery>,
    broken: bool,
}

impl std::fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            next,
            waiting,
            broken,
            ..
        } = self;
        f.debug_struct("Deliveries")
            .field("next", next)
            .field("waiting", &waiting.len())
            .field("broken", broken)
            .finish_non_exhaustive()
    }
}

/// A consumer of every message from a sequence on.
pub(super) fn reading(start_sequence: u64) -> Config {
    Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence },
        // A message that is lost on the way is missed by its sequence: acknowledging each would prove nothing more.
        ack_policy: AckPolicy::None,
        replay_policy: ReplayPolicy::Instant,
        memory_storage: true,
        num_replicas: 1,
        inactive_threshold: FORGOTTEN,
        ..Config::default()
    }
}

/// Makes a consumer, and asks for its messages, of which so many may be on their way at once.
pub(super) async fn consume<I>(
    stream: &jetstream::stream::Stream<I>,
    config: Config,
    on_the_way: usize,
    timeout: Duration,
) -> Result<(Consumer<Config>, Messages), UpstreamError> {
    let opened = async {
        let consumer = stream.create_consumer(config).await;
        let consumer = consumer.map_err(|error| unavailable("consumer", error))?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(on_the_way)
            .expires(REQUEST)
            .heartbeat((timeout / 2).clamp(Duration::from_millis(100), REQUEST / 3))
            .messages()
            .await;
        let messages = messages.map_err(|error| unavailable("consumer", error))?;
        Ok((consumer, messages))
    };
    tokio::time::timeout(timeout, opened)
        .await
        .map_err(|_| UpstreamError::timed_out("nats: consumer", timeout))?
}

impl Deliveries {
    /// Begins after a message. The stream must be the one that the message stood in, reach as far, and reach back as far.
    pub(super) async fn open(
        stream: &Stream,
        identity: u64,
        after: u64,
    ) -> Result<Result<Self, ResyncCause>, UpstreamError> {
        let extent = stream.extent().await?;
        let Some(extent) = extent.filter(|_| stream.identity == identity) else {
            return Ok(Err(ResyncCause::Fork));
        };
        if extent.last < after {
            return Ok(Err(ResyncCause::Fork));
        }
        if extent.first > after + 1 {
            return Ok(Err(ResyncCause::Gap));
        }
        let config = reading(after + 1);
        let named = stream.context().get_stream_no_info(stream.names().stream()).await;
        let named = named.map_err(|error| unavailable("stream", error))?;
        let (_, messages) = consume(&named, config, ON_THE_WAY, stream.timeout()).await?;
        Ok(Ok(Self {
            messages,
            next: after + 1,
            waiting: VecDeque::new(),
            broken: false,
        }))
    }

    /// Completes when there is a message to take, or none will come any more. May be dropped at any time.
    pub(super) async fn arrived(&mut self) {
        while self.waiting.is_empty() && !self.broken {
            let next = self.messages.next().await;
            self.receive(next);
        }
    }

    /// The next message, if it is here.
    pub(super) fn take(&mut self) -> Option<Delivery> {
        while self.waiting.is_empty() && !self.broken {
            let next = self.messages.next().now_or_never()?;
            self.receive(next);
        }
        self.waiting.pop_front()
    }

    /// Nothing more will come: reading goes on with a new consumer, from the last message that was taken.
    pub(super) fn are_over(&self) -> bool {
        self.broken && self.waiting.is_empty()
    }

    fn receive(&mut self, message: Option<Result<async_nats::jetstream::Message, impl std::fmt::Display>>) {
        self.broken = true;
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(error)) => return debug!(%error, "NATS consumer ended"),
            None => return,
        };
        let Ok(stream_sequence) = message.info().map(|info| info.stream_sequence) else {
            return;
        };
        if stream_sequence != self.next {
            return debug!(stream_sequence, self.next, "NATS messages lost on the way");
        }
        self.broken = false;
        self.next += 1;
        let payload = message.message.payload;
        self.waiting.push_back(Delivery {
            stream_sequence,
            payload,
        });
    }
}
