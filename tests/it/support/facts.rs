//! Facts for the pure core, as a lookup would have found them.

use std::sync::LazyLock;

use arrayvec::ArrayVec;
use greenlane::{
    domain::{
        CreditTier, Date, Direction, Freshness, PartyRole,
        decision::Decision,
        declaration::{Declaration, GoodsItem, MAX_PARTIES, Party},
        enterprise::{CreditRecord, RegisteredEnterprise, Schedule},
        identifier::EnterpriseId,
        order::ControlOrder,
        recognition::Arrangement,
    },
    policy::{Facts, Parameters, PartyFacts, Policy, PolicyBook, decide, draw::Draw},
};
use jiff::Timestamp;

/// The shipped policies and parameters.
pub(crate) static BOOK: LazyLock<PolicyBook> = LazyLock::new(|| PolicyBook::embedded().unwrap());

/// Everything that a decision depends on.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) policy: &'static Policy,
    pub(crate) parameters: Parameters,
    pub(crate) declaration: Declaration,
    /// One for each party of the declaration.
    pub(crate) found: ArrayVec<PartyFacts, MAX_PARTIES>,
    pub(crate) arrangements: Vec<Arrangement>,
    /// Those that match, ascending by id.
    pub(crate) orders: Vec<ControlOrder>,
    pub(crate) accepted_on: Date,
    pub(crate) decided_at: Timestamp,
    pub(crate) freshness: Freshness,
    pub(crate) draw: Option<Draw>,
}

impl World {
    /// An import by enterprises of these tiers, each since 2010, accepted on that day under the policy then in force.
    pub(crate) fn import(day: &str, tiers: &[CreditTier]) -> Self {
        let accepted_on: Date = day.parse().unwrap();
        let mut world = Self {
            policy: BOOK.on(accepted_on).unwrap(),
            parameters: Parameters::clone(&BOOK.parameters),
            declaration: declaration("222520261000000001"),
            found: ArrayVec::new(),
            arrangements: Vec::new(),
            orders: Vec::new(),
            accepted_on,
            decided_at: accepted_on.midnight(),
            freshness: Freshness::Fresh,
            draw: Some(Draw(u64::MAX)),
        };
        for (index, tier) in tiers.iter().enumerate() {
            let (party, found) = registered(PartyRole::ALL[index % 5], index, *tier);
            world.declaration.parties.push(party);
            world.found.push(found);
        }
        world
    }

    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            declaration: &self.declaration,
            parties: self.found.clone(),
            arrangements: [self.arrangements.as_slice()].into_iter().collect(),
            orders: self.orders.iter().collect(),
            accepted_on: self.accepted_on,
            decided_at: self.decided_at,
            freshness: self.freshness,
        }
    }

    pub(crate) fn decide(&self) -> Decision<'_> {
        decide(self.policy, &self.parameters, &self.facts(), self.draw)
    }
}

/// An import of one item through office 2225, without parties.
pub(crate) fn declaration(number: &str) -> Declaration {
    Declaration {
        number: number.parse().unwrap(),
        direction: Direction::Import,
        parties: ArrayVec::new(),
        goods: [GoodsItem {
            hs_code: "847130".parse().unwrap(),
            origin_country: "KR".parse().unwrap(),
        }]
        .into_iter()
        .collect(),
        customs_office: "2225".parse().unwrap(),
        transport_mode: None,
        trade_mode: None,
        transport_document: None,
        containers: [].into_iter().collect(),
    }
}

/// A registered party: of that tier since 2010.
pub(crate) fn registered(role: PartyRole, index: usize, credit_tier: CreditTier) -> (Party, PartyFacts) {
    let customs_code = format!("11019191{index:02}").parse().unwrap();
    let enterprise = RegisteredEnterprise {
        customs_code,
        social_credit_code: None,
        credit: CreditRecord {
            credit_tier,
            tier_effective_from: "2010-01-01".parse().unwrap(),
            tier_valid_until: None,
            suspended: false,
        },
        schedule: Schedule::new(),
    };
    let party = Party {
        role,
        id: EnterpriseId::Customs(customs_code),
    };
    let found = PartyFacts {
        enterprise: Some(enterprise),
        operator: None,
    };
    (party, found)
}
