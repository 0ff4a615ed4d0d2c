//! Enterprise rows as they were recorded at an instant, for what-if questions.

use std::sync::Arc;

use jiff::Timestamp;
use smallvec::SmallVec;
use tokio::sync::Semaphore;
use tokio_postgres::{Client, Row, types::Type};

use super::{
    super::{UpstreamError, columns::Column, row},
    Settings,
    connect::Address,
    copy::select_list,
    within,
};
use crate::{
    domain::{enterprise::Enterprise, identifier::EnterpriseId},
    registry::row::{Entity, Keyed},
};

/// Questions that are answered at once: each has a connection, and what-if questions must not take those of writers.
const AT_ONCE: usize = 4;

/// Reads `enterprise_history` and `enterprise`.
#[derive(Debug, Clone)]
pub struct History {
    settings: Settings,
    address: Address,
    turns: Arc<Semaphore>,
}

impl History {
    pub(super) fn new(settings: Settings, address: Address) -> Self {
        Self {
            settings,
            address,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// For each identifier the enterprise's row as it was recorded at that instant, if there was one.
    pub async fn at(
        &self,
        known_at: Timestamp,
        ids: &[EnterpriseId],
    ) -> Result<Vec<Option<Enterprise>>, UpstreamError> {
        let bound = self.settings.timeout;
        let turn = within(bound, "waiting for a connection", async {
            let turn = self.turns.acquire().await;
            turn.map_err(|error| UpstreamError::Unavailable(error.to_string()))
        })
        .await?;
        let session = self.address.session(&self.settings).await?;
        let answer = within(bound, "former rows", rows_at(&session.client, known_at, ids)).await;
        drop(turn);
        answer
    }
}

async fn rows_at(
    client: &Client,
    known_at: Timestamp,
    ids: &[EnterpriseId],
) -> Result<Vec<Option<Enterprise>>, UpstreamError> {
    client
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL datestyle = 'ISO, YMD'")
        .await?;
    let known_at = known_at.to_string();
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        found.push(match id {
            EnterpriseId::Customs(code) => row_at(client, "customs_code", code.as_str(), &known_at).await?,
            EnterpriseId::SocialCredit(code) => {
                row_at(client, "social_credit_code", code.as_str(), &known_at).await?
            }
            EnterpriseId::Foreign(_) => None,
        });
    }
    client.batch_execute("COMMIT").await?;
    Ok(found)
}

async fn row_at(
    client: &Client,
    column: &str,
    id: &str,
    known_at: &str,
) -> Result<Option<Enterprise>, UpstreamError> {
    let columns = select_list(Entity::Enterprise);
    let former = format!(
        "SELECT {columns} FROM enterprise_history
          WHERE {column} = $1 AND recorded_from <= $2::timestamptz AND $2::timestamptz < recorded_to
          ORDER BY recorded_to LIMIT 1"
    );
    // The row in force is as old as its own stamp or the end of its latest former row, whichever is later: writers may
    // or may not keep `updated_at`.
    let current = format!(
        "SELECT {columns} FROM enterprise
          WHERE {column} = $1 AND updated_at <= $2::timestamptz
            AND coalesce((SELECT max(recorded_to) FROM enterprise_history h
                           WHERE h.customs_code = enterprise.customs_code), '-infinity') <= $2::timestamptz"
    );
    for sql in [former, current] {
        let found = client
            .query_typed_opt(&sql, &[(&id, Type::TEXT), (&known_at, Type::TEXT)])
            .await?;
        if let Some(found) = found
            && let Keyed::Enterprise(enterprise) = enterprise(&found)?
        {
            return Ok(Some(enterprise));
        }
    }
    Ok(None)
}

fn enterprise(found: &Row) -> Result<Keyed, UpstreamError> {
    let mut columns = SmallVec::<[Column<'_>; 7]>::new();
    for (index, name) in Entity::Enterprise.columns().iter().enumerate() {
        columns.push(if *name == "suspended" {
            let suspended: Option<bool> = found.try_get(index)?;
            suspended.map_or(Column::Null, |suspended| Column::Integer(suspended.into()))
        } else {
            let text: Option<&str> = found.try_get(index)?;
            text.map_or(Column::Null, |text| Column::Text(text.into()))
        });
    }
    Ok(row::put(Entity::Enterprise, &columns).row)
}
