//! Shipments in the store that every replica shares: changed by compare-and-set, and followed by whoever wants to know.
//!
//! ```text
//! SQLite       file   <store>-shipments.db   tables shipment, shipment_container, shipment_progress, shipment_meta
//! PostgreSQL                                 tables shipment, shipment_progress, shipment_meta
//! NATS         bucket <prefix>_shipments     keys   <declaration>, container.<number>.<declaration>, progress.<replica>
//! ```
//!
//! **Invariants.** Of the puts onto one revision a store takes one, whichever replicas they come from; to whoever was not
//! taken it says what stands. Changes have one order, the same for every reader, in which the last one of each shipment
//! stands: who follows it misses no shipment's present state, though perhaps states before it.

mod place;

pub(super) use self::place::{PAGE, Page, Place, sql};

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use bytes::Bytes;
use jiff::Timestamp;

use super::{UpstreamError, nats, postgres, source::SourceSettings, sqlite};

/// Between two looks at a store that does not tell of changes.
const LOOK: Duration = Duration::from_millis(100);
/// Between two words that a reader is caught up, while nothing changes.
const CAUGHT_UP: Duration = Duration::from_millis(500);

/// A shipment as a store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredShipment {
    /// Its key: 18 letters and digits.
    pub declaration_number: String,
    /// Its containers, 0 to 100 of 11 letters and digits each.
    pub container_numbers: Vec<String>,
    /// Counts its changes, from 1.
    pub revision: u64,
    /// When it was decided, to the nanosecond: how long it is kept goes by it.
    pub decided_at: Timestamp,
    /// What else there is to know of it. No store looks into it.
    pub entry: Bytes,
}

/// A change on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The revision that it follows on; 0 where the shipment is new. A store that has another one refuses the change; one
    /// that has none takes it, whatever the base: the shipment was deleted, or the store has lost it.
    pub base: u64,
    /// The shipment as it is to be.
    pub shipment: StoredShipment,
}

/// The place in a store where shipments are. Connects at the first use, and again after an error.
#[derive(Debug)]
pub struct ShipmentStore {
    store: Store,
}

#[derive(Debug)]
enum Store {
    Sqlite(sqlite::Shipments),
    Postgres(Box<postgres::Shipments>),
    Nats(Box<nats::Shipments>),
}

impl ShipmentStore {
    /// The shipments in the store of those settings.
    pub fn open(settings: &SourceSettings) -> Result<Self, UpstreamError> {
        let store = match Kind::of(settings)? {
            Kind::Sqlite(path) => Store::Sqlite(sqlite::Shipments::new(path)),
            Kind::Postgres(settings) => Store::Postgres(Box::new(postgres::Shipments::new(settings)?)),
            Kind::Nats(settings) => Store::Nats(Box::new(nats::Shipments::new(settings)?)),
        };
        Ok(Self { store })
    }

    /// Takes each put whose base fits, and gives what stands where one does not. A put of what stands already counts as
    /// taken: after an error the same puts may be put again. Several of one declaration are taken in their order.
    pub async fn put(&mut self, puts: &[Put]) -> Result<Vec<StoredShipment>, UpstreamError> {
        let mut stand = Vec::new();
        for puts in once_each(puts) {
            let refused = match &mut self.store {
                Store::Sqlite(store) => store.put(puts).await?,
                Store::Postgres(store) => store.put(puts).await?,
                Store::Nats(store) => store.put(puts).await?,
            };
            stand.extend(refused);
        }
        if !stand.is_empty() {
            let wanted: HashSet<_> = puts.iter().map(|put| identity(&put.shipment)).collect();
            stand.retain(|stands| !wanted.contains(&identity(stands)));
        }
        Ok(stand)
    }

    /// The shipments of these declarations, in no order; what the store does not have is left out.
    pub async fn declarations(&mut self, numbers: &[&str]) -> Result<Vec<StoredShipment>, UpstreamError> {
        match &mut self.store {
            Store::Sqlite(store) => store.declarations(numbers).await,
            Store::Postgres(store) => store.declarations(numbers).await,
            Store::Nats(store) => store.declarations(numbers).await,
        }
    }

    /// Every shipment that has one of these containers now, once, in no order.
    pub async fn containers(&mut self, numbers: &[&str]) -> Result<Vec<StoredShipment>, UpstreamError> {
        match &mut self.store {
            Store::Sqlite(store) => store.containers(numbers).await,
            Store::Postgres(store) => store.containers(numbers).await,
            Store::Nats(store) => store.containers(numbers).await,
        }
    }

    /// How far a replica's audit log is known to be in the store, as that replica said last.
    pub async fn progress(&mut self, replica: &str) -> Result<Option<u64>, UpstreamError> {
        match &mut self.store {
            Store::Sqlite(store) => store.progress(replica).await,
            Store::Postgres(store) => store.progress(replica).await,
            Store::Nats(store) => store.progress(replica).await,
        }
    }

    /// Says how far a replica's audit log is in the store.
    pub async fn put_progress(&mut self, replica: &str, sequence: u64) -> Result<(), UpstreamError> {
        match &mut self.store {
            Store::Sqlite(store) => store.put_progress(replica, sequence).await,
            Store::Postgres(store) => store.put_progress(replica, sequence).await,
            Store::Nats(store) => store.put_progress(replica, sequence).await,
        }
    }

    /// Deletes shipments decided before that instant, step by step, so that nobody waits for long; gives how many. Over
    /// NATS a shipment that was changed later is kept for as long after that change.
    pub async fn trim(&mut self, before: Timestamp) -> Result<u64, UpstreamError> {
        match &mut self.store {
            Store::Sqlite(store) => store.trim(before).await,
            Store::Postgres(store) => store.trim(before).await,
            Store::Nats(store) => store.trim(before).await,
        }
    }
}

/// The changes of every replica, in their order, over a connection of their own.
#[derive(Debug)]
pub struct ShipmentFeed {
    feed: Feed,
    /// When it was last said that there are no more, if nothing has changed since.
    told: Option<Instant>,
}

#[derive(Debug)]
enum Feed {
    Sqlite(Box<sqlite::ShipmentFeed>),
    Postgres(Box<postgres::ShipmentFeed>),
    Nats(Box<nats::ShipmentFeed>),
}

impl ShipmentFeed {
    /// The changes in the store of those settings, beginning with the `recent` shipments that were changed last.
    pub fn open(settings: &SourceSettings, recent: u64) -> Result<Self, UpstreamError> {
        // Numbers of databases end there.
        let recent = recent.min(i64::MAX.unsigned_abs());
        let feed = match Kind::of(settings)? {
            Kind::Sqlite(path) => Feed::Sqlite(Box::new(sqlite::ShipmentFeed::new(path, recent))),
            Kind::Postgres(settings) => {
                Feed::Postgres(Box::new(postgres::ShipmentFeed::new(settings, recent)?))
            }
            Kind::Nats(settings) => Feed::Nats(Box::new(nats::ShipmentFeed::new(settings, recent)?)),
        };
        Ok(Self { feed, told: None })
    }

    /// The next shipments that were changed, in the order of their changes. None at all says that there are no more in the
    /// store as it is now, and is said every half second while nothing changes. May be dropped at any time. After an error
    /// it connects anew and goes on where it was; in a store that went back (restored, made anew) it begins again with the
    /// recent ones.
    pub async fn next(&mut self) -> Result<Vec<StoredShipment>, UpstreamError> {
        loop {
            let found = match &mut self.feed {
                Feed::Sqlite(feed) => feed.look().await?,
                Feed::Postgres(feed) => feed.look().await?,
                Feed::Nats(feed) => feed.look().await?,
            };
            if !found.is_empty() {
                self.told = None;
                return Ok(found);
            }
            if self.told.is_none_or(|told| told.elapsed() >= CAUGHT_UP) {
                self.told = Some(Instant::now());
                return Ok(found);
            }
            match &mut self.feed {
                Feed::Sqlite(_) | Feed::Postgres(_) => tokio::time::sleep(LOOK).await,
                // Nothing has arrived: there is something to say all the same.
                Feed::Nats(feed) => drop(tokio::time::timeout(CAUGHT_UP, feed.changed()).await),
            }
        }
    }
}

/// What kind of store it is, and how it is reached.
enum Kind {
    Sqlite(sqlite::StorePath),
    Postgres(postgres::Settings),
    Nats(nats::NatsSettings),
}

impl Kind {
    fn of(settings: &SourceSettings) -> Result<Self, UpstreamError> {
        if settings.is_postgres() {
            return Ok(Self::Postgres(settings.postgres()));
        }
        if settings.url.starts_with("sqlite://") {
            let store = sqlite::StorePath::from_url(&settings.url)?;
            return Ok(Self::Sqlite(store.shipments()));
        }
        let nats = settings.nats(&settings.url);
        nats.check()?;
        Ok(Self::Nats(nats))
    }
}

/// What tells a shipment's states apart: two replicas may come to the same one, each by itself.
fn identity(shipment: &StoredShipment) -> (&str, u64, &[u8]) {
    let StoredShipment {
        declaration_number,
        revision,
        entry,
        ..
    } = shipment;
    (declaration_number, *revision, entry)
}

/// The puts in runs, in none of which a declaration comes twice.
fn once_each(puts: &[Put]) -> Vec<&[Put]> {
    let mut runs = Vec::new();
    let (mut begun, mut seen) = (0, HashSet::with_capacity(puts.len()));
    for (at, put) in puts.iter().enumerate() {
        if !seen.insert(&put.shipment.declaration_number) {
            runs.push(&puts[begun..at]);
            begun = at;
            seen.clear();
            seen.insert(&put.shipment.declaration_number);
        }
    }
    if begun < puts.len() {
        runs.push(&puts[begun..]);
    }
    runs
}

/// An instant as a store keeps it: nanoseconds since 1970.
pub(super) fn nanoseconds(at: Timestamp) -> i64 {
    let limit = if at.as_nanosecond() < 0 {
        i64::MIN
    } else {
        i64::MAX
    };
    i64::try_from(at.as_nanosecond()).unwrap_or(limit)
}

/// An instant as it was kept.
pub(super) fn instant(nanoseconds: i64) -> Timestamp {
    // Every one of these numbers is an instant.
    Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(declaration_number: &str, base: u64) -> Put {
        Put {
            base,
            shipment: StoredShipment {
                declaration_number: declaration_number.to_owned(),
                container_numbers: Vec::new(),
                revision: base + 1,
                decided_at: Timestamp::UNIX_EPOCH,
                entry: Bytes::new(),
            },
        }
    }

    #[test]
    fn a_declaration_comes_once_in_a_run() {
        let puts = [put("a", 0), put("b", 0), put("a", 1), put("a", 2), put("b", 1)];
        let lengths: Vec<_> = once_each(&puts).iter().map(|run| run.len()).collect();
        assert_eq!(lengths, [2, 1, 2]);
        assert_eq!(once_each(&[]), Vec::<&[Put]>::new());
    }

    #[test]
    fn instants_come_back_as_they_were_kept() {
        for at in ["2026-11-24T01:02:03.123456789Z", "1969-12-31T23:59:59.999999999Z"] {
            let at: Timestamp = at.parse().unwrap();
            assert_eq!(instant(nanoseconds(at)), at);
        }
        assert_eq!(nanoseconds(Timestamp::MAX), i64::MAX);
    }
}
