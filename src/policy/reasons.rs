//! The causes of a decision, in the contract's order: by code, then by party, then by order id.

use super::{
    Facts, Parameters, Policy,
    decide::{AssessedParties, Rate, reason_code},
    decree::{Source, TierRow},
    standing::Standing,
};
use crate::domain::{
    Freshness, PartyRole,
    decision::{Decision, InspectionBasis, Reason, ReasonCode},
    identifier::EnterpriseId,
};

/// What the reasons are read from, besides the decision itself.
pub(super) struct Causes<'c, 'a> {
    pub(super) policy: &'a Policy,
    pub(super) parameters: &'a Parameters,
    pub(super) facts: &'c Facts<'a>,
    pub(super) parties: &'c AssessedParties,
    /// A bit for each party whose recognition holds.
    pub(super) recognised: u16,
    pub(super) rate: Rate,
    pub(super) row: &'a TierRow,
    pub(super) urgent: bool,
    pub(super) disruption: bool,
}

/// Lists every cause once.
pub(super) fn list<'a>(causes: &Causes<'_, 'a>, decision: &Decision<'a>) -> Vec<Reason<'a>> {
    let mut list = List {
        reasons: Vec::with_capacity(8),
    };
    orders(causes, &mut list);
    standings(causes, &mut list);
    freshness(causes.facts.freshness, &mut list);
    rate(causes, decision, &mut list);
    draw(decision, &mut list);
    priority(causes, &mut list);
    let articles = &causes.policy.document.articles;
    if decision.blocked_by.contains(ReasonCode::TierNotGreen) {
        let text = "The governing tier may not take the green channel";
        list.sourced(ReasonCode::TierNotGreen, &articles.green_channel, text);
    }
    check_characters(causes, &mut list);
    if causes.policy.document.provisional {
        list.push(
            ReasonCode::PolicyProvisional,
            None,
            "",
            "The policy awaits an authority's confirmation",
        );
    }
    list.reasons
}

fn orders<'a>(causes: &Causes<'_, 'a>, list: &mut List<'a>) {
    use ReasonCode::{DocumentOrder, HoldOrder, MandatedInspection, TargetedInspection};
    for code in [HoldOrder, MandatedInspection, TargetedInspection, DocumentOrder] {
        for order in causes
            .facts
            .orders
            .iter()
            .filter(|order| reason_code(order.kind, order.basis) == code)
        {
            list.reasons.push(Reason {
                code,
                party: None,
                article: &order.legal_basis,
                text: &order.public_reason,
                confidential_text: order.confidential_reason.as_deref().unwrap_or_default(),
            });
        }
    }
}

/// What moved the standings of counted parties, code by code.
fn standings<'a>(causes: &Causes<'_, 'a>, list: &mut List<'a>) {
    type Cause = fn(&Standing) -> bool;
    let articles = &causes.policy.document.articles;
    let counted = || {
        (0u8..)
            .zip(causes.parties)
            .filter_map(|(index, party)| party.standing.map(|standing| (index, standing)))
    };
    let moved: [(ReasonCode, &'a Source, &str, Cause); 4] = [
        (
            ReasonCode::PartyUnknown,
            &articles.unknown_party,
            "The register does not hold this enterprise: it stands as regular",
            |standing| standing.unknown,
        ),
        (
            ReasonCode::CertificationNotYetEffective,
            &articles.certification_dates,
            "The certification is not yet effective on the acceptance date: the enterprise stands as regular",
            |standing| standing.not_yet_effective,
        ),
        (
            ReasonCode::CertificationExpired,
            &articles.certification_dates,
            "The certification has ended on the acceptance date: the enterprise stands as regular",
            |standing| standing.expired,
        ),
        (
            ReasonCode::PartySuspended,
            &articles.suspension,
            "The enterprise is suspended: it stands as regular at best",
            |standing| standing.suspended,
        ),
    ];
    for (code, source, text, cause) in moved {
        for (index, _) in counted().filter(|(_, standing)| cause(standing)) {
            list.push(code, Some(index), &source.article, text);
        }
    }
    for (index, standing) in counted() {
        if let Some(tier) = standing.mapped_from {
            let text = "The decree does not know this tier and takes it for another";
            list.push(
                ReasonCode::TierMapped,
                Some(index),
                causes.policy.mapped(tier).1,
                text,
            );
        }
    }
}

fn freshness(freshness: Freshness, list: &mut List<'_>) {
    match freshness {
        Freshness::Fresh => {}
        Freshness::Stale => list.push(
            ReasonCode::DataStale,
            None,
            "",
            "Registry data is too old for relief",
        ),
        Freshness::Expired => list.push(
            ReasonCode::DataExpired,
            None,
            "",
            "Registry data is too old to decide on",
        ),
    }
}

/// How the rate came about: whose tier, which rule, recognition, uplifts, floor.
fn rate<'a>(causes: &Causes<'_, 'a>, decision: &Decision<'a>, list: &mut List<'a>) {
    let articles = &causes.policy.document.articles;
    let differs = |standing: Standing| standing.tier != decision.credit_tier;
    if causes
        .parties
        .iter()
        .filter_map(|party| party.standing)
        .any(differs)
    {
        let text = "Enterprises of different tiers take part: the measures of the lower tier apply";
        list.sourced(ReasonCode::LowerTierPrevails, &articles.lower_tier_prevails, text);
    }
    if !causes.rate.ordered {
        list.push(
            ReasonCode::TierRate,
            None,
            &causes.row.rate_article,
            &causes.row.rate_text,
        );
    }
    recognition(causes, list);
    if !causes.rate.ordered {
        for uplift in causes
            .parameters
            .uplifts
            .iter()
            .filter(|uplift| uplift.matches(causes.facts.declaration))
        {
            list.push(ReasonCode::RiskUplift, None, "", &uplift.text);
        }
    }
    if causes.rate.floored {
        list.sourced(
            ReasonCode::RandomFloor,
            &articles.random_floor,
            "Raised to the random floor of the tier",
        );
    }
}

fn draw(decision: &Decision<'_>, list: &mut List<'_>) {
    match (decision.inspection.basis, decision.inspection.selected) {
        (InspectionBasis::Random, true) => {
            list.push(
                ReasonCode::Drawn,
                None,
                "",
                "The random draw selected this shipment",
            );
        }
        (InspectionBasis::Random, false) => {
            list.push(
                ReasonCode::NotDrawn,
                None,
                "",
                "The random draw did not select this shipment",
            );
        }
        (InspectionBasis::Mandated | InspectionBasis::Targeted | InspectionBasis::NotDrawn, _) => {}
    }
}

fn priority<'a>(causes: &Causes<'_, 'a>, list: &mut List<'a>) {
    let articles = &causes.policy.document.articles;
    if causes.urgent {
        list.sourced(
            ReasonCode::UrgentGoods,
            &articles.urgent_goods,
            "Urgent goods go first",
        );
    }
    if causes.disruption {
        let text = "Trade at this office recovers from an interruption: certified enterprises go first";
        list.sourced(ReasonCode::PostDisruption, &articles.post_disruption, text);
    }
}

fn check_characters(causes: &Causes<'_, '_>, list: &mut List<'_>) {
    for (index, party) in (0u8..).zip(&causes.facts.declaration.parties) {
        if let EnterpriseId::SocialCredit(code) = party.id
            && !code.check_holds()
        {
            let text = "The social credit code fails its check character";
            list.push(ReasonCode::CheckCharacter, Some(index), "GB 32100-2015", text);
        }
    }
}

fn recognition<'a>(causes: &Causes<'_, 'a>, list: &mut List<'a>) {
    let article = &causes.policy.document.articles.mutual_recognition.article;
    let foreign = |&(_, party): &(u8, &crate::domain::declaration::Party)| {
        party.role == PartyRole::ForeignParty && matches!(party.id, EnterpriseId::Foreign(_))
    };
    let foreign = || (0u8..).zip(&causes.facts.declaration.parties).filter(foreign);
    let holds = |index: u8| causes.recognised & 1 << index != 0;
    for (index, _) in foreign().filter(|&(index, _)| holds(index)) {
        list.push(
            ReasonCode::RecognitionApplied,
            Some(index),
            article,
            "A mutual recognition arrangement covers this operator and shipment",
        );
    }
    for (index, _) in foreign().filter(|&(index, _)| !holds(index)) {
        list.push(
            ReasonCode::RecognitionNotApplicable,
            Some(index),
            article,
            "No recognition: the operator is not listed in good standing, no arrangement covers the shipment, \
             or another party excludes it",
        );
    }
}

struct List<'a> {
    reasons: Vec<Reason<'a>>,
}

impl<'a> List<'a> {
    fn push(&mut self, code: ReasonCode, party: Option<u8>, article: &'a str, text: &'a str) {
        self.reasons.push(Reason {
            code,
            party,
            article,
            text,
            confidential_text: "",
        });
    }

    fn sourced(&mut self, code: ReasonCode, source: &'a Source, text: &'a str) {
        self.push(code, None, &source.article, text);
    }
}
