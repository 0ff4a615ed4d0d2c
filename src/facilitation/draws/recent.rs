//! The first draws of the declarations decided last, in sets of eight: found and put in tens of nanoseconds.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use arrayvec::ArrayVec;

use super::First;
use crate::domain::{decision::Lane, identifier::DeclarationNumber};

/// Declarations whose first draw is remembered here, the latest ones; shipments remember the others.
pub const REMEMBERED: usize = SETS * WAYS;

const SETS: usize = 1 << 13;
const WAYS: usize = 8;

/// One set: the latest last.
type Set = ArrayVec<(u64, First), WAYS>;

/// Declarations by number. The eldest of a full set makes room.
pub(super) struct RecentDraws(Box<[Mutex<Set>]>);

impl fmt::Debug for RecentDraws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecentDraws(..)")
    }
}

impl Default for RecentDraws {
    fn default() -> Self {
        Self((0..SETS).map(|_| Mutex::default()).collect())
    }
}

impl RecentDraws {
    /// What is remembered of a declaration.
    pub(super) fn get(&self, number: &DeclarationNumber) -> Option<First> {
        let place = packed(number);
        let set = self.set(place);
        set.iter().find(|(own, _)| *own == place).map(|(_, first)| *first)
    }

    /// Remembers a declaration; gives what is remembered of it already, which stays.
    pub(super) fn put(&self, number: &DeclarationNumber, first: First) -> Option<First> {
        let place = packed(number);
        let mut set = self.set(place);
        if let Some((_, stays)) = set.iter().find(|(own, _)| *own == place) {
            return Some(*stays);
        }
        if set.is_full() {
            set.remove(0);
        }
        set.push((place, first));
        None
    }

    /// Sets the lane of a declaration that is remembered.
    pub(super) fn set_lane(&self, number: &DeclarationNumber, lane: Lane) {
        let place = packed(number);
        if let Some((_, first)) = self.set(place).iter_mut().find(|(own, _)| *own == place) {
            first.lane = Some(lane);
        }
    }

    /// Forgets a declaration.
    pub(super) fn forget(&self, number: &DeclarationNumber) {
        let place = packed(number);
        self.set(place).retain(|(own, _)| *own != place);
    }

    fn set(&self, place: u64) -> MutexGuard<'_, Set> {
        // Numbers are given out in sequence: a multiplication spreads them (Fibonacci hashing).
        let spread = place.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let at = usize::try_from(spread).unwrap_or_default() % SETS;
        // Nothing panics while it holds the lock.
        self.0[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A declaration number in 64 bits: 17 digits and one of four direction characters.
fn packed(number: &DeclarationNumber) -> u64 {
    let direction = match number.direction_character() {
        b'0' => 0,
        b'1' => 1,
        b'I' => 2,
        _ => 3,
    };
    let digits = number.as_bytes().iter().enumerate().filter(|&(at, _)| at != 8);
    digits.fold(0, |sum, (_, &digit)| sum * 10 + u64::from(digit - b'0')) * 4 + direction
}
