//! Changes of shipments, as the bucket's stream delivers them.

use std::{collections::VecDeque, time::Duration};

use async_nats::jetstream::{
    consumer::{
        Consumer,
        pull::{Config, Stream as Messages},
    },
    kv::Store,
};
use futures_util::{FutureExt as _, StreamExt as _};
use tracing::{debug, warn};

use super::{
    super::{
        super::{
            UpstreamError,
            shipments::{PAGE, StoredShipment},
        },
        Names, NatsSettings, bucket,
        deliveries::{consume, reading},
        stream::identity,
        unavailable,
    },
    SHIPMENTS, value,
};

/// Messages that may be on their way at once: a slow replica holds no more than that many.
const ON_THE_WAY: usize = 1_000;

/// Follows the bucket.
#[derive(Debug)]
pub struct ShipmentFeed {
    settings: NatsSettings,
    names: Names,
    recent: u64,
    link: Option<Link>,
    place: Option<Place>,
}

/// Everything up to here has been handed on.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Tells the stream from another one of its name.
    identity: u64,
    /// The last message's sequence in it.
    sequence: u64,
}

impl ShipmentFeed {
    /// The changes in that bucket, beginning with the `recent` shipments that were changed last.
    pub fn new(settings: NatsSettings, recent: u64) -> Result<Self, UpstreamError> {
        Ok(Self {
            names: settings.names()?,
            settings,
            recent,
            link: None,
            place: None,
        })
    }

    /// What has been changed since the last look; nothing where nothing was.
    pub async fn look(&mut self) -> Result<Vec<StoredShipment>, UpstreamError> {
        let found = self.try_look().await;
        if found.is_err() {
            self.link = None;
        }
        found
    }

    /// Completes when something has arrived. May be dropped at any time.
    pub async fn changed(&mut self) {
        match &mut self.link {
            Some(link) => link.arrived().await,
            None => std::future::pending().await,
        }
    }

    async fn try_look(&mut self) -> Result<Vec<StoredShipment>, UpstreamError> {
        let timeout = self.settings.timeout;
        if self.link.is_none() {
            let (link, place) = self.open().await?;
            self.place = Some(place);
            self.link = Some(link);
        }
        let Some(link) = &mut self.link else {
            return Ok(Vec::new());
        };
        loop {
            let (sequence, found) = link.take();
            if let Some((place, sequence)) = self.place.as_mut().zip(sequence) {
                place.sequence = sequence;
            }
            if !found.is_empty() {
                return Ok(found);
            }
            if link.is_broken {
                return Err(unavailable("shipments", "messages were lost on the way"));
            }
            // Nothing is here: the server knows whether something is still to come.
            let info = tokio::time::timeout(timeout, link.consumer.get_info()).await;
            let info = info.map_err(|_| UpstreamError::timed_out("nats: shipments", timeout))?;
            let info = info.map_err(|error| unavailable("shipments", error))?;
            if info.num_pending == 0 && info.delivered.consumer_sequence < link.next {
                return Ok(Vec::new());
            }
            let arrived = tokio::time::timeout(timeout, link.arrived()).await;
            arrived.map_err(|_| unavailable("shipments", "what was put does not arrive"))?;
        }
    }

    /// Connects, and begins where everything has been handed on; or with the recent shipments, where the stream is another
    /// one or does not reach as far.
    async fn open(&self) -> Result<(Link, Place), UpstreamError> {
        let bucket = bucket::shipments(&self.settings, &self.names).await?;
        let info = bucket.stream.cached_info();
        let identity = identity(&info.config.name, info.created.unix_timestamp_nanos());
        let (first, last) = (info.state.first_sequence, info.state.last_sequence);
        let timeout = self.settings.timeout;
        let place = self.place;
        if let Some(place) = place.filter(|place| place.identity == identity && place.sequence <= last) {
            return Ok((Link::open(&bucket, place.sequence + 1, timeout).await?, place));
        }
        // Beside shipments, the stream holds other messages, and had some that are gone.
        let mut back = self.recent;
        loop {
            let from = last.saturating_sub(back) + 1;
            let mut link = Link::open(&bucket, from, timeout).await?;
            let shipments = link.consumer.cached_info().num_pending;
            if shipments >= self.recent || from <= first.max(1) {
                link.skip = shipments.saturating_sub(self.recent);
                let sequence = from - 1;
                return Ok((link, Place { identity, sequence }));
            }
            back = back.saturating_mul(2);
        }
    }
}

/// A consumer, and what it has delivered.
struct Link {
    consumer: Consumer<Config>,
    messages: Messages,
    /// What comes next, as the consumer counts.
    next: u64,
    /// How many shipments are passed over at the beginning.
    skip: u64,
    /// Sequences in the stream, and what became of the message there.
    waiting: VecDeque<(u64, Option<StoredShipment>)>,
    is_broken: bool,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("next", &self.next)
            .field("waiting", &self.waiting.len())
            .field("is_broken", &self.is_broken)
            .finish_non_exhaustive()
    }
}

impl Link {
    async fn open(bucket: &Store, from: u64, timeout: Duration) -> Result<Self, UpstreamError> {
        let config = Config {
            filter_subject: format!("{}{SHIPMENTS}", bucket.prefix),
            ..reading(from)
        };
        let (consumer, messages) = consume(&bucket.stream, config, ON_THE_WAY, timeout).await?;
        Ok(Self {
            consumer,
            messages,
            next: 1,
            skip: 0,
            waiting: VecDeque::new(),
            is_broken: false,
        })
    }

    /// What is here, and up to which sequence of the stream.
    fn take(&mut self) -> (Option<u64>, Vec<StoredShipment>) {
        while self.waiting.len() < PAGE
            && !self.is_broken
            && let Some(message) = self.messages.next().now_or_never()
        {
            self.receive(message);
        }
        let last = self.waiting.back().map(|(sequence, _)| *sequence);
        let found = self.waiting.drain(..).filter_map(|(_, shipment)| shipment);
        (last, found.collect())
    }

    /// Completes when something is here, or nothing will come any more. May be dropped at any time.
    async fn arrived(&mut self) {
        if self.waiting.is_empty() && !self.is_broken {
            let message = self.messages.next().await;
            self.receive(message);
        }
    }

    fn receive(&mut self, message: Option<Result<async_nats::jetstream::Message, impl std::fmt::Display>>) {
        self.is_broken = true;
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(error)) => return debug!(%error, "NATS consumer of shipments ended"),
            None => return,
        };
        let Ok((consumer_sequence, sequence)) = message
            .info()
            .map(|info| (info.consumer_sequence, info.stream_sequence))
        else {
            return;
        };
        if consumer_sequence != self.next {
            return debug!(consumer_sequence, self.next, "shipments lost on the way");
        }
        self.is_broken = false;
        self.next += 1;
        let mut shipment = None;
        if self.skip > 0 {
            self.skip -= 1;
        } else {
            let async_nats::Message { subject, payload, .. } = message.message;
            let key = subject.rsplit('.').next().unwrap_or_default();
            // An empty one says that somebody deleted the key.
            let is_deleted = payload.is_empty();
            shipment = value::decode(key, payload);
            if shipment.is_none() && !is_deleted {
                warn!(
                    key,
                    sequence, "a shipment in NATS cannot be read, and is passed over"
                );
            }
        }
        self.waiting.push_back((sequence, shipment));
    }
}
