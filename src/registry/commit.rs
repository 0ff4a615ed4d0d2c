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
    generation::{Generation, Mark},
    key::CustomsKey,
    names::Names,
    orders::Rules,
    prepare::Prepared,
    record::Record,
    row::{Change, Entity, Keyed},
};
use crate::domain::{
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
        // Everything but the entries themselves is made before readers are asked to wait.
        let mut prepared = Prepared::new(self, &mut writer, changes);
        let mut rules_touched = false;
        for change in changes {
            rules_touched |= writer.apply_rule(change);
        }
        let rules = rules_touched.then(|| Arc::new(Rules::new(&writer.orders, &writer.arrangements)));

        let odd = self.commits.load(Ordering::Relaxed) + 1;
        self.commits.store(odd, Ordering::Relaxed);
        fence(Ordering::Release);
        prepared.apply();
        if let Some(rules) = rules {
            self.rules.store(rules);
        }
        self.sequence.store(sequence, Ordering::Release);
        self.commits.store(odd + 1, Ordering::Release);
        writer.note(sequence, mark);
    }

    /// Ends a snapshot: the rows put so far are everything up to `sequence`, where the store shows `mark`.
    pub fn finish_load(&self, sequence: u64, mark: Mark) {
        let mut writer = self.writer();
        self.rules
            .store(Arc::new(Rules::new(&writer.orders, &writer.arrangements)));
        self.sequence.store(sequence, Ordering::Release);
        writer.note(sequence, mark);
    }
}

impl Writer {
    /// The hash of an enterprise's row.
    pub(super) fn hash(&self, code: CustomsCode, record: &Record) -> digest::RowHash {
        let social = record.social_credit.code();
        digest::enterprise(
            code,
            social.as_ref().map(SocialCreditCode::as_str),
            &self.names.get(record.name),
            &record.credit(),
        )
    }

    /// Notes a row that could not be read in full, or that it can be now.
    pub(super) fn quarantine(&mut self, change: &Change) {
        let place = || (change.row.entity(), change.key.clone());
        match &change.unreadable {
            Some(reason) => drop(self.quarantined.insert(place(), reason.clone())),
            None if self.quarantined.is_empty() => {}
            None => drop(self.quarantined.remove(&place())),
        }
    }

    /// Notes that an enterprise changes, for the image that is being made.
    pub(super) fn touch(&mut self, key: CustomsKey) {
        if let Some(touched) = &mut self.touched {
            touched.insert(key);
        }
    }

    /// Whether an enterprise changed since [`Self::take_touched`] was asked, or since the image was begun.
    pub(super) fn is_touched(&self, key: CustomsKey) -> bool {
        self.touched
            .as_ref()
            .is_some_and(|touched| touched.contains(&key))
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
    pub(super) fn apply_rule(&mut self, change: &Change) -> bool {
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
