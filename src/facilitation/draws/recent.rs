//! The first draws of the declarations decided last, in sets of eight: found and put in tens of nanoseconds.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::First;
use crate::domain::{decision::Lane, identifier::DeclarationNumber};

/// Declarations whose first draw is remembered here, the latest ones; shipments remember the others.
pub const REMEMBERED: usize = SETS * WAYS;

const SETS: usize = 1 << 13;
const WAYS: usize = 8;

/// Of no declaration: numbers take 59 bits.
const NONE: u64 = u64::MAX;

/// One set. Its numbers stand together, so that whether one of them is looked for costs a cache line.
struct Set {
    numbers: [u64; WAYS],
    /// What is remembered of each.
    firsts: [Option<First>; WAYS],
    /// The place that makes room next: of the eldest, but for what was forgotten and put in its place since.
    eldest: usize,
}

impl Default for Set {
    fn default() -> Self {
        Self {
            numbers: [NONE; WAYS],
            firsts: [None; WAYS],
            eldest: 0,
        }
    }
}

impl Set {
    fn get(&mut self, number: u64) -> Option<&mut First> {
        let at = self.numbers.iter().position(|own| *own == number)?;
        self.firsts[at].as_mut()
    }

    /// In the place of none, or of the eldest.
    fn put(&mut self, number: u64, first: First) {
        let free = self.numbers.iter().position(|own| *own == NONE);
        let at = free.unwrap_or_else(|| {
            let eldest = self.eldest;
            self.eldest = (eldest + 1) % WAYS;
            eldest
        });
        self.numbers[at] = number;
        self.firsts[at] = Some(first);
    }

    fn forget(&mut self, number: u64) {
        if let Some(own) = self.numbers.iter_mut().find(|own| **own == number) {
            *own = NONE;
        }
    }
}

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
        self.set(place).get(place).copied()
    }

    /// Remembers a declaration; gives what is remembered of it already, which stays.
    pub(super) fn put(&self, number: &DeclarationNumber, first: First) -> Option<First> {
        let place = packed(number);
        let mut set = self.set(place);
        if let Some(stays) = set.get(place) {
            return Some(*stays);
        }
        set.put(place, first);
        None
    }

    /// Sets the lane of a declaration that is remembered.
    pub(super) fn set_lane(&self, number: &DeclarationNumber, lane: Lane) {
        let place = packed(number);
        if let Some(first) = self.set(place).get(place) {
            first.lane = Some(lane);
        }
    }

    /// Forgets a declaration.
    pub(super) fn forget(&self, number: &DeclarationNumber) {
        let place = packed(number);
        self.set(place).forget(place);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::draw::{Draw, Drawn, Epoch, Subject};

    fn first(draw: u64) -> First {
        First {
            drawn: Drawn {
                epoch: Epoch::of("2026-11-24".parse().unwrap()),
                subject: Subject::new("declaration", "222520261000000001").unwrap(),
                draw: Draw(draw),
            },
            lane: None,
        }
    }

    #[test]
    fn the_eldest_of_a_full_set_makes_room_and_what_is_forgotten_does_before() {
        let mut set = Set::default();
        let held = |set: &mut Set| {
            (0..20)
                .filter(|number| set.get(*number).is_some())
                .collect::<Vec<_>>()
        };
        for number in 0..WAYS as u64 + 2 {
            set.put(number, first(number));
        }
        assert_eq!(held(&mut set), (2..WAYS as u64 + 2).collect::<Vec<_>>());
        set.forget(5);
        set.put(15, first(15));
        assert_eq!(held(&mut set), [2, 3, 4, 6, 7, 8, 9, 15]);
        set.put(16, first(16));
        assert_eq!(held(&mut set), [3, 4, 6, 7, 8, 9, 15, 16]);
        assert_eq!(set.get(15).map(|own| own.drawn.draw), Some(Draw(15)));
    }

    #[test]
    fn the_first_draw_of_a_declaration_stays_with_its_latest_lane() {
        let draws = RecentDraws::default();
        let number = "222520261000000001".parse().unwrap();
        assert_eq!(draws.put(&number, first(1)), None);
        assert_eq!(draws.put(&number, first(2)), Some(first(1)));
        draws.set_lane(&number, Lane::Green);
        let lane = Some(Lane::Green);
        assert_eq!(draws.get(&number), Some(First { lane, ..first(1) }));
        draws.forget(&number);
        assert_eq!(draws.get(&number), None);
    }
}
