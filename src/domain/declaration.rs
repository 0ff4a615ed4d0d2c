//! What the trader sent, parsed.

use arrayvec::{ArrayString, ArrayVec};
use smallvec::SmallVec;

use super::{
    Direction, PartyRole, TradeMode, TransportMode,
    identifier::{ContainerNumber, Country, CustomsOffice, DeclarationNumber, EnterpriseId, HsCode},
};

/// Most parties a declaration may name.
pub const MAX_PARTIES: usize = 16;

/// A declaration that passed validation. Its acceptance and decision times travel beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// Identifies it; with the office and year in front.
    pub number: DeclarationNumber,
    /// Agrees with the number's direction character, but for transit.
    pub direction: Direction,
    /// 1 to 16, at least one of a counted role.
    pub parties: ArrayVec<Party, MAX_PARTIES>,
    /// 0 to 100.
    pub goods: SmallVec<[GoodsItem; 4]>,
    /// Where it is accepted.
    pub customs_office: CustomsOffice,
    /// Where sent.
    pub transport_mode: Option<TransportMode>,
    /// Where sent.
    pub trade_mode: Option<TradeMode>,
    /// Bill of lading, air waybill and so on, where sent.
    pub transport_document: Option<ArrayString<64>>,
    /// 0 to 100.
    pub containers: SmallVec<[ContainerNumber; 4]>,
}

/// An enterprise in a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Party {
    /// What it does on this declaration.
    pub role: PartyRole,
    /// How it is named.
    pub id: EnterpriseId,
}

/// A line of goods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoodsItem {
    /// Commodity code.
    pub hs_code: HsCode,
    /// Country of origin.
    pub origin_country: Country,
}
