//! Signed heads of audit logs in the embedded store: its segments lie beside it, and the head shows when their end is cut.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    super::{
        UpstreamError,
        archive::{HeadTaken, SignedText, signed},
    },
    StorePath,
};

/// Writes `audit_head` and `audit_key`.
#[derive(Debug)]
pub struct Heads {
    path: StorePath,
    connection: Option<Connection>,
}

impl Heads {
    /// The heads in that store; opens it at the first use.
    pub fn new(path: StorePath) -> Self {
        Self {
            path,
            connection: None,
        }
    }

    /// Takes a head, unless it has one of a later record.
    pub fn put(&mut self, replica: &str, head: &SignedText) -> Result<HeadTaken, UpstreamError> {
        self.on_connection(|connection| {
            let put = connection
                .prepare_cached(
                    "INSERT INTO audit_head (replica, sequence, head, signature) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (replica) DO UPDATE
                        SET sequence = excluded.sequence, head = excluded.head, signature = excluded.signature
                      WHERE audit_head.sequence <= excluded.sequence",
                )?
                .execute(params![replica, signed(head.sequence), head.text, head.signature])?;
            if put > 0 {
                return Ok(HeadTaken::Taken);
            }
            let stored = connection
                .query_row(
                    "SELECT sequence FROM audit_head WHERE replica = ?1",
                    [replica],
                    |row| row.get(0),
                )
                .optional()?;
            Ok(HeadTaken::Behind {
                stored: stored.unwrap_or_default(),
            })
        })
    }

    /// Takes the public key, in PEM, with which a replica signs; one that it has stays.
    pub fn put_key(&mut self, replica: &str, pem: &str) -> Result<(), UpstreamError> {
        self.on_connection(|connection| {
            connection.execute(
                "INSERT OR IGNORE INTO audit_key (replica, public_key) VALUES (?1, ?2)",
                params![replica, pem],
            )?;
            Ok(())
        })
    }

    fn on_connection<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, UpstreamError> {
        let connection = if let Some(connection) = self.connection.take() {
            connection
        } else {
            let connection = self.path.open()?;
            // The next head comes in a second: none is worth an fsync.
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            connection
        };
        let done = work(&connection)?;
        self.connection = Some(connection);
        Ok(done)
    }
}
