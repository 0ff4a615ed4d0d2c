//! Writes changes behind, and reads from the audit log what was left unsaved.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use foldhash::HashSet;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::{info, warn};

use super::{Unsaved, WAITS, kept_since, longer};
use crate::{
    audit::{query::OwnLog, read::ReadError},
    shipments::{
        held::{Held, Inner},
        memory::Shipments,
        rebuild::Reading,
        record,
    },
    upstream::{
        UpstreamError,
        shipments::{Put, ShipmentStore},
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
/// How long what is on its way to the store may take at stop.
const LAST_STEP: Duration = Duration::from_secs(1);
/// How long the store may take for a batch at stop; as long as it takes them, `drain.flush` is the bound.
const LAST_BATCH: Duration = Duration::from_secs(2);
/// Between two deletions of old shipments.
const TRIM_EVERY: Duration = Duration::from_hours(1);

/// Saves changes.
#[derive(Debug)]
pub(super) struct Saver {
    shipments: Arc<Shipments>,
    store: ShipmentStore,
    /// What is read again.
    log: Option<OwnLog>,
    retention: Duration,
    /// Where the log ended, and when that was seen: the eldest first.
    heads: VecDeque<(Instant, u64)>,
    trimmed: Option<Instant>,
}

impl Saver {
    /// Saves those shipments there. `log` holds their decisions; `retention` is how long the store keeps one.
    pub(super) fn new(
        shipments: Arc<Shipments>,
        store: ShipmentStore,
        log: Option<OwnLog>,
        retention: Duration,
    ) -> Self {
        Self {
            shipments,
            store,
            log,
            retention,
            heads: VecDeque::new(),
            trimmed: None,
        }
    }

    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), Unsaved> {
        let (mut wait, mut is_failing, mut is_rebuilt) = (WAITS.0, false, false);
        while !*stop.borrow() {
            let mut stopping = stop.clone();
            let overdue = async {
                // A sender that is gone stops too.
                drop(stopping.wait_for(|stop| *stop).await);
                sleep(LAST_STEP).await;
            };
            let stepped = tokio::select! {
                stepped = self.step(&mut is_rebuilt) => stepped,
                // The store is silent: what is on its way is sent again.
                () = overdue => break,
            };
            match stepped {
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
                    drop(timeout(PROGRESS_EVERY, shipments.to_save.notified()).await);
                    sleep(GATHER).await;
                }
            };
            tokio::select! {
                () = work => {}
                _ = stop.changed() => {}
            }
        }
        self.shipments.take_in();
        let mut is_failing = false;
        let mut by = Instant::now() + LAST_BATCH;
        // What changes or fails meanwhile is sent again, for as long as the store takes something.
        while !self.shipments.unsaved().shipments.is_empty() {
            match timeout_at(by, self.save()).await {
                Ok(Ok(_)) => by = Instant::now() + LAST_BATCH,
                Ok(Err(problem)) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        warn!(%problem, "shipments are not saved at stop; trying again");
                    }
                    if Instant::now() >= by {
                        break;
                    }
                    sleep(WAITS.0).await;
                }
                Err(_) => break,
            }
        }
        let is_saved = self.shipments.unsaved().is_empty();
        // Nobody decides any more: the log is in the store up to its end.
        if let (Some(log), true) = (&self.log, is_saved) {
            let head = log.head.borrow().sequence;
            let _told_late = timeout_at(by, self.store.put_progress(&log.replica, head)).await;
        }
        let unsaved = self.shipments.unsaved();
        if unsaved.is_empty() {
            return Ok(());
        }
        Err(Unsaved {
            shipments: unsaved.shipments.len(),
            elsewhere: match (&self.log, &self.shipments.asked) {
                (None, Some(_)) => "their decisions are in the audit log",
                (Some(_), _) => "the next start reads them from the audit log",
                (None, None) => "they are in no log either",
            },
        })
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
        let is_full = batch.len() == BATCH;
        let (mut sent, mut puts) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for held in batch {
            let inner = held.inner();
            if !self.is_saved(&held, &inner) {
                puts.push(Put {
                    base: inner.base,
                    shipment: record::stored(&inner.shipment),
                });
                drop(inner);
                sent.push(held);
            }
        }
        let stand = if puts.is_empty() {
            Vec::new()
        } else {
            self.store.put(&puts).await?
        };
        let refused: HashSet<_> = stand.iter().map(|stored| &stored.declaration_number).collect();
        for (held, put) in sent.iter().zip(&puts) {
            let mut inner = held.inner();
            if inner.base == put.base && !refused.contains(&put.shipment.declaration_number) {
                inner.base = put.shipment.revision;
            }
            self.is_saved(held, &inner);
        }
        // Another replica was first.
        for stored in &stand {
            self.shipments.absorb_conflict(stored);
        }
        Ok(is_full || !stand.is_empty())
    }

    /// Whether the store has a shipment as it is; then it does not wait any more.
    fn is_saved(&self, held: &Held, inner: &Inner) -> bool {
        let is_saved = inner.shipment.state.revision <= inner.base;
        if is_saved {
            // No change of it can be told meanwhile.
            self.shipments.unsaved().shipments.remove(&held.number);
        }
        is_saved
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
        let Some(log) = &self.log else {
            if self.shipments.asked.is_some() {
                // The log is asked for each.
                self.shipments.unsaved().overflowed = false;
            }
            return Ok(());
        };
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
        let deleted = self.store.trim(kept_since(self.retention)).await?;
        if deleted > 0 {
            info!(deleted, "old shipments were deleted from the store");
        }
        Ok(())
    }
}

fn unreadable(problem: &ReadError) {
    warn!(%problem, "the audit log could not be read for shipments");
}
