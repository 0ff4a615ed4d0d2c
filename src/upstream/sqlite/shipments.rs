//! Shipments of the embedded store, in a file of their own beside it.

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, TransactionBehavior, params};

use super::{
    super::{
        UpstreamError,
        commitments::blocking,
        shipments::{PAGE, Page, Place, Put, StoredShipment, instant, nanoseconds, sql},
    },
    StorePath, connect,
    reader::file_identity,
};

const TABLES: &str = include_str!("shipments.sql");
const SELECT: &str =
    "SELECT declaration_number, container_numbers, revision, decided_at, entry FROM shipment";
/// Shipments that are deleted at once.
const TRIM_STEP: usize = 1_000;

impl StorePath {
    /// The file of the shipments that belong to this store.
    #[must_use]
    pub fn shipments(&self) -> Self {
        let is_db = self.0.extension().is_some_and(|extension| extension == "db");
        let name = if is_db {
            self.0.file_stem()
        } else {
            self.0.file_name()
        };
        let mut name = name.unwrap_or_default().to_owned();
        name.push("-shipments.db");
        Self(self.0.with_file_name(name))
    }
}

/// The file, and a connection to it that is lent to the threads on which it may block.
#[derive(Debug)]
struct File {
    path: StorePath,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    file: (u64, u64),
}

impl File {
    fn new(path: StorePath) -> Self {
        Self { path, open: None }
    }

    /// Does something with the connection, which lives on only if that goes well and somebody waits for it.
    async fn on_connection<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> Result<T, UpstreamError> + Send + 'static,
    ) -> Result<T, UpstreamError> {
        let (path, open) = (self.path.clone(), self.open.take());
        let worked = blocking(move || {
            // What is written to a file that was deleted, nobody reads.
            let there = file_identity(&path).ok();
            let mut open = match open {
                Some(open) if Some(open.file) == there => open,
                _ => Open::new(&path)?,
            };
            let done = work(&mut open.connection)?;
            Ok((open, done))
        });
        let (open, done) = worked.await?;
        self.open = Some(open);
        Ok(done)
    }
}

impl Open {
    fn new(path: &StorePath) -> Result<Self, UpstreamError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut connection = connect(&path.0, flags)?;
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        // What a power cut takes is put again out of the audit log.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        let version = |connection: &Connection| {
            connection.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0))
        };
        if version(&connection)? == 0 {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // Another process may have been first.
            if version(&transaction)? == 0 {
                transaction.execute_batch(TABLES)?;
            }
            transaction.commit()?;
        }
        Ok(Self {
            connection,
            file: file_identity(path)?,
        })
    }
}

/// Reads and writes the file.
#[derive(Debug)]
pub struct Shipments {
    file: File,
}

impl Shipments {
    /// The shipments in that file, which is made if it is not there.
    pub fn new(path: StorePath) -> Self {
        Self {
            file: File::new(path),
        }
    }

    /// Takes each put whose base fits, in one transaction; gives what stands where one does not.
    pub async fn put(&mut self, puts: &[Put]) -> Result<Vec<StoredShipment>, UpstreamError> {
        let puts = puts.to_vec();
        self.file
            .on_connection(move |connection| put(connection, &puts))
            .await
    }

    /// The shipments of these declarations.
    pub async fn declarations(&mut self, numbers: &[&str]) -> Result<Vec<StoredShipment>, UpstreamError> {
        self.find("declaration_number = ?1", numbers).await
    }

    /// Every shipment that has one of these containers.
    pub async fn containers(&mut self, numbers: &[&str]) -> Result<Vec<StoredShipment>, UpstreamError> {
        let having = "declaration_number IN (SELECT declaration_number FROM shipment_container
                                              WHERE container_number = ?1)";
        let mut found = self.find(having, numbers).await?;
        // One may have several of them.
        found.sort_by(|a, b| a.declaration_number.cmp(&b.declaration_number));
        found.dedup_by(|a, b| a.declaration_number == b.declaration_number);
        Ok(found)
    }

    async fn find(
        &mut self,
        having: &'static str,
        numbers: &[&str],
    ) -> Result<Vec<StoredShipment>, UpstreamError> {
        let numbers: Vec<String> = numbers.iter().map(|number| (*number).to_owned()).collect();
        self.file
            .on_connection(move |connection| {
                let transaction = connection.transaction()?;
                let mut select = transaction.prepare_cached(&format!("{SELECT} WHERE {having}"))?;
                let mut found = Vec::with_capacity(numbers.len());
                for number in &numbers {
                    for shipment in select.query_map([number], |row| read(row, 0))? {
                        found.push(shipment?);
                    }
                }
                Ok(found)
            })
            .await
    }

    /// How far a replica's audit log is in the store, as it said last.
    pub async fn progress(&mut self, replica: &str) -> Result<Option<u64>, UpstreamError> {
        let replica = replica.to_owned();
        self.file
            .on_connection(move |connection| {
                let asked = "SELECT sequence FROM shipment_progress WHERE replica = ?1";
                let found = connection.query_row(asked, [replica], |row| row.get(0));
                Ok(found.optional()?)
            })
            .await
    }

    /// Says how far a replica's audit log is in the store.
    pub async fn put_progress(&mut self, replica: &str, sequence: u64) -> Result<(), UpstreamError> {
        let replica = replica.to_owned();
        self.file
            .on_connection(move |connection| {
                let put = "INSERT OR REPLACE INTO shipment_progress (replica, sequence) VALUES (?1, ?2)";
                connection.execute(put, params![replica, sequence])?;
                Ok(())
            })
            .await
    }

    /// Deletes shipments decided before, some at a time; gives how many.
    pub async fn trim(&mut self, before: Timestamp) -> Result<u64, UpstreamError> {
        let mut trimmed = 0;
        loop {
            let step = self
                .file
                .on_connection(move |connection| trim(connection, before));
            let step = step.await?;
            trimmed += step as u64;
            if step < TRIM_STEP {
                return Ok(trimmed);
            }
        }
    }
}

fn put(connection: &mut Connection, puts: &[Put]) -> Result<Vec<StoredShipment>, UpstreamError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut sequence: u64 =
        transaction.query_row("SELECT sequence FROM shipment_meta", [], |row| row.get(0))?;
    let mut stand = Vec::new();
    for Put { base, shipment } in puts {
        let former = find(&transaction, &shipment.declaration_number)?;
        if former.as_ref().is_some_and(|former| former.revision != *base) {
            stand.extend(former);
            continue;
        }
        sequence += 1;
        write(&transaction, sequence, shipment)?;
        let former = former.map_or_else(Vec::new, |former| former.container_numbers);
        if former != shipment.container_numbers {
            each(&transaction, LEAVE, &former, &shipment.declaration_number)?;
            each(
                &transaction,
                LOAD,
                &shipment.container_numbers,
                &shipment.declaration_number,
            )?;
        }
    }
    transaction.execute("UPDATE shipment_meta SET sequence = ?1", [sequence])?;
    transaction.commit()?;
    Ok(stand)
}

fn find(
    connection: &Connection,
    declaration_number: &str,
) -> Result<Option<StoredShipment>, rusqlite::Error> {
    let mut select = connection.prepare_cached(&format!("{SELECT} WHERE declaration_number = ?1"))?;
    select
        .query_row([declaration_number], |row| read(row, 0))
        .optional()
}

fn write(connection: &Connection, sequence: u64, shipment: &StoredShipment) -> Result<(), rusqlite::Error> {
    let mut replace = connection.prepare_cached(
        "INSERT OR REPLACE INTO shipment (sequence, declaration_number, container_numbers, revision, decided_at, entry)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    replace.execute(params![
        sequence,
        shipment.declaration_number,
        shipment.container_numbers.join(","),
        shipment.revision,
        nanoseconds(shipment.decided_at),
        &shipment.entry[..],
    ])?;
    Ok(())
}

/// Puts a shipment under a container, or takes it away from there.
const LOAD: &str =
    "INSERT OR IGNORE INTO shipment_container (container_number, declaration_number) VALUES (?1, ?2)";
const LEAVE: &str = "DELETE FROM shipment_container WHERE container_number = ?1 AND declaration_number = ?2";

/// Does one of these with each of a shipment's containers.
fn each(
    connection: &Connection,
    statement: &str,
    containers: &[String],
    declaration_number: &str,
) -> Result<(), rusqlite::Error> {
    let mut statement = connection.prepare_cached(statement)?;
    for container in containers {
        statement.execute([container, declaration_number])?;
    }
    Ok(())
}

fn trim(connection: &mut Connection, before: Timestamp) -> Result<usize, UpstreamError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let old: Vec<StoredShipment> = {
        let select = format!("{SELECT} WHERE decided_at < ?1 ORDER BY decided_at LIMIT ?2");
        let mut select = transaction.prepare_cached(&select)?;
        let old = select.query_map(params![nanoseconds(before), TRIM_STEP], |row| read(row, 0))?;
        old.collect::<Result<_, _>>()?
    };
    for shipment in &old {
        let delete = "DELETE FROM shipment WHERE declaration_number = ?1";
        transaction
            .prepare_cached(delete)?
            .execute([&shipment.declaration_number])?;
        each(
            &transaction,
            LEAVE,
            &shipment.container_numbers,
            &shipment.declaration_number,
        )?;
    }
    transaction.commit()?;
    Ok(old.len())
}

/// The shipment in the columns of [`SELECT`], of which the first is the one at `at`.
fn read(row: &Row<'_>, at: usize) -> Result<StoredShipment, rusqlite::Error> {
    let containers: String = row.get(at + 1)?;
    let containers = containers.split(',').filter(|number| !number.is_empty());
    Ok(StoredShipment {
        declaration_number: row.get(at)?,
        container_numbers: containers.map(ToOwned::to_owned).collect(),
        revision: row.get(at + 2)?,
        decided_at: instant(row.get(at + 3)?),
        entry: Bytes::from(row.get::<_, Vec<u8>>(at + 4)?),
    })
}

/// Looks for changes in the file.
#[derive(Debug)]
pub struct ShipmentFeed {
    file: File,
    recent: u64,
    place: Option<Place>,
}

impl ShipmentFeed {
    /// The changes in that file, beginning with the `recent` shipments that were changed last.
    pub fn new(path: StorePath, recent: u64) -> Self {
        Self {
            file: File::new(path),
            recent,
            place: None,
        }
    }

    /// What has been changed since the last look; nothing where nothing was.
    pub async fn look(&mut self) -> Result<Vec<StoredShipment>, UpstreamError> {
        loop {
            let (place, recent) = (self.place.clone(), self.recent);
            let look = self.file.on_connection(move |connection| {
                let mut place = match place {
                    Some(place) => place,
                    None => connection.query_row(sql::BEGIN, [recent], |row| {
                        Ok(Place::new(row.get(0)?, row.get(1)?))
                    })?,
                };
                let page = page(connection, place.sequence)?;
                let found = place.follow(page);
                Ok((place, found))
            });
            let (place, found) = look.await?;
            self.place = found.is_some().then_some(place);
            if let Some(found) = found {
                return Ok(found);
            }
        }
    }
}

fn page(connection: &Connection, from: u64) -> Result<Page, rusqlite::Error> {
    let mut select = connection.prepare_cached(sql::FOLLOW)?;
    let mut rows = select.query(params![from, PAGE + 1])?;
    let mut page = Page::default();
    while let Some(row) = rows.next()? {
        (page.epoch, page.last) = (row.get(0)?, row.get(1)?);
        if let Some(sequence) = row.get(2)? {
            page.shipments.push((sequence, read(row, 3)?));
        }
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_stands_beside_the_store() {
        for (store, shipments) in [
            ("/a/greenlane.db", "/a/greenlane-shipments.db"),
            ("registry", "registry-shipments.db"),
            ("a.b/x.sqlite", "a.b/x.sqlite-shipments.db"),
        ] {
            assert_eq!(StorePath(store.into()).shipments(), StorePath(shipments.into()));
        }
    }
}
