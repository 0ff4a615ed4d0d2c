//! Records that are appended together.

use super::{
    frame::{HEADER, Hash, push_record, records},
    index::notes::Notes,
};

/// A group before it is written: its bytes, and what is known of each of its records by then, so that sealing and indexing its
/// segment need not read it again.
#[derive(Debug)]
pub struct NewGroup {
    /// Room for the group's header, and its payload.
    bytes: Vec<u8>,
    leaves: Vec<Hash>,
    notes: Notes,
}

impl Default for NewGroup {
    fn default() -> Self {
        Self {
            bytes: vec![0; HEADER],
            leaves: Vec::new(),
            notes: Notes::default(),
        }
    }
}

impl NewGroup {
    /// A group of encoded records.
    pub fn of<R: AsRef<[u8]>>(records: impl IntoIterator<Item = R>) -> Self {
        let mut own = Self::default();
        for record in records {
            own.push(|buffer| buffer.extend_from_slice(record.as_ref()));
        }
        own
    }

    /// Number of its records.
    pub fn len(&self) -> usize {
        self.leaves.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// Takes every record out. Their room stays.
    pub fn clear(&mut self) {
        self.bytes.truncate(HEADER);
        self.leaves.clear();
        self.notes.clear();
    }

    /// Adds a record, whose bytes `write` appends.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.leaves.push(push_record(&mut self.bytes, write));
        // It was written a moment ago: it is whole.
        let record = records(&self.bytes[start..]).next().flatten();
        self.notes.read(record);
    }

    /// The same of a record that need not be read: `note` notes what is in it.
    pub fn push_noted(&mut self, write: impl FnOnce(&mut Vec<u8>), note: impl FnOnce(&mut Notes)) {
        self.leaves.push(push_record(&mut self.bytes, write));
        note(&mut self.notes);
    }

    /// Its bytes, behind room for its header; the leaf hashes of its records; and the notes of them.
    pub(super) fn parts(&mut self) -> (&mut [u8], &[Hash], &Notes) {
        (&mut self.bytes, &self.leaves, &self.notes)
    }
}
