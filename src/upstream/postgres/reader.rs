//! A follower's side of the database.

use std::time::Duration;

use super::{
    super::{Look, Place, Snapshot, UpstreamError},
    History, Settings,
    connect::{Address, Session},
    listen::Hints,
    poll, snapshot,
    writers::Writers,
};

/// Reads the database: a snapshot, then what follows.
#[derive(Debug)]
pub struct Reader {
    settings: Settings,
    address: Address,
    session: Option<Session>,
    hints: Option<Hints>,
    writers: Writers,
}

impl Reader {
    /// A reader of that database; connects at the first look.
    pub fn new(settings: Settings) -> Result<Self, UpstreamError> {
        Ok(Self {
            address: Address::read(&settings)?,
            settings,
            session: None,
            hints: None,
            writers: Writers::default(),
        })
    }

    /// How the database is reached.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The history that the database keeps.
    pub fn history(&self) -> History {
        History::new(self.settings.clone(), self.address.clone())
    }

    /// Reads everything in one transaction.
    pub async fn snapshot(&mut self) -> Result<Snapshot, UpstreamError> {
        // A session whose snapshot failed or was given up is in the middle of it.
        let session = self.session().await?;
        let taken = snapshot::snapshot(&session.client, self.settings.timeout).await?;
        self.session = Some(session);
        Ok(taken)
    }

    /// Looks at the head, and reads what has come since the place.
    pub async fn poll(&mut self, place: &Place, most: u64) -> Result<Look, UpstreamError> {
        let session = self.session().await?;
        let bound = self.settings.timeout;
        let look = poll::look(&session.client, place, most, bound).await?;
        // What was read counts, whatever becomes of the session.
        if self.writers.look(&session.client, bound).await.is_ok() {
            self.session = Some(session);
        }
        Ok(look)
    }

    /// Completes when the database told of a change, or when it is time to look whether it did. May be dropped.
    pub async fn changed(&mut self) {
        let Self {
            settings,
            address,
            hints,
            ..
        } = self;
        let hints = hints.get_or_insert_with(|| Hints::new(address.clone(), settings.clone()));
        let interval = if hints.are_heard() {
            settings.heartbeat_interval
        } else {
            settings.poll_interval
        };
        tokio::select! {
            () = hints.next() => {}
            () = tokio::time::sleep(interval) => {}
        }
    }

    /// Leaves the log as it is: many replicas read one database, and `greenlane migrate --trim` is its owner's.
    #[expect(
        clippy::unused_async,
        reason = "stands beside stores that are trimmed by their reader"
    )]
    pub async fn trim(&mut self, _retention: Duration) -> Result<u64, UpstreamError> {
        Ok(0)
    }

    /// The session, taken out: it is put back by who ends well with it.
    async fn session(&mut self) -> Result<Session, UpstreamError> {
        self.address.reuse(&self.settings, self.session.take()).await
    }
}
