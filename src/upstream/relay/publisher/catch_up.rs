//! Where the stream stands otherwise than the store: what is missing is published, or a reset.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{error, info};

use super::{
    super::{
        super::{
            Found, Place, ResyncCause, UpstreamError,
            nats::{Appended, Last, message::Reset},
            source::Source,
        },
        snapshots,
    },
    Newest, Publisher, not_connected,
};
use crate::registry::Generation;

/// So many changes are read at once where the stream is behind the store.
const AT_ONCE: u64 = 100_000;

impl Publisher {
    /// The stream's end, brought at least to where what is held stands, in its epoch; `None` where it has moved meanwhile.
    pub(super) async fn caught_up(&mut self, held: &Arc<Generation>) -> Result<Option<Last>, UpstreamError> {
        let position = held.position();
        let last = match self.end() {
            Some(end) => end.last.clone(),
            None => self.read_end().await?,
        };
        if let Some(cause) = self.owed {
            self.reset(held, cause).await?;
            return Ok(None);
        }
        let Some(last) = last else {
            self.reset(held, ResyncCause::First).await?;
            return Ok(None);
        };
        if *last.epoch != *position.epoch {
            if self.agreed.as_ref() == Some(&position.epoch) {
                self.forget_end();
                // Another relay was told of a new epoch before this one, or reads another store: it must not be fought.
                return Err(UpstreamError::Unavailable(format!(
                    "the stream has gone over to epoch {}, and the store is at {}: do all relays read the same store?",
                    last.epoch, position.epoch
                )));
            }
            self.reset(held, ResyncCause::Epoch).await?;
            return Ok(None);
        }
        if last.sequence < position.sequence {
            self.bridge(held, &last).await?;
            return Ok(None);
        }
        let mark = held.place().mark;
        if last.sequence == position.sequence && last.mark.is_some() && mark.is_some() && last.mark != mark {
            self.reset(held, ResyncCause::Fork).await?;
            return Ok(None);
        }
        Ok(Some(last))
    }

    /// Publishes what stands in the store's log between the stream's end and what is held: the follower has it already.
    async fn bridge(&mut self, held: &Arc<Generation>, last: &Last) -> Result<(), UpstreamError> {
        info!(
            stream = last.sequence,
            registry = held.position().sequence,
            "the stream is behind the registry: reading the store's log again"
        );
        match self.look_after(last).await? {
            Found::Commits(commits) => {
                self.append(last, &commits).await?;
                Ok(())
            }
            Found::Resync(cause) => self.reset(held, cause).await,
            Found::Nothing => {
                self.forget_end();
                Err(UpstreamError::Unavailable(
                    "the store's head went back".to_owned(),
                ))
            }
        }
    }

    /// The stream leads over what the store said is its head. Another relay may know more than this one by now, or the
    /// store has lost what was published.
    pub(super) async fn ahead(&mut self, held: &Arc<Generation>, last: &Last) -> Result<(), UpstreamError> {
        let Some(end) = self.link.as_mut().and_then(|link| link.end.as_mut()) else {
            return Ok(());
        };
        let since = *end.ahead.get_or_insert_with(Instant::now);
        if since.elapsed() < self.settings.to.heartbeat_interval {
            return Ok(());
        }
        end.ahead = None;
        match self.look_after(last).await? {
            Found::Resync(cause) => self.reset(held, cause).await,
            Found::Nothing | Found::Commits(_) => Ok(()),
        }
    }

    /// What the store's log holds after the stream's end, by a reader of its own: the follower's stands elsewhere.
    async fn look_after(&self, last: &Last) -> Result<Found, UpstreamError> {
        let mut source = Source::open(&self.settings.from)?;
        Ok(source.poll(&last.place(), AT_ONCE).await?.found)
    }

    /// Puts a snapshot of what is held, and a message that leads there.
    pub(super) async fn reset(
        &mut self,
        held: &Arc<Generation>,
        cause: ResyncCause,
    ) -> Result<(), UpstreamError> {
        self.answers.silence();
        let link = self.link.as_mut().ok_or_else(not_connected)?;
        let Some(after) = link.end.as_ref().map(|end| end.at) else {
            return Ok(());
        };
        info!(
            cause = cause.name(),
            "the stream cannot be followed from where it ends: putting a snapshot"
        );
        // No commit is applied meanwhile: the follower waits for this.
        let place = held.place();
        let object = snapshots::put(Arc::clone(held), &link.stream, after, &self.settings.folder).await?;
        let Place { position, mark } = place;
        let reset = Reset {
            epoch: position.epoch.to_string(),
            sequence: position.sequence,
            mark,
            cause,
            object: object.name.clone(),
        };
        link.end = None;
        let id = format!("reset-{}", object.name);
        if let Appended::At(stream_sequence) = link.stream.append(reset.encode(), &id, after).await? {
            if cause == ResyncCause::First {
                info!(stream_sequence, sequence = position.sequence, "the stream begins");
            } else {
                error!(
                    cause = cause.name(),
                    stream_sequence,
                    sequence = position.sequence,
                    "reset published: every replica takes a snapshot"
                );
            }
            self.owed = None;
            self.newest = Some(Newest {
                stream_sequence: object.stream_sequence,
                seen: Instant::now(),
            });
        }
        Ok(())
    }
}
