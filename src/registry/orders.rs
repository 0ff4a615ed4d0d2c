//! The rules that hang on one pointer: control orders, indexed by what they are about, and arrangements.

use std::{collections::BTreeMap, sync::Arc};

use arrayvec::{ArrayString, ArrayVec};
use foldhash::{HashMap, HashMapExt};
use jiff::Timestamp;
use smallvec::SmallVec;

use crate::domain::{
    Direction,
    declaration::{Declaration, MAX_PARTIES},
    identifier::{Country, CustomsOffice, EnterpriseId, HsPrefix},
    order::{ControlOrder, OrderEnterprise},
    recognition::Arrangement,
};

/// The registered identifiers of a party: an order may name any of them.
#[derive(Debug, Clone, Copy)]
pub struct PartyIdentifiers {
    /// As sent, normalised.
    pub sent: EnterpriseId,
    /// Of its registered row.
    pub registered: Option<(
        crate::domain::identifier::CustomsCode,
        Option<crate::domain::identifier::SocialCreditCode>,
    )>,
}

impl PartyIdentifiers {
    /// Every identifier that names the party.
    pub fn each(&self) -> impl Iterator<Item = &str> {
        let (customs, social) = match &self.registered {
            Some((customs, social)) => (
                Some(customs.as_str()),
                social
                    .as_ref()
                    .map(super::super::domain::identifier::SocialCreditCode::as_str),
            ),
            None => (None, None),
        };
        std::iter::once(self.sent.as_str()).chain(customs).chain(social)
    }
}

/// Control orders and arrangements: immutable once built, replaced whole.
#[derive(Debug, Default)]
pub struct Rules {
    orders: OrderIndex,
    arrangements: HashMap<Country, Vec<Arrangement>>,
}

impl Rules {
    pub(super) fn new(
        orders: &BTreeMap<String, Arc<ControlOrder>>,
        arrangements: &BTreeMap<String, Arrangement>,
    ) -> Self {
        let mut by_country = HashMap::<Country, Vec<Arrangement>>::new();
        for arrangement in arrangements.values() {
            by_country
                .entry(arrangement.country)
                .or_default()
                .push(arrangement.clone());
        }
        Self {
            orders: OrderIndex::new(orders.values()),
            arrangements: by_country,
        }
    }

    /// The arrangements with a country.
    pub fn arrangements(&self, country: Country) -> &[Arrangement] {
        self.arrangements.get(&country).map_or(&[], Vec::as_slice)
    }

    /// The orders in force at an instant that match a declaration, ascending by id.
    pub fn matching(
        &self,
        declaration: &Declaration,
        parties: impl FnOnce() -> ArrayVec<PartyIdentifiers, MAX_PARTIES>,
        at: Timestamp,
    ) -> SmallVec<[&ControlOrder; 4]> {
        // Most of the time there are few orders or none; the identifiers are only collected for some.
        if self.orders.orders.is_empty() {
            SmallVec::new()
        } else {
            self.orders.matching(declaration, &parties(), at)
        }
    }
}

type Places = Vec<u32>;

/// Every order under one of its selectors, the narrowest, so that a declaration meets few candidates.
#[derive(Debug, Default)]
struct OrderIndex {
    /// Ascending by id.
    orders: Vec<Arc<ControlOrder>>,
    by_container: HashMap<ArrayString<11>, Places>,
    by_enterprise: HashMap<OrderEnterprise, Places>,
    by_prefix: HashMap<HsPrefix, Places>,
    /// A bit for each length that a prefix in `by_prefix` has.
    prefix_lengths: u16,
    by_office: HashMap<CustomsOffice, Places>,
    by_origin: HashMap<Country, Places>,
    by_direction: [Places; Direction::ALL.len()],
}

impl OrderIndex {
    fn new<'a>(orders: impl Iterator<Item = &'a Arc<ControlOrder>>) -> Self {
        let mut index = Self {
            orders: orders.cloned().collect(),
            ..Self::default()
        };
        for (place, order) in (0u32..).zip(&index.orders) {
            let selectors = &order.selectors;
            let places = if let Some(container) = selectors.container_number {
                index.by_container.entry(container).or_default()
            } else if let Some(enterprise) = selectors.enterprise_id {
                index.by_enterprise.entry(enterprise).or_default()
            } else if let Some(prefix) = selectors.hs_prefix {
                index.prefix_lengths |= 1 << prefix.as_str().len();
                index.by_prefix.entry(prefix).or_default()
            } else if let Some(office) = selectors.customs_office {
                index.by_office.entry(office).or_default()
            } else if let Some(origin) = selectors.origin_country {
                index.by_origin.entry(origin).or_default()
            } else if let Some(direction) = selectors.direction {
                &mut index.by_direction[usize::from(direction.number()) - 1]
            } else {
                continue;
            };
            places.push(place);
        }
        index
    }

    fn matching(
        &self,
        declaration: &Declaration,
        parties: &ArrayVec<PartyIdentifiers, MAX_PARTIES>,
        at: Timestamp,
    ) -> SmallVec<[&ControlOrder; 4]> {
        let mut places = SmallVec::<[u32; 16]>::new();
        let is_party = |id: &str| parties.iter().any(|party| party.each().any(|own| own == id));
        let mut consider = |candidates: Option<&Places>| {
            for &place in candidates.into_iter().flatten() {
                let order = &self.orders[place as usize];
                if order.in_force(at) && order.selectors.match_declaration(declaration, is_party) {
                    places.push(place);
                }
            }
        };
        if !self.by_container.is_empty() {
            for container in &declaration.containers {
                let key = ArrayString::from(container.as_str()).ok();
                consider(key.and_then(|key| self.by_container.get(&key)));
            }
        }
        if !self.by_enterprise.is_empty() {
            for id in parties.iter().flat_map(PartyIdentifiers::each) {
                consider(
                    ArrayString::from(id)
                        .ok()
                        .and_then(|key| self.by_enterprise.get(&key)),
                );
            }
        }
        for item in &declaration.goods {
            let code = item.hs_code.as_str();
            for length in (1..=code.len()).filter(|length| self.prefix_lengths & 1 << length != 0) {
                consider(
                    code[..length]
                        .parse()
                        .ok()
                        .and_then(|prefix: HsPrefix| self.by_prefix.get(&prefix)),
                );
            }
            if !self.by_origin.is_empty() {
                consider(self.by_origin.get(&item.origin_country));
            }
        }
        consider(self.by_office.get(&declaration.customs_office));
        consider(Some(
            &self.by_direction[usize::from(declaration.direction.number()) - 1],
        ));
        // Two parties or goods items may lead to the same order.
        places.sort_unstable();
        places.dedup();
        places
            .iter()
            .map(|&place| &*self.orders[place as usize])
            .collect()
    }
}
