//! The table `draw_commitment` of the embedded store.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    super::{UpstreamError, commitments::StoredCommitment},
    StorePath,
};

const SELECT: &str =
    "SELECT epoch, commitment, published_at, replica, public_key, signature, revealed_key, revealed_at
                        FROM draw_commitment";

/// Reads and writes the table; opens the file each time.
#[derive(Debug, Clone)]
pub struct Commitments {
    path: StorePath,
}

impl Commitments {
    /// The table of that store.
    pub fn new(path: StorePath) -> Self {
        Self { path }
    }

    /// Puts a commitment, unless there is one of that epoch; gives the one that stands.
    pub fn put(&self, new: &StoredCommitment) -> Result<StoredCommitment, UpstreamError> {
        let StoredCommitment {
            epoch,
            commitment,
            published_at,
            replica,
            public_key,
            signature,
            revealed_key: _,
            revealed_at: _,
        } = new;
        let connection = self.path.open()?;
        connection.execute(
            "INSERT INTO draw_commitment (epoch, commitment, published_at, replica, public_key, signature)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (epoch) DO NOTHING",
            params![epoch, commitment, published_at, replica, public_key, signature],
        )?;
        find(&connection, epoch)?
            .ok_or_else(|| UpstreamError::Unavailable(format!("the commitment of {epoch} is gone again")))
    }

    /// Every commitment, by epoch.
    pub fn list(&self) -> Result<Vec<StoredCommitment>, UpstreamError> {
        let connection = self.path.open()?;
        let mut rows = connection.prepare(&format!("{SELECT} ORDER BY epoch"))?;
        let rows = rows.query_map([], read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Puts the key of an epoch beside its commitment, unless one stands there; tells whether it does by now.
    pub fn reveal(&self, epoch: &str, key: &str, at: &str) -> Result<bool, UpstreamError> {
        let connection = self.path.open()?;
        connection.execute(
            "UPDATE draw_commitment SET revealed_key = ?2, revealed_at = ?3 WHERE epoch = ?1 AND revealed_key IS NULL",
            params![epoch, key, at],
        )?;
        let stands = find(&connection, epoch)?;
        Ok(stands.is_some_and(|stands| stands.revealed_key.as_deref() == Some(key)))
    }
}

fn find(connection: &Connection, epoch: &str) -> Result<Option<StoredCommitment>, UpstreamError> {
    let found = connection.query_row(&format!("{SELECT} WHERE epoch = ?1"), [epoch], read);
    Ok(found.optional()?)
}

fn read(row: &Row<'_>) -> Result<StoredCommitment, rusqlite::Error> {
    Ok(StoredCommitment {
        epoch: row.get(0)?,
        commitment: row.get(1)?,
        published_at: row.get(2)?,
        replica: row.get(3)?,
        public_key: row.get(4)?,
        signature: row.get(5)?,
        revealed_key: row.get(6)?,
        revealed_at: row.get(7)?,
    })
}
