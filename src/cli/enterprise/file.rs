//! A file of enterprises: CSV, read record by record.

use std::io::Read;

use csv::{ByteRecord, Reader, ReaderBuilder};

use super::{lines::NumberedLines, rows::Header};
use crate::{domain::enterprise::Enterprise, upstream::edit::OptionalColumns};

/// Bytes that are asked of a file at once.
const BUFFER: usize = 256 * 1024;

/// A file of enterprises, as `greenlane enterprise import` takes it. No more of it is held in memory than a record.
#[derive(Debug)]
pub struct EnterpriseFile<R> {
    reader: Reader<NumberedLines<R>>,
    record: ByteRecord,
    header: Header,
}

impl<R: Read> EnterpriseFile<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// There is none, or it names what is no column, names one twice, or lacks one.
    pub fn open(input: R) -> anyhow::Result<Self> {
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(BUFFER)
            .from_reader(NumberedLines::new(input)?);
        let mut record = ByteRecord::new();
        anyhow::ensure!(
            reader.read_byte_record(&mut record)?,
            "is empty, without even a header"
        );
        Ok(Self {
            header: Header::read(&record)?,
            reader,
            record,
        })
    }

    /// Which of the columns that may be absent are there.
    pub fn optional_columns(&self) -> OptionalColumns {
        self.header.optional_columns()
    }

    /// The next record: the line on which it begins, from 1, and the enterprise or everything that is wrong with it. `None` at
    /// the end.
    ///
    /// # Errors
    /// The file cannot be read, or a record is longer than any can be.
    pub fn next_record(&mut self) -> csv::Result<Option<(u64, Result<Enterprise, String>)>> {
        if !self.reader.read_byte_record(&mut self.record)? {
            return Ok(None);
        }
        let byte = self.record.position().map_or(0, csv::Position::byte);
        let line = self.reader.get_mut().line_of_record(byte);
        Ok(Some((line, self.header.enterprise(&self.record))))
    }
}
