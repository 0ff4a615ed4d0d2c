//! A commit made ready: what takes time (hashing, names, packing) is done before requests are asked to wait for it.

use std::{
    collections::hash_map::Entry,
    sync::{Arc, atomic::Ordering},
};

use foldhash::HashMap;

use super::{
    commit::Writer,
    digest,
    generation::{Generation, ScheduleEntry},
    key::{CustomsKey, SocialCreditKey},
    record::Record,
    row::{Change, Keyed},
};
use crate::{
    background,
    domain::{
        CreditTier, Date,
        enterprise::Enterprise,
        identifier::{AeoCode, CustomsCode},
        recognition::RecognisedOperator,
    },
};

/// What a commit leaves in the tables. Later changes of a row build on the earlier ones of the same commit.
#[derive(Debug)]
pub(super) struct Prepared<'g> {
    generation: &'g Generation,
    /// `None`: gone. In no order: a store lets no two enterprises have one social credit code, so that whatever each of
    /// them takes from whom, the codes lead to the same in the end.
    enterprises: HashMap<CustomsKey, Option<Record>>,
    schedules: HashMap<CustomsKey, ScheduleEntry>,
    /// `None`: gone.
    operators: HashMap<AeoCode, Option<Arc<RecognisedOperator>>>,
    /// How many more enterprises there are of each tier, modulo 2^64.
    tiers: [u64; CreditTier::COUNT],
}

impl<'g> Prepared<'g> {
    /// Makes changes ready; digest, names and quarantine are the writer's alone, and changed at once.
    pub(super) fn new<'c>(
        generation: &'g Generation,
        writer: &mut Writer,
        changes: impl IntoIterator<Item = &'c Change>,
    ) -> Self {
        let mut prepared = Self {
            generation,
            enterprises: HashMap::default(),
            schedules: HashMap::default(),
            operators: HashMap::default(),
            tiers: [0; CreditTier::COUNT],
        };
        for change in changes {
            prepared.change(writer, change);
            writer.quarantine(change);
            // Decisions do not wait for the writer here, for the tables are as they were; who asks for an enterprise's name does.
            background::give_way();
        }
        prepared.mark_scheduled();
        prepared
    }

    /// Puts it into the tables: while this runs, requests that read them start again.
    pub(super) fn apply(&mut self) {
        let generation = self.generation;
        for (key, record) in self.enterprises.drain() {
            match record {
                Some(record) => generation.enterprises.put(key, &record),
                None => drop(generation.enterprises.remove(key)),
            }
        }
        for (key, entry) in self.schedules.drain() {
            if entry.is_empty() {
                generation.schedules.remove(&key);
            } else {
                generation.schedules.insert(key, entry);
            }
        }
        for (code, operator) in self.operators.drain() {
            match operator {
                Some(operator) => drop(generation.operators.insert(code, operator)),
                None => drop(generation.operators.remove(&code)),
            }
        }
        for (count, more) in generation.tiers.iter().zip(self.tiers) {
            count.fetch_add(more, Ordering::Relaxed);
        }
    }

    fn change(&mut self, writer: &mut Writer, change: &Change) {
        match &change.row {
            Keyed::Enterprise(enterprise) => {
                self.put_enterprise(writer, enterprise, change.unreadable.is_some());
            }
            Keyed::EnterpriseGone(code) => self.take_enterprise(writer, *code),
            Keyed::Scheduled(code, scheduled) => {
                let entry = self.schedule(*code);
                entry.unreadable.retain(|key| *key != change.key);
                take_scheduled(writer, *code, entry, Some(scheduled.effective_from));
                writer.digest.add(digest::scheduled(*code, *scheduled));
                entry.changes.push(*scheduled);
                entry.changes.sort();
            }
            Keyed::ScheduledUnreadable(code) => {
                let entry = self.schedule(*code);
                take_scheduled(writer, *code, entry, date_in(&change.key));
                if !entry.unreadable.contains(&change.key) {
                    entry.unreadable.push(change.key.clone());
                }
            }
            Keyed::ScheduledGone(code, date) => {
                let entry = self.schedule(*code);
                entry.unreadable.retain(|key| *key != change.key);
                take_scheduled(writer, *code, entry, *date);
            }
            Keyed::Operator(operator) => {
                writer.digest.add(digest::operator(operator));
                self.operator(writer, operator.aeo_code, Some(Arc::new(operator.clone())));
            }
            Keyed::OperatorGone(code) => self.operator(writer, *code, None),
            // Orders and arrangements hang on one pointer, which is changed whole.
            Keyed::Arrangement(_)
            | Keyed::ArrangementGone
            | Keyed::Order(_)
            | Keyed::OrderGone
            | Keyed::Nowhere(_) => {}
        }
    }

    fn put_enterprise(&mut self, writer: &mut Writer, enterprise: &Enterprise, quarantined: bool) {
        let key = CustomsKey::from(enterprise.customs_code);
        writer.touch(key);
        let social = SocialCreditKey::of(enterprise.social_credit_code);
        let former = self.record(key);
        let name = match former {
            Some(former) if writer.names.is(former.name, &enterprise.name) => former.name,
            _ => writer.names.add(&enterprise.name),
        };
        if let Some(former) = former {
            self.forget(writer, enterprise.customs_code, &former);
        }
        let mut record = Record::new(social, &enterprise.credit, name);
        record.set_scheduled(self.generation.schedules.contains_key(&key));
        if quarantined {
            record.set_quarantined();
        }
        let hash = writer.hash(enterprise.customs_code, &record);
        writer.digest.add(hash);
        let count = &mut self.tiers[enterprise.credit.credit_tier.index()];
        *count = count.wrapping_add(1);
        self.enterprises.insert(key, Some(record));
    }

    fn take_enterprise(&mut self, writer: &mut Writer, code: CustomsCode) {
        let key = CustomsKey::from(code);
        if let Some(former) = self.record(key) {
            writer.touch(key);
            self.forget(writer, code, &former);
            self.enterprises.insert(key, None);
        }
    }

    /// An enterprise as the changes so far leave it.
    fn record(&self, key: CustomsKey) -> Option<Record> {
        match self.enterprises.get(&key) {
            Some(record) => *record,
            None => self.generation.enterprises.get(key),
        }
    }

    /// Takes a former row out of the counts and the digest.
    fn forget(&mut self, writer: &mut Writer, code: CustomsCode, former: &Record) {
        let count = &mut self.tiers[former.credit().credit_tier.index()];
        *count = count.wrapping_sub(1);
        let hash = writer.hash(code, former);
        writer.digest.take(hash);
    }

    /// The scheduled tiers of an enterprise as the changes so far leave them.
    fn schedule(&mut self, code: CustomsCode) -> &mut ScheduleEntry {
        let key = CustomsKey::from(code);
        let schedules = &self.generation.schedules;
        self.schedules
            .entry(key)
            .or_insert_with(|| schedules.get(&key).map(|entry| entry.clone()).unwrap_or_default())
    }

    fn operator(&mut self, writer: &mut Writer, code: AeoCode, operator: Option<Arc<RecognisedOperator>>) {
        let former = match self.operators.insert(code, operator) {
            Some(former) => former,
            None => self.generation.operators.get(&code).map(|own| Arc::clone(&own)),
        };
        if let Some(former) = former {
            writer.digest.take(digest::operator(&former));
        }
    }

    /// Lets each enterprise whose schedule changes know whether it still has one.
    fn mark_scheduled(&mut self) {
        for (key, entry) in &self.schedules {
            match self.enterprises.entry(*key) {
                Entry::Occupied(mut changed) => {
                    if let Some(record) = changed.get_mut() {
                        record.set_scheduled(!entry.is_empty());
                    }
                }
                Entry::Vacant(unchanged) => {
                    if let Some(mut record) = self.generation.enterprises.get(*key) {
                        record.set_scheduled(!entry.is_empty());
                        unchanged.insert(Some(record));
                    }
                }
            }
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
