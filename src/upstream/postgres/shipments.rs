//! Shipments in a database: a batch is one transaction that numbers its changes, and one round trip.

mod feed;

pub use self::feed::ShipmentFeed;

use bytes::Bytes;
use futures_util::future::try_join3;
use jiff::Timestamp;
use tokio_postgres::{
    Client, Row,
    types::{ToSql, Type},
};

use super::{
    super::{
        UpstreamError,
        archive::signed,
        shipments::{Put, StoredShipment, instant, nanoseconds},
    },
    Settings,
    connect::Kept,
};

/// Shipments that are deleted at once.
const TRIM_STEP: u64 = 2_000;

const SELECT: &str =
    "SELECT declaration_number, container_numbers, revision, decided_at, entry FROM shipment";

/// Takes what fits, and gives what stands where something does not. Runs behind everybody else's commits, as all that write
/// shipments take the lock first: what it sees stays as it is.
const PUT: &str = "
    WITH put AS (
      SELECT put.*, stands.container_numbers AS former, stands.revision AS stands,
             stands.decided_at AS former_decided_at, stands.entry AS former_entry
        FROM unnest($1, $2, $3, $4, $5, $6) WITH ORDINALITY
               AS put(declaration_number, base, container_numbers, revision, decided_at, entry, place)
        LEFT JOIN LATERAL (SELECT * FROM shipment WHERE shipment.declaration_number = put.declaration_number LIMIT 1)
               AS stands ON true),
    taken AS (
      SELECT * FROM put WHERE stands IS NULL OR stands = base),
    unloaded AS (
      DELETE FROM shipment_container
       WHERE (container_number, declaration_number)
          IN (SELECT unnest(string_to_array(former, ',')), declaration_number
                FROM taken WHERE former <> container_numbers
              EXCEPT SELECT unnest(string_to_array(container_numbers, ',')), declaration_number FROM taken)),
    loaded AS (
      INSERT INTO shipment_container (container_number, declaration_number)
      SELECT unnest(string_to_array(container_numbers, ',')), declaration_number
        FROM taken WHERE former IS DISTINCT FROM container_numbers
          ON CONFLICT DO NOTHING),
    written AS (
      INSERT INTO shipment (declaration_number, container_numbers, revision, decided_at, entry, sequence)
      SELECT declaration_number, container_numbers, revision, decided_at, entry,
             (SELECT sequence FROM shipment_meta) - (SELECT count(*) FROM put) + place
        FROM taken
          ON CONFLICT (declaration_number) DO UPDATE
         SET container_numbers = excluded.container_numbers, revision = excluded.revision,
             decided_at = excluded.decided_at, entry = excluded.entry, sequence = excluded.sequence)
    SELECT declaration_number, former, stands, former_decided_at, former_entry
      FROM put WHERE stands <> base";

/// Deletes some that were decided before; gives how many.
const TRIM: &str = "
    WITH old AS (
      DELETE FROM shipment
       WHERE declaration_number
          IN (SELECT declaration_number FROM shipment WHERE decided_at < $1 ORDER BY decided_at LIMIT $2)
      RETURNING declaration_number, container_numbers),
    unloaded AS (
      DELETE FROM shipment_container
       WHERE (container_number, declaration_number)
          IN (SELECT unnest(string_to_array(container_numbers, ',')), declaration_number FROM old))
    SELECT count(*) FROM old";

/// Reads and writes the tables.
#[derive(Debug)]
pub struct Shipments {
    kept: Kept,
}

impl Shipments {
    /// The shipments in that database; connects at the first use.
    pub fn new(settings: Settings) -> Result<Self, UpstreamError> {
        Ok(Self {
            kept: Kept::new(settings)?,
        })
    }

    /// Takes each put whose base fits, in one transaction; gives what stands where one does not.
    pub async fn put(&mut self, puts: &[Put]) -> Result<Vec<StoredShipment>, UpstreamError> {
        let numbers = |of: fn(&Put) -> i64| puts.iter().map(of).collect::<Vec<_>>();
        let bases = numbers(|put| signed(put.base));
        let revisions = numbers(|put| signed(put.shipment.revision));
        let decided = numbers(|put| nanoseconds(put.shipment.decided_at));
        let shipments = puts.iter().map(|put| &put.shipment);
        let declarations: Vec<&str> = shipments.clone().map(|new| &new.declaration_number[..]).collect();
        let containers: Vec<String> = shipments
            .clone()
            .map(|new| new.container_numbers.join(","))
            .collect();
        let entries: Vec<&[u8]> = shipments.map(|new| &new.entry[..]).collect();
        let lock = format!("UPDATE shipment_meta SET sequence = sequence + {}", puts.len());
        self.on_session(async |client| {
            let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
                (&declarations, Type::TEXT_ARRAY),
                (&bases, Type::INT8_ARRAY),
                (&containers, Type::TEXT_ARRAY),
                (&revisions, Type::INT8_ARRAY),
                (&decided, Type::INT8_ARRAY),
                (&entries, Type::BYTEA_ARRAY),
            ];
            let stand = locked(client, &lock, PUT, &parameters).await?;
            stand.iter().map(|row| read(row, 0)).collect()
        })
        .await
    }

    /// The shipments of these declarations.
    pub async fn declarations(&mut self, numbers: &[&str]) -> Result<Vec<StoredShipment>, UpstreamError> {
        self.find("declaration_number = ANY($1)", numbers).await
    }

    /// Every shipment that has one of these containers.
    pub async fn containers(&mut self, numbers: &[&str]) -> Result<Vec<StoredShipment>, UpstreamError> {
        let having = "declaration_number = ANY(ARRAY(SELECT declaration_number FROM shipment_container
                                                      WHERE container_number = ANY($1)))";
        self.find(having, numbers).await
    }

    async fn find(&mut self, having: &str, numbers: &[&str]) -> Result<Vec<StoredShipment>, UpstreamError> {
        let select = format!("{SELECT} WHERE {having}");
        self.on_session(async |client| {
            let found = client
                .query_typed(&select, &[(&numbers, Type::TEXT_ARRAY)])
                .await?;
            found.iter().map(|row| read(row, 0)).collect()
        })
        .await
    }

    /// How far a replica's audit log is in the store, as it said last.
    pub async fn progress(&mut self, replica: &str) -> Result<Option<u64>, UpstreamError> {
        self.on_session(async |client| {
            let asked = "SELECT sequence FROM shipment_progress WHERE replica = $1";
            let found = client.query_typed_opt(asked, &[(&replica, Type::TEXT)]).await?;
            found.map(|row| unsigned(&row, 0)).transpose()
        })
        .await
    }

    /// Says how far a replica's audit log is in the store.
    pub async fn put_progress(&mut self, replica: &str, sequence: u64) -> Result<(), UpstreamError> {
        self.on_session(async |client| {
            let put = "INSERT INTO shipment_progress (replica, sequence) VALUES ($1, $2)
                       ON CONFLICT (replica) DO UPDATE SET sequence = excluded.sequence";
            let parameters: [(&(dyn ToSql + Sync), Type); 2] =
                [(&replica, Type::TEXT), (&signed(sequence), Type::INT8)];
            client.execute_typed(put, &parameters).await?;
            Ok(())
        })
        .await
    }

    /// Deletes shipments decided before, some at a time; gives how many.
    pub async fn trim(&mut self, before: Timestamp) -> Result<u64, UpstreamError> {
        let mut trimmed = 0;
        loop {
            let step = self.on_session(async |client| {
                let parameters: [(&(dyn ToSql + Sync), Type); 2] = [
                    (&nanoseconds(before), Type::INT8),
                    (&signed(TRIM_STEP), Type::INT8),
                ];
                let lock = "SELECT FROM shipment_meta FOR UPDATE";
                let old = locked(client, lock, TRIM, &parameters).await?;
                old.first().map_or(Ok(0), |row| unsigned(row, 0))
            });
            let step = step.await?;
            trimmed += step;
            if step < TRIM_STEP {
                return Ok(trimmed);
            }
        }
    }

    async fn on_session<T>(
        &mut self,
        work: impl AsyncFnOnce(&Client) -> Result<T, UpstreamError>,
    ) -> Result<T, UpstreamError> {
        self.kept.with("the store of shipments", work).await
    }
}

/// A transaction of two statements, the first of which takes the lock. In one round trip: nobody waits for our network.
async fn locked(
    client: &Client,
    lock: &str,
    statement: &str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<Row>, UpstreamError> {
    // Whatever statistics say of a young table, no batch reads a whole one; and what the planner is denied makes a plan look so
    // dear that the server would compile it. A writer that vanishes in the midst of its batch is given up by the server.
    let begin = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED;
         SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;
         SET LOCAL jit = off;
         SET LOCAL idle_in_transaction_session_timeout = '10s';
         {lock}"
    );
    let (begin, commit) = (client.batch_execute(&begin), client.batch_execute("COMMIT"));
    let ((), rows, ()) = try_join3(begin, client.query_typed(statement, parameters), commit).await?;
    Ok(rows)
}

/// The shipment in the columns of [`SELECT`], of which the first is the one at `at`.
fn read(row: &Row, at: usize) -> Result<StoredShipment, UpstreamError> {
    let containers: &str = row.try_get(at + 1)?;
    let containers = containers.split(',').filter(|number| !number.is_empty());
    Ok(StoredShipment {
        declaration_number: row.try_get(at)?,
        container_numbers: containers.map(ToOwned::to_owned).collect(),
        revision: unsigned(row, at + 2)?,
        decided_at: instant(row.try_get(at + 3)?),
        entry: Bytes::from(row.try_get::<_, Vec<u8>>(at + 4)?),
    })
}

/// A number that is never negative.
fn unsigned(row: &Row, at: usize) -> Result<u64, UpstreamError> {
    let number: i64 = row.try_get(at)?;
    Ok(u64::try_from(number).unwrap_or_default())
}
