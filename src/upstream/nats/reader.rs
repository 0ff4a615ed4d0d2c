//! A replica's side: a snapshot from the object store, the stream after it, and relays to ask how old that is.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use async_nats::connection::State;
use tracing::{error, info};

use super::{
    super::{Asked, Commit, Found, LogEntry, Look, Place, ResyncCause, Snapshot, UpstreamError},
    NatsSettings, connect,
    deliveries::{Deliveries, Delivery},
    fetch,
    head::Head,
    message::{Changes, Message, Reset},
    object::Snapshots,
    questions::Questions,
    stream::Stream,
};

/// A follower's side of the store.
#[derive(Debug)]
pub struct Reader {
    settings: NatsSettings,
    link: Option<Link>,
    /// The snapshot that the generation was loaded from.
    loaded: Option<String>,
    /// The last reset that was met: only a snapshot that leads over it will do.
    reset: Option<Met>,
}

/// A reset, and where it stands.
#[derive(Debug, Clone)]
struct Met {
    stream: u64,
    stream_sequence: u64,
    object: String,
}

/// Everything that a connection carries.
#[derive(Debug)]
struct Link {
    client: async_nats::Client,
    stream: Stream,
    following: Option<Following>,
    questions: Questions,
    /// Answers that name a head which is not reached yet.
    heads: VecDeque<(Head, Asked)>,
    /// Since when no answer has confirmed anything.
    unconfirmed: Instant,
}

/// The stream, from a place on.
#[derive(Debug)]
struct Following {
    deliveries: Deliveries,
    opened: Instant,
    /// Up to where it has been handed on.
    place: Place,
    /// The last message that was taken.
    taken: u64,
    /// The beginning of a commit whose end has not arrived.
    begun: Vec<LogEntry>,
}

/// Answers that wait for their heads.
const HEADS: usize = 64;

impl Reader {
    /// A reader of that store; connects at the first look.
    pub fn new(settings: NatsSettings) -> Self {
        Self {
            settings,
            link: None,
            loaded: None,
            reset: None,
        }
    }

    async fn link(&mut self) -> Result<&mut Link, UpstreamError> {
        if self.link.is_none() {
            let names = self.settings.names()?;
            let client = connect(&self.settings).await?;
            let stream = Stream::open(client.clone(), &names, self.settings.timeout).await?;
            let stream = stream.ok_or_else(|| {
                UpstreamError::Unavailable(format!(
                    "nats: no stream {}: no relay has made it yet",
                    names.stream()
                ))
            })?;
            self.link = Some(Link {
                questions: Questions::new(&client, &names, self.settings.heartbeat_interval).await?,
                client,
                stream,
                following: None,
                heads: VecDeque::new(),
                unconfirmed: Instant::now(),
            });
        }
        self.link
            .as_mut()
            .ok_or_else(|| UpstreamError::Unavailable("nats: not connected".to_owned()))
    }

    /// Fetches the newest whole snapshot, when a relay permits it.
    pub async fn snapshot(&mut self) -> Result<Snapshot, UpstreamError> {
        let reset = self.reset.clone();
        let link = self.link().await?;
        link.following = None;
        // The stream may have been made anew.
        let names = link.stream.names().clone();
        let stream = Stream::open(link.client.clone(), &names, link.stream.timeout()).await?;
        link.stream =
            stream.ok_or_else(|| UpstreamError::Unavailable("nats: the stream is gone".to_owned()))?;
        let snapshots = Snapshots::open(&link.stream).await?;
        let mut objects = snapshots.list().await?;
        if let Some(reset) = reset.filter(|reset| reset.stream == link.stream.identity) {
            objects.retain(|object| {
                object.stream_sequence >= reset.stream_sequence || object.name == reset.object
            });
        }
        if objects.is_empty() {
            return Err(UpstreamError::Unavailable("nats: no snapshot yet".to_owned()));
        }
        let begun = Instant::now();
        let mut torn = None;
        for object in objects {
            match fetch::fetch(&link.client, &snapshots, &object).await {
                Ok(generation) => {
                    info!(
                        object = object.name,
                        bytes = object.size,
                        seconds = begun.elapsed().as_secs_f64(),
                        "snapshot fetched from NATS"
                    );
                    self.loaded = Some(object.name);
                    return Ok(Snapshot {
                        generation,
                        // It is a snapshot of some time ago: what has come since stands in the stream.
                        confirmed: None,
                    });
                }
                Err(problem @ UpstreamError::Corrupt(_)) => {
                    error!(object = object.name, %problem, "REFUSED: this snapshot is not whole");
                    torn = Some(problem);
                }
                // The next one would fare no better.
                Err(problem) => return Err(problem),
            }
        }
        Err(torn.unwrap_or_else(|| UpstreamError::Unavailable("nats: no snapshot yet".to_owned())))
    }

    /// Takes what has been delivered since the place, in order and without a gap; more than `most` rows are for the next
    /// look. Many changes never ask for a snapshot: the newest one there is would be followed by the same messages.
    pub async fn poll(&mut self, place: &Place, most: u64) -> Result<Look, UpstreamError> {
        let silence = self.settings.timeout + self.settings.heartbeat_interval;
        let loaded = self.loaded.clone();
        let link = self.link().await?;
        if link
            .following
            .as_ref()
            .is_none_or(|following| following.place != *place)
        {
            link.following = match Following::open(&link.stream, place).await? {
                Ok(following) => Some(following),
                Err(cause) => return Ok(Look::on_the_way(Found::Resync(cause))),
            };
        }
        link.ask().await?;
        let Some(following) = &mut link.following else {
            return Ok(Look::on_the_way(Found::Nothing));
        };
        let mut commits = Vec::new();
        let mut rows = 0;
        while rows < most {
            let Some(delivery) = following.deliveries.take() else {
                break;
            };
            match following.follow(&delivery, link.stream.identity, loaded.as_deref()) {
                Ok(found) => {
                    rows += found
                        .iter()
                        .map(|commit| commit.entries.len() as u64)
                        .sum::<u64>();
                    commits.extend(found);
                }
                // What was found before it is handed on first; the next look meets it again.
                Err(_) if !commits.is_empty() => {
                    link.following = None;
                    return Ok(Look::on_the_way(Found::Commits(commits)));
                }
                Err((cause, reset)) => {
                    let stream = link.stream.identity;
                    link.following = None;
                    if let Some(reset) = reset {
                        self.reset = Some(Met {
                            stream,
                            stream_sequence: delivery.stream_sequence,
                            object: reset.object,
                        });
                    }
                    return Ok(Look::on_the_way(Found::Resync(cause)));
                }
            }
        }
        let over = following.deliveries.are_over();
        let reached = following.place.clone();
        let taken = following.taken;
        if over {
            link.following = None;
        }
        let mut look = Look::on_the_way(if commits.is_empty() {
            Found::Nothing
        } else {
            Found::Commits(commits)
        });
        link.settle(&reached, taken, &mut look);
        if look.confirmed.is_some() {
            link.unconfirmed = Instant::now();
        } else if matches!(look.found, Found::Nothing) && link.unconfirmed.elapsed() > silence {
            return Err(link.silence(silence));
        }
        Ok(look)
    }

    /// Completes when something has arrived, or a question is due.
    pub async fn changed(&mut self) {
        let heartbeat = self.settings.heartbeat_interval;
        let Some(link) = &mut self.link else {
            tokio::time::sleep(heartbeat).await;
            return;
        };
        let Some(following) = &mut link.following else {
            return;
        };
        tokio::select! {
            () = following.deliveries.arrived() => {}
            () = link.questions.answered_or_due() => {}
        }
    }
}

impl Link {
    /// Asks for the head when that is due, and takes the answers that are here.
    async fn ask(&mut self) -> Result<(), UpstreamError> {
        self.questions.ask(&self.client).await?;
        while let Some((head, asked)) = self.questions.take() {
            if head.stream != self.stream.identity {
                // Made anew, or not the one that the relay writes: opening it again tells.
                self.following = None;
                continue;
            }
            let Some(confirmed) = head.confirmed(asked) else {
                continue;
            };
            if self.heads.len() == HEADS {
                // The oldest is reached first; the newest says the most.
                self.heads.pop_back();
            }
            self.heads.push_back((head, confirmed));
        }
        Ok(())
    }

    /// What relays said of heads that are reached now.
    fn settle(&mut self, reached: &Place, taken: u64, look: &mut Look) {
        let position = &reached.position;
        self.heads.retain(|(head, confirmed)| {
            if head.epoch != *position.epoch {
                // The reset that leads there is on its way; once passed, we come from a snapshot that never led there.
                let on_its_way = head.stream_sequence > taken;
                if !on_its_way && matches!(look.found, Found::Nothing) {
                    look.found = Found::Resync(ResyncCause::Epoch);
                }
                return on_its_way;
            }
            if head.sequence > position.sequence {
                return true;
            }
            if look
                .confirmed
                .is_none_or(|best| best.monotonic < confirmed.monotonic)
            {
                look.confirmed = Some(*confirmed);
                look.head_digest = Some((head.sequence, head.digest.clone()));
            }
            false
        });
    }

    /// Why nothing has been confirmed for so long.
    fn silence(&mut self, bound: Duration) -> UpstreamError {
        let why = if self.client.connection_state() != State::Connected {
            "disconnected"
        } else if self.heads.is_empty() {
            "no relay answers"
        } else {
            // The next look reads it with a new consumer, which is given as long.
            if self
                .following
                .as_ref()
                .is_some_and(|following| following.opened.elapsed() > bound)
            {
                self.following = None;
            }
            "what a relay has published does not arrive"
        };
        UpstreamError::Unavailable(format!("nats: {why}"))
    }
}

impl Following {
    async fn open(stream: &Stream, place: &Place) -> Result<Result<Self, ResyncCause>, UpstreamError> {
        let Some([identity, after]) = place.mark else {
            return Ok(Err(ResyncCause::Fork));
        };
        let deliveries = match Deliveries::open(stream, identity, after).await? {
            Ok(deliveries) => deliveries,
            Err(cause) => return Ok(Err(cause)),
        };
        Ok(Ok(Self {
            deliveries,
            opened: Instant::now(),
            place: place.clone(),
            taken: after,
            begun: Vec::new(),
        }))
    }

    /// Takes a message for what it adds; or tells why it cannot be followed.
    fn follow(
        &mut self,
        delivery: &Delivery,
        identity: u64,
        loaded: Option<&str>,
    ) -> Result<Vec<Commit>, (ResyncCause, Option<Reset>)> {
        let at = delivery.stream_sequence;
        let message = Message::decode(&delivery.payload).map_err(|problem| {
            error!(stream_sequence = at, %problem, "a message in the stream cannot be read");
            (ResyncCause::Gap, None)
        })?;
        self.taken = at;
        match message {
            Message::Changes(changes) => self.add(changes, identity, at).map_err(|cause| (cause, None)),
            // The snapshot that we come from was made for this very reset.
            Message::Reset(reset) if loaded == Some(reset.object.as_str()) => Ok(Vec::new()),
            Message::Reset(reset) => Err((reset.cause, Some(reset))),
        }
    }

    fn add(&mut self, changes: Changes, identity: u64, at: u64) -> Result<Vec<Commit>, ResyncCause> {
        let held = &mut self.place.position;
        if changes.epoch != *held.epoch {
            return Err(ResyncCause::Epoch);
        }
        let next = held.sequence + self.begun.len() as u64;
        if changes.from > next {
            return Err(ResyncCause::Gap);
        }
        let (open, count) = (changes.open, changes.commits.len());
        let mut whole = Vec::new();
        for (index, mut commit) in changes.commits.into_iter().enumerate() {
            commit.entries.retain(|entry| entry.sequence > next);
            self.begun.append(&mut commit.entries);
            let last = index + 1 == count;
            if self.begun.is_empty() || (last && open) {
                continue;
            }
            // Whoever comes back to a place in the midst of a message reads the message again.
            let mark = Some([identity, if last { at } else { at - 1 }]);
            let commit = Commit {
                entries: std::mem::take(&mut self.begun),
                mark,
            };
            held.sequence = commit.sequence();
            self.place.mark = mark;
            whole.push(commit);
        }
        Ok(whole)
    }
}
