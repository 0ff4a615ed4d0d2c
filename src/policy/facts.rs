//! What is known of a declaration when it is decided. The evaluation takes nothing from anywhere else.

use std::sync::Arc;

use arrayvec::ArrayVec;
use jiff::Timestamp;
use smallvec::SmallVec;

use crate::domain::{
    Date, Freshness,
    declaration::{Declaration, MAX_PARTIES},
    enterprise::RegisteredEnterprise,
    order::ControlOrder,
    recognition::{Arrangement, RecognisedOperator},
};

/// Everything a decision depends on besides policy, parameters and draw.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// What was sent.
    pub declaration: &'a Declaration,
    /// One for each party of the declaration, in its order.
    pub parties: ArrayVec<PartyFacts, MAX_PARTIES>,
    /// The arrangements with the countries of the operators found, whatever their programme, dates and scope.
    pub arrangements: SmallVec<[&'a [Arrangement]; 2]>,
    /// The control orders that match, ascending by id.
    pub orders: SmallVec<[&'a ControlOrder; 4]>,
    /// The acceptance date (UTC+8): tiers, schedules and recognition are held against it.
    pub accepted_on: Date,
    /// The decision time: control orders and post-disruption periods are held against it.
    pub decided_at: Timestamp,
    /// How far the registry data can be relied on.
    pub freshness: Freshness,
}

/// What the registry says of one party.
#[derive(Debug, Clone, Default)]
pub struct PartyFacts {
    /// Its registration, where it is a Chinese enterprise that the register holds.
    pub enterprise: Option<RegisteredEnterprise>,
    /// Its certification abroad, where a partner's list holds it.
    pub operator: Option<Arc<RecognisedOperator>>,
}
