//! Enterprise rows as they were recorded at an instant, for what-if questions.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    super::{UpstreamError, row},
    StorePath, column,
};
use crate::{
    domain::{enterprise::Enterprise, identifier::EnterpriseId},
    registry::row::{Entity, Keyed},
};

/// Reads `enterprise_history` and `enterprise`.
#[derive(Debug, Clone)]
pub struct History {
    path: StorePath,
}

/// The one form in which the store writes instants, so that they compare as text.
const INSTANT: &str = "%Y-%m-%dT%H:%M:%S%.3fZ";

impl History {
    /// The history of that store.
    pub fn new(path: StorePath) -> Self {
        Self { path }
    }

    /// For each identifier the enterprise's row as it was recorded at that instant, if there was one.
    pub fn at(
        &self,
        known_at: Timestamp,
        ids: &[EnterpriseId],
    ) -> Result<Vec<Option<Enterprise>>, UpstreamError> {
        let connection = self.path.open()?;
        let transaction = connection.unchecked_transaction()?;
        let known_at = known_at.strftime(INSTANT).to_string();
        ids.iter()
            .map(|id| match id {
                EnterpriseId::Customs(code) => row_at(&transaction, "customs_code", code.as_str(), &known_at),
                EnterpriseId::SocialCredit(code) => {
                    row_at(&transaction, "social_credit_code", code.as_str(), &known_at)
                }
                EnterpriseId::Foreign(_) => Ok(None),
            })
            .collect()
    }
}

fn row_at(
    connection: &Connection,
    column: &str,
    id: &str,
    known_at: &str,
) -> Result<Option<Enterprise>, UpstreamError> {
    let columns = Entity::Enterprise.columns().join(", ");
    let former = format!(
        "SELECT {columns} FROM enterprise_history
         WHERE {column} = ?1 AND recorded_from <= ?2 AND ?2 < recorded_to
         ORDER BY recorded_to LIMIT 1"
    );
    // The row in force is as old as its own stamp or the end of its latest former row, whichever is later: writers may
    // or may not keep `updated_at`.
    let current = format!(
        "SELECT {columns} FROM enterprise
         WHERE {column} = ?1
           AND coalesce(strftime('%Y-%m-%dT%H:%M:%fZ', updated_at), '') <= ?2
           AND coalesce((SELECT max(recorded_to) FROM enterprise_history h
                         WHERE h.customs_code = enterprise.customs_code), '') <= ?2"
    );
    for sql in [former, current] {
        let found = connection
            .prepare_cached(&sql)?
            .query_row(params![id, known_at], enterprise)
            .optional()?;
        if let Some(Keyed::Enterprise(enterprise)) = found {
            return Ok(Some(enterprise));
        }
    }
    Ok(None)
}

fn enterprise(found: &Row<'_>) -> Result<Keyed, rusqlite::Error> {
    let columns = (0..Entity::Enterprise.columns().len()).map(|index| Ok(column(found.get_ref(index)?)));
    let columns: Vec<_> = columns.collect::<Result<_, rusqlite::Error>>()?;
    Ok(row::put(Entity::Enterprise, &columns).row)
}
