//! Writes that the command line makes to a store: plain SQL, which the triggers log like anybody's.

use std::sync::Arc;

use jiff::Timestamp;
use thiserror::Error;

use super::{UpstreamError, columns::columns_of_json, postgres, row, source::SourceSettings, sqlite};
use crate::{
    domain::{
        CreditTier, Date,
        enterprise::{Enterprise, ScheduledTier},
        identifier::{CustomsCode, EnterpriseId, SocialCreditCode},
        order::ControlOrder,
    },
    registry::row::{Change, Entity, Keyed},
};

/// A store, open for writing.
#[derive(Debug)]
pub enum Editor {
    /// The embedded store.
    Sqlite(sqlite::edit::Editor),
    /// A database.
    Postgres(postgres::Editor),
}

/// An import under way; it comes to nothing unless it is committed.
#[derive(Debug)]
pub enum Import<'e> {
    /// Into the embedded store.
    Sqlite(sqlite::edit::Import<'e>),
    /// Into a database.
    Postgres(postgres::Import<'e>),
}

/// A row as the store holds it, column by column: other programs may have written what cannot be read.
pub type StoredRow = serde_json::Map<String, serde_json::Value>;

/// Why an edit was not made.
#[derive(Debug, Error)]
pub enum EditError {
    /// The store could not take it.
    #[error(transparent)]
    Store(#[from] UpstreamError),
    /// A social credit code has one holder; it is not taken from it.
    #[error("social_credit_code: \"{code}\" belongs to the enterprise {holder}")]
    Taken {
        /// The code.
        code: SocialCreditCode,
        /// The customs code of its holder.
        holder: String,
    },
    /// A new enterprise lacks what has no default.
    #[error("enterprise {0} is not registered yet: a new one needs a name and a tier")]
    Incomplete(CustomsCode),
    /// There is an order of that identifier.
    #[error("order {0} exists already")]
    OrderExists(String),
}

/// What becomes of a column that may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Assign<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It is emptied.
    Clear,
    /// It takes this value.
    Set(T),
}

/// What of an enterprise's row changes; a column that is not given stays as it is, or has its default in a new row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnterpriseChange {
    /// The name.
    pub name: Option<String>,
    /// The second key.
    pub social_credit_code: Assign<SocialCreditCode>,
    /// The tier.
    pub credit_tier: Option<CreditTier>,
    /// First day of the tier; where the tier changes and this is not given, the day of the change.
    pub tier_effective_from: Option<Date>,
    /// First day no longer covered.
    pub tier_valid_until: Assign<Date>,
    /// Whether the enterprise is suspended.
    pub suspended: Option<bool>,
}

/// An enterprise with what belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEnterprise {
    /// Its row.
    pub row: StoredRow,
    /// Its scheduled tiers, by date.
    pub scheduled: Vec<StoredRow>,
    /// Its latest former rows, the latest first.
    pub history: Vec<StoredRow>,
}

impl Editor {
    /// Opens a store that exists.
    pub fn open(settings: &SourceSettings) -> Result<Self, EditError> {
        Self::of(settings, sqlite::edit::Editor::open)
    }

    /// Opens a store; an embedded one is created and its schema brought up to date.
    pub fn open_or_create(settings: &SourceSettings) -> Result<Self, EditError> {
        Self::of(settings, sqlite::edit::Editor::open_or_create)
    }

    fn of(
        settings: &SourceSettings,
        embedded: fn(&sqlite::StorePath) -> Result<sqlite::edit::Editor, EditError>,
    ) -> Result<Self, EditError> {
        if settings.is_postgres() {
            return Ok(Self::Postgres(postgres::Editor::open(&settings.postgres())?));
        }
        let path = sqlite::StorePath::from_url(&settings.url)?;
        Ok(Self::Sqlite(embedded(&path)?))
    }

    /// Names who writes. A database knows that better: its triggers log the user of the session.
    pub fn signed_by(self, author: &str) -> Result<Self, EditError> {
        match self {
            Self::Sqlite(editor) => Ok(Self::Sqlite(editor.signed_by(author)?)),
            database @ Self::Postgres(_) => Ok(database),
        }
    }

    /// The enterprise of that identifier with its scheduled tiers and at most `history` former rows.
    pub fn enterprise(
        &self,
        id: &EnterpriseId,
        history: usize,
    ) -> Result<Option<StoredEnterprise>, EditError> {
        match self {
            Self::Sqlite(editor) => editor.enterprise(id, history),
            Self::Postgres(editor) => editor.enterprise(id, history),
        }
    }

    /// Changes an enterprise's row, or makes one; tells whether it is new.
    pub fn set_enterprise(
        &mut self,
        code: CustomsCode,
        change: &EnterpriseChange,
        today: Date,
    ) -> Result<bool, EditError> {
        match self {
            Self::Sqlite(editor) => editor.set_enterprise(code, change, today),
            Self::Postgres(editor) => editor.set_enterprise(code, change, today),
        }
    }

    /// Schedules a tier for an enterprise, registered or not; replaces what was scheduled for the same day.
    pub fn schedule(&mut self, code: CustomsCode, scheduled: ScheduledTier) -> Result<(), EditError> {
        match self {
            Self::Sqlite(editor) => editor.schedule(code, scheduled),
            Self::Postgres(editor) => editor.schedule(code, scheduled),
        }
    }

    /// Takes back what was scheduled for that day; tells whether there was anything.
    pub fn unschedule(&mut self, code: CustomsCode, effective_from: Date) -> Result<bool, EditError> {
        match self {
            Self::Sqlite(editor) => editor.unschedule(code, effective_from),
            Self::Postgres(editor) => editor.unschedule(code, effective_from),
        }
    }

    /// Adds an order that does not exist yet.
    pub fn add_order(&mut self, order: &ControlOrder) -> Result<(), EditError> {
        match self {
            Self::Sqlite(editor) => editor.add_order(order),
            Self::Postgres(editor) => editor.add_order(order),
        }
    }

    /// Every order, by its beginning.
    pub fn orders(&self) -> Result<Vec<StoredOrder>, EditError> {
        match self {
            Self::Sqlite(editor) => editor.orders(),
            Self::Postgres(editor) => editor.orders(),
        }
    }

    /// Ends an order at an instant; one that has ended by then keeps its end.
    pub fn end_order(&mut self, id: &str, at: Timestamp) -> Result<Ending, EditError> {
        match self {
            Self::Sqlite(editor) => editor.end_order(id, at),
            Self::Postgres(editor) => editor.end_order(id, at),
        }
    }

    /// Begins an import that sets these columns.
    pub fn import(&mut self, columns: OptionalColumns) -> Result<Import<'_>, EditError> {
        Ok(match self {
            Self::Sqlite(editor) => Import::Sqlite(editor.import(columns)?),
            Self::Postgres(editor) => Import::Postgres(editor.import(columns)?),
        })
    }
}

impl Import<'_> {
    /// Puts the enterprise of a line; after [`EditError::Taken`] the import can go on without it.
    pub fn put(&mut self, line: u64, enterprise: &Enterprise) -> Result<(), EditError> {
        match self {
            Self::Sqlite(import) => import.put(enterprise),
            Self::Postgres(import) => import.put(line, enterprise),
        }
    }

    /// The lines that the store refuses once it has them all, and goes on without.
    pub fn refused(&mut self) -> Result<Vec<(u64, EditError)>, EditError> {
        match self {
            // Each was refused when it was put.
            Self::Sqlite(_) => Ok(Vec::new()),
            Self::Postgres(import) => import.refused(),
        }
    }

    /// Puts it all in force at once; after [`Import::refused`].
    pub fn commit(self) -> Result<Imported, EditError> {
        match self {
            Self::Sqlite(import) => import.commit(),
            Self::Postgres(import) => import.commit(),
        }
    }
}

impl EnterpriseChange {
    /// The columns of text or date that are given, with their new values.
    pub(super) fn texts(&self) -> Vec<(&'static str, Option<String>)> {
        let Self {
            name,
            social_credit_code,
            credit_tier,
            tier_effective_from,
            tier_valid_until,
            suspended: _,
        } = self;
        let text = |column, value: Option<String>| value.map(|value| (column, Some(value)));
        let given = [
            text("name", name.clone()),
            social_credit_code.column("social_credit_code"),
            text("credit_tier", credit_tier.map(|tier| tier.name().to_owned())),
            text(
                "tier_effective_from",
                tier_effective_from.map(|date| date.to_string()),
            ),
            tier_valid_until.column("tier_valid_until"),
        ];
        given.into_iter().flatten().collect()
    }
}

impl<T: ToString> Assign<T> {
    /// The column with its new value, if it has one.
    fn column(&self, name: &'static str) -> Option<(&'static str, Option<String>)> {
        match self {
            Self::Keep => None,
            Self::Clear => Some((name, None)),
            Self::Set(value) => Some((name, Some(value.to_string()))),
        }
    }
}

/// Which of the columns that may be empty an import sets; the others stay as they are in rows that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OptionalColumns {
    /// The second key.
    pub social_credit_code: bool,
    /// The end of the tier.
    pub tier_valid_until: bool,
    /// The suspension.
    pub suspended: bool,
}

/// What an import did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    /// Enterprises that were not registered before.
    pub new: u64,
    /// Enterprises whose rows changed.
    pub updated: u64,
    /// Enterprises that were registered so already: their rows are not touched and no replica hears of them.
    pub unchanged: u64,
}

impl Imported {
    /// All of them.
    pub const fn total(self) -> u64 {
        self.new + self.updated + self.unchanged
    }
}

/// An order as the store holds it, and what the registry makes of it.
#[derive(Debug)]
pub struct StoredOrder {
    /// Its row.
    pub row: StoredRow,
    /// Why it cannot be read in full, if so.
    pub unreadable: Option<String>,
    pub(super) order: Option<Arc<ControlOrder>>,
}

/// What came of ending an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// There is no such order.
    Unknown,
    /// It had ended before, and its end stays as it was.
    Before(Timestamp),
    /// It ends when asked.
    Ended,
}

impl StoredOrder {
    /// Reads a row of either store.
    pub(super) fn read(stored: StoredRow) -> Self {
        let json = serde_json::Value::Object(stored.clone()).to_string();
        let columns = columns_of_json(Entity::ControlOrder, &json).unwrap_or_default();
        let Change { row, unreadable, .. } = row::put(Entity::ControlOrder, &columns);
        Self {
            order: if let Keyed::Order(order) = row {
                Some(order)
            } else {
                None
            },
            row: stored,
            unreadable,
        }
    }

    /// Whether it is in force at that instant; one that can be placed nowhere never is.
    pub fn in_force(&self, at: Timestamp) -> bool {
        self.order.as_ref().is_some_and(|order| order.in_force(at))
    }
}

/// The one form in which stores write instants.
pub(super) fn instant(instant: Timestamp) -> String {
    format!("{instant:.3}")
}
