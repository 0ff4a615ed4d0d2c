//! The table against one that is simple.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Customs codes, so few that rows are replaced and taken out, and slots taken again.
const KEYS: u64 = 40;

#[derive(Debug, Clone)]
enum Op {
    Put(u64, Option<u8>, u64),
    Remove(u64),
    Fill(Vec<(u64, Option<u8>, u64)>),
}

fn row() -> impl Strategy<Value = (u64, Option<u8>, u64)> {
    (
        0..KEYS,
        prop::option::of(0..30_u8),
        0..1_u64 << Record::CREDIT_BITS,
    )
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => row().prop_map(|(key, code, credit)| Op::Put(key, code, credit)),
        2 => (0..KEYS).prop_map(Op::Remove),
        1 => prop::collection::vec(row(), 0..12).prop_map(Op::Fill),
    ]
}

fn social(code: Option<u8>) -> SocialCreditKey {
    code.map_or(SocialCreditKey::NONE, |code| {
        SocialCreditKey::again(u128::from(code) << 64)
    })
}

fn record(code: Option<u8>, credit: u64) -> Record {
    Record::again(social(code), credit, u32::from(code.unwrap_or(99)))
}

/// Rows by customs code, and customs codes by the social credit codes that lead to them.
#[derive(Debug, Default)]
struct Model {
    rows: BTreeMap<u64, Record>,
    led: BTreeMap<u128, u64>,
}

impl Model {
    fn put(&mut self, key: u64, record: Record) {
        self.remove(key);
        self.rows.insert(key, record);
        if record.social_credit != SocialCreditKey::NONE {
            self.led.insert(record.social_credit.packed(), key);
        }
    }

    fn remove(&mut self, key: u64) -> Option<Record> {
        self.led.retain(|_, owner| *owner != key);
        self.rows.remove(&key)
    }
}

proptest! {
    #[test]
    fn the_table_holds_what_a_simple_one_holds(
        expected in prop::sample::select(vec![0, 5, 1_000]),
        ops in prop::collection::vec(op(), 1..200),
    ) {
        let table = Table::new(expected);
        let mut model = Model::default();
        for op in ops {
            match op {
                Op::Put(key, code, credit) => {
                    let record = record(code, credit);
                    table.put(CustomsKey::again(key), &record);
                    model.put(key, record);
                }
                Op::Remove(key) => {
                    prop_assert_eq!(table.remove(CustomsKey::again(key)), model.remove(key));
                }
                Op::Fill(rows) => {
                    let rows: Vec<_> = rows.into_iter().map(|(key, code, credit)| (CustomsKey::again(key), record(code, credit))).collect();
                    let mut there = table.fill(&rows);
                    there.sort_unstable();
                    let mut expected = Vec::new();
                    for (place, (key, record)) in rows.iter().enumerate() {
                        if model.rows.contains_key(&key.packed()) {
                            expected.push(place);
                        } else {
                            model.put(key.packed(), *record);
                        }
                    }
                    prop_assert_eq!(there, expected);
                    // Several of a block may come with one code: any of them may have it in the end.
                    for code in model.led.clone().into_keys() {
                        let (key, _) = table.with_social_credit(SocialCreditKey::again(code)).expect("it leads somewhere");
                        let owner = model.rows[&key.packed()];
                        prop_assert_eq!(owner.social_credit.packed(), code);
                        model.led.insert(code, key.packed());
                    }
                }
            }
            for key in 0..KEYS {
                prop_assert_eq!(table.get(CustomsKey::again(key)), model.rows.get(&key).copied());
            }
            // Shards are met twice, and so is a code.
            let asked: ArrayVec<_, MAX_PARTIES> = (0..KEYS).step_by(3).chain([0, 1]).map(CustomsKey::again).collect();
            let found: Vec<_> = asked.iter().map(|key| model.rows.get(&key.packed()).copied()).collect();
            prop_assert_eq!(&table.get_all(&asked)[..], found);
            for code in 0..30 {
                let code = social(Some(code));
                let owner = model.led.get(&code.packed()).map(|key| (CustomsKey::again(*key), model.rows[key]));
                prop_assert_eq!(table.with_social_credit(code), owner);
            }
            let mut rows: Vec<_> = (0..table.slots()).filter_map(|slot| table.at(slot)).collect();
            rows.sort_unstable_by_key(|(key, _)| key.packed());
            let expected: Vec<_> = model.rows.iter().map(|(key, record)| (CustomsKey::again(*key), *record)).collect();
            prop_assert_eq!(rows, expected);
            let displaced = model.rows.values().filter(|row| row.social_credit != SocialCreditKey::NONE).count() - model.led.len();
            prop_assert_eq!(table.astray(), displaced as u64);
        }
    }
}

#[test]
fn enterprises_are_found_after_the_indexes_grew() {
    let table = Table::new(0);
    let count = 30_000;
    let row = |number: u64| {
        let code = SocialCreditKey::again(u128::from(number) << 40);
        (CustomsKey::again(number), Record::again(code, number, 0))
    };
    let rows: Vec<_> = (0..count).map(row).collect();
    for block in rows.chunks(7_000) {
        assert!(table.fill(block).is_empty());
    }
    for (key, record) in rows.iter().step_by(3) {
        assert_eq!(table.remove(*key), Some(*record));
    }
    for (key, record) in rows.iter().step_by(6) {
        table.put(*key, record);
    }
    for (number, (key, record)) in rows.iter().enumerate() {
        let expected = (number % 3 != 0 || number % 6 == 0).then_some(*record);
        assert_eq!(table.get(*key), expected);
        assert_eq!(
            table.with_social_credit(record.social_credit),
            expected.map(|record| (*key, record))
        );
    }
    assert_eq!(table.astray(), 0);
    assert_eq!(u64::from(table.slots()), count, "slots are taken again");
}
