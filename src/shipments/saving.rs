//! Between memory and the store that replicas share: changes are written behind, those of others are taken in, and what
//! memory does not hold is asked for.
//!
//! **At least once.** A change waits in memory until the store has it. Decisions that were given stand in the audit log
//! first: whatever a replica's end, or too long a wait, leaves unsaved is read from there again, from the place that the store
//! was last told.

use std::{collections::VecDeque, path::PathBuf, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, timeout},
};
use tracing::{info, warn};

use super::{
    held::Held,
    memory::Shipments,
    rebuild::Reading,
    record,
    view::{Key, Unreachable},
};
use crate::{
    audit::{read::ReadError, writer::Head},
    upstream::{
        UpstreamError,
        shipments::{Put, ShipmentFeed, ShipmentStore},
    },
};

/// Changes in one transaction.
const BATCH: usize = 1000;
/// Between two batches, unless the first was a full one.
const GATHER: Duration = Duration::from_millis(50);
/// A decision is in memory this long after its record was written, or the thread that gave it stands still.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks at where the log ends.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Between two tries: from here, doubling, to there.
const WAITS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// Keys that are asked for by one question to the store, about: a caller's keys stay together.
const KEYS: usize = 4096;
/// Bound on the last batch at stop.
const LAST_BATCH: Duration = Duration::from_secs(2);
/// Between two deletions of old shipments.
const TRIM_EVERY: Duration = Duration::from_hours(1);

/// A question for the store.
#[derive(Debug)]
pub struct Lookup {
    pub(super) keys: Vec<Key>,
    pub(super) reply: oneshot::Sender<Result<(), Unreachable>>,
}

/// The log that decisions stand in first.
#[derive(Debug, Clone)]
pub struct LoggedDecisions {
    /// The log's directory.
    pub directory: PathBuf,
    /// The replica's name in it.
    pub replica: String,
    /// Where it ends.
    pub head: watch::Receiver<Head>,
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
    /// `None` where nothing is logged.
    pub log: Option<LoggedDecisions>,
    /// How long the store keeps a shipment.
    pub retention: Duration,
}

impl Saving {
    /// Works until `stop` turns true, then saves what is left, as far as there is time.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let Self {
            shipments,
            store,
            asked,
            feed,
            lookups,
            log,
            retention,
        } = self;
        let saver = Saver {
            shipments: Arc::clone(&shipments),
            store,
            log,
            retention,
            heads: VecDeque::new(),
            trimmed: None,
        };
        let mut stopping = stop.clone();
        tokio::join!(saver.run(stop), async {
            tokio::select! {
                () = follow(&shipments, feed) => {}
                () = answer(&shipments, asked, lookups) => {}
                _ = stopping.wait_for(|stop| *stop) => {}
            }
        });
    }
}

/// Doubles a wait up to the longest.
fn longer(wait: Duration) -> Duration {
    (wait * 2).min(WAITS.1)
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
async fn answer(shipments: &Arc<Shipments>, mut store: ShipmentStore, mut lookups: mpsc::Receiver<Lookup>) {
    while let Some(first) = lookups.recv().await {
        let mut keys = first.keys.len();
        let mut questions = vec![first];
        while keys < KEYS
            && let Ok(next) = lookups.try_recv()
        {
            keys += next.keys.len();
            questions.push(next);
        }
        let (mut declarations, mut containers) = (Vec::new(), Vec::new());
        for key in questions.iter().flat_map(|lookup| &lookup.keys) {
            match key {
                Key::Declaration(number) => declarations.push(number.as_str()),
                Key::Container(number) => containers.push(number.as_str()),
            }
        }
        let found = ask(&mut store, &declarations, &containers).await;
        if let Ok(found) = &found {
            for stored in found {
                shipments.absorb(stored);
            }
        }
        for Lookup { keys, reply } in questions {
            let answered = match &found {
                Ok(_) => {
                    shipments.note_asked(&keys);
                    Ok(())
                }
                Err(_) => Err(Unreachable),
            };
            // Who asked may have gone.
            let _gone = reply.send(answered);
        }
        if found.is_err() {
            shipments.metrics.failed("shipments");
        }
    }
}

async fn ask(
    store: &mut ShipmentStore,
    declarations: &[&str],
    containers: &[&str],
) -> Result<Vec<crate::upstream::shipments::StoredShipment>, UpstreamError> {
    let mut found = Vec::new();
    if !declarations.is_empty() {
        found = store.declarations(declarations).await?;
    }
    if !containers.is_empty() {
        found.extend(store.containers(containers).await?);
    }
    Ok(found)
}

/// Saves changes.
#[derive(Debug)]
struct Saver {
    shipments: Arc<Shipments>,
    store: ShipmentStore,
    log: Option<LoggedDecisions>,
    retention: Duration,
    /// Where the log ended, and when that was seen: the eldest first.
    heads: VecDeque<(Instant, u64)>,
    trimmed: Option<Instant>,
}

impl Saver {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let (mut wait, mut is_failing, mut is_rebuilt) = (WAITS.0, false, false);
        while !*stop.borrow() {
            match self.step(&mut is_rebuilt).await {
                Ok(is_more) => {
                    if std::mem::take(&mut is_failing) {
                        info!("shipments are saved again");
                    }
                    wait = WAITS.0;
                    if is_more {
                        continue;
                    }
                }
                Err(problem) => {
                    self.shipments.metrics.failed("shipments");
                    if !std::mem::replace(&mut is_failing, true) {
                        warn!(%problem, "shipments are not saved; trying again");
                    }
                    wait = longer(wait);
                }
            }
            let shipments = Arc::clone(&self.shipments);
            let work = async move {
                if is_failing {
                    sleep(wait).await;
                } else {
                    // A progress that is told late is read again, at worst.
                    drop(timeout(Duration::from_secs(1), shipments.to_save.notified()).await);
                    sleep(GATHER).await;
                }
            };
            tokio::select! {
                () = work => {}
                _ = stop.changed() => {}
            }
        }
        self.shipments.take_in();
        let last = async {
            while matches!(self.save().await, Ok(true)) {}
            let is_saved = self.shipments.unsaved().shipments.is_empty();
            // Nobody decides any more: the log is in the store up to its end.
            if let (Some(log), true) = (&self.log, is_saved) {
                let head = log.head.borrow().sequence;
                let _told_late = self.store.put_progress(&log.replica, head).await;
            }
        };
        if timeout(LAST_BATCH, last).await.is_err() || !self.shipments.unsaved().shipments.is_empty() {
            warn!("shipments were not all saved in time; the next start reads them from the audit log");
        }
    }

    /// Whatever is next; gives whether there is more.
    async fn step(&mut self, is_rebuilt: &mut bool) -> Result<bool, UpstreamError> {
        let overflowed = self.shipments.unsaved().overflowed;
        if overflowed {
            while self.save().await? {}
        }
        if overflowed || !*is_rebuilt {
            self.read_log_again().await?;
            *is_rebuilt = true;
        }
        let is_more = self.save().await?;
        if !is_more {
            self.put_progress().await?;
            self.trim().await?;
        }
        Ok(is_more)
    }

    /// Saves a batch; gives whether more waits.
    async fn save(&mut self) -> Result<bool, UpstreamError> {
        let batch: Vec<Arc<Held>> = {
            let unsaved = self.shipments.unsaved();
            unsaved.shipments.values().take(BATCH).cloned().collect()
        };
        let put = |held: &Arc<Held>| {
            let inner = held.inner();
            let is_unsaved = inner.shipment.state.revision > inner.base;
            is_unsaved.then(|| Put {
                base: inner.base,
                shipment: record::stored(&inner.shipment),
            })
        };
        let puts: Vec<_> = batch.iter().map(put).collect();
        let sent: Vec<Put> = puts.iter().flatten().cloned().collect();
        let stand = if sent.is_empty() {
            Vec::new()
        } else {
            self.store.put(&sent).await?
        };
        for (held, put) in batch.iter().zip(&puts) {
            let mut inner = held.inner();
            if let Some(put) = put
                && inner.base == put.base
                && !stand
                    .iter()
                    .any(|stored| stored.declaration_number == put.shipment.declaration_number)
            {
                inner.base = put.shipment.revision;
            }
            if inner.shipment.state.revision <= inner.base {
                // While no change of it can be told.
                self.shipments.unsaved().shipments.remove(&held.number);
            }
        }
        // Another replica was first.
        for stored in &stand {
            self.shipments.absorb_conflict(stored);
        }
        Ok(batch.len() == BATCH || !stand.is_empty())
    }

    /// Tells the store up to where the log's decisions are in it.
    async fn put_progress(&mut self) -> Result<(), UpstreamError> {
        let Some(log) = &self.log else { return Ok(()) };
        let now = Instant::now();
        let head = log.head.borrow().sequence;
        let is_news = |(seen, last): &(Instant, u64)| *last != head && seen.elapsed() >= PROGRESS_EVERY;
        if self.heads.back().is_none_or(is_news) {
            self.heads.push_back((now, head));
        }
        // What is written after that may still be on its way to the memory.
        let mut saved = None;
        while let Some((seen, head)) = self.heads.front()
            && now.duration_since(*seen) > HANDED_OVER_WITHIN
        {
            saved = Some(*head);
            self.heads.pop_front();
        }
        let overflowed = self.shipments.unsaved().overflowed;
        if let (Some(saved), false) = (saved, overflowed) {
            self.store.put_progress(&log.replica, saved).await?;
        }
        Ok(())
    }

    /// Takes in what stands in the log and may not be in the store.
    async fn read_log_again(&mut self) -> Result<(), UpstreamError> {
        let Some(log) = &self.log else { return Ok(()) };
        let from = self.store.progress(&log.replica).await?.unwrap_or_default();
        self.shipments.unsaved().overflowed = false;
        let facilitation = Arc::clone(&self.shipments.facilitation);
        let mut reading = match Reading::after(&log.directory, from) {
            Ok(reading) => reading,
            Err(problem) => {
                unreadable(&problem);
                return Ok(());
            }
        };
        let mut decisions = 0;
        loop {
            let logged = match reading.next(&facilitation) {
                Ok(Some(logged)) => logged,
                Ok(None) => break,
                Err(problem) => {
                    unreadable(&problem);
                    break;
                }
            };
            decisions += self.shipments.take_logged(logged.decisions);
            for (number, inspected) in logged.inspections {
                // Where the store cannot be asked, the next start finds the record again.
                let _unreachable = self.shipments.inspect(number, inspected).await;
            }
            if self.shipments.unsaved().shipments.len() >= BATCH {
                self.save().await?;
            }
        }
        if decisions > 0 {
            info!(
                decisions,
                from, "decisions of the audit log were taken for shipments again"
            );
        }
        Ok(())
    }

    async fn trim(&mut self) -> Result<(), UpstreamError> {
        if self.retention.is_zero() || self.trimmed.is_some_and(|last| last.elapsed() < TRIM_EVERY) {
            return Ok(());
        }
        self.trimmed = Some(Instant::now());
        let retention = SignedDuration::try_from(self.retention).unwrap_or(SignedDuration::MAX);
        let before = Timestamp::now().checked_sub(retention).unwrap_or(Timestamp::MIN);
        let deleted = self.store.trim(before).await?;
        if deleted > 0 {
            info!(deleted, "old shipments were deleted from the store");
        }
        Ok(())
    }
}

fn unreadable(problem: &ReadError) {
    warn!(%problem, "the audit log could not be read for shipments");
}
