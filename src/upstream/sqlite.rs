//! The embedded store: one `SQLite` file that other programs write with plain SQL while the service reads it.

mod commitments;
pub mod edit;
mod heads;
mod history;
mod reader;
mod shipments;
mod snapshot;

pub use commitments::Commitments;
pub use heads::Heads;
pub use history::History;
pub use reader::{Reader, store_digest};
pub use shipments::{ShipmentFeed, Shipments};

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, types::ValueRef};

use super::{UpstreamError, columns::Column};
use crate::{domain::recognition::shipped_arrangements, registry::row::Entity};

const TABLES: &str = include_str!("sqlite/tables.sql");
const TRIGGERS: &str = include_str!("sqlite/triggers.sql");

/// How long a statement waits for another writer.
const BUSY: Duration = Duration::from_secs(10);

/// Where the embedded store's file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorePath(pub PathBuf);

impl StorePath {
    /// Reads `sqlite:///absolute` or `sqlite://relative`.
    pub fn from_url(url: &str) -> Result<Self, UpstreamError> {
        match url.strip_prefix("sqlite://") {
            Some("") => Err(UpstreamError::Unsupported(
                "upstream.url: sqlite:// needs a path".to_owned(),
            )),
            Some(path) => Ok(Self(path.into())),
            None => {
                let scheme = url.split("://").next().unwrap_or_default();
                Err(UpstreamError::Unsupported(format!(
                    "upstream.url: no store of the kind {scheme:?}; this build reads sqlite://path"
                )))
            }
        }
    }

    /// Opens the store, creating it and bringing its schema up to date.
    pub fn open_or_create(&self) -> Result<Connection, UpstreamError> {
        if let Some(folder) = self.0.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)
                .map_err(|error| UpstreamError::Unavailable(format!("{}: {error}", folder.display())))?;
        }
        let mut connection = connect(
            &self.0,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        )?;
        // Readers and one writer side by side; the mode stays with the file.
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        migrate(&mut connection)?;
        Ok(connection)
    }

    /// Opens a store that exists.
    pub fn open(&self) -> Result<Connection, UpstreamError> {
        let connection = connect(&self.0, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let known: Option<i64> = connection
            .query_row(
                "SELECT 1 FROM sqlite_schema WHERE name = 'registry_meta'",
                [],
                |row| row.get(0),
            )
            .optional()?;
        match known {
            Some(_) => Ok(connection),
            None => Err(UpstreamError::Corrupt(format!(
                "{}: is no registry store",
                self.0.display()
            ))),
        }
    }
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, UpstreamError> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| UpstreamError::Unavailable(format!("{}: {error}", path.display())))?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

/// Whether the log has a place for who wrote: stores of the first release have none.
fn has_author(connection: &Connection) -> Result<bool, UpstreamError> {
    let asked = "SELECT 1 FROM pragma_table_info('change_log') WHERE name = 'author'";
    let found = connection.query_row(asked, [], |_| Ok(())).optional()?;
    Ok(found.is_some())
}

/// Brings the schema up to date; what is there already stays.
fn migrate(connection: &mut Connection) -> Result<(), UpstreamError> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let exists = |name: &str| {
        let found = transaction.query_row("SELECT 1 FROM sqlite_schema WHERE name = ?1", [name], |_| Ok(()));
        found.optional().map(|found| found.is_some())
    };
    let seeded = exists(Entity::MutualRecognition.name())?;
    transaction.execute_batch(TABLES)?;
    if !has_author(&transaction)? {
        transaction.execute("ALTER TABLE change_log ADD COLUMN author TEXT", [])?;
    }
    transaction.execute(
        "INSERT INTO registry_meta (epoch, sequence, low_watermark)
         SELECT lower(hex(randomblob(16))), 0, 0 WHERE NOT EXISTS (SELECT 1 FROM registry_meta)",
        [],
    )?;
    if !seeded {
        // Before the triggers exist: what a store is born with is no change.
        let rows = shipped_arrangements().map_err(|error| UpstreamError::Corrupt(error.to_string()))?;
        let mut insert = transaction.prepare(
            "INSERT INTO mutual_recognition
             (country, programme, direction, transport_modes, effective_from, effective_to)
             VALUES (?1, ?2, ?3, ?4, ?5, nullif(?6, ''))",
        )?;
        for row in rows {
            insert.execute([
                row.country,
                row.programme,
                row.direction,
                row.transport_modes,
                row.effective_from,
                row.effective_to,
            ])?;
        }
    }
    transaction.execute_batch(TRIGGERS)?;
    transaction.commit()?;
    Ok(())
}

/// A value as the registry's rows take it.
fn column(value: ValueRef<'_>) -> Column<'_> {
    match value {
        ValueRef::Null => Column::Null,
        ValueRef::Integer(number) => Column::Integer(number),
        ValueRef::Text(text) => Column::Text(String::from_utf8_lossy(text)),
        ValueRef::Real(_) | ValueRef::Blob(_) => Column::Foreign,
    }
}
