//! A watch: the current state of its shipments first, then whatever changes.

mod token;

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    hash::{BuildHasher as _, Hash},
    sync::Arc,
    time::Duration,
};

use foldhash::fast::FixedState;
use jiff::{SignedDuration, Timestamp};
use smallvec::SmallVec;
use thiserror::Error;
use tokio::time::Instant;

pub use self::token::Token;
use super::{
    held::Held,
    memory::Shipments,
    publisher::{Subscription, Taken},
    view::{Key, Unreachable, View},
};
use crate::{facilitation::Moment, metrics::Shed};

/// Older tokens are not taken: what they stand for may have been forgotten.
const TOKEN_MAX_AGE: SignedDuration = SignedDuration::from_hours(24);

/// Why a watch cannot begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WatchError {
    /// The token is none of ours.
    #[error("is no token of a watch")]
    Malformed,
    /// The token is older than a day.
    #[error("the token is too old to resume from: start again with an empty one")]
    TooOld,
    /// There are as many watches as there may be.
    #[error("too many watches at once")]
    TooMany,
    /// The store cannot be asked for what is not in memory.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

/// Why a watch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Changes were left unread for too long.
    TooSlow,
    /// The replica stops.
    Draining,
}

/// What a watch tells. A token resumes the watch right after the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The state of a shipment.
    Shipment {
        /// The state, whole.
        view: Box<View>,
        /// Resumes from here.
        token: String,
    },
    /// The watch lives, and everything up to here was told.
    Heartbeat {
        /// Resumes from here.
        token: String,
    },
    /// The end.
    Ended {
        /// Why.
        why: Ended,
        /// Resumes from here.
        token: String,
    },
}

fn hash(value: impl Hash) -> u64 {
    FixedState::default().hash_one(value)
}

/// What is known of one key of a watch.
#[derive(Debug, Default)]
struct Watched {
    /// Hash of what was sent last; 0 for nothing.
    sent: u64,
    /// The end of validity that stands in [`Watch::ends`] for it.
    end: Timestamp,
    /// Kept in memory for as long as the watch lives.
    pins: SmallVec<[Arc<Held>; 1]>,
}

/// A watch of one caller.
#[derive(Debug)]
pub struct Watch {
    shipments: Arc<Shipments>,
    subscription: Arc<Subscription>,
    keys: Vec<Key>,
    watched: Vec<Watched>,
    /// Places that are to be told, the next one last.
    batch: Vec<u32>,
    /// What is told once the batch is.
    reached: Token,
    /// What is told.
    token: Token,
    /// What the caller has, until the first batch is told.
    resumed: Option<Token>,
    /// The first batch is still to be told.
    beginning: bool,
    /// Ends of validity, of what was sent.
    ends: BinaryHeap<Reverse<(Timestamp, u32)>>,
    beat: Instant,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shipments
            .publisher()
            .unsubscribe(&self.subscription, &self.keys);
    }
}

impl Shipments {
    /// Watches shipments, from a token on or, where that is empty, from their current state on. Of keys that stand twice
    /// one is watched.
    pub async fn watch(self: &Arc<Self>, mut keys: Vec<Key>, token: &str) -> Result<Watch, WatchError> {
        let mut seen = foldhash::HashSet::default();
        keys.retain(|key| seen.insert(*key));
        let now = Moment::now().timestamp;
        let own = Token {
            instance: self.instance(),
            keys: keys.iter().fold(0, |sum, key| sum ^ hash(key)),
            count: 0,
            at: now,
        };
        let resumed = match token {
            "" => None,
            text => Some(Token::read(text).ok_or(WatchError::Malformed)?),
        };
        if resumed.is_some_and(|token| now.duration_since(token.at) > TOKEN_MAX_AGE) {
            return Err(WatchError::TooOld);
        }
        let subscription = self.publisher().subscribe(&keys).inspect_err(|error| {
            if matches!(error, WatchError::TooMany) {
                self.metrics.shed(Shed::Watches, 1);
            }
        })?;
        let watch = Watch {
            watched: keys.iter().map(|_| Watched::default()).collect(),
            shipments: Arc::clone(self),
            subscription,
            batch: Vec::new(),
            reached: own,
            token: own,
            // To other lives and for other keys it stands for nothing: everything is told.
            resumed: resumed.filter(|token| (token.instance, token.keys) == (own.instance, own.keys)),
            beginning: true,
            ends: BinaryHeap::new(),
            beat: Instant::now() + self.publisher().limits.heartbeat,
            keys,
        };
        // From here on a change is told; what is asked for now is at least as new.
        watch.shipments.load(&watch.keys).await?;
        Ok(watch)
    }
}

impl Watch {
    /// Resumes the watch after the event that was told last.
    pub fn token(&self) -> String {
        self.token.text()
    }

    /// The next event. Where it is not awaited to its end, nothing is lost.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(why) = self.subscription.ended() {
                let token = self.token.text();
                return Event::Ended { why, token };
            }
            if let Some(view) = self.tell_batch().await {
                let (view, token) = (Box::new(view), self.token.text());
                return Event::Shipment { view, token };
            }
            let Taken { places, count } = self.shipments.publisher().take(&self.subscription);
            if !places.is_empty() {
                self.batch = places;
                self.batch.reverse();
                let at = Moment::now().timestamp;
                self.reached = Token {
                    count,
                    at,
                    ..self.token
                };
                continue;
            }
            if std::mem::take(&mut self.beginning) {
                // Everything that there is was told: the first token that skips it.
                return self.heartbeat();
            }
            let end = self.ends.peek().map(|Reverse((end, _))| *end);
            let until_end = async {
                match end {
                    Some(end) => tokio::time::sleep(until(end)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.subscription.told.notified() => {}
                () = until_end => self.take_ended(),
                () = tokio::time::sleep_until(self.beat) => return self.heartbeat(),
            }
        }
    }

    fn heartbeat(&mut self) -> Event {
        self.beat = Instant::now() + self.shipments.publisher().limits.heartbeat;
        Event::Heartbeat {
            token: self.token.text(),
        }
    }

    /// What is no longer valid is to be told again.
    fn take_ended(&mut self) {
        let now = Moment::now().timestamp;
        while let Some(Reverse((end, place))) = self.ends.peek().copied()
            && end <= now
        {
            self.ends.pop();
            self.batch.push(place);
        }
        self.reached = Token {
            at: now,
            ..self.token
        };
    }

    /// The next state of the batch that the caller does not have.
    async fn tell_batch(&mut self) -> Option<View> {
        while let Some(&place) = self.batch.last() {
            let found = self.current(place).await;
            self.batch.pop();
            let told = found.and_then(|(view, is_news)| self.note(place, view, is_news));
            if self.batch.is_empty() {
                self.token = self.reached;
                self.resumed = None;
            }
            if told.is_some() {
                return told;
            }
        }
        None
    }

    /// The state of a key, and whether it changed since the token that the caller came with.
    async fn current(&mut self, place: u32) -> Option<(View, bool)> {
        let key = self.keys[place as usize];
        let mut found = self.shipments.pinned(&key);
        if found.is_empty() && !self.beginning {
            // It was told of, and forgotten before it was read.
            self.shipments.load(&[key]).await.ok()?;
            found = self.shipments.pinned(&key);
        }
        let now = Moment::now();
        let view = self.shipments.view_of(&key, &found, &now);
        let is_news = self.resumed.is_none_or(|token| {
            let ended = |view: &View| token.at < view.valid_until && view.valid_until <= now.timestamp;
            self.shipments.publisher().everything_at() > token.count
                || found.iter().any(|held| held.inner().changed_at > token.count)
                || view.as_ref().is_some_and(ended)
        });
        let former = std::mem::replace(&mut self.watched[place as usize].pins, found);
        // A container that is on no declaration any more: without this, its watcher would keep what was granted there.
        let view = view.or_else(|| {
            let declaration = Key::Declaration(former.first()?.number);
            self.shipments.view_of(&declaration, &former, &now)
        });
        view.map(|view| (view, is_news))
    }

    /// Notes what the caller has from now on; gives it where that is news.
    fn note(&mut self, place: u32, view: View, is_news: bool) -> Option<View> {
        let hash = hash(&view).max(1);
        let watched = &mut self.watched[place as usize];
        if std::mem::replace(&mut watched.sent, hash) == hash {
            return None;
        }
        if view.valid_until > Moment::now().timestamp && watched.end != view.valid_until {
            watched.end = view.valid_until;
            self.ends.push(Reverse((view.valid_until, place)));
        }
        is_news.then_some(view)
    }
}

/// How long it is until an instant by the wall clock, and a little more, so that it has passed.
fn until(end: Timestamp) -> Duration {
    let left = end.duration_since(Moment::now().timestamp);
    Duration::try_from(left).unwrap_or_default() + Duration::from_millis(1)
}
