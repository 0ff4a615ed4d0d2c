//! The proof that a policy must pass before it is activated: a better tier never fares worse.
//!
//! The tables are finite, so the proof is exhaustive: every rate rule at every baseline from 0 to 1000000 ppm, every
//! cell of the table, and the whole evaluation over every combination of the things that enter it.

use std::sync::Arc;

use arrayvec::ArrayVec;
use smallvec::{SmallVec, smallvec};

use super::{Facts, Parameters, PartyFacts, Policy, decide, draw::Draw};
use crate::domain::{
    CreditTier, Date, Direction, Freshness, PartyRole, Ppm, TradeMode,
    decision::Decision,
    declaration::{Declaration, GoodsItem, Party},
    enterprise::{CreditRecord, RegisteredEnterprise, Schedule},
    identifier::{EnterpriseId, ParsedAeoCode},
    order::{ControlOrder, OrderBasis, OrderKind, Selectors},
    recognition::{Arrangement, RecognisedOperator, TransportModes},
};

/// Where a policy breaks an invariant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{policy}: {problem}")]
pub struct Finding {
    /// The policy's identifier.
    pub policy: String,
    /// What is wrong.
    pub problem: String,
}

/// How much was examined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// Rates computed.
    pub rates: u64,
    /// Whole decisions compared with that for the next worse tier.
    pub decisions: u64,
}

/// Proves a policy with these parameters, or says where it fails first.
pub fn prove(policy: &Policy, parameters: &Parameters) -> Result<Proof, Finding> {
    let finding = |problem| Finding {
        policy: policy.id().to_owned(),
        problem,
    };
    tables(policy).map_err(finding)?;
    let rates = rates(policy, parameters).map_err(finding)?;
    let decisions = decisions(policy, parameters).map_err(finding)?;
    Ok(Proof { rates, decisions })
}

fn neighbours() -> impl Iterator<Item = (CreditTier, CreditTier)> {
    CreditTier::ALL.windows(2).map(|pair| (pair[0], pair[1]))
}

fn tables(policy: &Policy) -> Result<(), String> {
    for (better, worse) in neighbours() {
        let (upper, lower) = (policy.row(better), policy.row(worse));
        for (cell, holds) in [
            ("document_review", upper.document_review <= lower.document_review),
            ("priority_class", upper.priority_class <= lower.priority_class),
            ("green_channel", upper.green >= lower.green),
        ] {
            if !holds {
                return Err(format!("{cell}: {better} fares worse than {worse}"));
            }
        }
        for (scope, upper, lower) in [
            ("shipment", upper.shipment, lower.shipment),
            ("export shipment", upper.shipment_export, lower.shipment_export),
            (
                "processing shipment",
                upper.shipment_processing,
                lower.shipment_processing,
            ),
            ("enterprise", upper.enterprise, lower.enterprise),
        ] {
            // A decree may give a better tier another relief in place of a lesser one, so reliefs are not compared.
            let restricted = upper.without_relief().without(lower.without_relief());
            if let Some(measure) = restricted.iter().next() {
                return Err(format!(
                    "{scope} measures: {better} bears {measure}, and {worse} does not"
                ));
            }
        }
    }
    Ok(())
}

fn rates(policy: &Policy, parameters: &Parameters) -> Result<u64, String> {
    let mut examined = 0;
    for baseline in 0..=Ppm::ALWAYS.0 {
        let at = |tier: CreditTier| {
            policy
                .row(tier)
                .rate
                .apply(Ppm(baseline))
                .max(parameters.floor(tier))
        };
        for (better, worse) in neighbours() {
            let (upper, lower) = (at(better), at(worse));
            if upper > lower {
                return Err(format!(
                    "rate: at a baseline of {baseline} ppm {better} has {} ppm, more than the {} ppm of {worse}",
                    upper.0, lower.0
                ));
            }
            examined += 1;
        }
    }
    Ok(examined)
}

/// The circumstances under which a tier is compared with the next worse one, all else equal.
struct Circumstances {
    direction: Direction,
    trade_mode: Option<TradeMode>,
    freshness: Freshness,
    partner: CreditTier,
    suspended: bool,
    recognised: bool,
    orders: u8,
}

fn decisions(policy: &Policy, parameters: &Parameters) -> Result<u64, String> {
    let world = World::new().ok_or("the proof's own identifiers are malformed")?;
    let mut examined = 0;
    for &direction in Direction::ALL {
        for trade_mode in [None, Some(TradeMode::General), Some(TradeMode::Processing)] {
            for &freshness in Freshness::ALL {
                for &partner in CreditTier::ALL {
                    for flags in 0..64_u8 {
                        let circumstances = Circumstances {
                            direction,
                            trade_mode,
                            freshness,
                            partner,
                            suspended: flags & 1 != 0,
                            recognised: flags & 2 != 0,
                            orders: flags >> 2,
                        };
                        examined += world.compare(policy, parameters, &circumstances)?;
                    }
                }
            }
        }
    }
    Ok(examined)
}

/// The fixed things of the proof.
struct World {
    declaration: Declaration,
    operator: Arc<RecognisedOperator>,
    arrangements: [Arrangement; 1],
    orders: [ControlOrder; 4],
    day: Date,
}

impl World {
    fn new() -> Option<Self> {
        let day: Date = "2020-06-15".parse().ok()?;
        let ParsedAeoCode::Foreign(aeo_code) = "SG1".parse().ok()? else {
            return None;
        };
        let party = |role, id| Party { role, id };
        let parties = [
            party(
                PartyRole::Consignee,
                EnterpriseId::Customs("1101910001".parse().ok()?),
            ),
            party(
                PartyRole::Declarant,
                EnterpriseId::Customs("1101910002".parse().ok()?),
            ),
            party(PartyRole::ForeignParty, EnterpriseId::Foreign(aeo_code)),
        ];
        let order = |kind, basis| ControlOrder {
            id: String::new(),
            kind,
            basis,
            selectors: Selectors::default(),
            valid_from: day.midnight(),
            valid_to: None,
            legal_basis: String::new(),
            public_reason: String::new(),
            confidential_reason: None,
        };
        Some(Self {
            declaration: Declaration {
                number: "222520201000000001".parse().ok()?,
                direction: Direction::Import,
                parties: parties.into_iter().collect(),
                goods: smallvec![GoodsItem {
                    hs_code: "847130".parse().ok()?,
                    origin_country: "SG".parse().ok()?
                }],
                customs_office: "2225".parse().ok()?,
                transport_mode: None,
                trade_mode: None,
                transport_document: None,
                containers: SmallVec::new(),
            },
            operator: Arc::new(RecognisedOperator {
                aeo_code,
                country: "SG".parse().ok()?,
                programme: String::new(),
                name: String::new(),
                valid_from: Date::MIN,
                valid_until: None,
                suspended: false,
            }),
            arrangements: [Arrangement {
                country: "SG".parse().ok()?,
                programme: String::new(),
                direction: None,
                transport_modes: TransportModes::ALL,
                effective_from: Date::MIN,
                effective_to: None,
            }],
            orders: [
                order(OrderKind::Hold, OrderBasis::Targeted),
                order(OrderKind::Inspect, OrderBasis::Mandated),
                order(OrderKind::Inspect, OrderBasis::Targeted),
                order(OrderKind::Documents, OrderBasis::Targeted),
            ],
            day,
        })
    }

    fn enterprise(
        &self,
        index: usize,
        credit_tier: CreditTier,
        suspended: bool,
    ) -> Option<RegisteredEnterprise> {
        let EnterpriseId::Customs(customs_code) = self.declaration.parties[index].id else {
            return None;
        };
        Some(RegisteredEnterprise {
            customs_code,
            social_credit_code: None,
            credit: CreditRecord {
                credit_tier,
                tier_effective_from: Date::MIN,
                tier_valid_until: None,
                suspended,
            },
            schedule: Schedule::new(),
        })
    }

    fn compare(&self, policy: &Policy, parameters: &Parameters, with: &Circumstances) -> Result<u64, String> {
        let declaration = Declaration {
            direction: with.direction,
            trade_mode: with.trade_mode,
            ..self.declaration.clone()
        };
        let facts = |tier| Facts {
            declaration: &declaration,
            parties: ArrayVec::from([
                PartyFacts {
                    enterprise: self.enterprise(0, tier, with.suspended),
                    operator: None,
                },
                PartyFacts {
                    enterprise: self.enterprise(1, with.partner, false),
                    operator: None,
                },
                PartyFacts {
                    enterprise: None,
                    operator: with.recognised.then(|| Arc::clone(&self.operator)),
                },
            ])
            .into_iter()
            .collect(),
            arrangements: smallvec![&self.arrangements[..]],
            orders: (0..4)
                .filter(|bit| with.orders & 1 << bit != 0)
                .map(|bit| &self.orders[bit])
                .collect(),
            accepted_on: self.day,
            decided_at: self.day.midnight(),
            freshness: with.freshness,
        };
        // The draw that any rate above zero selects last, and one in the middle of the reduced rates.
        for draw in [None, Some(Draw(u64::MAX / 100))] {
            let mut better: Option<(CreditTier, Decision<'_>)> = None;
            for &tier in CreditTier::ALL {
                let facts = facts(tier);
                let decision = decide(policy, parameters, &facts, draw);
                if let Some((upper, better)) = &better {
                    fares_no_worse(better, &decision).map_err(|what| {
                        format!(
                            "{what}: {upper} fares worse than {tier} (partner {}, {})",
                            with.partner, with.freshness
                        )
                    })?;
                }
                better = Some((tier, decision));
            }
        }
        Ok(2 * CreditTier::COUNT as u64 - 2)
    }
}

fn fares_no_worse(better: &Decision<'_>, worse: &Decision<'_>) -> Result<(), &'static str> {
    for (what, holds) in [
        ("credit_tier", better.credit_tier <= worse.credit_tier),
        ("rate_ppm", better.inspection.rate <= worse.inspection.rate),
        (
            "selected",
            better.inspection.selected <= worse.inspection.selected,
        ),
        ("document_review", better.document_review <= worse.document_review),
        ("priority_class", better.priority_class <= worse.priority_class),
        ("rank", better.rank <= worse.rank),
        (
            "green_channel",
            better.blocked_by.is_empty() >= worse.blocked_by.is_empty(),
        ),
        ("lane", better.lane <= worse.lane),
    ] {
        if !holds {
            return Err(what);
        }
    }
    Ok(())
}
