//! Finds rows by a key that stands in them: a table that holds nothing but the numbers of their slots.

use std::{hash::Hash, mem};

use arrayvec::ArrayVec;
use dashmap::{DashMap, SharedValue};
use foldhash::fast::RandomState;

use super::{SHARDS, Slot};
use crate::domain::declaration::MAX_PARTIES;

/// Slots by the hash of a key. Which key that is, and what it is in a slot, is told at each call: an entry takes five
/// bytes for it, however long the keys are.
#[derive(Debug)]
pub(super) struct Index(DashMap<Slot, (), RandomState>);

/// A slot to be put, and the hash of its key.
pub(super) type Entry = (usize, Slot);

impl Index {
    /// No slots, and room for so many.
    pub(super) fn new(capacity: usize) -> Self {
        let hasher = RandomState::default();
        Self(DashMap::with_capacity_and_hasher_and_shard_amount(
            capacity, hasher, SHARDS,
        ))
    }

    /// The hash of a key.
    pub(super) fn hash(&self, key: &impl Hash) -> usize {
        self.0.hash_usize(key)
    }

    /// Slots that are in it.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The slot with a key of this hash for which `is` holds.
    #[inline]
    pub(super) fn find(&self, hash: usize, is: impl Fn(Slot) -> bool) -> Option<Slot> {
        let shard = self.0.shards()[self.0.determine_shard(hash)].read();
        shard
            .get(hash as u64, |(slot, _)| is(*slot))
            .map(|(slot, _)| *slot)
    }

    /// The slots with keys of these hashes, for each of which `is` holds with its place among them. A lock is a barrier to
    /// the processor: all are taken first, so that the look-ups in memory need not wait for one another.
    #[inline]
    pub(super) fn find_all(
        &self,
        hashes: &ArrayVec<usize, MAX_PARTIES>,
        is: impl Fn(usize, Slot) -> bool,
    ) -> ArrayVec<Option<Slot>, MAX_PARTIES> {
        let shard_of = |hash: &usize| self.0.determine_shard(*hash);
        let mut shards: ArrayVec<usize, MAX_PARTIES> = hashes.iter().map(shard_of).collect();
        // Each once and in one order: nobody waits for whoever waits for it.
        shards.sort_unstable();
        let mut locked = ArrayVec::<_, MAX_PARTIES>::new();
        for (at, &shard) in shards.iter().enumerate() {
            if at == 0 || shards[at - 1] != shard {
                locked.push((shard, self.0.shards()[shard].read()));
            }
        }
        let find = |(place, hash): (usize, &usize)| {
            let shard = shard_of(hash);
            let (_, shard) = locked.iter().find(|(own, _)| *own == shard)?;
            let found = shard.get(*hash as u64, |(slot, _)| is(place, *slot));
            found.map(|(slot, _)| *slot)
        };
        hashes.iter().enumerate().map(find).collect()
    }

    /// Looks for the slots with keys of these hashes, for each of which `is` holds with its place among them; gives how many
    /// there are. What it is called for is that what it read is near the processor then: under all locks, so that no look-up
    /// in memory waits for another.
    pub(super) fn touch(&self, hashes: &[usize], is: impl Fn(usize, Slot) -> bool) -> usize {
        let locked: ArrayVec<_, SHARDS> = self.0.shards().iter().map(|shard| shard.read()).collect();
        let found = |(place, hash): (usize, &usize)| {
            locked[self.0.determine_shard(*hash)]
                .get(*hash as u64, |(slot, _)| is(place, *slot))
                .is_some()
        };
        hashes.iter().enumerate().filter(|own| found(*own)).count()
    }

    /// Puts a slot in the place of the one for which `same` holds, or as another one. `rehash` tells the hash of any slot
    /// that is in it already.
    pub(super) fn put(
        &self,
        (hash, slot): Entry,
        same: impl Fn(Slot) -> bool,
        rehash: impl Fn(Slot) -> usize,
    ) {
        let mut shard = self.0.shards()[self.0.determine_shard(hash)].write();
        match shard.get_mut(hash as u64, |(own, _)| same(*own)) {
            Some((own, _)) => *own = slot,
            None => drop(
                shard.insert(hash as u64, (slot, SharedValue::new(())), |(own, _)| {
                    rehash(*own) as u64
                }),
            ),
        }
    }

    /// Puts many slots, in their order, except where `same` holds for one that is there: those are left in `entries`.
    pub(super) fn put_new(
        &self,
        entries: &mut Vec<Entry>,
        same: impl Fn(Slot, Slot) -> bool,
        rehash: impl Fn(Slot) -> usize,
    ) {
        // Each shard is locked once, and its look-ups in memory need not wait for one another.
        let shard_of = |entry: &Entry| self.0.determine_shard(entry.0);
        entries.sort_unstable_by_key(|entry| (shard_of(entry), entry.1));
        let all = mem::take(entries);
        for of_shard in all.chunk_by(|one, other| shard_of(one) == shard_of(other)) {
            let Some(shard) = of_shard.first().map(shard_of) else {
                continue;
            };
            let mut shard = self.0.shards()[shard].write();
            for &(hash, slot) in of_shard {
                if shard.get(hash as u64, |(own, _)| same(*own, slot)).is_some() {
                    entries.push((hash, slot));
                } else {
                    shard.insert(hash as u64, (slot, SharedValue::new(())), |(own, _)| {
                        rehash(*own) as u64
                    });
                }
            }
        }
    }

    /// Takes a slot out, if it is there under this hash.
    pub(super) fn remove(&self, (hash, slot): Entry) {
        let mut shard = self.0.shards()[self.0.determine_shard(hash)].write();
        shard.erase_entry(hash as u64, |(own, _)| *own == slot);
    }
}
