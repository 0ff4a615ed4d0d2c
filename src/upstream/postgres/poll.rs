//! A look at the log: the head, the row at our own place, and what follows, in one round trip.

use std::{fmt::Write as _, str::FromStr, time::Duration};

use tokio_postgres::{Client, SimpleQueryRow};

use super::{
    super::{
        Asked, Commit, Found, Look, MAX_COMMIT_IN_PLACE, Place, ResyncCause, UpstreamError, log::LogEntry,
    },
    schema::rows,
    within,
};

/// Log rows that are read at once.
const PAGE: usize = 20_000;

/// A log row's columns, the instant in the one form in which logs write it.
pub(super) const LOG_ROW: &str = "sequence, entity, key, op, \"row\", \
    to_char(committed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), author";

/// Looks at the log from a place on. One transaction sees whole commits.
pub(super) async fn look(
    client: &Client,
    place: &Place,
    most: u64,
    bound: Duration,
) -> Result<Look, UpstreamError> {
    let asked = Asked::now();
    let at = place.position.sequence;
    let mut sql = String::new();
    // The server must not work on for a reader that has given up.
    let written = write!(
        sql,
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
         SET LOCAL statement_timeout = {};
         SELECT epoch, sequence, low_watermark FROM registry_meta;
         SELECT {LOG_ROW} FROM change_log WHERE sequence >= {at} ORDER BY sequence LIMIT {};
         COMMIT",
        bound.as_millis().max(1),
        PAGE + 2,
    );
    debug_assert!(written.is_ok(), "a String takes everything");
    let found = rows(within(bound, "a look at the log", client.simple_query(&sql)).await?);
    let Some((meta, log)) = found.split_first() else {
        return Err(UpstreamError::Corrupt("registry_meta has no row".to_owned()));
    };
    let head = Head {
        epoch: meta.get(0).unwrap_or_default(),
        sequence: number(meta, 1)?,
        low_watermark: number(meta, 2)?,
    };
    let entries = log.iter().map(log_entry).collect::<Result<Vec<_>, _>>()?;
    let found = follow(&head, place, entries, most);
    let end = match &found {
        Found::Nothing => at,
        Found::Commits(commits) => commits.last().map_or(at, Commit::sequence),
        Found::Resync(_) => return Ok(Look::on_the_way(found)),
    };
    Ok(if end == head.sequence {
        Look::at_head(found, asked)
    } else {
        Look::on_the_way(found)
    })
}

struct Head<'r> {
    epoch: &'r str,
    sequence: u64,
    low_watermark: u64,
}

/// What follows on a place, of the log's rows from that place on.
fn follow(head: &Head<'_>, place: &Place, entries: Vec<LogEntry>, most: u64) -> Found {
    let Place { position, mark } = place;
    if *head.epoch != *position.epoch {
        return Found::Resync(ResyncCause::Epoch);
    }
    if head.sequence < position.sequence {
        return Found::Resync(ResyncCause::Fork);
    }
    // A restored backup brings its old epoch back: the row at our own position tells whether it is our history.
    let mut entries = entries.into_iter().peekable();
    let there = entries
        .next_if(|entry| entry.sequence == position.sequence)
        .map(|entry| [entry.fingerprint(), 0]);
    if mark.is_some() && there != *mark && (there.is_some() || position.sequence > head.low_watermark) {
        return Found::Resync(ResyncCause::Fork);
    }
    if head.sequence == position.sequence {
        return Found::Nothing;
    }
    if head.low_watermark > position.sequence {
        return Found::Resync(ResyncCause::Gap);
    }
    if head.sequence - position.sequence > most {
        return Found::Resync(ResyncCause::Bulk);
    }
    commits(entries, position.sequence, head.sequence)
}

/// The whole commits among rows that follow on a sequence. A transaction's rows have one `committed_at`, and the next
/// one's have another.
fn commits(entries: impl Iterator<Item = LogEntry>, after: u64, head: u64) -> Found {
    let mut commits: Vec<Vec<LogEntry>> = Vec::new();
    let mut sequence = after;
    for entry in entries {
        sequence += 1;
        if entry.sequence != sequence {
            return Found::Resync(ResyncCause::Gap);
        }
        match commits.last_mut() {
            Some(commit)
                if commit
                    .last()
                    .is_some_and(|last| last.committed_at == entry.committed_at) =>
            {
                if commit.len() == MAX_COMMIT_IN_PLACE {
                    return Found::Resync(ResyncCause::Bulk);
                }
                commit.push(entry);
            }
            _ => commits.push(vec![entry]),
        }
    }
    if sequence < head && sequence < after + PAGE as u64 {
        return Found::Resync(ResyncCause::Gap);
    }
    if sequence < head {
        // The page ends here, and perhaps in the middle of a commit.
        commits.pop();
    }
    let commits = commits.into_iter().map(|entries| Commit {
        mark: entries.last().map(|entry| [entry.fingerprint(), 0]),
        entries,
    });
    Found::Commits(commits.collect())
}

/// Reads a row of [`LOG_ROW`].
pub(super) fn log_entry(row: &SimpleQueryRow) -> Result<LogEntry, UpstreamError> {
    let text = |index| row.get(index).unwrap_or_default().to_owned();
    Ok(LogEntry {
        sequence: number(row, 0)?,
        entity: text(1),
        key: text(2),
        op: text(3),
        row: row.get(4).map(ToOwned::to_owned),
        committed_at: text(5),
        author: row.get(6).map(ToOwned::to_owned),
    })
}

/// A column that holds a number of the registry's.
pub(super) fn number<T: FromStr>(row: &SimpleQueryRow, index: usize) -> Result<T, UpstreamError> {
    let text = row.get(index).unwrap_or_default();
    text.parse().map_err(|_| {
        let column = row.columns().get(index).map_or("", |column| column.name());
        UpstreamError::Corrupt(format!("{column}: {text:?} is no sequence"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(rows: impl IntoIterator<Item = (u64, usize)>) -> Vec<LogEntry> {
        rows.into_iter()
            .map(|(sequence, commit)| LogEntry {
                sequence,
                entity: "control_order".to_owned(),
                key: String::new(),
                op: "DELETE".to_owned(),
                row: None,
                committed_at: commit.to_string(),
                author: None,
            })
            .collect()
    }

    /// The lengths of the commits, or the cause.
    fn told(found: Found) -> Result<Vec<usize>, ResyncCause> {
        match found {
            Found::Nothing => Ok(Vec::new()),
            Found::Commits(commits) => Ok(commits.iter().map(|commit| commit.entries.len()).collect()),
            Found::Resync(cause) => Err(cause),
        }
    }

    #[test]
    fn rows_of_one_transaction_are_one_commit() {
        let rows = entries([(8, 1), (9, 1), (10, 2), (11, 3), (12, 3)]);
        assert_eq!(told(commits(rows.into_iter(), 7, 12)), Ok(vec![2, 1, 2]));
    }

    #[test]
    fn a_page_does_not_split_a_commit() {
        let rows = (1..=PAGE as u64 + 1).map(|sequence| (sequence, usize::from(sequence > 9_000) + 1));
        let rows = rows.map(|(sequence, commit)| (sequence, commit + usize::from(sequence > 18_000)));
        let found = commits(entries(rows).into_iter(), 0, 50_000);
        assert_eq!(told(found), Ok(vec![9_000, 9_000]));
    }

    #[test]
    fn a_commit_too_large_to_apply_in_place_asks_for_a_snapshot() {
        let rows = |count: u64| entries((1..=count).map(|sequence| (sequence, 1))).into_iter();
        let most = MAX_COMMIT_IN_PLACE as u64;
        assert_eq!(told(commits(rows(most), 0, most)), Ok(vec![MAX_COMMIT_IN_PLACE]));
        assert_eq!(told(commits(rows(most + 1), 0, most + 1)), Err(ResyncCause::Bulk));
    }

    #[test]
    fn a_hole_is_a_gap() {
        for rows in [vec![(9, 1)], vec![(8, 1), (10, 1)], vec![(8, 1)], vec![]] {
            assert_eq!(
                told(commits(entries(rows.clone()).into_iter(), 7, 10)),
                Err(ResyncCause::Gap),
                "{rows:?}"
            );
        }
    }
}
