//! Realized rates: how often declarations were selected, by credit tier, customs office and month of the acceptance
//! date, against what the policy demands.
//!
//! ```text
//! live decision, logged ---+-> Observation -> RateTable::count -> Counts by Cell -> report: bounds, limit, breached, ratio
//! AuditRecord of the log --+                        |
//!                                                   +-> to_bytes: beside a sealed segment; add_bytes: at start
//! ```
//!
//! **What is counted.** A declaration once, however often its trader asks: a repeated decision moves nothing. Selections
//! that an order mandates or targets are counted apart and say nothing of the random draw. A **draw** is counted once a
//! consignment: declarations under one transport document share one draw, and the same toss counted twice would look like
//! two.

mod logged;
mod observation;
mod rebuild;
mod report;
pub mod sequence;
mod stored;

pub use logged::Counted;
pub use observation::Observation;
pub use rebuild::{RATES, count_beside, put_beside};
pub use report::{QUARTER_ALPHA, Ratio, Report, Scope, breached, over_all_offices, ratio_to_regular, report};
pub use stored::StoredError;

use std::{
    collections::BTreeMap,
    fmt,
    hash::{Hash, Hasher},
    sync::atomic::{AtomicU64, Ordering},
};

use dashmap::DashMap;

use crate::{
    domain::{
        CreditTier,
        decision::InspectionBasis,
        identifier::{CustomsOffice, DeclarationNumber},
    },
    policy::draw::Epoch,
};

/// Draws on transport documents that are remembered, a power of two: 2 MiB. A consignment's declarations come within
/// days of one another; one that comes when its document is forgotten is counted as a draw of its own.
const REMEMBERED: usize = 1 << 18;
/// The same for one segment, whose records are minutes apart: 128 KiB.
const REMEMBERED_IN_SEGMENT: usize = 1 << 14;

/// What is counted together. Ordered as it is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// Month of the acceptance date in UTC+8.
    pub month: Epoch,
    /// Where.
    pub customs_office: CustomsOffice,
    /// The tier that governed.
    pub credit_tier: CreditTier,
}

impl Hash for Cell {
    /// One word instead of four: it is hashed with every decision.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let office = u64::from(u32::from_le_bytes(*self.customs_office.as_bytes()));
        let tier = u64::from(self.credit_tier.number());
        state.write_u64(office << 32 | u64::from(self.month.number()) << 8 | tier);
    }
}

/// The counts of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Declarations decided.
    pub decided: u64,
    /// Of these, selected by the random draw.
    pub selected_random: u64,
    /// Of these, selected by a mandated inspection order.
    pub selected_mandated: u64,
    /// Of these, selected by a targeted or emergency inspection order.
    pub selected_targeted: u64,
    /// Of these, recorded as inspected.
    pub inspected: u64,
    /// Random draws made: one a consignment.
    pub drawn: u64,
    /// Draws that selected.
    pub drawn_selected: u64,
    /// Sum of the rates that were drawn at, in ppm.
    pub demanded_ppm: u64,
    /// Sum of the limits of the draws, in ppm; where the policy demands nothing, that of no limit: 1000000 for a tier better
    /// than REGULAR, 0 for any other.
    pub limits_ppm: u64,
}

impl Counts {
    fn take(&mut self, observation: &Observation, first_of_consignment: bool) {
        let Observation {
            cell,
            basis,
            selected,
            rate,
            limit,
            consignment: _,
        } = observation;
        let selected = u64::from(*selected);
        self.decided += 1;
        match basis {
            InspectionBasis::Random => {
                self.selected_random += selected;
                if first_of_consignment {
                    self.drawn += 1;
                    self.drawn_selected += selected;
                    self.demanded_ppm += u64::from(rate.0);
                    let limit = limit.map_or_else(|| report::no_limit(cell.credit_tier), |limit| limit.0);
                    self.limits_ppm += u64::from(limit);
                }
            }
            InspectionBasis::Mandated => self.selected_mandated += selected,
            InspectionBasis::Targeted => self.selected_targeted += selected,
            InspectionBasis::NotDrawn => {}
        }
    }

    fn add(&mut self, other: &Self) {
        let Self {
            decided,
            selected_random,
            selected_mandated,
            selected_targeted,
            inspected,
            drawn,
            drawn_selected,
            demanded_ppm,
            limits_ppm,
        } = self;
        for (own, more) in [
            (decided, other.decided),
            (selected_random, other.selected_random),
            (selected_mandated, other.selected_mandated),
            (selected_targeted, other.selected_targeted),
            (inspected, other.inspected),
            (drawn, other.drawn),
            (drawn_selected, other.drawn_selected),
            (demanded_ppm, other.demanded_ppm),
            (limits_ppm, other.limits_ppm),
        ] {
            // Sums of a file can be anything.
            *own = own.saturating_add(more);
        }
    }
}

/// The counts of every cell.
///
/// Counting takes one shard's lock for a few additions, so that a cell is always read whole: draws, selections and limits
/// of the same decisions.
pub struct RateTable {
    cells: DashMap<Cell, Counts, foldhash::fast::RandomState>,
    /// Declarations recorded as inspected, each with the cell that counts it.
    inspected: DashMap<DeclarationNumber, Cell, foldhash::fast::RandomState>,
    /// The latest draws on transport documents, each at the place that its own value gives.
    draws: Box<[AtomicU64]>,
}

impl Default for RateTable {
    fn default() -> Self {
        Self::remembering(REMEMBERED)
    }
}

impl fmt::Debug for RateTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateTable")
            .field("cells", &self.cells.len())
            .field("inspected", &self.inspected.len())
            .finish_non_exhaustive()
    }
}

impl RateTable {
    /// An empty table that remembers so many draws on transport documents, at least one.
    fn remembering(draws: usize) -> Self {
        Self {
            cells: DashMap::default(),
            inspected: DashMap::default(),
            draws: (0..draws.max(1)).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// An empty table for the records of one segment: it costs less than one for all that a replica decides.
    pub fn of_segment() -> Self {
        Self::remembering(REMEMBERED_IN_SEGMENT)
    }

    /// Counts a decision on a declaration that had not been decided before.
    pub fn count(&self, observation: &Observation) {
        let first = observation.consignment.is_none_or(|draw| self.is_new(draw));
        if let Some(mut counts) = self.cells.get_mut(&observation.cell) {
            counts.take(observation, first);
            return;
        }
        let mut counts = self.cells.entry(observation.cell).or_default();
        counts.take(observation, first);
    }

    /// Whether this draw on a transport document has not been seen; from now on it has.
    fn is_new(&self, draw: u64) -> bool {
        // The draw is a keyed hash: its last bits are as good a place as any, and its first ones select.
        let place = usize::try_from(draw).unwrap_or_default() % self.draws.len();
        self.draws[place].swap(draw, Ordering::Relaxed) != draw
    }

    /// Counts a declaration as inspected, once: false when it was before.
    pub fn inspected(&self, number: DeclarationNumber, decided_in: Cell) -> bool {
        let dashmap::Entry::Vacant(place) = self.inspected.entry(number) else {
            return false;
        };
        place.insert(decided_in);
        self.cells.entry(decided_in).or_default().inspected += 1;
        true
    }

    /// Every cell, by month, office and tier.
    pub fn cells(&self) -> BTreeMap<Cell, Counts> {
        let cell =
            |entry: dashmap::mapref::multiple::RefMulti<'_, Cell, Counts>| (*entry.key(), *entry.value());
        self.cells.iter().map(cell).collect()
    }

    /// The cells of one month.
    pub fn month(&self, month: Epoch) -> BTreeMap<Cell, Counts> {
        let cells = self.cells.iter().filter(|entry| entry.key().month == month);
        cells.map(|entry| (*entry.key(), *entry.value())).collect()
    }
}

#[cfg(test)]
mod tests;
