//! What is told of decisions: how many, and the realized rates of the current month.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{Histogram, TierLabel, registered};
use crate::domain::{
    CreditTier,
    decision::{InspectionBasis, Lane},
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    lane: &'static str,
    credit_tier: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InspectionLabels {
    credit_tier: &'static str,
    basis: &'static str,
    selected: &'static str,
}

/// What an inspection can rest on, and whether the goods are selected then.
const INSPECTIONS: [(InspectionBasis, bool); 5] = [
    (InspectionBasis::Random, false),
    (InspectionBasis::Random, true),
    (InspectionBasis::Mandated, true),
    (InspectionBasis::Targeted, true),
    (InspectionBasis::NotDrawn, false),
];

/// Upper bounds of the buckets that decisions are counted in, in nanoseconds: from 2 microseconds to a second.
const DECISION_BOUNDS: [u64; 24] = [
    2_000,
    5_000,
    10_000,
    15_000,
    20_000,
    30_000,
    50_000,
    75_000,
    100_000,
    150_000,
    200_000,
    300_000,
    500_000,
    750_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
];

/// Counters of decisions: every series is there from the start and found by its place, without a map.
#[derive(Debug)]
pub(super) struct Decisions {
    /// By tier, then lane.
    lanes: Vec<Counter>,
    /// By tier, then as in [`INSPECTIONS`].
    inspections: Vec<Counter>,
    pub(super) duration: Histogram,
}

impl Decisions {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let lanes: Family<DecisionLabels, Counter> = registered(
            registry,
            "greenlane_decisions",
            "Decisions answered, by lane and governing tier",
        );
        let inspections: Family<InspectionLabels, Counter> = registered(
            registry,
            "greenlane_inspections",
            "Decisions answered, by governing tier, what the inspection rests on, and whether the goods were selected",
        );
        let duration = Histogram::new(&DECISION_BOUNDS);
        registry.register(
            "greenlane_decision_duration_seconds",
            "Seconds from a request's being at hand to its decision's being encoded and logged; each item of a batch or stream counts",
            duration.clone(),
        );
        let tiers = CreditTier::ALL.iter().map(|tier| tier.name());
        let lane = |credit_tier| {
            let lanes = &lanes;
            Lane::ALL.iter().map(move |lane| {
                let lane = lane.name();
                lanes.get_or_create_owned(&DecisionLabels { lane, credit_tier })
            })
        };
        let inspection = |credit_tier| {
            let inspections = &inspections;
            INSPECTIONS.iter().map(move |(basis, selected)| {
                inspections.get_or_create_owned(&InspectionLabels {
                    credit_tier,
                    basis: basis.name(),
                    selected: if *selected { "true" } else { "false" },
                })
            })
        };
        Self {
            lanes: tiers.clone().flat_map(lane).collect(),
            inspections: tiers.flat_map(inspection).collect(),
            duration,
        }
    }

    /// How many there were so far, by tier and lane.
    pub(super) fn counted(&self) -> impl Iterator<Item = (CreditTier, Lane, u64)> {
        let lanes = |&tier| Lane::ALL.iter().map(move |&lane| (tier, lane));
        let series = CreditTier::ALL.iter().flat_map(lanes);
        series
            .zip(&self.lanes)
            .map(|((tier, lane), counter)| (tier, lane, counter.get()))
    }

    pub(super) fn count(&self, tier: CreditTier, lane: Lane, basis: InspectionBasis, selected: bool) {
        let lane = tier.index() * Lane::ALL.len() + usize::from(lane.number()) - 1;
        self.lanes[lane].inc();
        let kind = match (basis, selected) {
            (InspectionBasis::Random, false) => 0,
            (InspectionBasis::Random, true) => 1,
            (InspectionBasis::Mandated, _) => 2,
            (InspectionBasis::Targeted, _) => 3,
            (InspectionBasis::NotDrawn, _) => 4,
        };
        self.inspections[tier.index() * INSPECTIONS.len() + kind].inc();
    }
}

/// The realized rate of one tier over all offices of the current month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateReading {
    /// The realized rate of the random draw.
    pub realized_ppm: u32,
    /// Lower confidence bound of it.
    pub lower_bound_ppm: u32,
    /// Upper confidence bound of it.
    pub upper_bound_ppm: u32,
    /// What the policy demands; 0 where it demands nothing.
    pub limit_ppm: u32,
    /// The bounds lie wholly beyond the limit.
    pub breached: bool,
    /// Offices at which they do by themselves.
    pub breached_offices: u64,
}

type TierGauge = Family<TierLabel, Gauge<u64, AtomicU64>>;

/// Gauges of the realized rates.
#[derive(Debug)]
pub(super) struct RateGauges {
    realized: TierGauge,
    lower_bound: TierGauge,
    upper_bound: TierGauge,
    limit: TierGauge,
    breached: TierGauge,
    breached_offices: TierGauge,
}

impl RateGauges {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let mut gauge = |name: &str, help: &str| registered(registry, name, help);
        Self {
            realized: gauge(
                "greenlane_realized_rate_ppm",
                "Realized rate of the random draw over all offices of the current month, in ppm",
            ),
            lower_bound: gauge(
                "greenlane_realized_rate_lower_bound_ppm",
                "Lower confidence bound of the realized rate, in ppm; valid however often it is looked at",
            ),
            upper_bound: gauge(
                "greenlane_realized_rate_upper_bound_ppm",
                "Upper confidence bound of the realized rate, in ppm; valid however often it is looked at",
            ),
            limit: gauge(
                "greenlane_realized_rate_limit_ppm",
                "What the policy demands of the rate, in ppm: at most of a tier better than REGULAR, at least of a worse one; 0: nothing",
            ),
            breached: gauge(
                "greenlane_realized_rate_breached",
                "1 when the bounds of the realized rate lie wholly beyond the limit",
            ),
            breached_offices: gauge(
                "greenlane_realized_rate_breached_offices",
                "Offices at which the bounds of the realized rate lie wholly beyond the limit",
            ),
        }
    }

    pub(super) fn set(&self, readings: &[RateReading; CreditTier::COUNT]) {
        for (tier, reading) in CreditTier::ALL.iter().zip(readings) {
            let credit_tier = tier.name();
            for (gauge, value) in [
                (&self.realized, reading.realized_ppm.into()),
                (&self.lower_bound, reading.lower_bound_ppm.into()),
                (&self.upper_bound, reading.upper_bound_ppm.into()),
                (&self.limit, reading.limit_ppm.into()),
                (&self.breached, reading.breached.into()),
                (&self.breached_offices, reading.breached_offices),
            ] {
                gauge.get_or_create(&TierLabel { credit_tier }).set(value);
            }
        }
    }
}
