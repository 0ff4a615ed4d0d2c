//! Between memory and the store that replicas share: changes are written behind, those of others are taken in, and what
//! memory does not hold is asked for.
//!
//! **At least once.** A change waits in memory until the store has it. Decisions that were given stand in the audit log
//! first: whatever a replica's end, or too long a wait, leaves unsaved is read from there again, from the place that the store
//! was last told.

mod logged;
mod saver;

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep},
};
use tracing::{info, warn};

use self::{logged::Logged, saver::Saver};
use super::{
    memory::Shipments,
    view::{Key, Unreachable},
};
use crate::{
    audit::query::OwnLog,
    upstream::{
        UpstreamError,
        shipments::{ShipmentFeed, ShipmentStore, StoredShipment},
    },
};

/// How long the store may take to tell what it holds before questions are answered without.
const FIRST_CONTACT: Duration = Duration::from_secs(1);
/// A question that fails within this is asked again.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Between two tries: from here, doubling, to there.
const WAITS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// Keys that are asked for by one question to the store, about: a caller's keys stay together.
const KEYS: usize = 4096;

/// A question for the store.
#[derive(Debug)]
pub struct Lookup {
    pub(super) keys: Vec<Key>,
    /// `None` where nobody waits.
    pub(super) reply: Option<oneshot::Sender<Result<(), Unreachable>>>,
}

/// Shipments that the store lacks when saving ends.
#[derive(Debug, Error)]
#[error("{shipments} shipments are not in the store; {elsewhere}")]
pub struct Unsaved {
    /// How many, as far as is known.
    pub shipments: usize,
    /// Where else they are.
    pub elsewhere: &'static str,
}

/// Everything between a replica's shipments and the store.
#[derive(Debug)]
pub struct Saving {
    /// The memory.
    pub shipments: Arc<Shipments>,
    /// Where changes go.
    pub store: ShipmentStore,
    /// Where questions go.
    pub asked: ShipmentStore,
    /// Where changes of others come from.
    pub feed: ShipmentFeed,
    /// The questions.
    pub lookups: mpsc::Receiver<Lookup>,
    /// The log that decisions stand in first; `None` where nothing is logged.
    pub log: Option<OwnLog>,
    /// How long the store keeps a shipment.
    pub retention: Duration,
}

impl Saving {
    /// Works until `stop` turns true, then saves what is left, as far as there is time; an error tells what the store lacks.
    pub async fn run(self, stop: watch::Receiver<bool>) -> Result<(), Unsaved> {
        let Self {
            shipments,
            store,
            asked,
            feed,
            lookups,
            log,
            retention,
        } = self;
        let mut stopping = stop.clone();
        if !shipments.is_served() {
            // A sender that is gone asks for the end too.
            let _asked = stopping.wait_for(|stop| *stop).await;
            return Ok(());
        }
        // What is looked up in the log when it is asked for need not be read from there beforehand.
        let (read_again, looked_up) = match shipments.asked {
            None => (log, None),
            Some(_) => (None, log),
        };
        let logged = looked_up.map(|log| Logged::new(log, retention));
        let saver = Saver::new(Arc::clone(&shipments), store, read_again, retention);
        let others = async {
            tokio::select! {
                () = follow(&shipments, feed) => {}
                () = ready_soon(&shipments) => {}
                () = answer(&shipments, asked, logged, lookups) => {}
                _ = stopping.wait_for(|stop| *stop) => {}
            }
        };
        tokio::join!(saver.run(stop), others).0
    }
}

/// The eldest decision of which a shipment is kept for so long; zero keeps all.
fn kept_since(retention: Duration) -> Timestamp {
    if retention.is_zero() {
        return Timestamp::MIN;
    }
    let retention = SignedDuration::try_from(retention).unwrap_or(SignedDuration::MAX);
    Timestamp::now().checked_sub(retention).unwrap_or(Timestamp::MIN)
}

/// Doubles a wait up to the longest.
fn longer(wait: Duration) -> Duration {
    (wait * 2).min(WAITS.1)
}

/// A store that does not answer at once keeps nobody waiting: what memory does not hold is asked for. For ever.
async fn ready_soon(shipments: &Shipments) {
    sleep(FIRST_CONTACT).await;
    shipments.set_ready();
    std::future::pending::<()>().await;
}

/// Takes in what other replicas save, for ever.
async fn follow(shipments: &Arc<Shipments>, mut feed: ShipmentFeed) {
    let (mut wait, mut is_failing) = (WAITS.0, false);
    loop {
        match feed.next().await {
            Ok(changed) => {
                for stored in &changed {
                    shipments.absorb(stored);
                }
                if changed.is_empty() {
                    shipments.set_ready();
                }
                if std::mem::take(&mut is_failing) {
                    info!("shipments of other replicas are followed again");
                }
                wait = WAITS.0;
            }
            Err(problem) => {
                shipments.metrics.failed("shipments");
                if !std::mem::replace(&mut is_failing, true) {
                    warn!(%problem, "shipments of other replicas are not followed; trying again");
                }
                // Containers may have got shipments that nobody tells of now.
                shipments.forget_containers();
                // What memory holds can be told all the same.
                shipments.set_ready();
                sleep(wait).await;
                wait = longer(wait);
            }
        }
    }
}

/// Answers questions, for ever; those that wait are asked together.
async fn answer(
    shipments: &Arc<Shipments>,
    mut store: ShipmentStore,
    mut logged: Option<Logged>,
    mut lookups: mpsc::Receiver<Lookup>,
) {
    while let Some(first) = lookups.recv().await {
        let mut keys = first.keys.len();
        let mut questions = vec![first];
        while keys < KEYS
            && let Ok(next) = lookups.try_recv()
        {
            keys += next.keys.len();
            questions.push(next);
        }
        let keys: Vec<Key> = questions
            .iter()
            .flat_map(|lookup| &lookup.keys)
            .copied()
            .collect();
        let (mut declarations, mut containers) = (Vec::new(), Vec::new());
        for key in &keys {
            match key {
                Key::Declaration(number) => declarations.push(number.as_str()),
                Key::Container(number) => containers.push(number.as_str()),
            }
        }
        let begun = Instant::now();
        let mut found = ask(&mut store, &declarations, &containers).await;
        // A connection that broke while nobody asked is found out by who asks next.
        if found.is_err() && begun.elapsed() < AT_ONCE {
            sleep(WAITS.0).await;
            found = ask(&mut store, &declarations, &containers).await;
        }
        if let Ok(found) = &found {
            for stored in found {
                shipments.absorb(stored);
            }
        }
        // What nobody has asked for before is in the log alone.
        let is_told = match &mut logged {
            Some(logged) if found.is_ok() => logged.tell(shipments, keys).await,
            _ => found.is_ok(),
        };
        for Lookup { keys, reply } in questions {
            if is_told {
                shipments.note_asked(&keys);
            }
            // Who asked may have gone.
            let answered = if is_told { Ok(()) } else { Err(Unreachable) };
            let _gone = reply.map(|reply| reply.send(answered));
        }
        if !is_told {
            shipments.metrics.failed("shipments");
        }
    }
}

async fn ask(
    store: &mut ShipmentStore,
    declarations: &[&str],
    containers: &[&str],
) -> Result<Vec<StoredShipment>, UpstreamError> {
    let mut found = Vec::new();
    if !declarations.is_empty() {
        found = store.declarations(declarations).await?;
    }
    if !containers.is_empty() {
        found.extend(store.containers(containers).await?);
    }
    Ok(found)
}
