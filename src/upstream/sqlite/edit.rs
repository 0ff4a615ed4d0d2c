//! The embedded store's side of the command line's writes.

mod import;
mod orders;
#[cfg(test)]
mod tests;

pub use import::Import;

use rusqlite::{
    Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params_from_iter,
    types::{Value, ValueRef},
};

use super::{
    super::edit::{Assign, EditError, EnterpriseChange, StoredEnterprise, StoredRow},
    StorePath, has_author,
};
use crate::{
    domain::{
        Date,
        enterprise::ScheduledTier,
        identifier::{CustomsCode, EnterpriseId, SocialCreditCode},
    },
    registry::row::Entity,
};

/// The instant of the statement, in the one form in which the store writes instants.
const NOW: &str = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')";

/// The embedded store, open for writing.
#[derive(Debug)]
pub struct Editor(Connection);

impl From<rusqlite::Error> for EditError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Editor {
    /// Opens a store that exists.
    pub fn open(path: &StorePath) -> Result<Self, EditError> {
        Ok(Self(path.open()?))
    }

    /// Opens a store, creating it and bringing its schema up to date.
    pub fn open_or_create(path: &StorePath) -> Result<Self, EditError> {
        Ok(Self(path.open_or_create()?))
    }

    /// Names who writes, in every row of the log that is written from now on.
    pub fn signed_by(self, author: &str) -> Result<Self, EditError> {
        if has_author(&self.0)? {
            // A trigger of this connection alone: in the writes' own transactions, and nobody else's.
            let author = author.replace('\'', "''");
            self.0.execute_batch(&format!(
                "CREATE TEMP TRIGGER change_is_signed AFTER INSERT ON main.change_log
                 BEGIN UPDATE change_log SET author = '{author}' WHERE sequence = NEW.sequence; END"
            ))?;
        }
        Ok(self)
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
        let select = |columns: &[&str], rest: &str, key: &str| {
            rows(
                &self.0,
                &format!("SELECT {} FROM {rest}", columns.join(", ")),
                [key],
            )
        };
        let mut columns = Entity::Enterprise.columns().to_vec();
        columns.push("updated_at");
        let from = format!("enterprise WHERE {column} = ?1");
        let Some(row) = select(&columns, &from, id.as_str())?.pop() else {
            return Ok(None);
        };
        let key = row
            .get("customs_code")
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default();
        let scheduled = select(
            &["credit_tier", "effective_from"],
            "scheduled_tier WHERE customs_code = ?1 ORDER BY effective_from",
            key,
        )?;
        columns.pop();
        columns.extend(["recorded_from", "recorded_to"]);
        let from = format!(
            "enterprise_history WHERE customs_code = ?1 ORDER BY recorded_to DESC, rowid DESC LIMIT {history}"
        );
        Ok(Some(StoredEnterprise {
            scheduled,
            history: select(&columns, &from, key)?,
            row,
        }))
    }

    /// Changes an enterprise's row, or makes one; tells whether it is new.
    pub fn set_enterprise(
        &mut self,
        code: CustomsCode,
        change: &EnterpriseChange,
        today: Date,
    ) -> Result<bool, EditError> {
        let transaction = self.transaction()?;
        let stored: Option<String> = transaction
            .query_row(
                "SELECT credit_tier FROM enterprise WHERE customs_code = ?1",
                [code.as_str()],
                |row| row.get(0),
            )
            .optional()?;
        if stored.is_none() && (change.name.is_none() || change.credit_tier.is_none()) {
            return Err(EditError::Incomplete(code));
        }
        let value = |text: Option<String>| text.map_or(Value::Null, Value::Text);
        let texts = change.texts().into_iter();
        let mut columns: Vec<_> = texts.map(|(name, text)| (name, value(text))).collect();
        if let Some(suspended) = change.suspended {
            columns.push(("suspended", Value::Integer(suspended.into())));
        }
        let moved = change
            .credit_tier
            .is_some_and(|tier| stored.as_deref() != Some(tier.name()));
        if moved && change.tier_effective_from.is_none() {
            columns.push(("tier_effective_from", Value::Text(today.to_string())));
        }
        columns.push(("customs_code", Value::Text(code.to_string())));
        let (names, values): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let sql = if stored.is_some() {
            let key = names.len();
            let set: Vec<_> = (1..key).map(|at| format!("{} = ?{at}", names[at - 1])).collect();
            let set = set.join(", ");
            format!("UPDATE enterprise SET {set}, updated_at = {NOW} WHERE customs_code = ?{key}")
        } else {
            let places: Vec<_> = (1..=names.len()).map(|at| format!("?{at}")).collect();
            format!(
                "INSERT INTO enterprise ({}) VALUES ({})",
                names.join(", "),
                places.join(", ")
            )
        };
        let written = transaction.execute(&sql, params_from_iter(values));
        let code = match change.social_credit_code {
            Assign::Set(code) => Some(code),
            Assign::Keep | Assign::Clear => None,
        };
        written.map_err(|error| taken(&transaction, code, error))?;
        transaction.commit()?;
        Ok(stored.is_none())
    }

    /// Schedules a tier for an enterprise, registered or not; replaces what was scheduled for the same day.
    pub fn schedule(&mut self, code: CustomsCode, scheduled: ScheduledTier) -> Result<(), EditError> {
        self.0.execute(
            "INSERT INTO scheduled_tier (customs_code, credit_tier, effective_from) VALUES (?1, ?2, ?3)
             ON CONFLICT (customs_code, effective_from) DO UPDATE SET credit_tier = excluded.credit_tier",
            [
                code.as_str(),
                scheduled.credit_tier.name(),
                &scheduled.effective_from.to_string(),
            ],
        )?;
        Ok(())
    }

    /// Takes back what was scheduled for that day; tells whether there was anything.
    pub fn unschedule(&mut self, code: CustomsCode, effective_from: Date) -> Result<bool, EditError> {
        let deleted = self.0.execute(
            "DELETE FROM scheduled_tier WHERE customs_code = ?1 AND effective_from = ?2",
            [code.as_str(), &effective_from.to_string()],
        )?;
        Ok(deleted > 0)
    }

    /// A transaction that takes the store's one write lock at once: reading first and locking later can be refused.
    fn transaction(&mut self) -> Result<Transaction<'_>, EditError> {
        Ok(self.0.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }
}

/// What a failed write means: `social_credit_code` is the only column beside the key that must be unique.
fn taken(transaction: &Transaction<'_>, code: Option<SocialCreditCode>, error: rusqlite::Error) -> EditError {
    let unique = error
        .sqlite_error()
        .is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE);
    let Some(code) = code.filter(|_| unique) else {
        return error.into();
    };
    let holder = transaction.query_row(
        "SELECT customs_code FROM enterprise WHERE social_credit_code = ?1",
        [code.as_str()],
        |row| row.get(0),
    );
    match holder {
        Ok(holder) => EditError::Taken { code, holder },
        Err(error) => error.into(),
    }
}

fn rows(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> Result<Vec<StoredRow>, EditError> {
    let mut select = connection.prepare(sql)?;
    let found = select.query_map(parameters, stored)?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn stored(row: &Row<'_>) -> Result<StoredRow, rusqlite::Error> {
    let names = row.as_ref().column_names();
    let columns = names.into_iter().enumerate().map(|(at, name)| {
        let value = match row.get_ref(at)? {
            ValueRef::Null => serde_json::Value::Null,
            ValueRef::Integer(number) => number.into(),
            ValueRef::Real(number) => number.into(),
            ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
            // The triggers refuse it, but a store may be older than they are.
            ValueRef::Blob(bytes) => format!("a blob of {} bytes", bytes.len()).into(),
        };
        Ok((name.to_owned(), value))
    });
    columns.collect()
}
