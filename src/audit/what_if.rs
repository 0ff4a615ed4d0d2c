//! What if: recorded traffic decided under a candidate policy or other operating parameters, from the same facts and draws.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, RwLock},
};

use prost::Message as _;

use super::{
    archive::{InForce, PolicyArchive},
    read::{Group, ReadError},
    replay::find,
    scan::{self, Selection},
};
use crate::{
    domain::{
        CreditTier, Date,
        decision::Lane,
        identifier::{CustomsOffice, EnterpriseId},
    },
    policy::{Parameters, Policy},
    wire::{
        pb,
        record::{LoggedDecision, LoggedPolicy},
    },
};

/// What stands in place of what was in force.
#[derive(Debug, Clone, Default)]
pub struct Candidate {
    /// In place of its namesake, or beside the others from its date of effect on.
    pub policy: Option<Arc<Policy>>,
    /// In place of the operating parameters.
    pub parameters: Option<Arc<Parameters>>,
}

/// How shipments fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fared {
    /// Decisions.
    pub decisions: u64,
    /// By lane, in the order of [`Lane::ALL`].
    pub lanes: [u64; Lane::ALL.len()],
    /// Selected for inspection.
    pub selected: u64,
    /// Sum of the rates, in ppm.
    pub rates: u64,
}

impl Fared {
    fn add(&mut self, decided: &Decided) {
        self.decisions += 1;
        self.lanes[usize::from(decided.lane.number()) - 1] += 1;
        self.selected += u64::from(decided.selected);
        self.rates += u64::from(decided.rate_ppm);
    }

    fn and(&mut self, other: &Self) {
        self.decisions += other.decisions;
        self.selected += other.selected;
        self.rates += other.rates;
        for (own, other) in self.lanes.iter_mut().zip(other.lanes) {
            *own += other;
        }
    }

    /// The mean rate in ppm, rounded down; 0 without decisions.
    pub fn mean_rate_ppm(&self) -> u64 {
        self.rates.checked_div(self.decisions).unwrap_or_default()
    }
}

/// As it was, and as it would have been.
pub type BeforeAndAfter = [Fared; 2];

/// A way from one lane to another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneChange {
    /// The governing party as it was: its customs code, or as it was named.
    pub enterprise: String,
    /// The governing standing as it was, and as it would have been.
    pub credit_tier: [CreditTier; 2],
    /// The lane as it was, and as it would have been.
    pub lane: [Lane; 2],
}

/// What would have come of it.
#[derive(Debug, Clone, Default)]
pub struct WhatIf {
    /// All of it.
    pub total: BeforeAndAfter,
    /// Decisions that could not be decided again; they count nowhere else.
    pub not_replayable: u64,
    /// By governing tier, as it was or would have been, and office.
    pub by_tier_and_office: BTreeMap<(CreditTier, CustomsOffice), BeforeAndAfter>,
    /// Inspections by day of the decision (UTC+8).
    pub inspections_by_day: BTreeMap<Date, [u64; 2]>,
    /// Who changes lane how often.
    pub lane_changes: HashMap<LaneChange, u64>,
}

/// What a count needs of a decision.
struct Decided {
    credit_tier: CreditTier,
    lane: Lane,
    selected: bool,
    rate_ppm: u32,
}

/// What is read of a logged answer.
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(int32, tag = "3")]
    credit_tier: i32,
    #[prost(uint32, tag = "5")]
    governing_party: u32,
    #[prost(message, optional, tag = "6")]
    inspection: Option<pb::Inspection>,
    #[prost(int32, tag = "10")]
    lane: i32,
}

impl Answer {
    fn decided(&self) -> Option<Decided> {
        let inspection = self.inspection.as_ref()?;
        Some(Decided {
            credit_tier: CreditTier::from_number(self.credit_tier)?,
            lane: Lane::from_number(self.lane)?,
            selected: inspection.selected,
            rate_ppm: inspection.rate_ppm,
        })
    }
}

/// Decides what a log holds under a candidate; see [`scan::decisions`].
pub fn what_if(
    groups: impl Iterator<Item = Result<Group, ReadError>>,
    archive: &RwLock<PolicyArchive>,
    selection: &Selection,
    candidate: &Candidate,
    read: impl FnMut(u64),
) -> Result<WhatIf, ReadError> {
    let start = || (None::<(LoggedPolicy, InForce)>, WhatIf::default());
    let visit = |(last, counted): &mut (Option<(LoggedPolicy, InForce)>, WhatIf), _, entry: &[u8]| {
        match LoggedDecision::read(entry) {
            Ok(logged) if !selection.has(&logged) => {}
            Ok(logged) => {
                let in_force = match &logged.given.policy {
                    Some(named) => find(archive, last, named).ok(),
                    None => None,
                };
                let taken = in_force.and_then(|in_force| counted.take(&logged, in_force, candidate));
                counted.not_replayable += u64::from(taken.is_none());
            }
            Err(_) => counted.not_replayable += 1,
        }
    };
    let workers = scan::decisions(groups, archive, read, start, visit)?;
    let counted = workers.into_iter().map(|(_, counted)| counted);
    Ok(counted.fold(WhatIf::default(), WhatIf::and))
}

impl WhatIf {
    /// Counts a decision; `None` where it cannot be decided.
    fn take(&mut self, logged: &LoggedDecision<'_>, in_force: &InForce, candidate: &Candidate) -> Option<()> {
        let answer = Answer::decode(logged.decision).ok()?;
        let before = answer.decided()?;
        let facts = logged.facts.facts();
        let policy = match &candidate.policy {
            Some(policy) => in_force.on_with(policy, facts.accepted_on),
            None => in_force.on(facts.accepted_on),
        };
        let parameters = candidate.parameters.as_ref().unwrap_or(&in_force.parameters);
        let outcome = logged.decide(&facts, policy?, parameters);
        let after = Decided {
            credit_tier: outcome.decision.credit_tier,
            lane: outcome.decision.lane,
            selected: outcome.decision.inspection.selected,
            rate_ppm: outcome.decision.inspection.rate.0,
        };
        let office = facts.declaration.customs_office;
        let day = self
            .inspections_by_day
            .entry(Date::of(facts.decided_at))
            .or_default();
        for (side, decided) in [&before, &after].into_iter().enumerate() {
            self.total[side].add(decided);
            let own = self.by_tier_and_office.entry((decided.credit_tier, office));
            own.or_default()[side].add(decided);
            day[side] += u64::from(decided.selected);
        }
        if before.lane != after.lane {
            let governing = usize::try_from(answer.governing_party).unwrap_or_default();
            let registered = facts
                .parties
                .get(governing)
                .and_then(|party| party.enterprise.as_ref());
            let sent = facts.declaration.parties.get(governing);
            let change = LaneChange {
                enterprise: registered
                    .map(|own| own.customs_code.to_string())
                    .or_else(|| sent.map(|party| EnterpriseId::as_str(&party.id).to_owned()))
                    .unwrap_or_default(),
                credit_tier: [before.credit_tier, after.credit_tier],
                lane: [before.lane, after.lane],
            };
            *self.lane_changes.entry(change).or_default() += 1;
        }
        Some(())
    }

    fn and(mut self, other: Self) -> Self {
        for (own, other) in self.total.iter_mut().zip(&other.total) {
            own.and(other);
        }
        self.not_replayable += other.not_replayable;
        for (place, sides) in other.by_tier_and_office {
            let own = self.by_tier_and_office.entry(place).or_default();
            own.iter_mut().zip(&sides).for_each(|(own, other)| own.and(other));
        }
        for (day, sides) in other.inspections_by_day {
            let own = self.inspections_by_day.entry(day).or_default();
            own.iter_mut().zip(sides).for_each(|(own, other)| *own += other);
        }
        for (change, count) in other.lane_changes {
            *self.lane_changes.entry(change).or_default() += count;
        }
        self
    }

    /// Decisions that change lane, by the lane as it was and as it would have been.
    pub fn lanes_changed(&self) -> BTreeMap<[Lane; 2], u64> {
        let mut changed = BTreeMap::new();
        for (change, count) in &self.lane_changes {
            *changed.entry(change.lane).or_default() += count;
        }
        changed
    }

    /// The changes of lane that come most often, at most that many.
    pub fn most_frequent(&self, most: usize) -> Vec<(&LaneChange, u64)> {
        let mut changes: Vec<_> = self
            .lane_changes
            .iter()
            .map(|(change, &count)| (change, count))
            .collect();
        changes.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(other.0)));
        changes.truncate(most);
        changes
    }
}
