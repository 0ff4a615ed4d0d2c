//! The database's side of the command line's writes.

mod import;
mod orders;

pub use import::Import;

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_postgres::{
    Client,
    error::SqlState,
    types::{ToSql, Type},
};

use super::{
    Settings,
    connect::{Address, Session},
    within,
};
use crate::{
    domain::{
        Date,
        enterprise::ScheduledTier,
        identifier::{CustomsCode, EnterpriseId, SocialCreditCode},
    },
    upstream::{
        UpstreamError,
        edit::{Assign, EditError, EnterpriseChange, StoredEnterprise, StoredRow},
    },
};

/// Bound on an edit: it waits for other writers.
const EDIT: Duration = Duration::from_secs(30);

/// Begins a transaction and waits for its turn to write. A statement on a registry table takes the lock that orders the
/// writers, also one that changes nothing; locking a row first would deadlock with a writer who has that lock.
const BEGIN: &str =
    "BEGIN; SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL timezone = 'UTC'; SET LOCAL lock_timeout = '10s';
    DELETE FROM enterprise WHERE false";

/// The database, open for writing.
#[derive(Debug)]
pub struct Editor {
    runtime: Runtime,
    session: Session,
}

impl From<tokio_postgres::Error> for EditError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Statement parameters that are all text: the statements cast them.
type Texts<'p> = &'p [&'p (dyn ToSql + Sync)];

async fn execute(client: &Client, sql: &str, texts: Texts<'_>) -> Result<u64, tokio_postgres::Error> {
    let typed: Vec<_> = texts.iter().map(|text| (*text, Type::TEXT)).collect();
    client.execute_typed(sql, &typed).await
}

/// Rows of one JSON object each.
async fn rows(client: &Client, sql: &str, texts: Texts<'_>) -> Result<Vec<StoredRow>, EditError> {
    let typed: Vec<_> = texts.iter().map(|text| (*text, Type::TEXT)).collect();
    let found = client.query_typed(sql, &typed).await?;
    let read = |row: &tokio_postgres::Row| {
        let text: &str = row.try_get(0)?;
        serde_json::from_str(text).map_err(|error| UpstreamError::Corrupt(error.to_string()))
    };
    Ok(found.iter().map(read).collect::<Result<_, UpstreamError>>()?)
}

impl Editor {
    /// Opens a database that holds a store.
    pub fn open(settings: &Settings) -> Result<Self, EditError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| UpstreamError::Unavailable(error.to_string()))?;
        let address = Address::read(settings)?;
        let session = runtime.block_on(address.session(settings))?;
        Ok(Self { runtime, session })
    }

    /// Runs an edit to its end, within its bound.
    fn run<T>(&self, edit: impl AsyncFnOnce(&Client) -> Result<T, EditError>) -> Result<T, EditError> {
        let client = &self.session.client;
        let answer = async { Ok::<_, UpstreamError>(edit(client).await) };
        self.runtime.block_on(within(EDIT, "the edit", answer))?
    }

    /// The enterprise of that identifier with its scheduled tiers and at most `history` former rows.
    pub fn enterprise(
        &self,
        id: &EnterpriseId,
        history: usize,
    ) -> Result<Option<StoredEnterprise>, EditError> {
        let column = match id {
            EnterpriseId::Customs(_) => "customs_code",
            EnterpriseId::SocialCredit(_) => "social_credit_code",
            // The register holds Chinese enterprises only.
            EnterpriseId::Foreign(_) => return Ok(None),
        };
        self.run(async |client| {
            client
                .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL timezone = 'UTC'")
                .await?;
            let sql = format!("SELECT to_jsonb(e)::text FROM enterprise e WHERE {column} = $1");
            let row = rows(client, &sql, &[&id.as_str()]).await?.pop();
            let found = if let Some(row) = row {
                let key = row
                    .get("customs_code")
                    .and_then(serde_json::Value::as_str)
                    .unwrap_or_default()
                    .to_owned();
                let scheduled = "SELECT jsonb_build_object('credit_tier', credit_tier, 'effective_from', effective_from)::text
                                   FROM scheduled_tier WHERE customs_code = $1
                                  ORDER BY effective_from";
                let former = format!(
                    "SELECT to_jsonb(h)::text FROM enterprise_history h WHERE customs_code = $1
                      ORDER BY recorded_to DESC, recorded_from DESC LIMIT {history}"
                );
                Some(StoredEnterprise {
                    row,
                    scheduled: rows(client, scheduled, &[&key]).await?,
                    history: rows(client, &former, &[&key]).await?,
                })
            } else {
                None
            };
            client.batch_execute("COMMIT").await?;
            Ok(found)
        })
    }

    /// Changes an enterprise's row, or makes one; tells whether it is new.
    pub fn set_enterprise(
        &mut self,
        code: CustomsCode,
        change: &EnterpriseChange,
        today: Date,
    ) -> Result<bool, EditError> {
        self.run(async |client| {
            client.batch_execute(BEGIN).await?;
            let sql = "SELECT jsonb_build_object('tier', credit_tier)::text FROM enterprise WHERE customs_code = $1";
            let stored = rows(client, sql, &[&code.as_str()]).await?.pop();
            if stored.is_none() && (change.name.is_none() || change.credit_tier.is_none()) {
                client.batch_execute("ROLLBACK").await?;
                return Err(EditError::Incomplete(code));
            }
            let tier = stored.as_ref().and_then(|row| row.get("tier")?.as_str());
            let mut columns = change.texts();
            let moved = change.credit_tier.is_some_and(|own| tier != Some(own.name()));
            if moved && change.tier_effective_from.is_none() {
                columns.push(("tier_effective_from", Some(today.to_string())));
            }
            if let Some(suspended) = change.suspended {
                columns.push(("suspended", Some(suspended.to_string())));
            }
            let written = write(client, code, &columns, stored.is_none()).await;
            if let Err(error) = written {
                client.batch_execute("ROLLBACK").await?;
                return Err(taken(client, &change.social_credit_code, error).await?);
            }
            client.batch_execute("COMMIT").await?;
            Ok(stored.is_none())
        })
    }

    /// Schedules a tier for an enterprise, registered or not; replaces what was scheduled for the same day.
    pub fn schedule(&mut self, code: CustomsCode, scheduled: ScheduledTier) -> Result<(), EditError> {
        let ScheduledTier {
            effective_from,
            credit_tier,
        } = scheduled;
        let sql = "INSERT INTO scheduled_tier (customs_code, credit_tier, effective_from) VALUES ($1, $2, $3::date)
                   ON CONFLICT (customs_code, effective_from) DO UPDATE SET credit_tier = excluded.credit_tier";
        self.run(async |client| {
            let date = effective_from.to_string();
            execute(client, sql, &[&code.as_str(), &credit_tier.name(), &date]).await?;
            Ok(())
        })
    }

    /// Takes back what was scheduled for that day; tells whether there was anything.
    pub fn unschedule(&mut self, code: CustomsCode, effective_from: Date) -> Result<bool, EditError> {
        let sql = "DELETE FROM scheduled_tier WHERE customs_code = $1 AND effective_from = $2::date";
        self.run(async |client| {
            let date = effective_from.to_string();
            Ok(execute(client, sql, &[&code.as_str(), &date]).await? > 0)
        })
    }
}

/// Writes the columns of an enterprise's row.
async fn write(
    client: &Client,
    code: CustomsCode,
    columns: &[(&'static str, Option<String>)],
    is_new: bool,
) -> Result<u64, tokio_postgres::Error> {
    let place = |(at, (name, _)): (usize, &(&str, Option<String>))| {
        let cast = match *name {
            "tier_effective_from" | "tier_valid_until" => "::date",
            "suspended" => "::boolean",
            _ => "",
        };
        format!("${}{cast}", at + 2)
    };
    let code = code.as_str();
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&code];
    values.extend(columns.iter().map(|(_, value)| value as &(dyn ToSql + Sync)));
    let places: Vec<_> = columns.iter().enumerate().map(place).collect();
    let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
    let sql = if is_new {
        format!(
            "INSERT INTO enterprise (customs_code, {}) VALUES ($1, {})",
            names.join(", "),
            places.join(", ")
        )
    } else {
        let set: Vec<_> = names
            .iter()
            .zip(places)
            .map(|(name, place)| format!("{name} = {place}, "))
            .collect();
        format!(
            "UPDATE enterprise SET {}updated_at = clock_timestamp() WHERE customs_code = $1",
            set.concat()
        )
    };
    execute(client, &sql, &values).await
}

/// What a failed write means: `social_credit_code` is the only column beside the key that must be unique.
async fn taken(
    client: &Client,
    assigned: &Assign<SocialCreditCode>,
    error: tokio_postgres::Error,
) -> Result<EditError, EditError> {
    let code = match assigned {
        Assign::Set(code) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => *code,
        Assign::Set(_) | Assign::Keep | Assign::Clear => return Ok(error.into()),
    };
    let sql = "SELECT jsonb_build_object('holder', customs_code)::text FROM enterprise WHERE social_credit_code = $1";
    let holder = rows(client, sql, &[&code.as_str()]).await?.pop();
    let holder = holder.as_ref().and_then(|row| row.get("holder")?.as_str());
    Ok(match holder {
        Some(holder) => EditError::Taken {
            code,
            holder: holder.to_owned(),
        },
        None => error.into(),
    })
}
