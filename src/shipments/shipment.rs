//! A shipment: the latest decision on a declaration, what it says now, and how that changes. Pure.

use bytes::Bytes;
use jiff::Timestamp;
use smallvec::SmallVec;
use uuid::Uuid;

use crate::{
    domain::{
        CreditTier,
        decision::{Lane, PriorityClass},
        identifier::{ContainerNumber, CustomsOffice, DeclarationNumber},
    },
    policy::draw::Drawn,
};

/// The identifiers of control orders.
pub type OrderIds = SmallVec<[Box<str>; 1]>;

/// A decision that was given: everything to evaluate the declaration again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The declaration.
    pub number: DeclarationNumber,
    /// What was declared: an encoded `DecideRequest`.
    pub request: Bytes,
    /// The containers on it.
    pub containers: SmallVec<[ContainerNumber; 2]>,
    /// Its office.
    pub office: CustomsOffice,
    /// The acceptance time that was taken.
    pub accepted_at: Timestamp,
    /// When the decision was made.
    pub decided_at: Timestamp,
    /// The decision.
    pub decision_id: Uuid,
    /// The draw that the declaration keeps.
    pub first: Drawn,
    /// The tier that governed.
    pub credit_tier: CreditTier,
    /// No later evaluation is valid for longer than the decision itself may have been.
    pub valid_at_most: Timestamp,
}

/// An inspection as an officer records it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspected {
    /// When.
    pub inspected_at: Timestamp,
    /// What was found does not agree with the declaration.
    pub discrepancy_found: bool,
    /// Goods were not opened.
    pub documents_only: bool,
}

/// An inspection, and what it answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// As it was recorded.
    pub inspected: Inspected,
    /// The lane that it answered.
    pub lane: Lane,
    /// The control orders that matched by then.
    pub orders: OrderIds,
    /// A later fact asks for more than it answered. It stays known, so that it is not recorded again.
    pub is_void: bool,
}

/// What a decision or an evaluation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// Where the shipment goes.
    pub lane: Lane,
    /// Priority class.
    pub class: PriorityClass,
    /// Lower goes first.
    pub rank: u32,
    /// Until when that may be relied on.
    pub valid_until: Timestamp,
    /// The control orders that matched.
    pub orders: OrderIds,
}

/// Where in a store's history the registry stood when a shipment was evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Version {
    /// Hash of the store's epoch.
    pub epoch: u64,
    /// The last change that was in.
    pub sequence: u64,
}

impl Version {
    /// Of that epoch and sequence.
    pub fn new(epoch: &str, sequence: u64) -> Self {
        // FNV-1a: the same on every replica, which a seeded hash is not.
        let hash = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self {
            epoch: epoch.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, hash),
            sequence,
        }
    }

    /// Whether both are of one history and this one knows less.
    pub fn is_before(self, other: Self) -> bool {
        self.epoch == other.epoch && self.sequence < other.sequence
    }
}

/// What a shipment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Rises by one with each change.
    pub revision: u64,
    /// What the last evaluation on fresh data came to.
    pub outlook: Outlook,
    /// Something that an earlier revision granted was taken back.
    pub revoked: bool,
    /// The last inspection.
    pub inspection: Option<Box<Inspection>>,
    /// The registry that it was evaluated on.
    pub evaluated: Version,
}

/// A shipment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipment {
    /// The decision behind it.
    pub decided: Decided,
    /// What it says.
    pub state: State,
}

impl Inspection {
    /// Whether it lets the shipment go. An inspection of documents alone does not stand for the goods that a draw or an order
    /// wants opened.
    fn clears(&self) -> bool {
        let is_short = self.inspected.documents_only && self.lane == Lane::Red;
        !(self.is_void || self.inspected.discrepancy_found || is_short)
    }

    /// Whether it still answers what is asked now: neither a stricter lane nor an order that it did not know.
    fn answers(&self, outlook: &Outlook) -> bool {
        outlook.lane <= self.lane && outlook.orders.iter().all(|order| self.orders.contains(order))
    }
}

impl State {
    /// Whether an inspection has cleared the shipment.
    pub fn is_cleared(&self) -> bool {
        self.inspection
            .as_ref()
            .is_some_and(|inspection| inspection.clears())
    }

    /// Whether an inspection found what stands against letting it go.
    pub fn is_discrepant(&self) -> bool {
        self.inspection
            .as_ref()
            .is_some_and(|inspection| inspection.inspected.discrepancy_found)
    }

    /// Whether it may leave, as long as the outlook is valid.
    pub fn grants(&self) -> bool {
        self.is_cleared() || (self.outlook.lane <= Lane::Blue && !self.is_discrepant())
    }

    /// Whether both say the same, whatever their revisions and on whatever they were evaluated.
    pub fn says_as(&self, other: &Self) -> bool {
        self.outlook == other.outlook && self.revoked == other.revoked && self.inspection == other.inspection
    }

    /// The state that follows when `outlook` holds and `inspection` is the last one.
    fn following(
        &self,
        outlook: Outlook,
        mut inspection: Option<Box<Inspection>>,
        evaluated: Version,
    ) -> Self {
        // What was found does not go away; what was cleared holds as long as nothing stricter is asked.
        if let Some(inspection) = &mut inspection {
            inspection.is_void |= !inspection.inspected.discrepancy_found && !inspection.answers(&outlook);
        }
        let mut following = Self {
            revision: self.revision,
            revoked: false,
            inspection,
            outlook,
            evaluated,
        };
        following.revoked = !following.grants() && (self.revoked || self.grants());
        following
    }
}

impl Shipment {
    /// A shipment as its first decision makes it.
    pub fn first(decided: Decided, outlook: Outlook, evaluated: Version) -> Self {
        Self {
            decided,
            state: State {
                revision: 1,
                outlook,
                revoked: false,
                inspection: None,
                evaluated,
            },
        }
    }

    /// A later decision on the declaration.
    pub fn decide(&mut self, decided: Decided, outlook: Outlook, evaluated: Version) {
        let inspection = self.state.inspection.take();
        let former = std::mem::replace(
            &mut self.state,
            State {
                revision: 0,
                outlook: outlook.clone(),
                revoked: false,
                inspection: None,
                evaluated,
            },
        );
        // The grant that the inspection made counts too.
        let former = State {
            inspection: inspection.clone(),
            ..former
        };
        self.state = former.following(outlook, inspection, evaluated);
        self.state.revision = former.revision + 1;
        self.decided = decided;
    }

    /// What an evaluation on other registry data came to; gives whether that changes anything.
    pub fn evaluate(&mut self, mut outlook: Outlook, evaluated: Version) -> bool {
        outlook.valid_until = outlook.valid_until.min(self.decided.valid_at_most);
        // An evaluation is no decision: what it says is valid from the same instant on for no longer than before, unless
        // what it says is new.
        if outlook.lane == self.state.outlook.lane
            && outlook.class == self.state.outlook.class
            && outlook.rank == self.state.outlook.rank
            && outlook.orders == self.state.outlook.orders
        {
            outlook.valid_until = outlook.valid_until.min(self.state.outlook.valid_until);
        }
        let following = self
            .state
            .following(outlook, self.state.inspection.clone(), evaluated);
        let changes = !following.says_as(&self.state);
        self.state = following;
        self.state.revision += u64::from(changes);
        changes
    }

    /// An officer recorded an inspection; gives whether that changes anything.
    pub fn inspect(&mut self, inspected: &Inspected) -> bool {
        // The last inspection counts; and a log that is read again tells of what is known.
        let is_past = |known: &Inspection| {
            known.inspected == *inspected || known.inspected.inspected_at > inspected.inspected_at
        };
        if self.state.inspection.as_deref().is_some_and(is_past) {
            return false;
        }
        let inspection = Inspection {
            inspected: *inspected,
            lane: self.state.outlook.lane,
            orders: self.state.outlook.orders.clone(),
            is_void: false,
        };
        let evaluated = self.state.evaluated;
        let following =
            self.state
                .following(self.state.outlook.clone(), Some(Box::new(inspection)), evaluated);
        let changes = !following.says_as(&self.state);
        self.state = following;
        self.state.revision += u64::from(changes);
        changes
    }

    /// Takes in what the store holds of the same declaration, where this replica has changed it meanwhile: the later decision
    /// stands, with the later inspection and the evaluation that knew more. Both sides come to the same.
    pub fn merge(&mut self, stored: &Self) {
        let ours = self.clone();
        let order = |shipment: &Self| (shipment.decided.decided_at, shipment.decided.decision_id);
        let (mut later, earlier) = if order(&ours) >= order(stored) {
            (ours.clone(), stored)
        } else {
            (stored.clone(), &ours)
        };
        let same_decision = order(&ours) == order(stored);
        let (own, other) = (later.state.inspection.take(), earlier.state.inspection.clone());
        let inspection = own
            .into_iter()
            .chain(other)
            .max_by_key(|own| (own.inspected.inspected_at, own.is_void));
        let (outlook, evaluated) =
            if same_decision && later.state.evaluated.is_before(earlier.state.evaluated) {
                (earlier.state.outlook.clone(), earlier.state.evaluated)
            } else {
                (later.state.outlook.clone(), later.state.evaluated)
            };
        let former = if same_decision {
            &stored.state
        } else {
            &earlier.state
        };
        let mut state = former.following(outlook, inspection, evaluated);
        state.revoked |= same_decision && ours.state.revoked && !state.grants();
        // The first draw is the earlier one's.
        later.decided.first = earlier.decided.first;
        let stands = same_decision && state.says_as(&stored.state);
        state.revision = if stands {
            stored.state.revision.max(ours.state.revision)
        } else {
            ours.state.revision.max(stored.state.revision + 1)
        };
        later.state = state;
        *self = later;
    }
}
