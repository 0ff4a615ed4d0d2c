//! Line numbers for the records of a CSV file.

use std::{
    collections::VecDeque,
    io::{self, Chain, Cursor, Read},
};

/// What some programs write before UTF-8. The csv reader drops it too, but not when it arrives in pieces.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A record longer than this is an open quote that swallows the rest of the file.
const MAX_RECORD: u64 = 1024 * 1024;

/// Passes bytes on and remembers where lines end, so that a byte's line can be told while it is still recent.
///
/// The csv reader's own count is that of lines *finished* before a record, which a `\r\n` or an empty line before it
/// leaves too low.
#[derive(Debug)]
pub(super) struct NumberedLines<R> {
    input: Chain<Cursor<Vec<u8>>, R>,
    read: u64,
    /// Offsets of `\r` and `\n`, and which it is, from the last record asked about on.
    ends: VecDeque<(u64, u8)>,
    /// The line of the last record asked about, and its offset.
    line: u64,
    record: u64,
}

impl<R: Read> NumberedLines<R> {
    /// Reads as much as tells whether a byte order mark is there, which is left out.
    pub(super) fn new(mut input: R) -> io::Result<Self> {
        let mut first = Vec::new();
        input
            .by_ref()
            .take(BYTE_ORDER_MARK.len() as u64)
            .read_to_end(&mut first)?;
        if first == BYTE_ORDER_MARK {
            first.clear();
        }
        Ok(Self {
            input: Cursor::new(first).chain(input),
            read: 0,
            ends: VecDeque::new(),
            line: 1,
            record: 0,
        })
    }

    /// The line, from 1, on which the record begins that the csv reader found from that byte on.
    pub(super) fn line_of_record(&mut self, byte: u64) -> u64 {
        self.record = byte;
        while let Some(&(end, character)) = self.ends.front().filter(|(end, _)| *end <= self.record) {
            self.ends.pop_front();
            let is_first_half = character == b'\r' && self.ends.front() == Some(&(end + 1, b'\n'));
            self.line += u64::from(!is_first_half);
            if end == self.record {
                // An empty line, or the second half of the end of the line before.
                self.record += 1;
            }
        }
        self.line
    }
}

impl<R: Read> Read for NumberedLines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read.saturating_sub(self.record) > MAX_RECORD + buffer.len() as u64 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "the record after that of line {} is over 1 MiB long: is a quote left open?",
                    self.line
                ),
            ));
        }
        let count = self.input.read(buffer)?;
        for (at, &byte) in (self.read..).zip(&buffer[..count]) {
            if matches!(byte, b'\r' | b'\n') {
                self.ends.push_back((at, byte));
            }
        }
        self.read += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, buffer: usize) -> Vec<(String, u64)> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(buffer)
            .from_reader(NumberedLines::new(text.as_bytes()).expect("readable"));
        let mut record = csv::StringRecord::new();
        let mut found = Vec::new();
        while reader.read_record(&mut record).expect("good") {
            let byte = record.position().expect("it was read").byte();
            found.push((record[0].to_owned(), reader.get_mut().line_of_record(byte)));
        }
        found
    }

    #[test]
    fn a_record_has_the_line_on_which_it_begins() {
        for buffer in [1, 2, 3, 7, 8192] {
            for (text, expected) in [
                ("a,1\nb,2\nc,3\n", [1, 2, 3]),
                ("a,1\r\nb,2\r\nc,3", [1, 2, 3]),
                ("a,1\rb,2\rc,3\r", [1, 2, 3]),
                ("\u{feff}a,1\n\n\nb,2\r\n\r\nc,3\n\n", [1, 4, 6]),
                ("\r\n\na,\"1\n\r\n2\"\nb,\"\"\"\n\"\r\nc", [3, 6, 8]),
            ] {
                let found = lines(text, buffer);
                let expected: Vec<_> = ["a", "b", "c"]
                    .map(str::to_owned)
                    .into_iter()
                    .zip(expected)
                    .collect();
                assert_eq!(found, expected, "{text:?}");
            }
        }
    }

    #[test]
    fn a_quote_left_open_is_found_before_it_fills_the_memory() {
        let text = format!("a,1\nb,\"2\n{}", "c,3\n".repeat(1024 * 1024));
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(NumberedLines::new(text.as_bytes()).expect("readable"));
        let mut record = csv::StringRecord::new();
        let error = loop {
            match reader.read_record(&mut record) {
                Ok(true) => {
                    let byte = record.position().expect("it was read").byte();
                    reader.get_mut().line_of_record(byte);
                }
                Ok(false) => panic!("the open quote passed"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("after that of line 1"), "{error}");
    }
}
