//! Changes of control orders that came in force, told to whoever keeps the proof.

use std::{collections::BTreeMap, fmt, sync::Arc};

use jiff::Timestamp;

use super::{super::Commit, Follower};
use crate::{
    domain::order::ControlOrder,
    registry::{
        Generation, Position,
        row::{Entity, Keyed},
    },
};

/// A control order that was put, changed or taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderChange {
    /// Which order.
    pub id: String,
    /// The row from here on; `None` when it was deleted or cannot be read.
    pub order: Option<Arc<ControlOrder>>,
    /// The registry version that brought it.
    pub position: Position,
    /// When it was written, by the store's clock; `None` where a fresh snapshot brought it.
    pub committed_at: Option<Timestamp>,
    /// Who wrote it, as far as the store knows.
    pub author: Option<String>,
}

/// Takes changes that came in force, in order.
pub(super) type OnOrderChanges = Box<dyn Fn(&[OrderChange]) + Send>;

/// Told of changes that came in force.
pub struct OrderListener(pub OnOrderChanges);

impl fmt::Debug for OrderListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OrderListener(..)")
    }
}

impl Follower {
    /// Tells of changes of control orders from now on.
    #[must_use]
    pub fn telling_orders(mut self, listener: OrderListener) -> Self {
        self.orders = Some(listener);
        self
    }

    /// Tells of the orders that a commit changed.
    pub(super) fn tell_orders(&self, held: &Generation, commit: &Commit) {
        let Some(listener) = &self.orders else { return };
        let changes: Vec<_> = commit
            .entries
            .iter()
            .filter(|entry| entry.entity == Entity::ControlOrder.name())
            .filter_map(|entry| {
                let change = entry.change()?;
                let order = if let (Keyed::Order(order), None) = (change.row, change.unreadable) {
                    Some(order)
                } else {
                    None
                };
                Some(OrderChange {
                    id: entry.key.clone(),
                    order,
                    position: Position {
                        sequence: entry.sequence,
                        ..held.position()
                    },
                    committed_at: entry.committed_at.parse().ok(),
                    author: entry.author.clone(),
                })
            })
            .collect();
        if !changes.is_empty() {
            (listener.0)(&changes);
        }
    }

    /// Tells of the orders that a generation holds otherwise than the one before: by whom and when, a snapshot does not
    /// tell.
    pub(super) fn tell_replaced_orders(&self, former: Option<&Generation>, current: &Generation) {
        let Some(listener) = &self.orders else { return };
        let former = former.map(Generation::orders).unwrap_or_default();
        let changes = differences(&former, &current.orders(), &current.position());
        if !changes.is_empty() {
            (listener.0)(&changes);
        }
    }
}

type Orders = BTreeMap<String, Arc<ControlOrder>>;

fn differences(former: &Orders, current: &Orders, position: &Position) -> Vec<OrderChange> {
    let change = |id: &String, order: Option<&Arc<ControlOrder>>| OrderChange {
        id: id.clone(),
        order: order.cloned(),
        position: position.clone(),
        committed_at: None,
        author: None,
    };
    let put = current
        .iter()
        .filter(|(id, order)| former.get(*id) != Some(*order))
        .map(|(id, order)| change(id, Some(order)));
    let gone = former
        .keys()
        .filter(|id| !current.contains_key(*id))
        .map(|id| change(id, None));
    put.chain(gone).collect()
}
