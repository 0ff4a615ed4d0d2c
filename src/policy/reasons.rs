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
    use ReasonCode as Code;

    let mut list = List {
        reasons: Vec::with_capacity(8),
    };
    let articles = &causes.policy.document.articles;

    for code in [
        Code::HoldOrder,
        Code::MandatedInspection,
        Code::TargetedInspection,
        Code::DocumentOrder,
    ] {
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

    let standings = || {
        (0u8..)
            .zip(causes.parties)
            .filter_map(|(index, party)| party.standing.map(|standing| (index, standing)))
    };
    let mut per_standing = |code, source: &'a str, text, cause: fn(&Standing) -> bool| {
        for (index, _) in standings().filter(|(_, standing)| cause(standing)) {
            list.push(code, Some(index), source, text);
        }
    };
    per_standing(
        Code::PartyUnknown,
        &articles.unknown_party.article,
        "The register does not hold this enterprise: it stands as regular",
        |standing| standing.unknown,
    );
    per_standing(
        Code::CertificationNotYetEffective,
        &articles.certification_dates.article,
        "The certification is not yet effective on the acceptance date: the enterprise stands as regular",
        |standing| standing.not_yet_effective,
    );
    per_standing(
        Code::CertificationExpired,
        &articles.certification_dates.article,
        "The certification has ended on the acceptance date: the enterprise stands as regular",
        |standing| standing.expired,
    );
    per_standing(
        Code::PartySuspended,
        &articles.suspension.article,
        "The enterprise is suspended: it stands as regular at best",
        |standing| standing.suspended,
    );
    for (index, standing) in standings() {
        if let Some(tier) = standing.mapped_from {
            let (_, article) = causes.policy.mapped(tier);
            list.push(
                Code::TierMapped,
                Some(index),
                article,
                "The decree does not know this tier and takes it for another",
            );
        }
    }

    match causes.facts.freshness {
        Freshness::Fresh => {}
        Freshness::Stale => list.push(Code::DataStale, None, "", "Registry data is too old for relief"),
        Freshness::Expired => list.push(
            Code::DataExpired,
            None,
            "",
            "Registry data is too old to decide on",
        ),
    }
    if standings().any(|(_, standing)| standing.tier != decision.credit_tier) {
        list.sourced(
            Code::LowerTierPrevails,
            &articles.lower_tier_prevails,
            "Enterprises of different tiers take part: the measures of the lower tier apply",
        );
    }
    if !causes.rate.ordered {
        list.push(
            Code::TierRate,
            None,
            &causes.row.rate_article,
            &causes.row.rate_text,
        );
    }
    recognition(causes, &mut list);
    if !causes.rate.ordered {
        for uplift in causes
            .parameters
            .uplifts
            .iter()
            .filter(|uplift| uplift.matches(causes.facts.declaration))
        {
            list.push(Code::RiskUplift, None, "", &uplift.text);
        }
    }
    if causes.rate.floored {
        list.sourced(
            Code::RandomFloor,
            &articles.random_floor,
            "Raised to the random floor of the tier",
        );
    }
    if decision.inspection.basis == InspectionBasis::Random {
        if decision.inspection.selected {
            list.push(Code::Drawn, None, "", "The random draw selected this shipment");
        } else {
            list.push(
                Code::NotDrawn,
                None,
                "",
                "The random draw did not select this shipment",
            );
        }
    }
    if causes.urgent {
        list.sourced(Code::UrgentGoods, &articles.urgent_goods, "Urgent goods go first");
    }
    if causes.disruption {
        list.sourced(
            Code::PostDisruption,
            &articles.post_disruption,
            "Trade at this office recovers from an interruption: certified enterprises go first",
        );
    }
    if decision.blocked_by.contains(Code::TierNotGreen) {
        list.sourced(
            Code::TierNotGreen,
            &articles.green_channel,
            "The governing tier may not take the green channel",
        );
    }
    for (index, party) in (0u8..).zip(&causes.facts.declaration.parties) {
        if let EnterpriseId::SocialCredit(code) = party.id
            && !code.check_holds()
        {
            list.push(
                Code::CheckCharacter,
                Some(index),
                "GB 32100-2015",
                "The social credit code fails its check character",
            );
        }
    }
    if causes.policy.document.provisional {
        list.push(
            Code::PolicyProvisional,
            None,
            "",
            "The policy awaits an authority's confirmation",
        );
    }
    list.reasons
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
