//! The writer's side of a generation: one thread applies whole commits.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
};

use foldhash::HashSet;

use super::{
    digest::{self, Digest},
    generation::{Generation, Mark, ScheduleEntry},
    key::{CustomsKey, SocialCreditKey},
    names::Names,
    orders::Rules,
    record::Record,
    row::{Change, Entity, Keyed},
};
use crate::domain::{
    Date,
    enterprise::Enterprise,
    identifier::{CustomsCode, SocialCreditCode},
    order::ControlOrder,
    recognition::Arrangement,
};

/// Commits whose digests are remembered.
const TRAIL: usize = 4096;

/// What only the writer needs.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) names: Names,
    pub(super) orders: BTreeMap<String, Arc<ControlOrder>>,
    pub(super) arrangements: BTreeMap<String, Arrangement>,
    pub(super) digest: Digest,
    /// The digest after each of the last commits, so that one that was asked for at a sequence can still be compared.
    pub(super) trail: VecDeque<(u64, Digest)>,
    pub(super) mark: Mark,
    pub(super) quarantined: BTreeMap<(Entity, String), String>,
    /// Enterprises changed since an image was begun, while one is made.
    pub(super) touched: Option<HashSet<CustomsKey>>,
}

impl Generation {
    /// Applies whole commits that lead to `sequence`, where the store shows `mark`: requests see all of it or nothing.
    pub fn commit(&self, changes: &[Change], sequence: u64, mark: Mark) {
        let mut writer = self.writer();
        // The rules are built before readers are asked to wait.
        let mut rules_touched = false;
        for change in changes {
            rules_touched |= writer.apply_rule(change);
        }
        let rules = rules_touched.then(|| Arc::new(Rules::new(&writer.orders, &writer.arrangements)));

        let odd = self.commits.load(Ordering::Relaxed) + 1;
        self.commits.store(odd, Ordering::Relaxed);
        fence(Ordering::Release);
        for change in changes {
            self.apply(&mut writer, change);
        }
        if let Some(rules) = rules {
            self.rules.store(rules);
        }
        self.sequence.store(sequence, Ordering::Release);
        self.commits.store(odd + 1, Ordering::Release);
        writer.note(sequence, mark);
    }

    /// Applies rows of a snapshot to a generation that is not in force yet.
    pub fn load(&self, changes: &[Change]) {
        let mut writer = self.writer();
        for change in changes {
            writer.apply_rule(change);
            self.apply(&mut writer, change);
        }
    }

    /// Ends a snapshot: the rows put so far are everything up to `sequence`, where the store shows `mark`.
    pub fn finish_load(&self, sequence: u64, mark: Mark) {
        let mut writer = self.writer();
        self.rules
            .store(Arc::new(Rules::new(&writer.orders, &writer.arrangements)));
        self.sequence.store(sequence, Ordering::Release);
        writer.note(sequence, mark);
    }

    fn apply(&self, writer: &mut Writer, change: &Change) {
        match &change.row {
            Keyed::Enterprise(enterprise) => {
                self.put_enterprise(writer, enterprise, change.unreadable.is_some());
            }
            Keyed::EnterpriseGone(code) => self.take_enterprise(writer, *code),
            Keyed::Scheduled(code, scheduled) => self.schedule(writer, *code, |writer, entry| {
                entry.unreadable.retain(|key| *key != change.key);
                take_scheduled(writer, *code, entry, Some(scheduled.effective_from));
                writer.digest.add(digest::scheduled(*code, *scheduled));
                entry.changes.push(*scheduled);
                entry.changes.sort();
            }),
            Keyed::ScheduledUnreadable(code) => self.schedule(writer, *code, |writer, entry| {
                take_scheduled(writer, *code, entry, date_in(&change.key));
                if !entry.unreadable.contains(&change.key) {
                    entry.unreadable.push(change.key.clone());
                }
            }),
            Keyed::ScheduledGone(code, date) => self.schedule(writer, *code, |writer, entry| {
                entry.unreadable.retain(|key| *key != change.key);
                take_scheduled(writer, *code, entry, *date);
            }),
            Keyed::Operator(operator) => {
                writer.digest.add(digest::operator(operator));
                if let Some(former) = self
                    .operators
                    .insert(operator.aeo_code, Arc::new(operator.clone()))
                {
                    writer.digest.take(digest::operator(&former));
                }
            }
            Keyed::OperatorGone(code) => {
                if let Some((_, former)) = self.operators.remove(code) {
                    writer.digest.take(digest::operator(&former));
                }
            }
            // The rules were changed in `apply_rule`.
            Keyed::Arrangement(_)
            | Keyed::ArrangementGone
            | Keyed::Order(_)
            | Keyed::OrderGone
            | Keyed::Nowhere(_) => {}
        }
        let place = (change.row.entity(), change.key.clone());
        match &change.unreadable {
            Some(reason) => drop(writer.quarantined.insert(place, reason.clone())),
            None if writer.quarantined.is_empty() => {}
            None => drop(writer.quarantined.remove(&place)),
        }
    }

    fn put_enterprise(&self, writer: &mut Writer, enterprise: &Enterprise, quarantined: bool) {
        let key = CustomsKey::from(enterprise.customs_code);
        writer.touch(key);
        let social = enterprise
            .social_credit_code
            .map_or(SocialCreditKey::NONE, SocialCreditKey::from);
        let former = self.enterprises.get(&key).map(|record| *record);
        let name = match former {
            Some(former) if writer.names.get(former.name) == enterprise.name => former.name,
            _ => writer.names.add(&enterprise.name),
        };
        if let Some(former) = former {
            self.forget(writer, enterprise.customs_code, &former);
            if former.social_credit != social {
                self.by_social_credit
                    .remove_if(&former.social_credit, |_, owner| *owner == key);
            }
        }
        let mut record = Record::new(social, &enterprise.credit, name);
        record.set_scheduled(self.schedules.contains_key(&key));
        if quarantined {
            record.set_quarantined();
        }
        writer
            .digest
            .add(self.hash(writer, enterprise.customs_code, &record));
        self.tiers[enterprise.credit.credit_tier.index()].fetch_add(1, Ordering::Relaxed);
        self.enterprises.insert(key, record);
        if social != SocialCreditKey::NONE {
            self.by_social_credit.insert(social, key);
        }
    }

    fn take_enterprise(&self, writer: &mut Writer, code: CustomsCode) {
        let key = CustomsKey::from(code);
        writer.touch(key);
        if let Some((_, former)) = self.enterprises.remove(&key) {
            self.forget(writer, code, &former);
            self.by_social_credit
                .remove_if(&former.social_credit, |_, owner| *owner == key);
        }
    }

    /// Takes a former row out of the counts and the digest.
    fn forget(&self, writer: &mut Writer, code: CustomsCode, former: &Record) {
        self.tiers[former.credit().credit_tier.index()].fetch_sub(1, Ordering::Relaxed);
        let hash = self.hash(writer, code, former);
        writer.digest.take(hash);
    }

    #[expect(clippy::unused_self, reason = "stands beside its callers")]
    pub(super) fn hash(&self, writer: &Writer, code: CustomsCode, record: &Record) -> digest::RowHash {
        let social = record.social_credit.code();
        digest::enterprise(
            code,
            social.as_ref().map(SocialCreditCode::as_str),
            writer.names.get(record.name),
            &record.credit(),
        )
    }

    fn schedule(
        &self,
        writer: &mut Writer,
        code: CustomsCode,
        change: impl FnOnce(&mut Writer, &mut ScheduleEntry),
    ) {
        let key = CustomsKey::from(code);
        let mut entry = self
            .schedules
            .get(&key)
            .map(|entry| entry.clone())
            .unwrap_or_default();
        change(writer, &mut entry);
        let scheduled = !entry.changes.is_empty() || !entry.unreadable.is_empty();
        if scheduled {
            self.schedules.insert(key, entry);
        } else {
            self.schedules.remove(&key);
        }
        if let Some(mut record) = self.enterprises.get_mut(&key) {
            record.set_scheduled(scheduled);
        }
    }
}

/// The date in a scheduled tier's key, `customs_code|effective_from`.
fn date_in(key: &str) -> Option<Date> {
    key.split_once('|').and_then(|(_, date)| date.parse().ok())
}

fn take_scheduled(writer: &mut Writer, code: CustomsCode, entry: &mut ScheduleEntry, date: Option<Date>) {
    entry.changes.retain(|own| {
        let gone = Some(own.effective_from) == date;
        if gone {
            writer.digest.take(digest::scheduled(code, *own));
        }
        !gone
    });
}

impl Writer {
    /// Notes that an enterprise changes, for the image that is being made.
    fn touch(&mut self, key: CustomsKey) {
        if let Some(touched) = &mut self.touched {
            touched.insert(key);
        }
    }

    /// The enterprises changed since this was asked before, or since the image was begun.
    pub(super) fn take_touched(&mut self) -> HashSet<CustomsKey> {
        self.touched.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Notes the digest and the mark at a sequence.
    pub(super) fn note(&mut self, sequence: u64, mark: Mark) {
        self.mark = mark;
        if self.trail.len() == TRAIL {
            self.trail.pop_front();
        }
        self.trail.push_back((sequence, self.digest));
    }

    /// Applies a change of orders or arrangements; gives whether it was one.
    fn apply_rule(&mut self, change: &Change) -> bool {
        match &change.row {
            Keyed::Order(order) => {
                self.digest.add(digest::order(order));
                if let Some(former) = self.orders.insert(change.key.clone(), Arc::clone(order)) {
                    self.digest.take(digest::order(&former));
                }
            }
            Keyed::OrderGone => {
                if let Some(former) = self.orders.remove(&change.key) {
                    self.digest.take(digest::order(&former));
                }
            }
            Keyed::Arrangement(arrangement) => {
                self.digest.add(digest::arrangement(&change.key, arrangement));
                if let Some(former) = self.arrangements.insert(change.key.clone(), arrangement.clone()) {
                    self.digest.take(digest::arrangement(&change.key, &former));
                }
            }
            Keyed::ArrangementGone => {
                if let Some(former) = self.arrangements.remove(&change.key) {
                    self.digest.take(digest::arrangement(&change.key, &former));
                }
            }
            Keyed::Enterprise(_)
            | Keyed::EnterpriseGone(_)
            | Keyed::Scheduled(..)
            | Keyed::ScheduledUnreadable(_)
            | Keyed::ScheduledGone(..)
            | Keyed::Operator(_)
            | Keyed::OperatorGone(_)
            | Keyed::Nowhere(_) => return false,
        }
        true
    }
}
