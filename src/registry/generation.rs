//! One generation of the registry: the tables, the position they stand at, and the single writer's side.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering, fence},
    },
};

use arc_swap::{ArcSwap, Guard};
use dashmap::DashMap;
use foldhash::fast::RandomState;

use super::{
    digest::{self, Digest},
    key::{CustomsKey, SocialCreditKey},
    names::Names,
    orders::Rules,
    record::Record,
    row::{Change, Entity, Keyed},
};
use crate::domain::{
    CreditTier, Date,
    enterprise::{CreditRecord, Enterprise, RegisteredEnterprise, Schedule},
    identifier::{AeoCode, CustomsCode, EnterpriseId, SocialCreditCode},
    order::ControlOrder,
    recognition::{Arrangement, RecognisedOperator},
};

/// Shards of the big tables: enough that a writer seldom meets a reader.
const SHARDS: usize = 64;
/// How often a request looks again before it waits for the writer.
const OPTIMISTIC_READS: usize = 16;

/// Where a generation stands in its store's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The store's identity: random, made with it, new after a restore.
    pub epoch: Arc<str>,
    /// The last change that is in.
    pub sequence: u64,
}

/// The tables and where they stand.
#[derive(Debug)]
pub struct Generation {
    epoch: Arc<str>,
    enterprises: DashMap<CustomsKey, Record, RandomState>,
    by_social_credit: DashMap<SocialCreditKey, CustomsKey, RandomState>,
    schedules: DashMap<CustomsKey, ScheduleEntry, RandomState>,
    operators: DashMap<AeoCode, Arc<RecognisedOperator>, RandomState>,
    rules: ArcSwap<Rules>,
    tiers: [AtomicU64; CreditTier::COUNT],
    sequence: AtomicU64,
    /// Odd while a commit is being applied.
    commits: AtomicU64,
    writer: Mutex<Writer>,
}

/// Scheduled changes of one enterprise.
#[derive(Debug, Clone, Default)]
struct ScheduleEntry {
    changes: Schedule,
    /// Keys of rows that cannot be read: while there is one, the enterprise stands as suspended.
    unreadable: Vec<String>,
}

/// What only the writer needs.
#[derive(Debug, Default)]
struct Writer {
    names: Names,
    orders: BTreeMap<String, Arc<ControlOrder>>,
    arrangements: BTreeMap<String, Arrangement>,
    digest: Digest,
    quarantined: BTreeMap<(Entity, String), String>,
}

/// A row that could not be read in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Its table.
    pub entity: Entity,
    /// Its key.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

/// An enterprise with what only officers ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnterpriseEntry {
    /// What decisions see.
    pub registered: RegisteredEnterprise,
    /// As registered.
    pub name: String,
    /// Its row could not be read in full.
    pub quarantined: bool,
}

/// What a request reads through: everything it finds belongs to one commit.
#[derive(Debug, Clone, Copy)]
pub struct View<'a>(&'a Generation);

fn table<K: Eq + std::hash::Hash, V>(capacity: usize) -> DashMap<K, V, RandomState> {
    DashMap::with_capacity_and_hasher_and_shard_amount(capacity, RandomState::default(), SHARDS)
}

impl Generation {
    /// An empty generation of a store, with room for that many enterprises.
    pub fn new(epoch: &str, enterprises: usize) -> Self {
        Self {
            epoch: epoch.into(),
            enterprises: table(enterprises),
            by_social_credit: table(enterprises),
            schedules: table(0),
            operators: table(0),
            rules: ArcSwap::default(),
            tiers: Default::default(),
            sequence: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            writer: Mutex::default(),
        }
    }

    // === reading ===

    /// Reads through one commit: `read` may run more than once and must only read. Gives what it read and the
    /// sequence of the last change in it.
    pub fn read<T>(&self, mut read: impl FnMut(View<'_>) -> T) -> (T, u64) {
        for _ in 0..OPTIMISTIC_READS {
            let before = self.commits.load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let found = read(View(self));
                let sequence = self.sequence.load(Ordering::Acquire);
                fence(Ordering::Acquire);
                if self.commits.load(Ordering::Relaxed) == before {
                    return (found, sequence);
                }
            }
            std::hint::spin_loop();
        }
        // A long commit: wait for its end and keep the next one out.
        let _writer = self.writer();
        (read(View(self)), self.sequence.load(Ordering::Acquire))
    }

    /// The last commit that is in.
    pub fn position(&self) -> Position {
        Position {
            epoch: Arc::clone(&self.epoch),
            sequence: self.sequence.load(Ordering::Acquire),
        }
    }

    /// The store's identity.
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// Registered enterprises by tier, from best to worst.
    pub fn tier_counts(&self) -> [u64; CreditTier::COUNT] {
        std::array::from_fn(|index| self.tiers[index].load(Ordering::Relaxed))
    }

    /// Registered enterprises.
    pub fn enterprise_count(&self) -> u64 {
        self.tier_counts().iter().sum()
    }

    /// Recognised operators.
    pub fn operator_count(&self) -> usize {
        self.operators.len()
    }

    /// Control orders, in force or not.
    pub fn order_count(&self) -> usize {
        self.writer().orders.len()
    }

    /// The digest of every row, 64 hex digits.
    pub fn digest(&self) -> String {
        self.writer().digest.hex()
    }

    /// The rows that could not be read in full.
    pub fn quarantined(&self) -> Vec<Quarantined> {
        let writer = self.writer();
        let rows = writer.quarantined.iter();
        rows.map(|((entity, key), reason)| Quarantined {
            entity: *entity,
            key: key.clone(),
            reason: reason.clone(),
        })
        .collect()
    }

    /// How many rows could not be read in full.
    pub fn quarantined_count(&self) -> usize {
        self.writer().quarantined.len()
    }

    /// An enterprise with its name.
    pub fn enterprise(&self, id: &EnterpriseId) -> Option<EnterpriseEntry> {
        self.read(|view| {
            let (key, record) = view.record(id)?;
            Some((
                view.registered(key, record)?,
                record.name,
                record.is_quarantined(),
            ))
        })
        .0
        .map(|(registered, name, quarantined)| EnterpriseEntry {
            name: self.writer().names.get(name).to_owned(),
            registered,
            quarantined,
        })
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        // Nothing panics while it holds the lock; were it so, the tables would still be whole rows.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // === writing: one thread ===

    /// Applies whole commits that lead to `sequence`: requests see all of it or nothing.
    pub fn commit(&self, changes: &[Change], sequence: u64) {
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
    }

    /// Applies rows of a snapshot to a generation that is not in force yet.
    pub fn load(&self, changes: &[Change]) {
        let mut writer = self.writer();
        for change in changes {
            writer.apply_rule(change);
            self.apply(&mut writer, change);
        }
    }

    /// Ends a snapshot: the rows put so far are everything up to `sequence`.
    pub fn finish_load(&self, sequence: u64) {
        let writer = self.writer();
        self.rules
            .store(Arc::new(Rules::new(&writer.orders, &writer.arrangements)));
        self.sequence.store(sequence, Ordering::Release);
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
    fn hash(&self, writer: &Writer, code: CustomsCode, record: &Record) -> digest::RowHash {
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

impl View<'_> {
    fn record(self, id: &EnterpriseId) -> Option<(CustomsKey, Record)> {
        let key = match id {
            EnterpriseId::Customs(code) => CustomsKey::from(*code),
            EnterpriseId::SocialCredit(code) => {
                *self.0.by_social_credit.get(&SocialCreditKey::from(*code))?
            }
            EnterpriseId::Foreign(_) => return None,
        };
        let record = *self.0.enterprises.get(&key)?;
        Some((key, record))
    }

    fn registered(self, key: CustomsKey, record: Record) -> Option<RegisteredEnterprise> {
        let mut credit: CreditRecord = record.credit();
        let mut schedule = Schedule::new();
        if record.is_scheduled()
            && let Some(entry) = self.0.schedules.get(&key)
        {
            schedule.clone_from(&entry.changes);
            credit.suspended |= !entry.unreadable.is_empty();
        }
        Some(RegisteredEnterprise {
            customs_code: key.code()?,
            social_credit_code: record.social_credit.code(),
            credit,
            schedule,
        })
    }

    /// The registered enterprise that an identifier names.
    pub fn enterprise(self, id: &EnterpriseId) -> Option<RegisteredEnterprise> {
        let (key, record) = self.record(id)?;
        self.registered(key, record)
    }

    /// The scheduled tiers of an enterprise, registered or not.
    pub fn schedule(self, code: CustomsCode) -> Schedule {
        self.0
            .schedules
            .get(&CustomsKey::from(code))
            .map(|entry| entry.changes.clone())
            .unwrap_or_default()
    }

    /// The recognised operator of a foreign code.
    pub fn operator(self, code: &AeoCode) -> Option<Arc<RecognisedOperator>> {
        self.0.operators.get(code).map(|operator| Arc::clone(&operator))
    }

    /// Orders and arrangements.
    pub fn rules(self) -> Guard<Arc<Rules>> {
        self.0.rules.load()
    }
}
