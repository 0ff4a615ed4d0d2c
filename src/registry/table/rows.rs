//! Rows of one width, each in a slot of its own, that many read while one writes.
//!
//! The words are atomic for that alone: a row that is read while it is written may be torn, and whoever reads it then
//! finds the commit counter moved.

use std::{
    iter,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use super::{
    super::{
        key::{CustomsKey, SocialCreditKey},
        record::Record,
    },
    Slot,
};

/// Words of a row: 52 bits of customs code, 90 of social credit code, 50 of credit and 32 of the name's place.
const WORDS: usize = 7;
/// Bits of a customs code. One more than the code stands in them, so that an empty slot is all zeros.
const CUSTOMS: u32 = 52;
/// Bits of the social credit code in the first four words; the others begin the fifth.
const SOCIAL_IN_FRONT: u32 = 128 - CUSTOMS;
const SOCIAL_BEHIND: u32 = SocialCreditKey::BITS - SOCIAL_IN_FRONT;
/// Rows of the first block beyond those that were expected.
const BLOCK: usize = 1 << 10;
/// Blocks that double from there reach every slot.
const BLOCKS: usize = 23;

type Row = [AtomicU32; WORDS];

/// The rows of a table.
#[derive(Debug)]
pub(super) struct Rows {
    /// As many as were expected.
    expected: Box<[Row]>,
    /// What came beyond that; each block is twice as long as the one before.
    more: [OnceLock<Box<[Row]>>; BLOCKS],
    /// Slots that were ever taken.
    taken: AtomicU32,
}

fn empty(rows: usize) -> Box<[Row]> {
    iter::repeat_with(Row::default).take(rows).collect()
}

/// Splits into words what is narrower than they are together.
#[expect(
    clippy::cast_possible_truncation,
    reason = "splitting into words is what truncates"
)]
fn words<const N: usize>(bits: u128) -> [u32; N] {
    std::array::from_fn(|word| (bits >> (32 * word)) as u32)
}

fn joined(words: &[AtomicU32]) -> u128 {
    words
        .iter()
        .rev()
        .fold(0, |bits, word| bits << 32 | u128::from(word.load(Relaxed)))
}

impl Rows {
    /// No rows, and room for so many.
    pub(super) fn new(expected: usize) -> Self {
        Self {
            expected: empty(expected),
            more: [const { OnceLock::new() }; BLOCKS],
            taken: AtomicU32::new(0),
        }
    }

    /// Slots that were ever taken: all rows stand below.
    pub(super) fn taken(&self) -> Slot {
        self.taken.load(Relaxed)
    }

    /// Takes so many slots, one after the other; gives the first.
    pub(super) fn take(&self, slots: u32) -> Slot {
        // 2^32 rows take 120 GB: there are not as many enterprises.
        self.taken.fetch_add(slots, Relaxed)
    }

    /// The block beyond those expected in which a slot is, and where in it.
    fn beyond(&self, slot: Slot) -> (usize, usize) {
        let place = slot as usize - self.expected.len() + BLOCK;
        let block = (place / BLOCK).ilog2();
        (block as usize, place - (BLOCK << block))
    }

    fn row(&self, slot: Slot) -> Option<&Row> {
        self.expected.get(slot as usize).or_else(|| {
            let (block, place) = self.beyond(slot);
            self.more.get(block)?.get()?.get(place)
        })
    }

    /// What stands in a slot.
    pub(super) fn get(&self, slot: Slot) -> Option<(CustomsKey, Record)> {
        let (front, behind) = self.row(slot)?.split_at(4);
        let (front, behind) = (joined(front), joined(behind));
        let key = (front & ((1 << CUSTOMS) - 1)).checked_sub(1)?;
        let social = front >> CUSTOMS | (behind & ((1 << SOCIAL_BEHIND) - 1)) << SOCIAL_IN_FRONT;
        let credit = behind >> SOCIAL_BEHIND & ((1 << Record::CREDIT_BITS) - 1);
        let name = behind >> (SOCIAL_BEHIND + Record::CREDIT_BITS);
        // Each has no more bits than its mask or, the name, than were left over.
        Some((
            CustomsKey::again(u64::try_from(key).ok()?),
            Record::again(
                SocialCreditKey::again(social),
                u64::try_from(credit).ok()?,
                u32::try_from(name).ok()?,
            ),
        ))
    }

    /// Whether a customs code's row stands in a slot.
    pub(super) fn is(&self, slot: Slot, key: CustomsKey) -> bool {
        self.row(slot).is_some_and(|row| {
            let bits = joined(&row[..2]) & ((1 << CUSTOMS) - 1);
            bits == u128::from(key.packed()) + 1
        })
    }

    /// The social credit code of the row in a slot.
    pub(super) fn social_credit(&self, slot: Slot) -> Option<SocialCreditKey> {
        self.get(slot).map(|(_, record)| record.social_credit)
    }

    /// Puts a row into a slot that was taken.
    pub(super) fn set(&self, slot: Slot, key: CustomsKey, record: &Record) {
        let social = record.social_credit.packed();
        let front = u128::from(key.packed() + 1) | social << CUSTOMS;
        let behind = social >> SOCIAL_IN_FRONT
            | u128::from(record.credit_bits()) << SOCIAL_BEHIND
            | u128::from(record.name) << (SOCIAL_BEHIND + Record::CREDIT_BITS);
        self.write(slot, words::<4>(front), words::<3>(behind));
    }

    /// Empties a slot.
    pub(super) fn clear(&self, slot: Slot) {
        self.write(slot, [0; 4], [0; 3]);
    }

    fn write(&self, slot: Slot, front: [u32; 4], behind: [u32; 3]) {
        let row = self.expected.get(slot as usize).or_else(|| {
            let (block, place) = self.beyond(slot);
            let rows = self.more.get(block)?;
            rows.get_or_init(|| empty(BLOCK << block)).get(place)
        });
        for (own, word) in row.into_iter().flatten().zip(front.into_iter().chain(behind)) {
            own.store(word, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_row_takes_28_bytes_and_uses_each_bit() {
        assert_eq!(size_of::<Row>(), 28);
        assert_eq!(
            CUSTOMS + SocialCreditKey::BITS + Record::CREDIT_BITS + u32::BITS,
            28 * 8
        );
    }

    proptest! {
        #[test]
        fn what_is_put_into_a_slot_stands_there_and_nowhere_else(
            expected in 0_usize..40,
            rows in prop::collection::vec((0..36_u64.pow(10), 0..1_u128 << 90, 0..1_u64 << 50, any::<u32>()), 1..60),
        ) {
            let table = Rows::new(expected);
            let rows: Vec<_> = rows
                .into_iter()
                .map(|(key, social, credit, name)| {
                    let social = SocialCreditKey::again(social);
                    (CustomsKey::again(key), Record::again(social, credit, name))
                })
                .collect();
            for (key, record) in &rows {
                let slot = table.take(1);
                prop_assert_eq!(table.get(slot), None);
                table.set(slot, *key, record);
            }
            prop_assert_eq!(table.taken() as usize, rows.len());
            for (slot, (key, record)) in (0..).zip(&rows) {
                prop_assert_eq!(table.get(slot), Some((*key, *record)));
                prop_assert!(table.is(slot, *key));
                prop_assert_eq!(table.social_credit(slot), Some(record.social_credit));
            }
            for slot in (0..table.taken()).step_by(2) {
                table.clear(slot);
            }
            for (slot, row) in (0..).zip(&rows) {
                prop_assert_eq!(table.get(slot), (slot % 2 == 1).then_some(*row));
            }
        }
    }

    #[test]
    fn blocks_beyond_those_expected_follow_one_another() {
        let table = Rows::new(3);
        let mut last = (0, 0);
        for slot in 4..3 + 15 * BLOCK {
            let next = table.beyond(u32::try_from(slot).expect("small"));
            assert!(
                next == (last.0, last.1 + 1) || (next == (last.0 + 1, 0) && last.1 + 1 == BLOCK << last.0)
            );
            last = next;
        }
        assert_eq!(table.beyond(u32::MAX).0, BLOCKS - 1, "every slot is reached");
    }
}
