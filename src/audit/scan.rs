//! Every decision of a log, read by one thread and worked on by all the others.

use std::{
    num::NonZero,
    sync::{Mutex, PoisonError, RwLock, mpsc},
    thread,
};

use bytes::Bytes;
use jiff::Timestamp;

use super::{
    archive::PolicyArchive,
    read::{Group, ReadError},
};
use crate::wire::record::{ACTIVATION, DECISION, LoggedDecision, entry_of};

/// Which decisions are meant; what is not set selects all.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Decided at or after this instant.
    pub from: Option<Timestamp>,
    /// Decided before this instant.
    pub to: Option<Timestamp>,
    /// Of this identifier.
    pub decision_id: Option<String>,
}

impl Selection {
    /// Whether a decision is meant.
    pub fn has(&self, logged: &LoggedDecision<'_>) -> bool {
        let decided_at = logged.facts.decided_at;
        self.from.is_none_or(|from| from <= decided_at)
            && self.to.is_none_or(|to| decided_at < to)
            && self
                .decision_id
                .as_ref()
                .is_none_or(|id| *id == logged.given.decision_id)
    }
}

/// Payload that is handed to a worker at once, in bytes: enough that handing over costs nothing.
const BATCH: usize = 1 << 18;

/// Visits the decisions of groups that come in the order of the log: `visit` gets the sequence and the encoded
/// `DecisionEntry`. Activations go into the archive before any decision behind them is visited. Each of the machine's cores
/// has a worker, begun with `start`; what the workers made of it is given back. `read` is told the bytes of every group.
///
/// # Errors
/// The first one that the groups give.
pub fn decisions<W: Send>(
    groups: impl Iterator<Item = Result<Group, ReadError>>,
    archive: &RwLock<PolicyArchive>,
    mut read: impl FnMut(u64),
    start: impl Fn() -> W + Sync,
    visit: impl Fn(&mut W, u64, &[u8]) + Sync,
) -> Result<Vec<W>, ReadError> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let (send, receive) = mpsc::sync_channel::<Vec<(u64, Bytes)>>(2 * workers);
    let receive = Mutex::new(receive);
    let next = || {
        let receive = receive.lock().unwrap_or_else(PoisonError::into_inner);
        receive.recv().ok()
    };
    let work = || {
        let mut worker = start();
        while let Some(batch) = next() {
            for (sequence, record) in batch {
                // What is no record is `verify`'s to tell.
                if let Ok(Some((DECISION, entry))) = entry_of(&record) {
                    visit(&mut worker, sequence, entry);
                }
            }
        }
        worker
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut batch = Vec::new();
        let mut size = 0;
        for group in groups {
            let group = match group {
                Ok(group) => group,
                Err(error) => {
                    drop(send);
                    return Err(error);
                }
            };
            for (sequence, record) in group.records() {
                let Some(record) = record else { continue };
                if let Ok(Some((ACTIVATION, _))) = entry_of(record) {
                    let mut archive = archive.write().unwrap_or_else(PoisonError::into_inner);
                    archive.admit_record(record);
                }
                batch.push((sequence, group.kept(record)));
            }
            size += group.payload.len();
            read(group.payload.len() as u64);
            if size >= BATCH {
                size = 0;
                // Workers end only when this does.
                if send.send(std::mem::take(&mut batch)).is_err() {
                    break;
                }
            }
        }
        drop(send.send(batch));
        drop(send);
        let ended = workers.into_iter().map(thread::ScopedJoinHandle::join);
        Ok(ended
            .map(|worker| worker.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect())
    })
}
