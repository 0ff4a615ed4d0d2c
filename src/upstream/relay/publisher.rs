//! Publishes what the follower is about to apply, and keeps the stream and the store in step.

mod catch_up;

use std::{borrow::Cow, path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet, time::Instant};
use tracing::{debug, error, info, warn};

use super::{
    super::{
        Asked, Commit, ResyncCause, UpstreamError,
        nats::{Appended, Last, NatsSettings, Stream, connect, message::pack, object::SnapshotObject},
        source::SourceSettings,
    },
    answers::{Answers, Confirmed},
    snapshots,
};
use crate::registry::Generation;

/// How often a place in the stream is lost to another relay before the store is looked at afresh.
const TRIES: usize = 8;
/// So many messages after a snapshot the next one is due, however young it is.
const MESSAGES: u64 = 20_000;
/// After a snapshot could not be put, the next is tried no earlier.
const PUT_AGAIN: Duration = Duration::from_secs(10);

/// How a relay works.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    /// Where it publishes.
    pub to: NatsSettings,
    /// Where its follower reads, to read there again what the stream is behind.
    pub from: SourceSettings,
    /// Where a snapshot is written on its way.
    pub folder: PathBuf,
    /// Between two snapshots in the object store.
    pub snapshot_interval: Duration,
}

/// Publishes for one follower.
#[derive(Debug)]
pub struct Publisher {
    settings: RelaySettings,
    answers: Arc<Answers>,
    link: Option<Link>,
    /// The stream cannot be followed from where it stands to what the follower holds: a reset is due.
    owed: Option<ResyncCause>,
    /// The epoch in which stream and follower agreed last.
    agreed: Option<Arc<str>>,
    newest: Option<Newest>,
    /// When a snapshot could not be put.
    failed: Option<Instant>,
}

#[derive(Debug)]
struct Link {
    stream: Stream,
    /// The stream's end, as it was when it was read or written last; `None` where that is not known.
    end: Option<End>,
    /// The answering task.
    #[expect(dead_code, reason = "ends with the link")]
    answering: JoinSet<()>,
    /// The snapshot on its way.
    putting: JoinSet<Result<SnapshotObject, UpstreamError>>,
}

#[derive(Debug, Clone)]
struct End {
    /// The last message's sequence in the stream; 0 for an empty one.
    at: u64,
    /// What it says; `None` where there is none, or it cannot be read.
    last: Option<Last>,
    read: Instant,
    /// Since when the stream has been ahead of what the store said is its head.
    ahead: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Newest {
    stream_sequence: u64,
    seen: Instant,
}

impl Publisher {
    /// A publisher; connects when there is something to publish.
    pub fn new(settings: RelaySettings) -> Self {
        let relay = format!("{:016x}", rand::random::<u64>());
        info!(relay, "this relay's name");
        Self {
            settings,
            answers: Answers::new(relay),
            link: None,
            owed: None,
            agreed: None,
            newest: None,
            failed: None,
        }
    }

    /// Whether replicas are answered: the store has confirmed what the stream holds.
    pub fn speaking(&self) -> watch::Receiver<bool> {
        self.answers.speaking()
    }

    /// Publishes commits that follow on what is held, so that they may be applied. Returns once the stream leads over them,
    /// by this relay's hand or another's.
    pub async fn publish(&mut self, held: &Arc<Generation>, commits: &[Commit]) -> Result<(), UpstreamError> {
        let Some(to) = commits.iter().map(Commit::sequence).max().filter(|to| *to > 0) else {
            return Ok(());
        };
        for _ in 0..TRIES {
            let Some(last) = self.caught_up(held).await? else {
                continue;
            };
            if last.sequence >= to {
                return Ok(());
            }
            if !agrees(&last, commits) {
                self.reset(held, ResyncCause::Fork).await?;
                continue;
            }
            let rest = after(commits, last.sequence);
            if self.append(&last, &rest).await? {
                return Ok(());
            }
        }
        Err(UpstreamError::Unavailable(
            "nats: other relays won every place in the stream".to_owned(),
        ))
    }

    /// Says that what is held now came in force by a snapshot. What that means for the stream is found out at the head.
    pub fn replaced(&mut self, cause: ResyncCause) {
        if cause == ResyncCause::Mismatch {
            // The stream led here and was wrong: replicas may hold the same error.
            self.owed = Some(cause);
        }
        self.answers.silence();
    }

    /// Says that what is held was the store's head when it was asked. Brings the stream there, answers replicas from then
    /// on, and puts a snapshot when one is due.
    pub async fn confirm(&mut self, held: &Arc<Generation>, asked: Asked) -> Result<(), UpstreamError> {
        let position = held.position();
        let read = self.end().map(|end| end.read);
        if read.is_none_or(|read| read.elapsed() >= self.settings.to.heartbeat_interval) {
            // Another relay may have published since, or the stream may be gone.
            self.read_end().await?;
        }
        let Some(last) = self.caught_up(held).await? else {
            return Ok(());
        };
        if last.sequence > position.sequence {
            return self.ahead(held, &last).await;
        }
        self.agreed = Some(Arc::clone(&position.epoch));
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        if let Some(end) = &mut link.end {
            end.ahead = None;
        }
        self.answers.confirm(Confirmed {
            epoch: last.epoch,
            sequence: position.sequence,
            digest: held.digest(),
            stream: link.stream.identity,
            stream_sequence: last.stream_sequence,
            asked,
        });
        self.put_snapshot(held, last.stream_sequence);
        Ok(())
    }

    /// Says that the store, or the stream, does not answer: replicas are told nothing until it does.
    pub fn silence(&self) {
        self.answers.silence();
    }

    /// Appends commits to the stream's end; false where another relay was faster.
    async fn append(&mut self, last: &Last, commits: &[Commit]) -> Result<bool, UpstreamError> {
        let link = self.link.as_mut().ok_or_else(not_connected)?;
        let mut at = last.stream_sequence;
        let room = link.stream.largest_message();
        let messages: Vec<_> = pack(&last.epoch, last.sequence, commits, room).collect();
        for packed in messages {
            let Ok(packed) = packed else {
                // Once it is applied, a snapshot leads over it.
                warn!("a row is larger than any message may be: replicas will be given a snapshot");
                self.owed = Some(ResyncCause::Bulk);
                self.answers.silence();
                return Ok(true);
            };
            // The fingerprint, because a restored backup comes to the same sequence again within the time that ids are
            // remembered.
            let id = format!("{}-{}-{:016x}", last.epoch, packed.to, packed.fingerprint);
            // Whether an append that fails was carried out cannot be known: the stream is read again.
            let end = link.end.take();
            match link.stream.append(packed.payload, &id, at).await? {
                Appended::Elsewhere => {
                    debug!(after = at, "another relay was first");
                    return Ok(false);
                }
                Appended::At(stream_sequence) => at = stream_sequence,
            }
            link.end = Some(End {
                at,
                last: Some(Last {
                    stream_sequence: at,
                    epoch: last.epoch.clone(),
                    sequence: packed.to,
                    mark: packed.mark,
                    fingerprint: Some(packed.fingerprint),
                }),
                read: end.map_or_else(Instant::now, |end| end.read),
                ahead: None,
            });
        }
        Ok(true)
    }

    /// Puts a snapshot beside everything else, when one is due.
    fn put_snapshot(&mut self, held: &Arc<Generation>, stream_sequence: u64) {
        let Some(link) = &mut self.link else {
            return;
        };
        if let Some(put) = link.putting.try_join_next() {
            match put {
                Ok(Ok(object)) => {
                    self.newest = Some(Newest {
                        stream_sequence: object.stream_sequence,
                        seen: Instant::now(),
                    });
                }
                Ok(Err(problem)) => {
                    self.failed = Some(Instant::now());
                    warn!(%problem, "snapshot not put into NATS");
                }
                Err(problem) => {
                    self.failed = Some(Instant::now());
                    warn!(%problem, "snapshot not put into NATS");
                }
            }
        }
        if self.failed.is_some_and(|failed| failed.elapsed() < PUT_AGAIN) {
            return;
        }
        let due = self.newest.is_none_or(|newest| {
            let behind = stream_sequence.saturating_sub(newest.stream_sequence);
            behind >= MESSAGES || (behind > 0 && newest.seen.elapsed() >= self.settings.snapshot_interval)
        });
        if due && link.putting.is_empty() {
            link.putting.spawn(snapshots::refresh(
                Arc::clone(held),
                link.stream.clone(),
                stream_sequence,
                self.newest.map(|newest| newest.stream_sequence),
                self.settings.folder.clone(),
            ));
        }
    }

    fn end(&self) -> Option<&End> {
        self.link.as_ref()?.end.as_ref()
    }

    fn forget_end(&mut self) {
        if let Some(link) = &mut self.link {
            link.end = None;
        }
    }

    /// Reads where the stream ends; connects first, and makes the stream, where that is to be done.
    async fn read_end(&mut self) -> Result<Option<Last>, UpstreamError> {
        let result = self.try_read_end().await;
        if result.is_err() {
            self.answers.silence();
            self.forget_end();
        }
        result
    }

    async fn try_read_end(&mut self) -> Result<Option<Last>, UpstreamError> {
        let to = &self.settings.to;
        if self.link.is_none() {
            let names = to.names()?;
            let client = connect(to).await?;
            let stream = Stream::open_or_create(client.clone(), &names, to.timeout).await?;
            let mut answering = JoinSet::new();
            answering.spawn(Arc::clone(&self.answers).run(client, names));
            self.link = Some(Link {
                stream,
                end: None,
                answering,
                putting: JoinSet::new(),
            });
        }
        let link = self.link.as_mut().ok_or_else(not_connected)?;
        if link.stream.extent().await?.is_none() {
            // Deleted by somebody: whatever comes in its place is another stream in every respect.
            self.link = None;
            self.newest = None;
            return Err(UpstreamError::Unavailable(
                "nats: the stream is gone, or made anew".to_owned(),
            ));
        }
        let (at, last) = match link.stream.last().await? {
            None => (0, None),
            Some((at, Ok(last))) => (at, Some(last)),
            Some((at, Err(problem))) => {
                error!(stream_sequence = at, %problem, "the stream's last message cannot be read");
                self.owed = Some(ResyncCause::Gap);
                (at, None)
            }
        };
        let former = link.end.take().filter(|end| end.at == at);
        link.end = Some(End {
            at,
            last: last.clone(),
            read: Instant::now(),
            ahead: former.and_then(|end| end.ahead),
        });
        Ok(last)
    }
}

fn not_connected() -> UpstreamError {
    UpstreamError::Unavailable("nats: not connected".to_owned())
}

/// Whether the stream's last row is the one that these commits have at the same sequence, if they have it.
fn agrees(last: &Last, commits: &[Commit]) -> bool {
    let Some(fingerprint) = last.fingerprint else {
        return true;
    };
    let entries = commits.iter().flat_map(|commit| &commit.entries);
    let mut same = entries.filter(|entry| entry.sequence == last.sequence);
    same.next().is_none_or(|entry| entry.fingerprint() == fingerprint)
}

/// What of the commits comes after a sequence. The stream was cut there by another relay, where a commit ends or goes on.
fn after(commits: &[Commit], sequence: u64) -> Cow<'_, [Commit]> {
    let begins_there = commits
        .first()
        .and_then(|commit| commit.entries.first())
        .is_none_or(|entry| entry.sequence == sequence + 1);
    if begins_there {
        return Cow::Borrowed(commits);
    }
    let rest = commits.iter().map(|commit| Commit {
        entries: commit
            .entries
            .iter()
            .filter(|entry| entry.sequence > sequence)
            .cloned()
            .collect(),
        mark: commit.mark,
    });
    Cow::Owned(rest.filter(|commit| !commit.entries.is_empty()).collect())
}
