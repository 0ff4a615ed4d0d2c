//! From commits to messages.

use bytes::Bytes;

use super::{
    super::super::{Commit, LogEntry, Mark},
    CAUSES, CHANGES, HEADER, LZ4, RESET, Reset, VERSION, WITH_AUTHORS,
};
use crate::registry::row::Entity;

/// A run of commits, ready to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The sequence that it follows on.
    pub from: u64,
    /// Its last sequence.
    pub to: u64,
    /// The fingerprint of its last row.
    pub fingerprint: u64,
    /// What the store showed at its end; `None` in the midst of a commit.
    pub mark: Mark,
    /// The message.
    pub payload: Bytes,
}

/// A row is larger than a message may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a row is larger than any message may be")]
pub struct TooLarge;

/// Packs commits that follow on `from` into messages of at most `limit` bytes, as many commits as fit into each. A commit
/// that fits into none is spread over several.
///
/// A row that fits into no message of its own ends the packing: what stands before it can be published.
pub fn pack<'a>(
    epoch: &'a str,
    from: u64,
    commits: &'a [Commit],
    limit: usize,
) -> impl Iterator<Item = Result<Packed, TooLarge>> + 'a {
    let rows = commits.iter().flat_map(|commit| &commit.entries);
    let authors = rows.into_iter().any(|row| author(row).is_some());
    let mut packer = Packer {
        epoch,
        from,
        commits,
        row: 0,
        limit,
        version: if authors { WITH_AUTHORS } else { VERSION },
    };
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let message = packer.next_message()?;
        ended = message.is_err();
        Some(message)
    })
}

struct Packer<'a> {
    epoch: &'a str,
    from: u64,
    /// What is left.
    commits: &'a [Commit],
    /// Rows of the first of them that are packed already.
    row: usize,
    limit: usize,
    version: u8,
}

impl Packer<'_> {
    /// The next message; `None` at the end.
    fn next_message(&mut self) -> Option<Result<Packed, TooLarge>> {
        while self
            .commits
            .first()
            .is_some_and(|commit| commit.entries.is_empty())
        {
            self.commits = &self.commits[1..];
        }
        self.commits.first()?;
        let from = self.from;
        let mut body = vec![CHANGES];
        put_text(&mut body, self.epoch);
        body.extend_from_slice(&from.to_le_bytes());
        let open_at = body.len();
        body.push(0);
        let count_at = body.len();
        put_length(&mut body, 0);
        let (mut count, mut last, mut mark, mut open) = (0_usize, None, None, false);
        while let Some(commit) = self.commits.first() {
            let rows = &commit.entries[self.row..];
            let room = self.limit.saturating_sub(HEADER + body.len() + COMMIT_HEAD);
            let whole: usize = rows.iter().map(row_size).sum();
            let taken = if whole <= room {
                rows.len()
            } else if count > 0 {
                // It begins the next message.
                break;
            } else {
                fitting(rows, room)
            };
            open = taken < rows.len();
            mark = if open { None } else { commit.mark };
            put_mark(&mut body, mark);
            put_length(&mut body, taken);
            for row in &rows[..taken] {
                put_row(&mut body, row, self.version);
            }
            last = rows[..taken].last();
            count += 1;
            self.from += taken as u64;
            if open {
                self.row += taken;
                break;
            }
            (self.commits, self.row) = (&self.commits[1..], 0);
        }
        body[open_at] = u8::from(open);
        body[count_at..count_at + 4].copy_from_slice(&length(count).to_le_bytes());
        let payload = seal(&body, self.version);
        if payload.len() > self.limit {
            return Some(Err(TooLarge));
        }
        Some(Ok(Packed {
            from,
            to: self.from,
            fingerprint: last.map_or(0, LogEntry::fingerprint),
            mark,
            payload,
        }))
    }
}

/// Bytes before the rows of a commit.
const COMMIT_HEAD: usize = 17 + 4;

/// How many rows fit; one always does, because it may once it is compressed.
fn fitting(rows: &[LogEntry], room: usize) -> usize {
    let mut size = 0;
    let fitting = rows.iter().take_while(|row| {
        size += row_size(row);
        size <= room
    });
    fitting.count().max(1)
}

fn row_size(entry: &LogEntry) -> usize {
    let LogEntry {
        sequence: _,
        entity,
        key,
        op,
        row,
        committed_at,
        author: _,
    } = entry;
    let texts = [entity, key, op, committed_at];
    let texts: usize = texts.into_iter().map(|text| 4 + text.len()).sum();
    let rest = [row.as_deref(), author(entry)];
    let rest = rest
        .into_iter()
        .map(|text| 1 + text.map_or(0, |text| 4 + text.len()));
    texts + rest.sum::<usize>()
}

/// Who wrote, where that is told: of control orders alone, so that other changes can still be read by the first release.
fn author(entry: &LogEntry) -> Option<&str> {
    let of_order = entry.entity == Entity::ControlOrder.name();
    entry.author.as_deref().filter(|_| of_order)
}

fn put_row(body: &mut Vec<u8>, entry: &LogEntry, version: u8) {
    for text in [&entry.entity, &entry.key, &entry.op, &entry.committed_at] {
        put_text(body, text);
    }
    put_optional(body, entry.row.as_deref());
    if version == WITH_AUTHORS {
        put_optional(body, author(entry));
    }
}

fn put_optional(body: &mut Vec<u8>, text: Option<&str>) {
    body.push(u8::from(text.is_some()));
    if let Some(text) = text {
        put_text(body, text);
    }
}

impl Reset {
    /// The message.
    pub fn encode(&self) -> Bytes {
        let Self {
            epoch,
            sequence,
            mark,
            cause,
            object,
        } = self;
        let mut body = vec![RESET];
        put_text(&mut body, epoch);
        body.extend_from_slice(&sequence.to_le_bytes());
        put_mark(&mut body, *mark);
        let cause = CAUSES.iter().position(|known| known == cause).unwrap_or_default();
        body.push(u8::try_from(cause).unwrap_or_default());
        put_text(&mut body, object);
        seal(&body, VERSION)
    }
}

fn put_mark(body: &mut Vec<u8>, mark: Mark) {
    body.push(u8::from(mark.is_some()));
    for number in mark.unwrap_or_default() {
        body.extend_from_slice(&number.to_le_bytes());
    }
}

fn put_text(body: &mut Vec<u8>, text: &str) {
    put_length(body, text.len());
    body.extend_from_slice(text.as_bytes());
}

fn put_length(body: &mut Vec<u8>, number: usize) {
    body.extend_from_slice(&length(number).to_le_bytes());
}

/// No message is as large as that.
fn length(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Puts the header before a body, which is compressed where that helps.
fn seal(body: &[u8], version: u8) -> Bytes {
    let compressed = lz4_flex::block::compress(body);
    let (flags, held) = if compressed.len() < body.len() {
        (LZ4, compressed.as_slice())
    } else {
        (0, body)
    };
    let mut message = Vec::with_capacity(HEADER + held.len());
    message.extend_from_slice(&[version, flags, 0, 0, 0, 0]);
    message.extend_from_slice(&length(body.len()).to_le_bytes());
    message.extend_from_slice(held);
    let sum = super::read::sum(&message);
    message[2..6].copy_from_slice(&sum.to_le_bytes());
    message.into()
}
