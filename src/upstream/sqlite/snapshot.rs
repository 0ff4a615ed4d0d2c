//! Reads every row of the embedded store into a new generation, on as many threads as help.
//!
//! Reading is mostly `SQLite`'s work, and a connection works on one thread. So each thread has a connection of its own,
//! which counts only if it sees the same head: whatever changes a row moves the sequence in the same transaction.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use rusqlite::Connection;

use super::{
    super::{Asked, Mark, Snapshot, UpstreamError},
    StorePath,
    reader::{Head, Open, each_row_of, head, mark_at, put},
};
use crate::{
    background,
    registry::{
        Generation,
        row::{Change, Entity},
    },
};

/// Rows that are loaded at once.
const STEP: usize = 4_096;
/// Pieces of the table; a thread takes one after the other.
const PIECES: u64 = 256;
/// More threads than this would only wait for one another.
const MAX_THREADS: usize = 4;

/// Reads everything as of one commit; gives the connection too, on which the follower goes on.
pub(super) fn read(path: &StorePath) -> Result<(Snapshot, Open), UpstreamError> {
    let asked = Asked::now();
    let open = Open::new(path)?;
    let transaction = open.connection.unchecked_transaction()?;
    let seen = Seen::new(&open, &transaction)?;
    let enterprises: usize =
        transaction.query_row("SELECT count(*) FROM enterprise", [], |row| row.get(0))?;
    let generation = Generation::new(&seen.head.epoch, enterprises);
    let pieces = Pieces::new(&transaction)?;
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .clamp(1, MAX_THREADS)
        .min(enterprises.div_ceil(STEP));
    thread::scope(|scope| {
        let mut helpers = Vec::with_capacity(threads);
        for _ in 1..threads {
            let helper = thread::Builder::new()
                .name("snapshot-read".to_owned())
                .spawn_scoped(
                    scope,
                    background::helping(|| help(path, &seen, &pieces, &generation)),
                )
                .map_err(|error| UpstreamError::Unavailable(format!("starting a thread: {error}")))?;
            helpers.push(helper);
        }
        let read = pieces.load(&transaction, &generation);
        for helper in helpers {
            helper.join().unwrap_or_else(|_| {
                Err(UpstreamError::Unavailable(
                    "a thread that read panicked".to_owned(),
                ))
            })?;
        }
        read
    })?;
    let mut steps = Steps::new(&generation);
    for entity in Entity::ALL {
        if entity != Entity::Enterprise {
            each_row_of(entity, &transaction, |change| steps.take(change))?;
        }
    }
    steps.end();
    generation.finish_load(seen.head.sequence, seen.mark);
    drop(transaction);
    let snapshot = Snapshot {
        generation: Arc::new(generation),
        confirmed: Some(asked),
    };
    Ok((snapshot, open))
}

/// What a transaction sees, as far as it tells one commit from another.
#[derive(PartialEq, Eq)]
struct Seen {
    file: (u64, u64),
    head: Head,
    mark: Mark,
}

impl Seen {
    fn new(open: &Open, transaction: &Connection) -> Result<Self, UpstreamError> {
        let head = head(transaction)?;
        Ok(Self {
            file: open.file,
            mark: mark_at(transaction, head.sequence)?,
            head,
        })
    }
}

/// Reads pieces on another connection, if that sees the same commit; else the others read them all.
fn help(
    path: &StorePath,
    seen: &Seen,
    pieces: &Pieces,
    generation: &Generation,
) -> Result<(), UpstreamError> {
    let open = Open::new(path)?;
    let transaction = open.connection.unchecked_transaction()?;
    if Seen::new(&open, &transaction)? == *seen {
        pieces.load(&transaction, generation)?;
    }
    Ok(())
}

/// The table of enterprises, cut by row number: who has read a piece takes the next one.
struct Pieces {
    first: i64,
    last: i64,
    next: AtomicU64,
}

impl Pieces {
    fn new(connection: &Connection) -> Result<Self, UpstreamError> {
        let ends = |end: &str| {
            let sql = format!("SELECT coalesce({end}(rowid), 0) FROM enterprise");
            connection.query_row(&sql, [], |row| row.get(0))
        };
        Ok(Self {
            first: ends("min")?,
            last: ends("max")?,
            next: AtomicU64::new(0),
        })
    }

    /// The first and the last row number of the next piece.
    fn next(&self) -> Option<[i64; 2]> {
        let piece = self.next.fetch_add(1, Ordering::Relaxed);
        let length = self.last.abs_diff(self.first) / PIECES + 1;
        let from = self.first.checked_add_unsigned(piece.checked_mul(length)?)?;
        let to = from.saturating_add_unsigned(length - 1).min(self.last);
        (from <= self.last).then_some([from, to])
    }

    fn load(&self, connection: &Connection, generation: &Generation) -> Result<(), UpstreamError> {
        let columns = Entity::Enterprise.columns();
        let sql = format!(
            "SELECT {} FROM enterprise WHERE rowid BETWEEN ?1 AND ?2",
            columns.join(", ")
        );
        let mut select = connection.prepare(&sql)?;
        let mut steps = Steps::new(generation);
        while let Some(piece) = self.next() {
            let mut rows = select.query(piece)?;
            while let Some(found) = rows.next()? {
                steps.take(put(Entity::Enterprise, found, columns.len())?);
                background::give_way();
            }
        }
        steps.end();
        Ok(())
    }
}

/// Loads rows so many at once.
struct Steps<'g> {
    generation: &'g Generation,
    changes: Vec<Change>,
}

impl<'g> Steps<'g> {
    fn new(generation: &'g Generation) -> Self {
        Self {
            generation,
            changes: Vec::with_capacity(STEP),
        }
    }

    fn take(&mut self, change: Change) {
        self.changes.push(change);
        if self.changes.len() == STEP {
            self.generation.load(&self.changes);
            self.changes.clear();
        }
    }

    fn end(self) {
        self.generation.load(&self.changes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_every_row_number_once() {
        for (first, last) in [
            (0, 0),
            (1, 5),
            (-3, 1_000_003),
            (i64::MIN, i64::MAX),
            (i64::MAX - 300, i64::MAX),
        ] {
            let pieces = Pieces {
                first,
                last,
                next: AtomicU64::new(0),
            };
            let cut: Vec<_> = std::iter::from_fn(|| pieces.next()).collect();
            assert!(cut.len() as u64 <= PIECES);
            assert_eq!(cut.first().map(|piece| piece[0]), Some(first));
            assert_eq!(cut.last().map(|piece| piece[1]), Some(last));
            assert!(cut.iter().all(|[from, to]| from <= to));
            assert!(cut.windows(2).all(|pair| pair[0][1] + 1 == pair[1][0]));
        }
    }
}
