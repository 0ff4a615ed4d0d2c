//! Many enterprises in one transaction.

use rusqlite::{OptionalExtension, Transaction, params};

use super::{EditError, Editor, NOW, taken};
use crate::{
    domain::{enterprise::Enterprise, identifier::SocialCreditCode},
    upstream::edit::{Imported, OptionalColumns},
};

/// Pages that the import keeps in memory, in KiB: the indexes are hit at random.
const CACHE_KIB: i64 = 256 * 1024;

/// An import under way; it comes to nothing unless it is committed.
#[derive(Debug)]
pub struct Import<'e> {
    transaction: Transaction<'e>,
    compare: String,
    update: String,
    imported: Imported,
}

impl Editor {
    /// Begins an import that sets these columns.
    pub fn import(&mut self, columns: OptionalColumns) -> Result<Import<'_>, EditError> {
        self.0.pragma_update(None, "cache_size", -CACHE_KIB)?;
        // The triggers make every statement keep an undo journal; in a file that is six writes a row.
        self.0.pragma_update(None, "temp_store", "MEMORY")?;
        // The columns that are always set come last: statements that leave others out still have seven parameters.
        let columns = [
            ("social_credit_code", 2, columns.social_credit_code),
            ("tier_valid_until", 3, columns.tier_valid_until),
            ("suspended", 4, columns.suspended),
            ("credit_tier", 5, true),
            ("tier_effective_from", 6, true),
            ("name", 7, true),
        ];
        let columns = columns.into_iter().filter(|(_, _, is_set)| *is_set);
        let (same, set): (Vec<_>, Vec<_>) = columns
            .map(|(name, at, _)| (format!("{name} IS ?{at}"), format!("{name} = ?{at}")))
            .unzip();
        Ok(Import {
            transaction: self.transaction()?,
            compare: format!(
                "SELECT {} FROM enterprise WHERE customs_code = ?1",
                same.join(" AND ")
            ),
            update: format!(
                "UPDATE enterprise SET {}, updated_at = {NOW} WHERE customs_code = ?1",
                set.join(", ")
            ),
            imported: Imported::default(),
        })
    }
}

impl Import<'_> {
    /// Puts one enterprise; after [`EditError::Taken`] the import can go on without it.
    pub fn put(&mut self, enterprise: &Enterprise) -> Result<(), EditError> {
        const INSERT: &str =
            "INSERT INTO enterprise (customs_code, social_credit_code, tier_valid_until, suspended,
                                                      credit_tier, tier_effective_from, name)
                              VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

        let Enterprise {
            customs_code,
            social_credit_code,
            name,
            credit,
        } = enterprise;
        let effective_from = credit.tier_effective_from.to_string();
        let valid_until = credit.tier_valid_until.map(|end| end.to_string());
        let values = params![
            customs_code.as_str(),
            social_credit_code.as_ref().map(SocialCreditCode::as_str),
            valid_until,
            credit.suspended,
            credit.credit_tier.name(),
            effective_from,
            name,
        ];
        let transaction = &self.transaction;
        // Asking first is cheaper than an upsert, for which the triggers must note who is in the way.
        let mut compare = transaction.prepare_cached(&self.compare)?;
        let same: Option<bool> = compare.query_row(values, |row| row.get(0)).optional()?;
        let (write, count) = match same {
            Some(true) => {
                self.imported.unchanged += 1;
                return Ok(());
            }
            Some(false) => (&*self.update, &mut self.imported.updated),
            None => (INSERT, &mut self.imported.new),
        };
        let written = transaction.prepare_cached(write)?.execute(values);
        written.map_err(|error| taken(transaction, *social_credit_code, error))?;
        *count += 1;
        Ok(())
    }

    /// Puts it all in force at once.
    pub fn commit(self) -> Result<Imported, EditError> {
        self.transaction.commit()?;
        Ok(self.imported)
    }
}
