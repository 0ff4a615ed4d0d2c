//! Many enterprises in one transaction: COPY into a table of the transaction's own, then one statement.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::SinkExt as _;
use tokio_postgres::CopyInSink;

use super::{super::schema, BEGIN, Editor};
use crate::{
    domain::{enterprise::Enterprise, identifier::SocialCreditCode},
    upstream::{
        UpstreamError,
        edit::{EditError, Imported, OptionalColumns},
    },
};

/// Bytes that are sent at once.
const CHUNK: usize = 64 << 10;

const TABLE: &str = "CREATE TEMP TABLE imported (
    line bigint NOT NULL, customs_code text PRIMARY KEY, social_credit_code text, name text NOT NULL,
    credit_tier text NOT NULL, tier_effective_from date NOT NULL, tier_valid_until date, suspended boolean NOT NULL
  ) ON COMMIT DROP";

/// Lines whose social credit code another line has before them, or an enterprise that does not give it up here.
const TAKEN: &str = "
    SELECT line, social_credit_code, holder FROM (
      SELECT line, social_credit_code, first_value(customs_code) OVER codes AS holder,
             row_number() OVER codes > 1 AS taken
        FROM imported WHERE social_credit_code IS NOT NULL
      WINDOW codes AS (PARTITION BY social_credit_code ORDER BY line)
    ) AS doubled WHERE taken
    UNION
    SELECT i.line, i.social_credit_code, e.customs_code
      FROM imported i JOIN enterprise e ON e.social_credit_code = i.social_credit_code
     WHERE e.customs_code <> i.customs_code AND NOT EXISTS (
             SELECT FROM imported r
              WHERE r.customs_code = e.customs_code AND r.social_credit_code IS DISTINCT FROM e.social_credit_code)
     ORDER BY 1";

/// An import under way; it comes to nothing unless it is committed.
#[derive(Debug)]
pub struct Import<'e> {
    editor: &'e mut Editor,
    columns: OptionalColumns,
    sink: Sink,
    buffer: String,
}

/// Where lines go; none once all are there.
struct Sink(Option<Pin<Box<CopyInSink<Bytes>>>>);

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Sink").field(&self.0.is_some()).finish()
    }
}

impl Editor {
    /// Begins an import that sets these columns.
    pub fn import(&mut self, columns: OptionalColumns) -> Result<Import<'_>, EditError> {
        let sink = self.run(async |client| {
            // The writers' lock is taken when the lines are there, not while somebody types them.
            client
                .batch_execute(&format!("BEGIN; SET LOCAL datestyle = 'ISO, YMD'; {TABLE}"))
                .await?;
            Ok(client.copy_in("COPY imported FROM STDIN").await?)
        })?;
        Ok(Import {
            editor: self,
            columns,
            sink: Sink(Some(Box::pin(sink))),
            buffer: String::with_capacity(2 * CHUNK),
        })
    }
}

impl Import<'_> {
    /// Puts the enterprise of a line.
    pub fn put(&mut self, line: u64, enterprise: &Enterprise) -> Result<(), EditError> {
        let Enterprise {
            customs_code,
            social_credit_code,
            name,
            credit,
        } = enterprise;
        let valid_until = credit.tier_valid_until.map(|end| end.to_string());
        let effective_from = credit.tier_effective_from.to_string();
        let line = line.to_string();
        let fields = [
            Some(&*line),
            Some(customs_code.as_str()),
            social_credit_code.as_ref().map(SocialCreditCode::as_str),
            Some(name),
            Some(credit.credit_tier.name()),
            Some(&effective_from),
            valid_until.as_deref(),
            Some(if credit.suspended { "t" } else { "f" }),
        ];
        for (at, field) in fields.into_iter().enumerate() {
            if at > 0 {
                self.buffer.push('\t');
            }
            match field {
                Some(text) => escape(text, &mut self.buffer),
                None => self.buffer.push_str("\\N"),
            }
        }
        self.buffer.push('\n');
        if self.buffer.len() >= CHUNK {
            self.send()?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), EditError> {
        let bytes = Bytes::copy_from_slice(self.buffer.as_bytes());
        self.buffer.clear();
        let Some(sink) = &mut self.sink.0 else {
            return Err(UpstreamError::Unavailable("the import has ended".to_owned()).into());
        };
        Ok(self.editor.runtime.block_on(sink.send(bytes))?)
    }

    /// The lines that cannot be imported, known once all are there; the import goes on without them.
    pub fn refused(&mut self) -> Result<Vec<(u64, EditError)>, EditError> {
        self.send()?;
        let Some(mut sink) = self.sink.0.take() else {
            return Ok(Vec::new());
        };
        self.editor.runtime.block_on(sink.as_mut().finish())?;
        let client = &self.editor.session.client;
        self.editor.runtime.block_on(async {
            // The transaction has begun already: the rest of it waits for a turn to write.
            let turn = BEGIN.trim_start_matches("BEGIN; ");
            client.batch_execute(&format!("ANALYZE imported; {turn}")).await?;
            let mut refused = Vec::new();
            // A line that is refused does not give up its code either, which others may have counted on.
            loop {
                let found = schema::rows(client.simple_query(TAKEN).await?);
                if found.is_empty() {
                    return Ok(refused);
                }
                let mut lines = Vec::new();
                for row in &found {
                    let text = |index| row.get(index).unwrap_or_default();
                    let line = text(0);
                    if lines.last() == Some(&line) {
                        continue;
                    }
                    lines.push(line);
                    let code = text(1).parse();
                    let code = code.map_err(|_| UpstreamError::Corrupt(text(1).to_owned()))?;
                    let holder = text(2).to_owned();
                    refused.push((
                        line.parse().unwrap_or_default(),
                        EditError::Taken { code, holder },
                    ));
                }
                let sql = format!("DELETE FROM imported WHERE line IN ({})", lines.join(", "));
                client.batch_execute(&sql).await?;
            }
        })
    }

    /// Puts it all in force at once.
    pub fn commit(self) -> Result<Imported, EditError> {
        let OptionalColumns {
            social_credit_code,
            tier_valid_until,
            suspended,
        } = self.columns;
        let columns = [
            ("social_credit_code", social_credit_code),
            ("tier_valid_until", tier_valid_until),
            ("suspended", suspended),
            ("credit_tier", true),
            ("tier_effective_from", true),
            ("name", true),
        ];
        let set = columns
            .iter()
            .filter(|(_, is_set)| *is_set)
            .map(|(name, _)| *name);
        let set: Vec<_> = set.collect();
        let list = |of: &str| {
            set.iter()
                .map(|name| format!("{of}.{name}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let differs = format!("({}) IS DISTINCT FROM ({})", list("e"), list("i"));
        let assign: Vec<_> = set
            .iter()
            .map(|name| format!("{name} = excluded.{name}"))
            .collect();
        let count = format!(
            "SELECT count(*) FILTER (WHERE e.customs_code IS NULL),
                    count(*) FILTER (WHERE e.customs_code IS NOT NULL AND {differs}),
                    count(*) FILTER (WHERE NOT {differs})
               FROM imported i LEFT JOIN enterprise e USING (customs_code)"
        );
        // A code that goes from one enterprise to another is given up first: uniqueness is seen to row by row.
        let release = "UPDATE enterprise e SET social_credit_code = NULL FROM imported i
                        WHERE i.customs_code = e.customs_code
                          AND i.social_credit_code IS DISTINCT FROM e.social_credit_code
                          AND EXISTS (SELECT FROM imported o WHERE o.social_credit_code = e.social_credit_code)";
        let upsert = format!(
            "INSERT INTO enterprise (customs_code, social_credit_code, name, credit_tier, tier_effective_from,
                                     tier_valid_until, suspended)
             SELECT i.customs_code, i.social_credit_code, i.name, i.credit_tier, i.tier_effective_from,
                    i.tier_valid_until, i.suspended
               FROM imported i LEFT JOIN enterprise e USING (customs_code)
              WHERE e.customs_code IS NULL OR {differs}
             ON CONFLICT (customs_code) DO UPDATE SET {}, updated_at = clock_timestamp()",
            assign.join(", ")
        );
        let client = &self.editor.session.client;
        self.editor.runtime.block_on(async {
            let counted = schema::rows(client.simple_query(&count).await?);
            if social_credit_code {
                client.batch_execute(release).await?;
            }
            client.batch_execute(&format!("{upsert}; COMMIT")).await?;
            let number = |index| {
                let text = counted.first().and_then(|row| row.get(index));
                text.and_then(|text| text.parse().ok()).unwrap_or_default()
            };
            Ok(Imported {
                new: number(0),
                updated: number(1),
                unchanged: number(2),
            })
        })
    }
}

/// Writes a text as COPY reads it.
fn escape(text: &str, into: &mut String) {
    for character in text.chars() {
        match character {
            '\\' => into.push_str("\\\\"),
            '\t' => into.push_str("\\t"),
            '\n' => into.push_str("\\n"),
            '\r' => into.push_str("\\r"),
            other => into.push(other),
        }
    }
}
