//! What a terminal may know, and how several declarations answer for one container.

use jiff::Timestamp;
use thiserror::Error;
use uuid::Uuid;

use super::shipment::{Outlook, Shipment};
use crate::domain::{
    decision::{Lane, PriorityClass},
    identifier::{ContainerNumber, DeclarationNumber},
};

/// Names a shipment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// By its declaration.
    Declaration(DeclarationNumber),
    /// By a container on it.
    Container(ContainerNumber),
}

impl Key {
    /// The number.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Declaration(number) => number.as_str(),
            Self::Container(number) => number.as_str(),
        }
    }
}

/// Neither the memory nor the store can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the shared store of shipments cannot be asked")]
pub struct Unreachable;

/// What a terminal may know of a shipment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct View {
    /// The declaration that answers.
    pub declaration_number: DeclarationNumber,
    /// The containers on it.
    pub container_numbers: Vec<ContainerNumber>,
    /// Priority class.
    pub priority_class: PriorityClass,
    /// Lower goes first.
    pub rank: u32,
    /// Where it goes.
    pub lane: Lane,
    /// It may not leave.
    pub hold: bool,
    /// Rises by one with each change that is stored; what is laid over at reading has the revision of what it lies over.
    pub revision: u64,
    /// The decision behind it.
    pub decision_id: Uuid,
    /// When that was made.
    pub decided_at: Timestamp,
    /// From here on it grants nothing.
    pub valid_until: Timestamp,
    /// A later fact took back what was granted.
    pub revoked: bool,
}

impl View {
    /// A shipment at an instant; `over` is what it comes to on data that is not fresh.
    pub(super) fn of(shipment: &Shipment, over: Option<&Outlook>, at: Timestamp) -> Self {
        let Shipment { decided, state } = shipment;
        let own = &state.outlook;
        let outlook = over.unwrap_or(own);
        // Old data withholds; it gives nothing that fresh data did not.
        let lane = own.lane.max(outlook.lane);
        let valid_until = own.valid_until.min(outlook.valid_until);
        let free = lane <= Lane::Blue && at < valid_until && !state.is_discrepant();
        let hold = !(free || state.is_cleared());
        Self {
            declaration_number: decided.number,
            container_numbers: decided.containers.to_vec(),
            priority_class: outlook.class,
            rank: outlook.rank,
            lane,
            hold,
            revision: state.revision,
            decision_id: decided.decision_id,
            decided_at: decided.decided_at,
            valid_until,
            revoked: state.revoked || (hold && state.grants() && lane > own.lane),
        }
    }

    /// Which of several answers for a container: the most restrictive of those that are valid, and among them one that
    /// holds; where none is valid, of all.
    pub(super) fn governing(views: impl IntoIterator<Item = Self>, at: Timestamp) -> Option<Self> {
        views.into_iter().max_by_key(|view| {
            (
                at < view.valid_until,
                view.hold,
                view.lane,
                view.decided_at,
                view.declaration_number,
            )
        })
    }
}
