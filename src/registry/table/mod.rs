//! The table of enterprises: a row of 28 bytes each, found by customs code and by social credit code.
//!
//! ```text
//! customs code -------> slot \
//!                             rows[slot]: customs code, social credit code, credit, place of the name
//! social credit code -> slot /
//! ```
//!
//! **Invariant:** a slot that is found by a social credit code holds a row with that code.

mod index;
mod rows;

use std::sync::{Mutex, MutexGuard, PoisonError};

use arrayvec::ArrayVec;
use smallvec::SmallVec;

use self::{
    index::{Entry, Index},
    rows::Rows,
};
use super::{
    key::{CustomsKey, SocialCreditKey},
    record::Record,
};
use crate::domain::declaration::MAX_PARTIES;

/// Shards of the big tables: enough that a writer seldom meets a reader.
pub(super) const SHARDS: usize = 64;

/// Where a row stands: rows do not move.
pub(super) type Slot = u32;

/// Every enterprise. Many may read while one writes.
#[derive(Debug)]
pub(super) struct Table {
    rows: Rows,
    by_customs: Index,
    by_social_credit: Index,
    /// Slots of rows that are gone.
    free: Mutex<Vec<Slot>>,
}

impl Table {
    /// No enterprises, and room for so many.
    pub(super) fn new(expected: usize) -> Self {
        Self {
            rows: Rows::new(expected),
            by_customs: Index::new(expected),
            by_social_credit: Index::new(expected),
            free: Mutex::default(),
        }
    }

    // === reading ===

    /// The enterprise of a customs code.
    #[inline]
    pub(super) fn get(&self, key: CustomsKey) -> Option<Record> {
        let (_, record) = self.rows.get(self.slot(key)?)?;
        Some(record)
    }

    /// The enterprises of several customs codes, in a fraction of the time that they take one after the other.
    #[inline]
    pub(super) fn get_all(
        &self,
        keys: &ArrayVec<CustomsKey, MAX_PARTIES>,
    ) -> ArrayVec<Option<Record>, MAX_PARTIES> {
        let hashes = keys.iter().map(|key| self.by_customs.hash(key)).collect();
        let is = |place: usize, slot| self.rows.is(slot, keys[place]);
        let slots = self.by_customs.find_all(&hashes, is);
        slots
            .into_iter()
            .map(|slot| Some(self.rows.get(slot?)?.1))
            .collect()
    }

    /// Has these at hand when they are asked for next.
    pub(super) fn touch(&self, keys: &[CustomsKey], codes: &[SocialCreditKey]) -> usize {
        let hashes: SmallVec<[usize; 64]> = keys.iter().map(|key| self.by_customs.hash(key)).collect();
        let mut found = self
            .by_customs
            .touch(&hashes, |place, slot| self.rows.is(slot, keys[place]));
        if !codes.is_empty() {
            let hashes: SmallVec<[usize; 64]> = codes
                .iter()
                .map(|code| self.by_social_credit.hash(code))
                .collect();
            found += self.by_social_credit.touch(&hashes, |place, slot| {
                self.rows.social_credit(slot) == Some(codes[place])
            });
        }
        found
    }

    /// The enterprise to which a social credit code leads.
    #[inline]
    pub(super) fn with_social_credit(&self, code: SocialCreditKey) -> Option<(CustomsKey, Record)> {
        self.rows.get(self.leads_to(code)?)
    }

    /// Slots that there are, empty ones too: what stands in each is told by [`Self::at`].
    pub(super) fn slots(&self) -> Slot {
        self.rows.taken()
    }

    /// The enterprise in a slot.
    pub(super) fn at(&self, slot: Slot) -> Option<(CustomsKey, Record)> {
        self.rows.get(slot)
    }

    /// How many social credit codes, and how many customs codes, do not lead to the row that they stand in, or lead to
    /// another one.
    pub(super) fn astray(&self) -> u64 {
        let (mut rows, mut found, mut codes, mut led) = (0, 0, 0, 0);
        for slot in 0..self.slots() {
            let Some((key, record)) = self.at(slot) else {
                continue;
            };
            rows += 1;
            found += usize::from(self.slot(key) == Some(slot));
            if record.social_credit != SocialCreditKey::NONE {
                codes += 1;
                led += usize::from(self.leads_to(record.social_credit) == Some(slot));
            }
        }
        let lost = (rows - found).max(self.by_customs.len() - found);
        let misled = (codes - led).max(self.by_social_credit.len() - led);
        (lost + misled) as u64
    }

    fn slot(&self, key: CustomsKey) -> Option<Slot> {
        self.by_customs
            .find(self.by_customs.hash(&key), |slot| self.rows.is(slot, key))
    }

    fn leads_to(&self, code: SocialCreditKey) -> Option<Slot> {
        self.by_social_credit
            .find(self.by_social_credit.hash(&code), |slot| {
                self.rows.social_credit(slot) == Some(code)
            })
    }

    // === writing ===

    /// Puts an enterprise, in the place of the former one of its customs code; its social credit code leads to it from now
    /// on, whomever it led to.
    pub(super) fn put(&self, key: CustomsKey, record: &Record) {
        let slot = if let Some(slot) = self.slot(key) {
            if let Some(former) = self.rows.social_credit(slot)
                && former != record.social_credit
            {
                self.leads_no_more(former, slot);
            }
            self.rows.set(slot, key, record);
            slot
        } else {
            let slot = self.free().pop().unwrap_or_else(|| self.rows.take(1));
            self.rows.set(slot, key, record);
            let entry = (self.by_customs.hash(&key), slot);
            self.by_customs
                .put(entry, |_| false, |own| self.customs_hash(own));
            slot
        };
        let code = record.social_credit;
        if code != SocialCreditKey::NONE {
            self.by_social_credit.put(
                (self.by_social_credit.hash(&code), slot),
                |own| self.rows.social_credit(own) == Some(code),
                |own| self.social_credit_hash(own),
            );
        }
    }

    /// Takes an enterprise out.
    pub(super) fn remove(&self, key: CustomsKey) -> Option<Record> {
        let slot = self.slot(key)?;
        let (_, former) = self.rows.get(slot)?;
        self.leads_no_more(former.social_credit, slot);
        self.by_customs.remove((self.by_customs.hash(&key), slot));
        self.rows.clear(slot);
        self.free().push(slot);
        Some(former)
    }

    /// Puts many enterprises that are not there yet; gives the places in `rows` of those that are, also by an earlier row,
    /// and stay as they were.
    pub(super) fn fill(&self, rows: &[(CustomsKey, Record)]) -> Vec<usize> {
        // A block has fewer rows than 2^32 by far: see `Rows::take`.
        let first = self.rows.take(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        let mut entries: Vec<Entry> = Vec::with_capacity(rows.len());
        for (slot, (key, record)) in (first..).zip(rows) {
            self.rows.set(slot, *key, record);
            entries.push((self.by_customs.hash(key), slot));
        }
        let same = |own, slot| self.rows.get(slot).is_some_and(|(key, _)| self.rows.is(own, key));
        self.by_customs
            .put_new(&mut entries, same, |own| self.customs_hash(own));
        let mut there = Vec::with_capacity(entries.len());
        for (_, slot) in entries.drain(..) {
            there.push((slot - first) as usize);
            self.rows.clear(slot);
            self.free().push(slot);
        }

        for (slot, (_, record)) in (first..).zip(rows) {
            let code = record.social_credit;
            // One that was there already has no row in its slot.
            if code != SocialCreditKey::NONE && (there.is_empty() || self.rows.get(slot).is_some()) {
                entries.push((self.by_social_credit.hash(&code), slot));
            }
        }
        let same = |own, slot| self.rows.social_credit(own) == self.rows.social_credit(slot);
        self.by_social_credit
            .put_new(&mut entries, same, |own| self.social_credit_hash(own));
        // A code leads to the last that came with it.
        for entry in entries {
            self.by_social_credit.put(
                entry,
                |own| same(own, entry.1),
                |own| self.social_credit_hash(own),
            );
        }
        there
    }

    fn leads_no_more(&self, code: SocialCreditKey, slot: Slot) {
        if code != SocialCreditKey::NONE {
            let hash = self.by_social_credit.hash(&code);
            self.by_social_credit.remove((hash, slot));
        }
    }

    // Only slots that hold rows are in an index, so that the fallbacks are never taken.

    fn customs_hash(&self, slot: Slot) -> usize {
        self.rows
            .get(slot)
            .map_or(0, |(key, _)| self.by_customs.hash(&key))
    }

    fn social_credit_hash(&self, slot: Slot) -> usize {
        self.rows
            .social_credit(slot)
            .map_or(0, |code| self.by_social_credit.hash(&code))
    }

    fn free(&self) -> MutexGuard<'_, Vec<Slot>> {
        // Nothing panics while it holds the lock.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
