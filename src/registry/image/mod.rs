//! An image: everything that a generation holds at one position, in blocks that a file can carry.
//!
//! ```text
//! record what changes | copy what did not change, slot by slot | what changed meanwhile | the rest, at the position
//!                       Block::Enterprises                       Block::Changed           Tables
//! ```
//!
//! Commits go on while an image is made. Wherever it needs the writer to stand still it does so for a millisecond or two;
//! requests never wait for it.

mod load;
mod rows;

pub use load::Loading;
pub use rows::MAX_BLOCK;

use std::sync::{Arc, PoisonError};

use foldhash::{HashSet, HashSetExt as _};

use self::rows::Packer;
use super::{
    commit::Writer,
    digest::{self, Digest},
    generation::{Generation, Place, Quarantined},
    key::CustomsKey,
};
use crate::{
    background,
    domain::{
        CreditTier,
        enterprise::Schedule,
        identifier::CustomsCode,
        order::ControlOrder,
        recognition::{Arrangement, RecognisedOperator},
    },
};

/// Rows for which the writer stands still at once.
const ROWS_AT_ONCE: usize = 512;
/// So few changes are taken while the writer stands still for the last time.
const FEW: usize = 1_024;
/// How often the changes meanwhile are taken before that, however many they are.
const ROUNDS: usize = 8;

/// Why a block or a table can be no part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadImage(pub &'static str);

/// Enterprises, packed: [`Loading`] reads them.
#[derive(Debug, Clone, Copy)]
pub enum Block<'a> {
    /// As they were when they were copied; no enterprise stands in two of these.
    Enterprises(&'a [u8]),
    /// As they were later, or gone: an enterprise is as the last of these says.
    Changed(&'a [u8]),
}

/// Where an image stands, and all that is no enterprise's own row.
#[derive(Debug, Clone, PartialEq)]
pub struct Tables {
    /// The position that the whole image is of.
    pub place: Place,
    /// Registered enterprises by tier, from best to worst.
    pub tiers: [u64; CreditTier::COUNT],
    /// The digest of every row.
    pub digest: [u8; 32],
    /// Scheduled tiers, one entry an enterprise.
    pub schedules: Vec<Scheduled>,
    /// Recognised operators.
    pub operators: Vec<Arc<RecognisedOperator>>,
    /// Arrangements by their keys.
    pub arrangements: Vec<(String, Arrangement)>,
    /// Control orders by their keys.
    pub orders: Vec<(String, Arc<ControlOrder>)>,
    /// Rows that could not be read in full.
    pub quarantined: Vec<Quarantined>,
}

/// The scheduled tiers of one enterprise, registered or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// Whose.
    pub customs_code: CustomsCode,
    /// Those that can be read.
    pub changes: Schedule,
    /// Keys of those that cannot.
    pub unreadable: Vec<String>,
}

/// What counting a generation's rows afresh gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recount {
    /// Enterprises by tier, from best to worst.
    pub tiers: [u64; CreditTier::COUNT],
    /// The digest of every row, 64 hex digits.
    pub digest: String,
    /// Codes that lead to no enterprise, or to another one than they stand with.
    pub astray: u64,
}

/// Writes down the keys of changed enterprises for as long as it lives.
struct Recording<'g>(&'g Generation);

impl<'g> Recording<'g> {
    fn begin(generation: &'g Generation) -> Self {
        generation.writer().touched = Some(HashSet::new());
        Self(generation)
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        self.0.writer().touched = None;
    }
}

impl Generation {
    /// Makes an image: gives its blocks to `sink`, in order, while commits go on, and ends with everything else at the
    /// position that all of it is of. A second image waits for the first.
    ///
    /// # Errors
    ///
    /// The first error of `sink` ends the image.
    pub fn dump<E>(&self, mut sink: impl FnMut(Block<'_>) -> Result<(), E>) -> Result<Tables, E> {
        let _one_at_a_time = self.imaging.lock().unwrap_or_else(PoisonError::into_inner);
        let _recording = Recording::begin(self);
        let mut packer = Packer::default();

        // Slots that are taken from now on are of enterprises that were touched.
        let mut slots = 0..self.enterprises.slots();
        while !slots.is_empty() {
            let writer = self.writer();
            for slot in slots.by_ref().take(ROWS_AT_ONCE) {
                if let Some((key, record)) = self.enterprises.at(slot)
                    && !writer.is_touched(key)
                {
                    packer.put(key, &record, &writer.names.get(record.name));
                    if packer.is_full() {
                        break;
                    }
                }
            }
            drop(writer);
            background::give_way();
            if packer.is_full() {
                sink(Block::Enterprises(packer.take()))?;
            }
        }
        if !packer.is_empty() {
            sink(Block::Enterprises(packer.take()))?;
        }

        // Each round is shorter than the one before, unless changes come faster than they can be copied.
        for _ in 0..ROUNDS {
            let mut touched = self.writer().take_touched().into_iter();
            let last = touched.len() <= FEW;
            while touched.len() > 0 {
                let writer = self.writer();
                for key in touched.by_ref().take(ROWS_AT_ONCE) {
                    self.pack(&writer, key, &mut packer);
                    if packer.is_full() {
                        break;
                    }
                }
                drop(writer);
                if packer.is_full() {
                    sink(Block::Changed(packer.take()))?;
                }
            }
            if last {
                break;
            }
        }
        self.end(packer, sink)
    }

    /// Copies what is left, all of it while the writer stands still: this is the position that the image is of.
    fn end<E>(
        &self,
        mut packer: Packer,
        mut sink: impl FnMut(Block<'_>) -> Result<(), E>,
    ) -> Result<Tables, E> {
        let mut blocks = Vec::new();
        let mut writer = self.writer();
        for key in writer.take_touched() {
            self.pack(&writer, key, &mut packer);
            if packer.is_full() {
                blocks.push(packer.take().to_vec());
            }
        }
        let tables = self.tables(&writer);
        drop(writer);
        if !packer.is_empty() {
            blocks.push(packer.take().to_vec());
        }
        for block in &blocks {
            sink(Block::Changed(block))?;
        }
        Ok(tables)
    }

    /// Packs an enterprise as it is now.
    fn pack(&self, writer: &Writer, key: CustomsKey, packer: &mut Packer) {
        match self.enterprises.get(key) {
            Some(record) => packer.put(key, &record, &writer.names.get(record.name)),
            None => packer.gone(key),
        }
    }

    fn tables(&self, writer: &Writer) -> Tables {
        let quarantined = writer.quarantined.iter();
        Tables {
            place: Place {
                position: self.position(),
                mark: writer.mark,
            },
            tiers: self.tier_counts(),
            digest: writer.digest.bytes(),
            schedules: self
                .schedules
                .iter()
                .filter_map(|entry| {
                    Some(Scheduled {
                        customs_code: entry.key().code()?,
                        changes: entry.changes.clone(),
                        unreadable: entry.unreadable.clone(),
                    })
                })
                .collect(),
            operators: self.operators.iter().map(|entry| Arc::clone(&entry)).collect(),
            arrangements: writer
                .arrangements
                .iter()
                .map(|(key, row)| (key.clone(), row.clone()))
                .collect(),
            orders: writer
                .orders
                .iter()
                .map(|(key, row)| (key.clone(), Arc::clone(row)))
                .collect(),
            quarantined: quarantined
                .map(|((entity, key), reason)| Quarantined {
                    entity: *entity,
                    key: key.clone(),
                    reason: reason.clone(),
                })
                .collect(),
        }
    }

    /// Counts every row afresh, which takes seconds for millions: for generations that are not in force.
    pub fn recount(&self) -> Recount {
        let writer = self.writer();
        let mut tiers = [0; CreditTier::COUNT];
        let mut digest = Digest::default();
        for slot in 0..self.enterprises.slots() {
            let Some((key, record)) = self.enterprises.at(slot) else {
                continue;
            };
            tiers[record.credit().credit_tier.index()] += 1;
            if let Some(code) = key.code() {
                digest.add(writer.hash(code, &record));
            }
        }
        for entry in &self.schedules {
            for change in &entry.changes {
                if let Some(code) = entry.key().code() {
                    digest.add(digest::scheduled(code, *change));
                }
            }
        }
        for operator in &self.operators {
            digest.add(digest::operator(&operator));
        }
        for (key, arrangement) in &writer.arrangements {
            digest.add(digest::arrangement(key, arrangement));
        }
        for order in writer.orders.values() {
            digest.add(digest::order(order));
        }
        Recount {
            tiers,
            digest: digest.hex(),
            astray: self.enterprises.astray(),
        }
    }
}
