//! What somebody has asked for. Where the audit log can be asked for the rest, nothing else is taken in.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use foldhash::HashMap;
use smallvec::SmallVec;

use super::{
    evaluation::{container_tie, declaration_tie},
    view::Key,
};
use crate::domain::declaration::Declaration;

/// The keys that a decision is asked for by.
pub(super) type Keys = SmallVec<[Key; 2]>;

/// Those of a declaration.
pub(super) fn keys(declaration: &Declaration) -> Keys {
    let containers = declaration.containers.iter().copied().map(Key::Container);
    std::iter::once(Key::Declaration(declaration.number))
        .chain(containers)
        .collect()
}

fn hash(key: &Key) -> u64 {
    match key {
        Key::Declaration(number) => declaration_tie(number.as_str()),
        Key::Container(number) => container_tie(number.as_str()),
    }
}

/// Bits of keys: a key that was put in is found, and now and then one that was not.
///
/// There are two sets, and every key goes into both. In turn each is emptied and filled with the keys that are still of use: a
/// key that is on its way to being of use, because the store is being asked for it, meanwhile stands in the other one.
#[derive(Debug)]
pub(super) struct Asked {
    sets: [Box<[AtomicU64]>; 2],
    /// Anybody has ever asked for anything: where no terminal asks, nothing else is looked at.
    some: AtomicBool,
    /// The first is to be renewed next.
    first: AtomicBool,
    unseen: Mutex<Unseen>,
    /// Whether there is something unseen: readers look at this alone.
    some_unseen: AtomicBool,
}

/// Keys of which the log tells more than memory knows, each with the number of the note that said so last.
#[derive(Debug, Default)]
struct Unseen {
    keys: HashMap<Key, u64>,
    notes: u64,
}

impl Asked {
    /// For about so many keys, of which one in ten is found without having been put in when there are as many.
    pub(super) fn new(keys: u64) -> Self {
        let words = (keys.saturating_mul(10) / 64).next_power_of_two().max(16);
        let words = usize::try_from(words).unwrap_or(1 << 20).min(1 << 24);
        let set = || (0..words).map(|_| AtomicU64::new(0)).collect();
        Self {
            sets: [set(), set()],
            some: AtomicBool::new(false),
            first: AtomicBool::new(false),
            unseen: Mutex::default(),
            some_unseen: AtomicBool::new(false),
        }
    }

    fn put(set: &[AtomicU64], hash: u64) {
        let (word, bit) = place(set, hash);
        // Ordered with the log's end: who asks says so before it looks how far the log is, and who decides looks here after
        // the log has it. One of the two sees the other.
        word.fetch_or(bit, Ordering::SeqCst);
    }

    /// Puts a key in.
    pub(super) fn add(&self, key: &Key) {
        let hash = hash(key);
        // Before the bits, and ordered as they are.
        self.some.store(true, Ordering::SeqCst);
        self.sets.iter().for_each(|set| Self::put(set, hash));
    }

    /// Whether one of the keys was put in.
    pub(super) fn has_any(&self, keys: &[Key]) -> bool {
        self.some.load(Ordering::SeqCst)
            && keys.iter().any(|key| {
                let hash = hash(key);
                self.sets.iter().any(|set| {
                    let (word, bit) = place(set, hash);
                    word.load(Ordering::SeqCst) & bit != 0
                })
            })
    }

    /// Forgets keys that are of no use any more, two renewals after they were put in. `living` gives those that are.
    pub(super) fn renew(&self, living: impl FnOnce(&mut dyn FnMut(&Key))) {
        let first = self.first.fetch_xor(true, Ordering::Relaxed);
        let set = &self.sets[usize::from(first)];
        set.iter().for_each(|word| word.store(0, Ordering::SeqCst));
        living(&mut |key| Self::put(set, hash(key)));
    }

    /// Notes that the log has a decision that was not taken in, of which somebody has asked for one of the keys meanwhile.
    pub(super) fn note_unseen(&self, keys: &[Key]) {
        let mut unseen = self.unseen();
        unseen.notes += 1;
        let note = unseen.notes;
        unseen.keys.extend(keys.iter().map(|key| (*key, note)));
        self.some_unseen.store(true, Ordering::Release);
    }

    /// Whether the log tells more of a key than memory knows.
    pub(super) fn is_unseen(&self, key: &Key) -> bool {
        self.some_unseen.load(Ordering::Acquire) && self.unseen().keys.contains_key(key)
    }

    /// The log is about to be asked for these keys; gives those that are unseen, each with its last note.
    pub(super) fn to_see(&self, keys: &[Key]) -> Vec<(Key, u64)> {
        if !self.some_unseen.load(Ordering::Acquire) {
            return Vec::new();
        }
        let unseen = self.unseen();
        let note = |key: &Key| Some((*key, *unseen.keys.get(key)?));
        keys.iter().filter_map(note).collect()
    }

    /// What the log tells of these is in memory. Until then whoever asks for them is to ask the log too, and of what was noted
    /// meanwhile once more.
    pub(super) fn seen(&self, keys: &[(Key, u64)]) {
        if keys.is_empty() {
            return;
        }
        let mut unseen = self.unseen();
        for (key, note) in keys {
            if unseen.keys.get(key) == Some(note) {
                unseen.keys.remove(key);
            }
        }
        self.some_unseen.store(!unseen.keys.is_empty(), Ordering::Release);
    }

    /// What the log is still to be asked for.
    pub(super) fn all_unseen(&self) -> Vec<Key> {
        if self.some_unseen.load(Ordering::Acquire) {
            self.unseen().keys.keys().copied().collect()
        } else {
            Vec::new()
        }
    }

    fn unseen(&self) -> MutexGuard<'_, Unseen> {
        // Nothing panics while it is held.
        self.unseen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(set: &[AtomicU64], hash: u64) -> (&AtomicU64, u64) {
    // The number of words is a power of two.
    let word = usize::try_from(hash >> 6).unwrap_or_default() & (set.len() - 1);
    (&set[word], 1 << (hash & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Key {
        Key::Declaration(format!("222520261{number:09}").parse().unwrap())
    }

    #[test]
    fn a_key_is_found_until_it_is_of_no_use_for_two_renewals() {
        let asked = Asked::new(1000);
        asked.add(&key(1));
        assert!(asked.has_any(&[key(2), key(1)]) && !asked.has_any(&[key(2)]));
        asked.renew(|living| living(&key(2)));
        assert!(asked.has_any(&[key(1)]) && asked.has_any(&[key(2)]));
        asked.renew(|_| {});
        assert!(!asked.has_any(&[key(1)]) && asked.has_any(&[key(2)]));
        asked.renew(|_| {});
        assert!(!asked.has_any(&[key(2)]));
    }

    #[test]
    fn few_are_found_that_were_never_asked_for() {
        let asked = Asked::new(10_000);
        (0..10_000).for_each(|number| asked.add(&key(number)));
        assert!((0..10_000).all(|number| asked.has_any(&[key(number)])));
        let found = (10_000..20_000).filter(|number| asked.has_any(&[key(*number)]));
        assert!(found.count() < 1_500);
    }

    #[test]
    fn what_nobody_has_seen_stays_until_the_log_is_asked_for_it() {
        let asked = Asked::new(16);
        assert!(asked.all_unseen().is_empty());
        asked.note_unseen(&[key(1), key(2)]);
        assert!(asked.is_unseen(&key(1)) && !asked.is_unseen(&key(3)));
        let first = asked.to_see(&[key(1), key(3)]);
        assert_eq!(first.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [key(1)]);
        assert!(asked.is_unseen(&key(1)), "until it is in memory");
        asked.seen(&first);
        assert_eq!(asked.all_unseen(), [key(2)]);
        let second = asked.to_see(&[key(2)]);
        asked.note_unseen(&[key(2)]);
        asked.seen(&second);
        assert!(asked.is_unseen(&key(2)), "what came meanwhile is not seen");
        asked.seen(&asked.to_see(&[key(2)]));
        assert!(!asked.is_unseen(&key(2)));
    }
}
