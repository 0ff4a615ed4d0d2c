//! Rows of a binary COPY, read where they lie.

use std::{pin::pin, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _};
use smallvec::SmallVec;
use tokio::sync::mpsc;
use tokio_postgres::Client;

use super::{
    super::{UpstreamError, columns::Column, row},
    within,
};
use crate::{
    background,
    registry::row::{Change, Entity},
};

/// Rows that are handed on at once.
const STEP: usize = 4_096;
/// What every binary COPY begins with.
const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// The columns of a table as text in the forms of the change log; booleans as they are.
pub(super) fn select_list(entity: Entity) -> String {
    let column = |name: &&str| match (entity, *name) {
        (_, "suspended") => "suspended".to_owned(),
        (Entity::ControlOrder, "valid_from" | "valid_to") => format!("to_jsonb({name}) #>> '{{}}'"),
        (_, name) => format!("{name}::text"),
    };
    let columns: Vec<_> = entity.columns().iter().map(column).collect();
    columns.join(", ")
}

/// Hands on every row of a table, in steps; `bound` is on the store's lack of progress, not on the whole.
pub(super) async fn read_table(
    client: &Client,
    entity: Entity,
    bound: Duration,
    steps: &mpsc::Sender<Vec<Change>>,
) -> Result<(), UpstreamError> {
    let hand_on = async |changes| {
        let taken = steps.send(changes).await;
        taken.map_err(|_| broken("nobody takes its rows any more"))
    };
    let sql = format!(
        "COPY (SELECT {} FROM {}) TO STDOUT (FORMAT BINARY)",
        select_list(entity),
        entity.name()
    );
    let mut stream = pin!(within(bound, "COPY", client.copy_out(&sql)).await?);
    let mut rows = Rows::new(entity);
    let mut changes = Vec::with_capacity(STEP);
    loop {
        // Rows arrive by the thousand: a timer for each would cost more than the row.
        let next = match stream.next().now_or_never() {
            Some(next) => next,
            None => {
                within(bound, "COPY", async {
                    Ok::<_, UpstreamError>(stream.next().await)
                })
                .await?
            }
        };
        let Some(chunk) = next else { break };
        rows.take(&chunk?, |change| changes.push(change))?;
        background::give_way();
        if changes.len() >= STEP {
            hand_on(std::mem::replace(&mut changes, Vec::with_capacity(STEP))).await?;
        }
    }
    hand_on(changes).await?;
    if rows.ended {
        Ok(())
    } else {
        Err(broken("it is cut short"))
    }
}

fn broken(problem: &str) -> UpstreamError {
    UpstreamError::Unavailable(format!("COPY: {problem}"))
}

/// The rows in a stream of bytes that may be cut anywhere.
struct Rows {
    entity: Entity,
    /// What came of a row whose rest has not come yet.
    carry: Vec<u8>,
    begun: bool,
    ended: bool,
}

/// What stands at the beginning of some bytes, and how many it takes.
enum Read {
    Row(Change),
    End,
    Incomplete,
}

impl Rows {
    fn new(entity: Entity) -> Self {
        Self {
            entity,
            carry: Vec::new(),
            begun: false,
            ended: false,
        }
    }

    fn take(&mut self, chunk: &[u8], mut each: impl FnMut(Change)) -> Result<(), UpstreamError> {
        let carried = (!self.carry.is_empty()).then(|| {
            let mut carried = std::mem::take(&mut self.carry);
            carried.extend_from_slice(chunk);
            carried
        });
        let mut rest = carried.as_deref().unwrap_or(chunk);
        if !self.begun && !self.begin(&mut rest)? {
            self.carry = rest.to_vec();
            return Ok(());
        }
        while !rest.is_empty() && !self.ended {
            let mut ahead = rest;
            match self.read(&mut ahead)? {
                Read::Row(change) => each(change),
                Read::End => self.ended = true,
                Read::Incomplete => break,
            }
            rest = ahead;
        }
        self.carry = rest.to_vec();
        Ok(())
    }

    /// Reads the header; tells whether all of it is there.
    fn begin(&mut self, rest: &mut &[u8]) -> Result<bool, UpstreamError> {
        let Some((header, mut after)) = rest.split_first_chunk::<19>() else {
            return Ok(false);
        };
        if !header.starts_with(SIGNATURE) {
            return Err(broken("it does not begin like one"));
        }
        let [.., a, b, c, d] = *header;
        let extension = u32::from_be_bytes([a, b, c, d]) as usize;
        let Some(skipped) = after.get(extension..) else {
            return Ok(false);
        };
        after = skipped;
        *rest = after;
        self.begun = true;
        Ok(true)
    }

    fn read(&self, ahead: &mut &[u8]) -> Result<Read, UpstreamError> {
        let names = self.entity.columns();
        let Some(count) = take::<2>(ahead) else {
            return Ok(Read::Incomplete);
        };
        let count = i16::from_be_bytes(count);
        if count == -1 {
            return Ok(Read::End);
        }
        if usize::try_from(count) != Ok(names.len()) {
            return Err(broken("a row has another number of columns"));
        }
        let mut columns = SmallVec::<[Column<'_>; 14]>::new();
        for name in names {
            let Some(length) = take::<4>(ahead) else {
                return Ok(Read::Incomplete);
            };
            let Ok(length) = usize::try_from(i32::from_be_bytes(length)) else {
                columns.push(Column::Null);
                continue;
            };
            let Some((bytes, after)) = ahead.split_at_checked(length) else {
                return Ok(Read::Incomplete);
            };
            *ahead = after;
            columns.push(match bytes {
                [boolean] if *name == "suspended" => Column::Integer((*boolean).into()),
                _ => Column::Text(String::from_utf8_lossy(bytes)),
            });
        }
        Ok(Read::Row(row::put(self.entity, &columns)))
    }
}

fn take<const N: usize>(ahead: &mut &[u8]) -> Option<[u8; N]> {
    let (head, after) = ahead.split_first_chunk::<N>()?;
    *ahead = after;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(bytes: &[u8]) -> Vec<u8> {
        let length = i32::try_from(bytes.len()).expect("short");
        [&length.to_be_bytes(), bytes].concat()
    }

    fn scheduled(code: &str) -> Vec<u8> {
        [
            3_i16.to_be_bytes().to_vec(),
            field(code.as_bytes()),
            field(b"REGULAR"),
            field(b"2026-04-01"),
        ]
        .concat()
    }

    fn copy() -> Vec<u8> {
        [
            SIGNATURE.to_vec(),
            vec![0; 8],
            scheduled("1101919101"),
            scheduled("1101919102"),
            vec![0xff, 0xff],
        ]
        .concat()
    }

    #[test]
    fn rows_are_read_wherever_the_stream_is_cut() {
        let copy = copy();
        for cut in 0..=copy.len() {
            let mut rows = Rows::new(Entity::ScheduledTier);
            let mut keys = Vec::new();
            for part in [&copy[..cut], &copy[cut..]] {
                rows.take(part, |change| keys.push(change.key)).expect("read");
            }
            assert_eq!(
                keys,
                ["1101919101|2026-04-01", "1101919102|2026-04-01"],
                "cut at {cut}"
            );
            assert!(rows.ended);
        }
    }

    #[test]
    fn what_is_no_copy_or_another_table_is_refused() {
        let mut rows = Rows::new(Entity::ScheduledTier);
        assert!(rows.take(b"{\"this\": \"is something else\"}", drop).is_err());
        let mut rows = Rows::new(Entity::Enterprise);
        assert!(rows.take(&copy(), drop).is_err());
    }
}
