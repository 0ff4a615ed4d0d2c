//! Rows of a snapshot: what takes time is done before the writer's lock is asked for, so that several threads help.

use std::sync::atomic::Ordering;

use super::{
    digest::{self, RowHash},
    generation::Generation,
    key::{CustomsKey, SocialCreditKey},
    names::{self, Packed},
    prepare::Prepared,
    record::Record,
    row::{Change, Entity, Keyed},
};
use crate::{
    background,
    domain::{enterprise::Enterprise, identifier::SocialCreditCode},
};

/// Rows for which other threads that load are kept waiting.
const STEP: usize = 512;

/// An enterprise that has most likely not been there before.
struct Fresh {
    key: CustomsKey,
    record: Record,
    hash: RowHash,
    place: usize,
}

impl Fresh {
    fn new(enterprise: &Enterprise, place: usize) -> Self {
        let Enterprise {
            customs_code,
            social_credit_code,
            name,
            credit,
        } = enterprise;
        let social = social_credit_code.as_ref().map(SocialCreditCode::as_str);
        Self {
            key: CustomsKey::from(*customs_code),
            record: Record::new(SocialCreditKey::of(*social_credit_code), credit, u32::MAX),
            hash: digest::enterprise(*customs_code, social, names::kept(name), credit),
            place,
        }
    }
}

impl Generation {
    /// Applies rows of a snapshot to a generation that is not in force yet. Several threads may do so at once.
    pub fn load(&self, changes: &[Change]) {
        for step in changes.chunks(STEP) {
            self.load_step(step);
            background::give_way();
        }
    }

    fn load_step(&self, changes: &[Change]) {
        let mut fresh = Vec::with_capacity(changes.len());
        let mut names = Packed::default();
        // Places in `changes`.
        let mut others = Vec::new();
        // Behind an enterprise that takes the long way go all, because one may be the same.
        let mut in_order = true;
        for (place, change) in changes.iter().enumerate() {
            if let Keyed::Enterprise(enterprise) = &change.row
                && change.unreadable.is_none()
                && in_order
            {
                fresh.push(Fresh::new(enterprise, place));
                names.push(&enterprise.name);
                background::give_way();
            } else {
                others.push(place);
                in_order &= change.row.entity() != Entity::Enterprise;
            }
        }

        let mut writer = self.writer();
        let scheduled = !self.schedules.is_empty();
        let mut rows = Vec::with_capacity(fresh.len());
        for (row, name) in fresh.iter_mut().zip(writer.names.add_all(&names)) {
            row.record.name = name;
            row.record
                .set_scheduled(scheduled && self.schedules.contains_key(&row.key));
            rows.push((row.key, row.record));
        }
        let mut there = self.enterprises.fill(&rows);
        there.sort_unstable();
        let mut there = there.into_iter().peekable();
        for (place, row) in fresh.iter().enumerate() {
            if there.next_if_eq(&place).is_some() {
                others.push(row.place);
                continue;
            }
            writer.digest.add(row.hash);
            self.tiers[row.record.credit().credit_tier.index()].fetch_add(1, Ordering::Relaxed);
        }
        others.sort_unstable();
        let others = others.iter().map(|place| &changes[*place]);
        for change in others.clone() {
            writer.apply_rule(change);
        }
        Prepared::new(self, &mut writer, others).apply();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::{
        CreditTier, Date,
        enterprise::{CreditRecord, ScheduledTier},
        identifier::{CustomsCode, EnterpriseId},
    };

    fn code(number: u32) -> CustomsCode {
        format!("{number:010}").parse().expect("a customs code")
    }

    fn put(number: u32, tier: usize, name: &str) -> Change {
        let social = format!("9100000000000{number:05}");
        Change {
            key: code(number).to_string(),
            row: Keyed::Enterprise(Enterprise {
                customs_code: code(number),
                social_credit_code: (!number.is_multiple_of(3))
                    .then(|| social.parse().expect("a social credit code")),
                name: name.to_owned(),
                credit: CreditRecord {
                    credit_tier: CreditTier::ALL[tier],
                    tier_effective_from: Date::MIN,
                    tier_valid_until: None,
                    suspended: tier == 0,
                },
            }),
            unreadable: (tier == 1).then(|| "a test".to_owned()),
        }
    }

    fn scheduled(number: u32) -> Change {
        let tier = ScheduledTier {
            effective_from: Date::MAX,
            credit_tier: CreditTier::Certified,
        };
        Change {
            key: format!("{}|9999-12-31", code(number)),
            row: Keyed::Scheduled(code(number), tier),
            unreadable: None,
        }
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            6 => (0..30_u32, 0..CreditTier::COUNT, "[一-三]{0,3}").prop_map(|(number, tier, name)| put(number, tier, &name)),
            1 => (0..30_u32).prop_map(scheduled),
        ]
    }

    fn assert_same(loaded: &Generation, expected: &Generation, numbers: u32) {
        assert_eq!(loaded.tier_counts(), expected.tier_counts());
        assert_eq!(loaded.digest(), expected.digest());
        assert_eq!(loaded.quarantined(), expected.quarantined());
        let recount = loaded.recount();
        assert_eq!(recount, expected.recount());
        assert_eq!((recount.digest, recount.astray), (loaded.digest(), 0));
        for number in 0..numbers {
            let id = EnterpriseId::Customs(code(number));
            assert_eq!(loaded.enterprise(&id), expected.enterprise(&id));
        }
    }

    proptest! {
        #[test]
        fn rows_that_are_loaded_stand_as_if_committed_one_by_one(
            changes in prop::collection::vec(change(), 0..80),
            step in 1..40_usize,
        ) {
            let (loaded, expected) = (Generation::new("test", 10), Generation::new("test", 0));
            changes.chunks(step).for_each(|step| loaded.load(step));
            for change in &changes {
                expected.commit(std::slice::from_ref(change), 1, None);
            }
            assert_same(&loaded, &expected, 30);
        }
    }

    #[test]
    fn threads_that_load_at_once_leave_what_one_would() {
        let count = 20_000;
        let changes: Vec<_> = (0..count)
            .map(|number| put(number, number as usize % CreditTier::COUNT, &number.to_string()))
            .collect();
        let (loaded, expected) = (Generation::new("test", 0), Generation::new("test", 20_000));
        thread::scope(|scope| {
            for part in changes.chunks(5_000) {
                let loaded = &loaded;
                scope.spawn(move || part.chunks(700).for_each(|step| loaded.load(step)));
            }
        });
        expected.load(&changes);
        assert_same(&loaded, &expected, count);
    }
}
