//! What was shipped to a database, read back. Every question has a connection of its own, a few at a time.

use std::{fmt::Write as _, sync::Arc, time::SystemTime};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio_postgres::{
    Client, Row,
    types::{ToSql, Type},
};

use super::{
    super::{
        super::{
            UpstreamError,
            archive::{Bound, DecisionFilter, DecisionKey, FoundRecord, SignedText, signed},
        },
        Settings,
        connect::Address,
        within,
    },
    nanos, time,
};

/// Questions that are answered at once: auditors must not take the connections of writers.
const AT_ONCE: usize = 4;
/// Groups looked at for one answer.
const GROUPS: i64 = 1_024;

/// Reads what was shipped to a database.
#[derive(Debug, Clone)]
pub struct ArchiveReader {
    settings: Settings,
    address: Address,
    turns: Arc<Semaphore>,
}

/// A question for decisions: conditions and their parameters.
#[derive(Default)]
struct Question<'a> {
    conditions: String,
    parameters: Vec<(Box<dyn ToSql + Sync + Send + 'a>, Type)>,
}

impl<'a> Question<'a> {
    /// Adds a condition, in which each `?` is the next of the parameters.
    fn only(
        &mut self,
        condition: &str,
        parameters: impl IntoIterator<Item = (Box<dyn ToSql + Sync + Send + 'a>, Type)>,
    ) {
        let mut parts = condition.split('?');
        let first = parts.next().unwrap_or_default();
        self.conditions.push_str(if self.conditions.is_empty() {
            "WHERE "
        } else {
            " AND "
        });
        self.conditions.push_str(first);
        for (part, parameter) in parts.zip(parameters) {
            self.parameters.push(parameter);
            // Writing into a text does not fail.
            let _written = write!(self.conditions, "${}{part}", self.parameters.len());
        }
    }

    fn text(&mut self, condition: &str, text: &'a str) {
        self.only(condition, [(Box::new(text) as _, Type::TEXT)]);
    }

    /// Before or after an instant: the column has microseconds, and beside it what they leave.
    fn instant(&mut self, comparison: &str, at: Timestamp) {
        // The first part alone is what partitions and indexes are chosen by.
        self.only(
            &format!(
                "decided_at {}= ? AND (decided_at, decided_nanos) {comparison} (?, ?)",
                &comparison[..1]
            ),
            [micros(at), micros(at), rest(at)],
        );
    }
}

fn micros<'a>(at: Timestamp) -> (Box<dyn ToSql + Sync + Send + 'a>, Type) {
    (Box::new(time(at)), Type::TIMESTAMPTZ)
}

fn rest<'a>(at: Timestamp) -> (Box<dyn ToSql + Sync + Send + 'a>, Type) {
    (Box::new(nanos(at)), Type::INT2)
}

impl ArchiveReader {
    /// Reads from that database; connects for each question.
    pub fn new(settings: Settings) -> Result<Self, UpstreamError> {
        Ok(Self {
            address: Address::read(&settings)?,
            settings,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        })
    }

    /// The replicas whose logs are in it, in order of their names.
    pub async fn replicas(&self) -> Result<Vec<String>, UpstreamError> {
        self.ask(async |client| {
            let asked = "SELECT replica FROM audit_progress UNION SELECT replica FROM audit_head ORDER BY 1";
            let rows = client.query_typed(asked, &[]).await?;
            Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The frames of a replica's groups, from the one with that record on.
    pub async fn groups(&self, replica: &str, from: u64, bytes: usize) -> Result<Vec<Bytes>, UpstreamError> {
        self.ask(async |client| {
            let rows = client
                .query_typed(
                    // The lengths come first: frames are read only as far as they are wanted.
                    "WITH ahead AS (
                       SELECT first_sequence, written_at, octet_length(frame) AS length FROM audit_group
                        WHERE replica = $1
                          AND first_sequence >= coalesce((SELECT max(first_sequence) FROM audit_group
                                                           WHERE replica = $1 AND first_sequence <= $2), 0)
                        ORDER BY first_sequence LIMIT $3),
                     summed AS (
                       SELECT *, sum(length) OVER (ORDER BY first_sequence) - length AS before FROM ahead)
                     SELECT g.frame, g.first_sequence + g.records
                       FROM summed s JOIN audit_group g
                         ON g.replica = $1 AND g.first_sequence = s.first_sequence AND g.written_at = s.written_at
                      WHERE s.before < $4
                      ORDER BY g.first_sequence",
                    &[
                        (&replica, Type::TEXT),
                        (&signed(from), Type::INT8),
                        (&GROUPS, Type::INT8),
                        (&signed(bytes as u64), Type::INT8),
                    ],
                )
                .await?;
            let mut frames = Vec::with_capacity(rows.len());
            for row in &rows {
                let next: i64 = row.try_get(1)?;
                if next > signed(from) {
                    frames.push(Bytes::copy_from_slice(row.try_get(0)?));
                }
            }
            Ok(frames)
        })
        .await
    }

    /// The head of a replica's log, as it was signed last.
    pub async fn head(&self, replica: &str) -> Result<Option<SignedText>, UpstreamError> {
        let asked = "SELECT sequence, head, signature FROM audit_head WHERE replica = $1";
        Ok(self.signed_texts(asked, replica).await?.pop())
    }

    /// The seals of a replica's segments, in their order.
    pub async fn seals(&self, replica: &str) -> Result<Vec<SignedText>, UpstreamError> {
        let asked = "SELECT first_sequence, seal, signature FROM audit_seal WHERE replica = $1
                      ORDER BY first_sequence";
        self.signed_texts(asked, replica).await
    }

    async fn signed_texts(&self, asked: &str, replica: &str) -> Result<Vec<SignedText>, UpstreamError> {
        self.ask(async |client| {
            let rows = client.query_typed(asked, &[(&replica, Type::TEXT)]).await?;
            let signed_text = |row: &Row| {
                let sequence: i64 = row.try_get(0)?;
                Ok(SignedText {
                    sequence: u64::try_from(sequence).unwrap_or_default(),
                    text: row.try_get(1)?,
                    signature: row.try_get(2)?,
                })
            };
            rows.iter().map(signed_text).collect()
        })
        .await
    }

    /// The decisions that pass a filter, in order, behind a key.
    pub async fn list(
        &self,
        filter: &DecisionFilter,
        after: Option<&DecisionKey>,
        bound: Bound,
    ) -> Result<Vec<FoundRecord>, UpstreamError> {
        let mut question = Question::default();
        if let Some(from) = filter.decided_from {
            question.instant(">=", from);
        }
        if let Some(to) = filter.decided_to {
            question.instant("<", to);
        }
        for (condition, text) in [
            ("customs_office = ?", &filter.customs_office),
            ("customs_codes @> ARRAY[?]", &filter.customs_code),
            ("declaration_number = ?", &filter.declaration_number),
            ("lane = ?", &filter.lane),
        ] {
            if let Some(text) = text {
                question.text(condition, text);
            }
        }
        if let Some(after) = after {
            question.only(
                "decided_at >= ? AND (decided_at, decided_nanos, replica, sequence) > (?, ?, ?, ?)",
                [
                    micros(after.decided_at),
                    micros(after.decided_at),
                    rest(after.decided_at),
                    (Box::new(after.replica.as_str()) as _, Type::TEXT),
                    (Box::new(signed(after.sequence)) as _, Type::INT8),
                ],
            );
        }
        self.decisions(question, "ASC", bound).await
    }

    /// A decision by its UUID.
    pub async fn find(&self, decision_id: &str) -> Result<Option<FoundRecord>, UpstreamError> {
        let mut question = Question::default();
        question.text("decision_id = ?::text::uuid", decision_id);
        Ok(self.decisions(question, "ASC", ONE).await?.pop())
    }

    /// The latest decision on a declaration.
    pub async fn latest(&self, declaration_number: &str) -> Result<Option<FoundRecord>, UpstreamError> {
        let mut question = Question::default();
        question.text("declaration_number = ?", declaration_number);
        Ok(self.decisions(question, "DESC", ONE).await?.pop())
    }

    async fn decisions(
        &self,
        question: Question<'_>,
        direction: &str,
        bound: Bound,
    ) -> Result<Vec<FoundRecord>, UpstreamError> {
        let Question {
            conditions,
            mut parameters,
        } = question;
        let order = |table: &str| {
            let columns = ["decided_at", "decided_nanos", "replica", "sequence"];
            columns
                .map(|column| format!("{table}{column} {direction}"))
                .join(", ")
        };
        parameters.push((Box::new(signed(bound.records as u64)), Type::INT8));
        parameters.push((Box::new(signed(bound.bytes as u64)), Type::INT8));
        let (records, bytes) = (parameters.len() - 1, parameters.len());
        let asked = format!(
            "WITH page AS (
               SELECT * FROM audit_decision {conditions} ORDER BY {} LIMIT ${records}),
             summed AS (
               SELECT *, sum(record_length::bigint) OVER (ORDER BY {}) - record_length AS before FROM page)
             SELECT s.decided_at, s.decided_nanos, s.replica, s.sequence,
                    substring(g.frame FROM s.record_offset + 1 FOR s.record_length)
               FROM summed s JOIN audit_group g
                 ON g.replica = s.replica AND g.first_sequence = s.first_sequence AND g.written_at = s.written_at
              WHERE s.before < ${bytes}
              ORDER BY {}",
            order(""),
            order(""),
            order("s."),
        );
        self.ask(async |client| {
            let parameters: Vec<(&(dyn ToSql + Sync), Type)> = parameters
                .iter()
                .map(|(parameter, kind)| (&**parameter as &(dyn ToSql + Sync), kind.clone()))
                .collect();
            let rows = client.query_typed(&asked, &parameters).await?;
            rows.iter().map(found).collect()
        })
        .await
    }

    /// Asks on a connection of its own. The database gives up by itself what nobody waits for any more.
    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&Client) -> Result<T, UpstreamError>,
    ) -> Result<T, UpstreamError> {
        let bound = self.settings.timeout;
        let turn = within(bound, "waiting for a connection", async {
            let turn = self.turns.acquire().await;
            turn.map_err(|error| UpstreamError::Unavailable(error.to_string()))
        })
        .await?;
        let session = self.address.session(&self.settings).await?;
        let answer = within(bound, "the audit log's archive", async {
            let limits = format!(
                "BEGIN READ ONLY; SET LOCAL statement_timeout = {}; SET LOCAL jit = off",
                bound.as_millis()
            );
            session.client.batch_execute(&limits).await?;
            let answer = question(&session.client).await?;
            session.client.batch_execute("COMMIT").await?;
            Ok::<_, UpstreamError>(answer)
        })
        .await;
        drop(turn);
        answer
    }
}

const ONE: Bound = Bound { records: 1, bytes: 1 };

fn found(row: &Row) -> Result<FoundRecord, UpstreamError> {
    let at: SystemTime = row.try_get(0)?;
    let nanos: i16 = row.try_get(1)?;
    let sequence: i64 = row.try_get(3)?;
    let at = Timestamp::try_from(at).map_err(|error| UpstreamError::Corrupt(error.to_string()))?;
    let at = at.as_nanosecond() + i128::from(nanos);
    Ok(FoundRecord {
        key: DecisionKey {
            decided_at: Timestamp::from_nanosecond(at)
                .map_err(|error| UpstreamError::Corrupt(error.to_string()))?,
            replica: row.try_get(2)?,
            sequence: u64::try_from(sequence).unwrap_or_default(),
        },
        record: Bytes::copy_from_slice(row.try_get(4)?),
    })
}
