//! What port terminals ask, put together: the memory, who keeps it true, and who saves it.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{
    audit::Proof,
    feed::source_settings,
    settings::{AuditFailure, Settings},
};
use crate::{
    facilitation::Facilitation,
    metrics::Metrics,
    shipments::{Keeper, Limits, Saving, Shipments, WatchLimits},
    upstream::{
        follower::{ChangeListener, InForce},
        shipments::{ShipmentFeed, ShipmentStore},
        status::FeedStatus,
    },
};

/// Questions for the store that may wait.
const QUESTIONS: usize = 1024;
/// The latest shipments of the store that are in memory from the start.
const RECENT: u64 = 100_000;

/// Everything around shipments, ready to run.
#[derive(Debug)]
pub(super) struct Terminals {
    /// The memory.
    pub(super) shipments: Arc<Shipments>,
    /// Keeps it true.
    pub(super) keeper: Keeper,
    /// Keeps it in the store.
    pub(super) saving: Saving,
}

impl Terminals {
    /// Connects to nothing yet.
    pub(super) fn new(
        settings: &Settings,
        facilitation: &Arc<Facilitation>,
        feed: &Arc<FeedStatus>,
        metrics: &Arc<Metrics>,
        proof: &Proof,
    ) -> anyhow::Result<Self> {
        let own = &settings.shipments;
        let store = source_settings(settings);
        let limits = Limits {
            served: own.serve,
            max_bytes: own.max_bytes,
            max_containers: own.max_containers,
            max_unsaved: own.max_unsaved,
            // Nobody else is told by the store, and whatever is given is in the log.
            from_log: store.is_embedded()
                && proof.log.is_some()
                && settings.audit.on_failure == AuditFailure::Refuse
                && !own.save_all,
            watches: WatchLimits {
                watches: own.max_watches,
                stall: own.watch_stall.get(),
                heartbeat: own.heartbeat_interval.get(),
            },
        };
        let (asks, lookups) = mpsc::channel(QUESTIONS);
        let shipments = Shipments::new(
            Arc::clone(facilitation),
            Arc::clone(feed),
            Arc::clone(metrics),
            limits,
            asks,
        );
        let known = Arc::downgrade(&shipments);
        let known = move |number: &_| known.upgrade().and_then(|shipments| shipments.first(number));
        facilitation.draws().ask_too(Box::new(known));
        let saving = Saving {
            shipments: Arc::clone(&shipments),
            store: ShipmentStore::open(&store)?,
            asked: ShipmentStore::open(&store)?,
            feed: ShipmentFeed::open(&store, RECENT)?,
            lookups,
            log: proof.own_log(),
            retention: own.retention.get(),
        };
        Ok(Self {
            keeper: Keeper::new(Arc::clone(&shipments)),
            shipments,
            saving,
        })
    }

    /// Tells the shipments of what comes in force.
    pub(super) fn listener(&self) -> ChangeListener {
        let shipments = Arc::clone(&self.shipments);
        ChangeListener(Box::new(move |came| match came {
            InForce::Commit(changes) => shipments.committed(changes),
            InForce::Everything => shipments.replaced(),
        }))
    }
}
