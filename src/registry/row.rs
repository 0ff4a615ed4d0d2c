//! The vocabulary in which upstream changes the registry: one row put or gone.

use std::sync::Arc;

use crate::domain::{
    Date,
    enterprise::{Enterprise, ScheduledTier},
    identifier::{AeoCode, CustomsCode},
    order::ControlOrder,
    recognition::{Arrangement, RecognisedOperator},
};

/// The five tables of the registry, by their names in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entity {
    /// `enterprise`
    Enterprise,
    /// `scheduled_tier`
    ScheduledTier,
    /// `recognised_operator`
    RecognisedOperator,
    /// `mutual_recognition`
    MutualRecognition,
    /// `control_order`
    ControlOrder,
}

impl Entity {
    /// Every table.
    pub const ALL: [Self; 5] = [
        Self::Enterprise,
        Self::ScheduledTier,
        Self::RecognisedOperator,
        Self::MutualRecognition,
        Self::ControlOrder,
    ];

    /// The table's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enterprise => "enterprise",
            Self::ScheduledTier => "scheduled_tier",
            Self::RecognisedOperator => "recognised_operator",
            Self::MutualRecognition => "mutual_recognition",
            Self::ControlOrder => "control_order",
        }
    }

    /// The table of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|entity| entity.name() == name)
    }
}

/// One change: what became of the row with a key.
#[derive(Debug, Clone)]
pub struct Change {
    /// The key as the change log writes it: the primary key's columns joined by `|`.
    pub key: String,
    /// What became of it.
    pub row: Keyed,
    /// Why the row could not be read in full, where it could not: the strict reading is in `row`.
    pub unreadable: Option<String>,
}

/// The new row, or which row is gone. A row whose key cannot be read is [`Keyed::Nowhere`].
#[derive(Debug, Clone)]
pub enum Keyed {
    /// An enterprise was put.
    Enterprise(Enterprise),
    /// An enterprise is gone.
    EnterpriseGone(CustomsCode),
    /// A scheduled tier was put.
    Scheduled(CustomsCode, ScheduledTier),
    /// A scheduled tier was put whose tier or date cannot be read: its enterprise stands as suspended.
    ScheduledUnreadable(CustomsCode),
    /// A scheduled tier is gone; `None` where its date cannot be read.
    ScheduledGone(CustomsCode, Option<Date>),
    /// A recognised operator was put.
    Operator(RecognisedOperator),
    /// A recognised operator is gone.
    OperatorGone(AeoCode),
    /// An arrangement was put.
    Arrangement(Arrangement),
    /// An arrangement is gone, or cannot be read and therefore grants nothing.
    ArrangementGone,
    /// A control order was put.
    Order(Arc<ControlOrder>),
    /// A control order is gone, or has no readable selector and can be placed nowhere.
    OrderGone,
    /// The key itself cannot be read: no request can name this row.
    Nowhere(Entity),
}

impl Keyed {
    /// The table that the row belongs to.
    pub const fn entity(&self) -> Entity {
        match self {
            Self::Enterprise(_) | Self::EnterpriseGone(_) => Entity::Enterprise,
            Self::Scheduled(..) | Self::ScheduledUnreadable(_) | Self::ScheduledGone(..) => {
                Entity::ScheduledTier
            }
            Self::Operator(_) | Self::OperatorGone(_) => Entity::RecognisedOperator,
            Self::Arrangement(_) | Self::ArrangementGone => Entity::MutualRecognition,
            Self::Order(_) | Self::OrderGone => Entity::ControlOrder,
            Self::Nowhere(entity) => *entity,
        }
    }
}
