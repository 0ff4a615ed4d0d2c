//! A row of a store's change log, as every store and the relay hand it on.

use ring::digest::{Context, SHA256};

use super::{columns, row};
use crate::registry::row::{Change, Entity};

/// A row of `change_log`. Writers may put texts that are not UTF-8: they are read with replacement characters, so that
/// one such row cannot stop the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its number: gap-free, in commit order.
    pub sequence: u64,
    /// The table's name.
    pub entity: String,
    /// The primary key's columns joined by `|`.
    pub key: String,
    /// `UPSERT` or `DELETE`.
    pub op: String,
    /// JSON of the new row.
    pub row: Option<String>,
    /// When it was written, by the store's clock.
    pub committed_at: String,
    /// Who wrote it, as far as the store knows.
    pub author: Option<String>,
}

impl LogEntry {
    /// A number that another row at the same sequence does not have: tells one history from another.
    pub fn fingerprint(&self) -> u64 {
        let Self {
            sequence,
            entity,
            key,
            op,
            row,
            committed_at,
            // Replicas that know nothing of authors must come to the same number.
            author: _,
        } = self;
        let mut context = Context::new(&SHA256);
        context.update(&sequence.to_le_bytes());
        for text in [
            Some(entity),
            Some(key),
            Some(op),
            row.as_ref(),
            Some(committed_at),
        ] {
            // Lengths keep fields apart; a missing row is not an empty one.
            let length = text.map_or(u64::MAX, |text| text.len() as u64);
            context.update(&length.to_le_bytes());
            context.update(text.map_or(&[], |text| text.as_bytes()));
        }
        let digest = context.finish();
        digest
            .as_ref()
            .first_chunk()
            .map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// The change it tells of; none for a table that is not ours.
    pub fn change(&self) -> Option<Change> {
        let entity = Entity::from_name(&self.entity)?;
        if self.op == "DELETE" {
            return Some(row::gone(entity, &self.key));
        }
        let columns = self
            .row
            .as_deref()
            .and_then(|json| columns::columns_of_json(entity, json));
        // The log's key is the one by which a later DELETE names the row.
        Some(match columns {
            Some(columns) => Change {
                key: self.key.clone(),
                ..row::put(entity, &columns)
            },
            None => row::unreadable(entity, &self.key),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_row_at_the_same_sequence_has_another_fingerprint() {
        let entry = LogEntry {
            sequence: 7,
            entity: "enterprise".to_owned(),
            key: "1101919103".to_owned(),
            op: "UPSERT".to_owned(),
            row: None,
            committed_at: "2026-11-24T00:00:00.000Z".to_owned(),
            author: None,
        };
        let by = LogEntry {
            author: Some("officer".to_owned()),
            ..entry.clone()
        };
        assert_eq!(entry.fingerprint(), by.fingerprint());
        let mut seen = vec![entry.fingerprint()];
        for change in [
            |entry: &mut LogEntry| entry.sequence = 8,
            |entry: &mut LogEntry| entry.key.push('0'),
            |entry: &mut LogEntry| entry.op = "DELETE".to_owned(),
            |entry: &mut LogEntry| entry.row = Some(String::new()),
            |entry: &mut LogEntry| entry.committed_at.clear(),
            |entry: &mut LogEntry| std::mem::swap(&mut entry.entity, &mut entry.key),
        ] {
            let mut other = entry.clone();
            change(&mut other);
            seen.push(other.fingerprint());
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 7);
        assert_eq!(entry.fingerprint(), entry.clone().fingerprint());
    }
}
