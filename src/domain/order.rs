//! Control orders: instructions that stand above the tier.

use arrayvec::ArrayString;
use jiff::Timestamp;

use super::{
    Direction,
    declaration::Declaration,
    identifier::{Country, CustomsOffice, HsPrefix},
};

named_enum! {
    /// What an order demands.
    OrderKind {
        /// An officer decides; nothing is released.
        Hold = 1, "HOLD";
        /// The goods are inspected.
        Inspect = 2, "INSPECT";
        /// The documents are reviewed intensively.
        Documents = 3, "DOCUMENTS";
    }
}

named_enum! {
    /// Why an order exists.
    OrderBasis {
        /// Law demands it of such goods.
        Mandated = 1, "MANDATED";
        /// Intelligence points at it.
        Targeted = 2, "TARGETED";
        /// An emergency announcement.
        Emergency = 3, "EMERGENCY";
    }
}

/// The identifier of an enterprise as an order names it: a customs code, a social credit code or an AEO code.
pub type OrderEnterprise = ArrayString<32>;

/// A row of `control_order`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlOrder {
    /// The key.
    pub id: String,
    /// What it demands.
    pub kind: OrderKind,
    /// Why it exists.
    pub basis: OrderBasis,
    /// What it is about; every selector given must match.
    pub selectors: Selectors,
    /// In force from here on.
    pub valid_from: Timestamp,
    /// No longer in force from here on; `None`: no end.
    pub valid_to: Option<Timestamp>,
    /// The article behind it.
    pub legal_basis: String,
    /// What the trader may know.
    pub public_reason: String,
    /// What only officers and auditors may know.
    pub confidential_reason: Option<String>,
}

/// What a control order is about: a declaration matches when all that are given do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selectors {
    /// A party, counted or not, registered or not.
    pub enterprise_id: Option<OrderEnterprise>,
    /// With `origin_country`, held against the same goods item.
    pub hs_prefix: Option<HsPrefix>,
    /// With `hs_prefix`, held against the same goods item.
    pub origin_country: Option<Country>,
    /// The office of the declaration.
    pub customs_office: Option<CustomsOffice>,
    /// One of the containers. Orders may carry numbers with a wrong check digit; those match nothing.
    pub container_number: Option<ArrayString<11>>,
    /// The direction of the declaration.
    pub direction: Option<Direction>,
}

impl Selectors {
    /// Whether nothing is selected, so that the order can be placed nowhere.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the declaration is one of those meant. `is_party` tells whether an identifier names one of its parties.
    pub fn match_declaration(&self, declaration: &Declaration, is_party: impl Fn(&str) -> bool) -> bool {
        self.customs_office
            .is_none_or(|office| office == declaration.customs_office)
            && self
                .direction
                .is_none_or(|direction| direction == declaration.direction)
            && self.container_number.is_none_or(|number| {
                declaration
                    .containers
                    .iter()
                    .any(|container| container.as_str() == number.as_str())
            })
            && goods_match(self.hs_prefix, self.origin_country, declaration)
            && self.enterprise_id.is_none_or(|id| is_party(&id))
    }
}

/// Whether one goods item has both the prefix and the origin, where they are given.
pub fn goods_match(prefix: Option<HsPrefix>, origin: Option<Country>, declaration: &Declaration) -> bool {
    if prefix.is_none() && origin.is_none() {
        return true;
    }
    declaration.goods.iter().any(|item| {
        prefix.is_none_or(|prefix| prefix.covers(&item.hs_code))
            && origin.is_none_or(|origin| origin == item.origin_country)
    })
}

impl ControlOrder {
    /// Whether it is in force at that instant; the end is exclusive.
    pub fn in_force(&self, at: Timestamp) -> bool {
        self.valid_from <= at && self.valid_to.is_none_or(|end| at < end)
    }
}
