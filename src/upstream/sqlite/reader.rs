//! Reads the embedded store: a snapshot in one transaction, then whatever the log has grown by.

use std::{
    os::unix::fs::MetadataExt,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OptionalExtension, Row, types::ValueRef};
use tokio::sync::oneshot;

use super::{
    super::{
        Asked, Commit, Found, Look, MAX_COMMIT_IN_PLACE, Mark, Place, ResyncCause, Snapshot, UpstreamError,
        columns, log::LogEntry, row,
    },
    StorePath, column, snapshot,
};
use crate::{
    background,
    registry::{
        Position, StoreDigest,
        row::{Change, Entity},
    },
};

/// A head that `SQLite` says has not moved is looked at all the same this often.
const FULL_LOOK: Duration = Duration::from_secs(1);

/// A follower's side of the store.
#[derive(Debug)]
pub struct Reader {
    path: StorePath,
    poll_interval: Duration,
    connection: Option<Open>,
}

#[derive(Debug)]
pub(super) struct Open {
    pub(super) connection: Connection,
    pub(super) file: (u64, u64),
    data_version: i64,
    looked: Option<Instant>,
}

impl Reader {
    /// A reader of that store; opens it at the first look.
    pub fn new(path: StorePath, poll_interval: Duration) -> Self {
        Self {
            path,
            poll_interval,
            connection: None,
        }
    }

    /// Between two looks.
    pub const fn poll_interval(&self) -> Duration {
        self.poll_interval
    }

    /// Where the store is.
    pub fn path(&self) -> &StorePath {
        &self.path
    }

    /// Reads everything in one transaction.
    pub fn snapshot(&mut self) -> Result<Snapshot, UpstreamError> {
        self.connection = None;
        let (snapshot, open) = snapshot::read(&self.path)?;
        self.connection = Some(open);
        Ok(snapshot)
    }

    /// Looks at the head, and reads what has come since the place: all of it as one commit, because a log row does not
    /// tell where a commit ends, but a transaction of ours sees whole ones.
    pub fn poll(&mut self, place: &Place, most: u64) -> Result<Look, UpstreamError> {
        let asked = Asked::now();
        let polled = self.look(place, most).map(|found| Look::at_head(found, asked));
        if polled.is_err() {
            // Whatever went wrong, the next look starts with a new connection.
            self.connection = None;
        }
        polled
    }

    fn look(&mut self, place: &Place, most: u64) -> Result<Found, UpstreamError> {
        let file = file_identity(&self.path)?;
        let open = match &mut self.connection {
            Some(open) if open.file == file => open,
            Some(_) => return Ok(Found::Resync(ResyncCause::Fork)),
            empty @ None => empty.insert(Open::new(&self.path)?),
        };
        let data_version = open
            .connection
            .query_row("PRAGMA data_version", [], |row| row.get(0))?;
        let recently = open.looked.is_some_and(|looked| looked.elapsed() < FULL_LOOK);
        if recently && data_version == open.data_version {
            // No other connection has committed to this file since the last look.
            return Ok(Found::Nothing);
        }
        let transaction = open.connection.unchecked_transaction()?;
        let found = follow(&transaction, place, most.min(MAX_COMMIT_IN_PLACE as u64))?;
        drop(transaction);
        open.data_version = data_version;
        open.looked = Some(Instant::now());
        Ok(found)
    }

    /// Deletes log rows older than `retention`, but never the last one, which tells a fork. Gives how many went.
    pub fn trim(&self, retention: Duration) -> Result<u64, UpstreamError> {
        let connection = self.path.open()?;
        let transaction = connection.unchecked_transaction()?;
        let trimmed = transaction.execute(
            "DELETE FROM change_log
             WHERE committed_at < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?1)
               AND sequence < (SELECT sequence FROM registry_meta)",
            [format!("-{} seconds", retention.as_secs())],
        )?;
        if trimmed > 0 {
            // Clock steps may leave an older row above a younger one; the watermark stands below the first that is left.
            transaction.execute(
                "UPDATE registry_meta
                 SET low_watermark = max(low_watermark, (SELECT min(sequence) - 1 FROM change_log))",
                [],
            )?;
        }
        transaction.commit()?;
        Ok(trimmed as u64)
    }
}

impl Open {
    pub(super) fn new(path: &StorePath) -> Result<Self, UpstreamError> {
        let file = file_identity(path)?;
        let connection = path.open()?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(Self {
            connection,
            file,
            data_version: 0,
            looked: None,
        })
    }
}

/// What tells a file from another one in its place.
pub(super) fn file_identity(path: &StorePath) -> Result<(u64, u64), UpstreamError> {
    let metadata = std::fs::metadata(&path.0)
        .map_err(|error| UpstreamError::Unavailable(format!("{}: {error}", path.0.display())))?;
    Ok((metadata.dev(), metadata.ino()))
}

/// The digest of every row, read in one transaction; tells at its beginning at which position that is.
pub fn store_digest(path: &StorePath, begun: oneshot::Sender<Position>) -> Result<String, UpstreamError> {
    let open = Open::new(path)?;
    let transaction = open.connection.unchecked_transaction()?;
    let head = head(&transaction)?;
    let position = Position {
        epoch: head.epoch.into(),
        sequence: head.sequence,
    };
    // Nobody waits for it when the comparison was given up.
    let _given_up = begun.send(position);
    let mut digest = StoreDigest::default();
    for entity in Entity::ALL {
        each_row_of(entity, &transaction, |change| digest.add(&change))?;
    }
    Ok(digest.hex())
}

/// Reads every row of a table.
pub(super) fn each_row_of(
    entity: Entity,
    connection: &Connection,
    mut take: impl FnMut(Change),
) -> Result<(), UpstreamError> {
    let columns = entity.columns();
    let mut select = connection.prepare(&format!("SELECT {} FROM {}", columns.join(", "), entity.name()))?;
    let mut rows = select.query([])?;
    while let Some(found) = rows.next()? {
        take(put(entity, found, columns.len())?);
        background::give_way();
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
pub(super) struct Head {
    pub(super) epoch: String,
    pub(super) sequence: u64,
    low_watermark: u64,
}

pub(super) fn head(connection: &Connection) -> Result<Head, UpstreamError> {
    let sql = "SELECT epoch, sequence, low_watermark FROM registry_meta";
    let found = connection.prepare_cached(sql)?.query_row([], |row| {
        Ok(Head {
            epoch: row.get(0)?,
            sequence: row.get(1)?,
            low_watermark: row.get(2)?,
        })
    });
    found
        .optional()?
        .ok_or_else(|| UpstreamError::Corrupt("registry_meta has no row".to_owned()))
}

fn follow(connection: &Connection, place: &Place, most: u64) -> Result<Found, UpstreamError> {
    let Place { position, mark } = place;
    let head = head(connection)?;
    if *head.epoch != *position.epoch {
        return Ok(Found::Resync(ResyncCause::Epoch));
    }
    if head.sequence < position.sequence {
        return Ok(Found::Resync(ResyncCause::Fork));
    }
    // A restored backup brings its old epoch back: the row at our own position tells whether it is our history.
    let there = mark_at(connection, position.sequence)?;
    if mark.is_some() && there != *mark && (there.is_some() || position.sequence > head.low_watermark) {
        return Ok(Found::Resync(ResyncCause::Fork));
    }
    if head.sequence == position.sequence {
        return Ok(Found::Nothing);
    }
    if head.low_watermark > position.sequence {
        return Ok(Found::Resync(ResyncCause::Gap));
    }
    if head.sequence - position.sequence > most {
        return Ok(Found::Resync(ResyncCause::Bulk));
    }
    // One transaction up to the head: no commit is split.
    let mut select = connection.prepare_cached(
        "SELECT sequence, entity, key, op, row, committed_at, author FROM change_log
          WHERE sequence > ?1 ORDER BY sequence",
    )?;
    let mut rows = select.query([position.sequence])?;
    let mut entries = Vec::new();
    let mut sequence = position.sequence;
    while let Some(found) = rows.next()? {
        let entry = log_entry(found)?;
        if entry.sequence != sequence + 1 {
            return Ok(Found::Resync(ResyncCause::Gap));
        }
        sequence = entry.sequence;
        entries.push(entry);
        background::give_way();
    }
    if sequence != head.sequence {
        return Ok(Found::Resync(ResyncCause::Gap));
    }
    let mark = entries.last().map(|entry| [entry.fingerprint(), 0]);
    Ok(Found::Commits(vec![Commit { entries, mark }]))
}

fn log_entry(row: &Row<'_>) -> Result<LogEntry, rusqlite::Error> {
    let text = |index| {
        Ok::<_, rusqlite::Error>(match row.get_ref(index)? {
            ValueRef::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
            ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Blob(_) => None,
        })
    };
    Ok(LogEntry {
        sequence: row.get(0)?,
        entity: text(1)?.unwrap_or_default(),
        key: text(2)?.unwrap_or_default(),
        op: text(3)?.unwrap_or_default(),
        row: text(4)?,
        committed_at: text(5)?.unwrap_or_default(),
        author: text(6)?,
    })
}

pub(super) fn mark_at(connection: &Connection, sequence: u64) -> Result<Mark, UpstreamError> {
    let mut select = connection.prepare_cached(
        "SELECT sequence, entity, key, op, row, committed_at, NULL FROM change_log WHERE sequence = ?1",
    )?;
    Ok(select
        .query_row([sequence], log_entry)
        .optional()?
        .map(|entry| [entry.fingerprint(), 0]))
}

pub(super) fn put(entity: Entity, found: &Row<'_>, columns: usize) -> Result<Change, UpstreamError> {
    let mut read = smallvec::SmallVec::<[columns::Column<'_>; 14]>::with_capacity(columns);
    for index in 0..columns {
        read.push(column(found.get_ref(index)?));
    }
    Ok(row::put(entity, &read))
}
