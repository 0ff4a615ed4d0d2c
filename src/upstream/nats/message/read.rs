//! From messages to commits. Whatever the bytes are: no panic, and no more memory than they are worth.

use thiserror::Error;

use super::{
    super::super::{Commit, LogEntry, Mark},
    CAUSES, CHANGES, Changes, HEADER, LZ4, MAX_BODY, Message, RESET, Reset, VERSION, WITH_AUTHORS,
};

/// Why bytes are no message of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadMessage {
    /// A newer build wrote it.
    #[error("version {0} of a message, which this build does not read")]
    Version(u8),
    /// The sum is wrong, or what it covers has not the form that it should.
    #[error("a damaged message")]
    Damaged,
}

/// lz4 writes at most this many bytes for one of its own.
const MAX_RATIO: usize = 255;

impl Message {
    /// Reads a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadMessage> {
        let (header, held) = bytes.split_at_checked(HEADER).ok_or(BadMessage::Damaged)?;
        let &[version, flags, s0, s1, s2, s3, l0, l1, l2, l3] = header else {
            return Err(BadMessage::Damaged);
        };
        if !cfg!(fuzzing) && u32::from_le_bytes([s0, s1, s2, s3]) != sum(bytes) {
            return Err(BadMessage::Damaged);
        }
        if !matches!(version, VERSION | WITH_AUTHORS) || flags & !LZ4 != 0 {
            return Err(BadMessage::Version(version));
        }
        let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        let most = held.len().saturating_mul(MAX_RATIO).min(MAX_BODY);
        if length > most {
            return Err(BadMessage::Damaged);
        }
        if flags & LZ4 == 0 {
            return body(Body(held, version), length);
        }
        let opened = lz4_flex::block::decompress(held, length).map_err(|_| BadMessage::Damaged)?;
        body(Body(&opened, version), length)
    }
}

/// The sum of a message, whose own place counts for nothing.
pub(super) fn sum(message: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(message.get(..2).unwrap_or_default());
    hasher.update(message.get(6..).unwrap_or_default());
    hasher.finalize()
}

fn body(mut body: Body<'_>, length: usize) -> Result<Message, BadMessage> {
    if body.0.len() != length {
        return Err(BadMessage::Damaged);
    }
    let message = match body.byte()? {
        CHANGES => Message::Changes(body.changes()?),
        RESET => Message::Reset(body.reset()?),
        _ => return Err(BadMessage::Damaged),
    };
    if body.0.is_empty() {
        Ok(message)
    } else {
        Err(BadMessage::Damaged)
    }
}

/// What is left of a body, and the message's version.
struct Body<'a>(&'a [u8], u8);

impl<'a> Body<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], BadMessage> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(BadMessage::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadMessage> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(BadMessage::Damaged)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, BadMessage> {
        self.array().map(|[byte]| byte)
    }

    fn flag(&mut self) -> Result<bool, BadMessage> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(BadMessage::Damaged),
        }
    }

    fn number(&mut self) -> Result<u64, BadMessage> {
        self.array().map(u64::from_le_bytes)
    }

    /// The number of things to come, each of which takes at least `least` bytes.
    fn count(&mut self, least: usize) -> Result<usize, BadMessage> {
        let count = usize::try_from(u32::from_le_bytes(self.array()?)).unwrap_or(usize::MAX);
        match count.checked_mul(least) {
            Some(bytes) if bytes <= self.0.len() => Ok(count),
            _ => Err(BadMessage::Damaged),
        }
    }

    fn text(&mut self) -> Result<String, BadMessage> {
        let length = self.count(1)?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| BadMessage::Damaged)?;
        Ok(text.to_owned())
    }

    fn mark(&mut self) -> Result<Mark, BadMessage> {
        let there = self.flag()?;
        let numbers = [self.number()?, self.number()?];
        Ok(there.then_some(numbers))
    }

    fn changes(&mut self) -> Result<Changes, BadMessage> {
        let epoch = self.text()?;
        let from = self.number()?;
        let open = self.flag()?;
        let count = self.count(COMMIT_LEAST)?;
        let mut commits = Vec::with_capacity(count);
        let mut sequence = from;
        for _ in 0..count {
            let mark = self.mark()?;
            let rows = self.count(ROW_LEAST)?;
            if rows == 0 {
                return Err(BadMessage::Damaged);
            }
            let mut entries = Vec::with_capacity(rows);
            for _ in 0..rows {
                sequence = sequence.checked_add(1).ok_or(BadMessage::Damaged)?;
                entries.push(self.row(sequence)?);
            }
            commits.push(Commit { entries, mark });
        }
        if commits.is_empty() {
            return Err(BadMessage::Damaged);
        }
        Ok(Changes {
            epoch,
            from,
            commits,
            open,
        })
    }

    fn row(&mut self, sequence: u64) -> Result<LogEntry, BadMessage> {
        let entity = self.text()?;
        let key = self.text()?;
        let op = self.text()?;
        let committed_at = self.text()?;
        let row = if self.flag()? { Some(self.text()?) } else { None };
        let author = if self.1 == WITH_AUTHORS && self.flag()? {
            Some(self.text()?)
        } else {
            None
        };
        Ok(LogEntry {
            sequence,
            entity,
            key,
            op,
            row,
            committed_at,
            author,
        })
    }

    fn reset(&mut self) -> Result<Reset, BadMessage> {
        Ok(Reset {
            epoch: self.text()?,
            sequence: self.number()?,
            mark: self.mark()?,
            cause: {
                let number = usize::from(self.byte()?);
                *CAUSES.get(number).ok_or(BadMessage::Damaged)?
            },
            object: self.text()?,
        })
    }
}

/// The least bytes of a row: four lengths and a flag.
const ROW_LEAST: usize = 4 * 4 + 1;
/// The least bytes of a commit: its mark, a length and a row.
const COMMIT_LEAST: usize = 17 + 4 + ROW_LEAST;
