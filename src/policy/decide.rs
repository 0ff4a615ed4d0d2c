//! The evaluation, step by step, most binding first.

use jiff::Timestamp;

use super::{
    Facts, Parameters, Policy,
    decree::TierRow,
    draw::Draw,
    reasons,
    standing::{self, Standing},
};
use crate::domain::{
    CreditTier, Freshness, PartyRole, Ppm,
    date::later,
    decision::{
        Decision, DocumentReview, Inspection, InspectionBasis, Lane, PartyAssessment, PriorityClass,
        ReasonCode, ReasonSet,
    },
    measure::{Measure, MeasureSet},
    order::{OrderBasis, OrderKind},
};

use arrayvec::ArrayVec;

/// Decides a declaration from its facts.
///
/// `draw` is the declaration's draw, or `None` where none may be made (a simulation). The same inputs always give the
/// same answer; the only allocation is the answer's list of reasons.
pub fn decide<'a>(
    policy: &'a Policy,
    parameters: &'a Parameters,
    facts: &Facts<'a>,
    draw: Option<Draw>,
) -> Decision<'a> {
    let orders = MatchedOrders::of(facts);
    // Steps 4 and 5: the lower prevails.
    let parties = assess_parties(policy, facts);
    let (governing_party, governing) = governing(&parties);
    let row = policy.row(governing);
    let recognition = Recognition::of(facts, &parties, governing);
    let urgent = parameters.is_urgent(facts.declaration) && !governing.is_discredited();
    let disruption = parameters.is_post_disruption(facts.declaration.customs_office, facts.decided_at)
        && row
            .shipment_measures(facts.declaration.direction, facts.declaration.trade_mode)
            .contains(Measure::PostDisruptionPriority);

    let rate = rate(parameters, facts, &orders, row, governing, recognition.applies);
    let manual = orders.hold || facts.freshness == Freshness::Expired;
    let inspection = inspection(&orders, manual, rate.ppm, draw);
    let document_review = document_review(&orders, row, recognition.applies);
    let (priority_class, rank) = priority(row, recognition.applies, urgent, disruption);
    let blocked_by = blocked_by(facts, &orders, &parties, row);
    let lane = lane(manual, inspection.selected, blocked_by, document_review);

    let mut decision = Decision {
        credit_tier: governing,
        parties: parties.iter().map(|party| party.assessment).collect(),
        governing_party,
        inspection,
        document_review,
        priority_class,
        rank,
        blocked_by,
        lane,
        measures: measures(facts, &orders, row, recognition.applies, document_review, manual),
        reasons: Vec::new(),
        valid_until: valid_until(parameters, facts, &parties),
    };
    let causes = reasons::Causes {
        policy,
        parameters,
        facts,
        parties: &parties,
        recognised: recognition.parties,
        rate,
        row,
        urgent,
        disruption,
    };
    decision.reasons = reasons::list(&causes, &decision);
    decision
}

/// Which kinds of control orders match (steps 1 to 3).
#[expect(clippy::struct_excessive_bools, reason = "four independent facts")]
struct MatchedOrders {
    hold: bool,
    mandated: bool,
    targeted: bool,
    documents: bool,
}

impl MatchedOrders {
    fn of(facts: &Facts<'_>) -> Self {
        let matched = |code: ReasonCode| {
            facts
                .orders
                .iter()
                .any(|order| reason_code(order.kind, order.basis) == code)
        };
        Self {
            hold: matched(ReasonCode::HoldOrder),
            mandated: matched(ReasonCode::MandatedInspection),
            targeted: matched(ReasonCode::TargetedInspection),
            documents: matched(ReasonCode::DocumentOrder),
        }
    }

    const fn inspect(&self) -> bool {
        self.mandated || self.targeted
    }
}

/// The reason that a matching order leaves.
pub fn reason_code(kind: OrderKind, basis: OrderBasis) -> ReasonCode {
    match (kind, basis) {
        (OrderKind::Hold, _) => ReasonCode::HoldOrder,
        (OrderKind::Inspect, OrderBasis::Mandated) => ReasonCode::MandatedInspection,
        (OrderKind::Inspect, OrderBasis::Targeted | OrderBasis::Emergency) => ReasonCode::TargetedInspection,
        (OrderKind::Documents, _) => ReasonCode::DocumentOrder,
    }
}

/// A party's assessment, and for counted parties what moved its standing.
#[derive(Debug, Clone, Copy)]
pub(super) struct AssessedParty {
    pub(super) assessment: PartyAssessment,
    pub(super) standing: Option<Standing>,
}

pub(super) type AssessedParties = ArrayVec<AssessedParty, { crate::domain::declaration::MAX_PARTIES }>;

fn assess_parties(policy: &Policy, facts: &Facts<'_>) -> AssessedParties {
    let sent = facts.declaration.parties.iter();
    sent.zip(&facts.parties)
        .map(|(sent, found)| {
            let standing = policy
                .counts(sent.role)
                .then(|| standing::assess(policy, found, facts.accepted_on, facts.freshness));
            let enterprise = found.enterprise.as_ref();
            AssessedParty {
                assessment: PartyAssessment {
                    customs_code: enterprise.map(|enterprise| enterprise.customs_code),
                    known: found.is_known(),
                    suspended: found.is_suspended(),
                    counted: standing.is_some(),
                    registered_tier: enterprise
                        .map(|enterprise| enterprise.tier_on(facts.accepted_on).tier()),
                    standing: standing.map(|standing| standing.tier),
                    enterprise_measures: standing
                        .map_or(MeasureSet::EMPTY, |standing| policy.row(standing.tier).enterprise),
                },
                standing,
            }
        })
        .collect()
}

/// The worst standing, and the first party that has it. A declaration without a counted party, which validation does
/// not let through, stands as REGULAR.
fn governing(parties: &AssessedParties) -> (u8, CreditTier) {
    let mut governing: Option<(u8, CreditTier)> = None;
    for (index, party) in (0u8..).zip(parties) {
        if let Some(standing) = party.standing
            && governing.is_none_or(|(_, worst)| standing.tier > worst)
        {
            governing = Some((index, standing.tier));
        }
    }
    governing.unwrap_or((0, CreditTier::Regular))
}

/// Which foreign parties are recognised, as a bit for each, and whether any is.
struct Recognition {
    parties: u16,
    applies: bool,
}

impl Recognition {
    fn of(facts: &Facts<'_>, parties: &AssessedParties, governing: CreditTier) -> Self {
        let admitted = governing <= CreditTier::Regular
            && facts.freshness == Freshness::Fresh
            && parties
                .iter()
                .filter_map(|party| party.standing)
                .all(|standing| !standing.unknown && !standing.suspended);
        let mut recognised = 0;
        if admitted {
            let declaration = facts.declaration;
            for (index, (sent, found)) in declaration.parties.iter().zip(&facts.parties).enumerate() {
                let holds = sent.role == PartyRole::ForeignParty
                    && found.operator.as_ref().is_some_and(|operator| {
                        operator.in_good_standing(facts.accepted_on)
                            && facts.arrangements.iter().copied().flatten().any(|arrangement| {
                                arrangement.country == operator.country
                                    && arrangement.programme == operator.programme
                                    && arrangement.applies(
                                        facts.accepted_on,
                                        declaration.direction,
                                        declaration.transport_mode,
                                    )
                            })
                    });
                recognised |= u16::from(holds) << index;
            }
        }
        Self {
            parties: recognised,
            applies: recognised != 0,
        }
    }
}

/// The rate, and which of its steps left a mark.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) ppm: Ppm,
    /// An INSPECT order set it; tier, uplifts and floor did not enter.
    pub(super) ordered: bool,
    /// The random floor raised it.
    pub(super) floored: bool,
}

/// Step 6.
fn rate(
    parameters: &Parameters,
    facts: &Facts<'_>,
    orders: &MatchedOrders,
    row: &TierRow,
    governing: CreditTier,
    recognised: bool,
) -> Rate {
    if orders.inspect() {
        return Rate {
            ppm: Ppm::ALWAYS,
            ordered: true,
            floored: false,
        };
    }
    let mut ppm = row.rate.apply(parameters.baseline(facts.declaration));
    if recognised {
        ppm = ppm.times(parameters.recognition_multiplier);
    }
    for uplift in parameters
        .uplifts
        .iter()
        .filter(|uplift| uplift.matches(facts.declaration))
    {
        // Cutting at 1000000 between factors of at least 1 gives what cutting at the end gives, and cannot overflow.
        ppm = ppm.times(uplift.multiplier).min(Ppm::ALWAYS);
    }
    let floor = parameters.floor(governing);
    Rate {
        ppm: ppm.max(floor).min(Ppm::ALWAYS),
        ordered: false,
        floored: ppm < floor,
    }
}

/// Step 8, under steps 1 and 2.
fn inspection(orders: &MatchedOrders, manual: bool, rate: Ppm, draw: Option<Draw>) -> Inspection {
    let (selected, basis) = match draw {
        _ if manual => (false, InspectionBasis::NotDrawn),
        _ if orders.mandated => (true, InspectionBasis::Mandated),
        _ if orders.targeted => (true, InspectionBasis::Targeted),
        None => (false, InspectionBasis::NotDrawn),
        Some(draw) => (draw.selects(rate), InspectionBasis::Random),
    };
    Inspection {
        rate,
        selected,
        basis,
    }
}

fn document_review(orders: &MatchedOrders, row: &TierRow, recognised: bool) -> DocumentReview {
    match row.document_review {
        _ if orders.documents => DocumentReview::Intensified,
        DocumentReview::Standard if recognised => DocumentReview::Simplified,
        review @ (DocumentReview::Simplified | DocumentReview::Standard | DocumentReview::Intensified) => {
            review
        }
    }
}

/// Step 9: the class, then recognition, then urgent goods.
fn priority(row: &TierRow, recognised: bool, urgent: bool, disruption: bool) -> (PriorityClass, u32) {
    let mut class = row.priority_class;
    if recognised && class == PriorityClass::Normal {
        class = PriorityClass::Priority;
    }
    if urgent {
        class = class.lifted();
    }
    let rank = 100 * u32::from(class.number()) - 20 * u32::from(disruption) - 10 * u32::from(urgent);
    (class, rank)
}

/// Step 10.
fn blocked_by(
    facts: &Facts<'_>,
    orders: &MatchedOrders,
    parties: &AssessedParties,
    row: &TierRow,
) -> ReasonSet {
    let counted = || parties.iter().filter_map(|party| party.standing);
    let mut blocked = ReasonSet::default();
    for (blocks, code) in [
        (orders.hold, ReasonCode::HoldOrder),
        (orders.mandated, ReasonCode::MandatedInspection),
        (orders.targeted, ReasonCode::TargetedInspection),
        (orders.documents, ReasonCode::DocumentOrder),
        (
            counted().any(|standing| standing.unknown),
            ReasonCode::PartyUnknown,
        ),
        (
            counted().any(|standing| standing.suspended),
            ReasonCode::PartySuspended,
        ),
        (facts.freshness == Freshness::Stale, ReasonCode::DataStale),
        (facts.freshness == Freshness::Expired, ReasonCode::DataExpired),
        (!row.green, ReasonCode::TierNotGreen),
    ] {
        if blocks {
            blocked.insert(code);
        }
    }
    blocked
}

/// Step 11.
fn lane(manual: bool, selected: bool, blocked_by: ReasonSet, review: DocumentReview) -> Lane {
    if manual {
        Lane::Manual
    } else if selected {
        Lane::Red
    } else if blocked_by.is_empty() {
        Lane::Green
    } else if review == DocumentReview::Simplified {
        Lane::Blue
    } else {
        Lane::Yellow
    }
}

/// The shipment measures that are left after orders, with those that recognition adds.
fn measures(
    facts: &Facts<'_>,
    orders: &MatchedOrders,
    row: &TierRow,
    recognised: bool,
    review: DocumentReview,
    manual: bool,
) -> MeasureSet {
    let mut measures = row.shipment_measures(facts.declaration.direction, facts.declaration.trade_mode);
    if recognised {
        measures.insert(Measure::MutualRecognition);
        if review == DocumentReview::Simplified {
            measures.insert(Measure::SimplifiedDocumentReview);
        }
    }
    if orders.inspect() {
        measures.remove(Measure::ReducedInspection);
    }
    if orders.documents {
        measures.remove(Measure::SimplifiedDocumentReview);
    }
    if manual {
        measures.without_relief()
    } else {
        measures
    }
}

/// Step 12: the usual time, or the first change known now that comes sooner.
fn valid_until(parameters: &Parameters, facts: &Facts<'_>, parties: &AssessedParties) -> Timestamp {
    let usual = later(facts.decided_at, parameters.valid_for);
    let tiers = parties
        .iter()
        .zip(&facts.parties)
        .filter(|(assessed, _)| assessed.standing.is_some())
        .filter_map(|(_, found)| found.enterprise.as_ref())
        .flat_map(super::super::domain::enterprise::RegisteredEnterprise::change_dates)
        .map(crate::domain::Date::midnight);
    let orders = facts.orders.iter().filter_map(|order| order.valid_to);
    tiers
        .chain(orders)
        .filter(|&change| change > facts.decided_at)
        .fold(usual, Timestamp::min)
}
