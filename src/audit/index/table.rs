//! A table of entries of one width, read from a file block by block: 256 entries and their CRC-32.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use crate::background;

/// Entries of a block; the last may have fewer.
const BLOCK: usize = 256;
const CRC: usize = 4;

/// Appends a table of these entries to `bytes`.
pub(super) fn write<const WIDTH: usize>(bytes: &mut Vec<u8>, entries: impl Iterator<Item = [u8; WIDTH]>) {
    let mut entries = entries.peekable();
    while entries.peek().is_some() {
        let begin = bytes.len();
        for entry in entries.by_ref().take(BLOCK) {
            bytes.extend_from_slice(&entry);
        }
        bytes.extend(crc32fast::hash(&bytes[begin..]).to_le_bytes());
        background::give_way();
    }
}

/// A table of `count` entries that begins at a place of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<const WIDTH: usize> {
    offset: u64,
    count: usize,
}

impl<const WIDTH: usize> Table<WIDTH> {
    pub(super) fn new(offset: u64, count: usize) -> Self {
        Self { offset, count }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Where it ends in the file.
    pub(super) fn end(&self) -> u64 {
        self.offset + (self.count * WIDTH + self.blocks() * CRC) as u64
    }

    pub(super) fn blocks(&self) -> usize {
        self.count.div_ceil(BLOCK)
    }

    /// The block in which an entry is, and its place there.
    pub(super) fn place(number: usize) -> (usize, usize) {
        (number / BLOCK, number % BLOCK)
    }

    /// Reads a block; `None` where its bytes are not those that were written.
    pub(super) fn block(&self, file: &File, block: usize) -> io::Result<Option<Vec<[u8; WIDTH]>>> {
        let entries = BLOCK.min(self.count.saturating_sub(block * BLOCK));
        let mut bytes = vec![0; entries * WIDTH + CRC];
        let offset = self.offset + (block * (BLOCK * WIDTH + CRC)) as u64;
        match file.read_exact_at(&mut bytes, offset) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let (entries, crc) = bytes.split_at(entries * WIDTH);
        let whole = cfg!(fuzzing) || crc == crc32fast::hash(entries).to_le_bytes();
        Ok(whole.then(|| entries.as_chunks().0.to_vec()))
    }
}
