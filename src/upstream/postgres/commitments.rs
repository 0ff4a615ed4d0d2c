//! The table `draw_commitment` of a database.

use tokio_postgres::{
    Client, Row,
    types::{ToSql, Type},
};

use super::{
    super::{UpstreamError, commitments::StoredCommitment},
    Settings,
    connect::Address,
};

/// As texts, instants in the one form that is signed.
const SELECT: &str = r#"SELECT epoch, commitment,
    to_char(published_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    replica, public_key, signature, revealed_key,
    to_char(revealed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
    FROM draw_commitment"#;

/// Reads and writes the table; connects each time.
#[derive(Debug, Clone)]
pub struct Commitments {
    settings: Settings,
    address: Address,
}

impl Commitments {
    /// The table of that database.
    pub fn new(settings: Settings) -> Result<Self, UpstreamError> {
        Ok(Self {
            address: Address::read(&settings)?,
            settings,
        })
    }

    /// Puts a commitment, unless there is one of that epoch; gives the one that stands.
    pub async fn put(&self, new: &StoredCommitment) -> Result<StoredCommitment, UpstreamError> {
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
        let session = self.address.session(&self.settings).await?;
        let texts = [epoch, commitment, published_at, replica, public_key, signature];
        let parameters = texts.map(|text| (text as &(dyn ToSql + Sync), Type::TEXT));
        let inserted = session.client.execute_typed(
            "INSERT INTO draw_commitment (epoch, commitment, published_at, replica, public_key, signature)
             VALUES ($1, $2, $3::timestamptz, $4, $5, $6) ON CONFLICT (epoch) DO NOTHING",
            &parameters,
        );
        inserted.await?;
        // In a statement of its own, which sees what another one put while ours waited for it.
        find(&session.client, epoch)
            .await?
            .ok_or_else(|| UpstreamError::Unavailable(format!("the commitment of {epoch} is gone again")))
    }

    /// Every commitment, by epoch.
    pub async fn list(&self) -> Result<Vec<StoredCommitment>, UpstreamError> {
        let session = self.address.session(&self.settings).await?;
        let sql = format!("{SELECT} ORDER BY epoch");
        let rows = session.client.query_typed(&sql, &[]).await?;
        rows.iter().map(read).collect()
    }

    /// Puts the key of an epoch beside its commitment, unless one stands there; tells whether it does by now.
    pub async fn reveal(&self, epoch: &str, key: &str, at: &str) -> Result<bool, UpstreamError> {
        let session = self.address.session(&self.settings).await?;
        let parameters = [&epoch, &key, &at].map(|text| (text as &(dyn ToSql + Sync), Type::TEXT));
        let updated = session.client.execute_typed(
            "UPDATE draw_commitment SET revealed_key = $2, revealed_at = $3::timestamptz
              WHERE epoch = $1 AND revealed_key IS NULL",
            &parameters,
        );
        updated.await?;
        let stands = find(&session.client, epoch).await?;
        Ok(stands.is_some_and(|stands| stands.revealed_key.as_deref() == Some(key)))
    }
}

async fn find(client: &Client, epoch: &str) -> Result<Option<StoredCommitment>, UpstreamError> {
    let sql = format!("{SELECT} WHERE epoch = $1");
    let found = client.query_typed_opt(&sql, &[(&epoch, Type::TEXT)]).await?;
    found.as_ref().map(read).transpose()
}

fn read(row: &Row) -> Result<StoredCommitment, UpstreamError> {
    Ok(StoredCommitment {
        epoch: row.try_get(0)?,
        commitment: row.try_get(1)?,
        published_at: row.try_get(2)?,
        replica: row.try_get(3)?,
        public_key: row.try_get(4)?,
        signature: row.try_get(5)?,
        revealed_key: row.try_get(6)?,
        revealed_at: row.try_get(7)?,
    })
}
