//! One generation of the registry: the tables, the position they stand at, and the single writer's side.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering, fence},
    },
};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use foldhash::{HashMap, HashMapExt as _, fast::RandomState};
use smallvec::SmallVec;

use super::{
    commit::Writer,
    key::{CustomsKey, SocialCreditKey},
    orders::Rules,
    row::{Change, Entity, Keyed},
    table::{SHARDS, Table},
    view::View,
};
use crate::domain::{
    CreditTier,
    declaration::Party,
    enterprise::{RegisteredEnterprise, Schedule},
    identifier::{AeoCode, EnterpriseId},
    order::ControlOrder,
    recognition::RecognisedOperator,
};

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

/// What a store showed at a position, so that another history at the same position is told apart: a restored backup
/// brings its old epoch back. SQL stores: the log row's fingerprint, and 0. NATS: the stream's identity and the sequence in
/// it. `None` where the store shows nothing there.
pub type Mark = Option<[u64; 2]>;

/// Where a replica stands in its store's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Epoch and sequence.
    pub position: Position,
    /// What the store showed there.
    pub mark: Mark,
}

/// The tables and where they stand.
#[derive(Debug)]
pub struct Generation {
    pub(super) epoch: Arc<str>,
    pub(super) enterprises: Table,
    pub(super) schedules: DashMap<CustomsKey, ScheduleEntry, RandomState>,
    pub(super) operators: DashMap<AeoCode, Arc<RecognisedOperator>, RandomState>,
    pub(super) rules: ArcSwap<Rules>,
    pub(super) tiers: [AtomicU64; CreditTier::COUNT],
    pub(super) sequence: AtomicU64,
    /// Odd while a commit is being applied.
    pub(super) commits: AtomicU64,
    writer: Mutex<Writer>,
    /// Held while an image is made.
    pub(super) imaging: Mutex<()>,
}

/// Scheduled changes of one enterprise.
#[derive(Debug, Clone, Default)]
pub(super) struct ScheduleEntry {
    pub(super) changes: Schedule,
    /// Keys of rows that cannot be read: while there is one, the enterprise stands as suspended.
    pub(super) unreadable: Vec<String>,
}

impl ScheduleEntry {
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.unreadable.is_empty()
    }
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

fn table<K: Eq + std::hash::Hash, V>() -> DashMap<K, V, RandomState> {
    DashMap::with_hasher_and_shard_amount(RandomState::default(), SHARDS)
}

impl Generation {
    /// An empty generation of a store, with room for that many enterprises.
    pub fn new(epoch: &str, enterprises: usize) -> Self {
        Self {
            epoch: epoch.into(),
            enterprises: Table::new(enterprises),
            schedules: table(),
            operators: table(),
            rules: ArcSwap::default(),
            tiers: Default::default(),
            sequence: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            writer: Mutex::default(),
            imaging: Mutex::default(),
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

    /// Has the enterprises that parties name at hand when they are asked for next: those of many declarations in a fraction of
    /// the time that they take one after the other.
    pub fn touch<'p>(&self, parties: impl Iterator<Item = &'p Party>) {
        let (mut keys, mut codes) = (SmallVec::<[_; 64]>::new(), SmallVec::<[_; 16]>::new());
        for party in parties {
            match party.id {
                EnterpriseId::Customs(code) => keys.push(CustomsKey::from(code)),
                EnterpriseId::SocialCredit(code) => codes.push(SocialCreditKey::from(code)),
                EnterpriseId::Foreign(_) => {}
            }
        }
        std::hint::black_box(self.enterprises.touch(&keys, &codes));
    }

    /// The last commit that is in.
    pub fn position(&self) -> Position {
        Position {
            epoch: Arc::clone(&self.epoch),
            sequence: self.sequence.load(Ordering::Acquire),
        }
    }

    /// The last commit that is in, with what the store showed there.
    pub fn place(&self) -> Place {
        let writer = self.writer();
        Place {
            position: self.position(),
            mark: writer.mark,
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

    /// Every control order by its id.
    pub fn orders(&self) -> BTreeMap<String, Arc<ControlOrder>> {
        self.writer().orders.clone()
    }

    /// The digest of every row, 64 hex digits.
    pub fn digest(&self) -> String {
        self.writer().digest.hex()
    }

    /// The digest as it was at a sequence; `None` unless one of the last commits ended there.
    pub fn digest_at(&self, sequence: u64) -> Option<String> {
        let writer = self.writer();
        let place = writer.trail.binary_search_by_key(&sequence, |(at, _)| *at).ok()?;
        writer.trail.get(place).map(|(_, digest)| digest.hex())
    }

    /// Registered enterprises by tier as they would be after these changes.
    pub fn tier_counts_after(&self, changes: &[Change]) -> [u64; CreditTier::COUNT] {
        let mut counts = self.tier_counts();
        let mut tiers = HashMap::<CustomsKey, Option<CreditTier>>::new();
        for change in changes {
            let (code, tier) = if let Keyed::Enterprise(enterprise) = &change.row {
                (enterprise.customs_code, Some(enterprise.credit.credit_tier))
            } else if let Keyed::EnterpriseGone(code) = &change.row {
                (*code, None)
            } else {
                continue;
            };
            let key = CustomsKey::from(code);
            let held = || {
                let record = self.enterprises.get(key)?;
                Some(record.credit().credit_tier)
            };
            let former = tiers.insert(key, tier).unwrap_or_else(held);
            if let Some(former) = former {
                counts[former.index()] = counts[former.index()].saturating_sub(1);
            }
            if let Some(tier) = tier {
                counts[tier.index()] += 1;
            }
        }
        counts
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
                view.registered(id, key, record)?,
                record.name,
                record.is_quarantined(),
            ))
        })
        .0
        .map(|(registered, name, quarantined)| EnterpriseEntry {
            name: self.writer().names.get(name),
            registered,
            quarantined,
        })
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        // Nothing panics while it holds the lock; were it so, the tables would still be whole rows.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
