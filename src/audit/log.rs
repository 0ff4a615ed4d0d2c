//! The log as the service sees it: lanes that gather records into groups, and groups that are written before answers leave.
//!
//! A serving thread has a lane. The first record of a group wakes the lane's task, which runs once the calls that are ready
//! on that thread have put theirs: no other thread is asked, and a write is shared by all that wait for it.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::SystemTime,
};

use jiff::Timestamp;
use prost::Message as _;
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tracing::{error, info};

use super::{
    group::NewGroup,
    index::notes::Notes,
    writer::{Head, TakeFull, WriteError, Writer, WriterSettings},
};
use crate::wire::{convert, pb};

/// The decision was not logged, so it may not be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the audit log cannot be written")]
pub struct NotLogged;

/// What happens to decisions while the log cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// They are not given.
    Refuse,
    /// They are given; how many is logged once it can be written again.
    Serve,
}

/// What a log does not hold at its end.
#[derive(Debug, Error)]
pub enum CloseError {
    /// Decisions were given that it does not tell of.
    #[error("the audit log does not tell that {decisions} decisions were given without a record: {problem}")]
    Unlogged {
        /// How many.
        decisions: u64,
        /// Why it could not be told.
        problem: WriteError,
    },
    /// The last group could not be written; its decisions were refused.
    #[error("the audit log could not be written at last: what came since was refused")]
    Failing,
    /// The disk does not have all of it.
    #[error("the audit log could not be given to the disk: {0}")]
    Disk(#[from] WriteError),
}

/// The log of this replica.
#[derive(Debug)]
pub struct AuditLog {
    on_failure: OnFailure,
    opened: pb::LogOpened,
    state: Mutex<State>,
    head: watch::Sender<Head>,
}

#[derive(Debug)]
struct State {
    writer: Writer,
    /// Decisions given without a record, and when the first and the last of them were.
    unlogged: Option<Unlogged>,
    failing: bool,
}

#[derive(Debug, Clone, Copy)]
struct Unlogged {
    decisions: u64,
    from: Timestamp,
    to: Timestamp,
}

impl AuditLog {
    /// Opens the log. This run and every segment begin with `opened`, to which the replica's name is added, and with the
    /// policies in force.
    pub fn open(
        settings: WriterSettings,
        on_failure: OnFailure,
        opened: pb::LogOpened,
        activation: pb::PolicyActivation,
        take_full: TakeFull,
    ) -> Result<Arc<Self>, WriteError> {
        let mut writer = Writer::open(settings, take_full)?;
        let opened = pb::LogOpened {
            replica: writer.replica().to_owned(),
            ..opened
        };
        let opening = opening(&opened, activation);
        writer.set_opening(opening.iter().map(pb::AuditRecord::encode_to_vec).collect());
        let log = Self {
            on_failure,
            opened,
            head: watch::Sender::new(writer.head()),
            state: Mutex::new(State {
                writer,
                unlogged: None,
                failing: false,
            }),
        };
        if log.head.borrow().sequence > 0 {
            log.append(&opening)?;
        }
        Ok(Arc::new(log))
    }

    /// The replica's name in the log.
    pub fn replica(&self) -> &str {
        &self.opened.replica
    }

    /// Where the log ends, whenever it has grown.
    pub fn head(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }

    /// Appends records as a group of their own, now. Gives the sequence of the first.
    pub fn append(&self, records: &[pb::AuditRecord]) -> Result<u64, WriteError> {
        self.write(&mut self.state(), &mut group_of(records))
    }

    /// Tells that policies come in force; segments begin with them from now on. To be called before they decide anything.
    pub fn activate(&self, activation: pb::PolicyActivation) -> Result<u64, WriteError> {
        let [opened, activation] = opening(&self.opened, activation);
        let mut group = group_of(std::slice::from_ref(&activation));
        let mut state = self.state();
        let first = self.write(&mut state, &mut group)?;
        let records = [opened, activation]
            .iter()
            .map(pb::AuditRecord::encode_to_vec)
            .collect();
        state.writer.set_opening(records);
        Ok(first)
    }

    /// Whether the last attempt to write failed.
    pub fn is_failing(&self) -> bool {
        self.state().failing
    }

    /// Writes what is still to be told, and makes the disk have everything: the last thing that is done with a log.
    pub fn close(&self) -> Result<(), CloseError> {
        let mut state = self.state();
        let told = self.write_unlogged(&mut state);
        let synced = state.writer.sync();
        if let (Some(unlogged), Err(problem)) = (state.unlogged, told) {
            let decisions = unlogged.decisions;
            return Err(CloseError::Unlogged { decisions, problem });
        }
        if state.failing {
            return Err(CloseError::Failing);
        }
        Ok(synced?)
    }

    /// Writes the group of a lane, or says what is to become of its decisions.
    fn write_lane(&self, group: &mut NewGroup) -> Result<(), NotLogged> {
        let mut state = self.state();
        let written = self
            .write_unlogged(&mut state)
            .and_then(|()| self.write(&mut state, group));
        match (written, self.on_failure) {
            (Ok(_), _) => Ok(()),
            (Err(_), OnFailure::Refuse) => Err(NotLogged),
            (Err(_), OnFailure::Serve) => {
                let now = Timestamp::now();
                let unlogged = state.unlogged.get_or_insert(Unlogged {
                    decisions: 0,
                    from: now,
                    to: now,
                });
                unlogged.decisions += group.len() as u64;
                unlogged.to = now;
                Ok(())
            }
        }
    }

    /// Tells of decisions that were given while nothing could be written.
    fn write_unlogged(&self, state: &mut State) -> Result<(), WriteError> {
        let Some(unlogged) = state.unlogged else {
            return Ok(());
        };
        let entry = pb::audit_record::Entry::Unlogged(pb::UnloggedDecisions {
            decisions: unlogged.decisions,
            from: Some(convert::instant(unlogged.from)),
            to: Some(convert::instant(unlogged.to)),
        });
        self.write(state, &mut group_of(&[record(entry)]))?;
        state.unlogged = None;
        Ok(())
    }

    fn write(&self, state: &mut State, group: &mut NewGroup) -> Result<u64, WriteError> {
        match state.writer.append(group, nanoseconds_now()) {
            Ok(first) => {
                if std::mem::take(&mut state.failing) {
                    info!("the audit log is written again");
                }
                self.head.send_replace(state.writer.head());
                Ok(first)
            }
            Err(problem) => {
                if !std::mem::replace(&mut state.failing, true) {
                    error!(%problem, "the audit log cannot be written");
                }
                Err(problem)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; were it so, the writer would still cut what it had not finished.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn opening(opened: &pb::LogOpened, activation: pb::PolicyActivation) -> [pb::AuditRecord; 2] {
    use pb::audit_record::Entry;
    [
        record(Entry::Opened(opened.clone())),
        record(Entry::Activation(activation)),
    ]
}

/// A record of now.
pub fn record(entry: pb::audit_record::Entry) -> pb::AuditRecord {
    pb::AuditRecord {
        recorded_at: Some(convert::instant(Timestamp::now())),
        entry: Some(entry),
    }
}

fn group_of(records: &[pb::AuditRecord]) -> NewGroup {
    NewGroup::of(records.iter().map(pb::AuditRecord::encode_to_vec))
}

fn nanoseconds_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// The way into the log of one serving thread. Without a log, everything is as good as logged.
#[derive(Debug, Clone)]
pub struct Lane(Option<Arc<LaneState>>);

#[derive(Debug)]
struct LaneState {
    log: Arc<AuditLog>,
    gathered: Mutex<Gathered>,
    begun: Notify,
}

/// Records that are not written yet.
#[derive(Debug, Default)]
struct Gathered {
    group: NewGroup,
    waiting: Arc<Waiting>,
}

/// Who waits for a group.
#[derive(Debug, Default)]
struct Waiting(Mutex<Written>);

#[derive(Debug)]
enum Written {
    NotYet(Vec<Waker>),
    Done(Result<(), NotLogged>),
}

impl Default for Written {
    fn default() -> Self {
        Self::NotYet(Vec::new())
    }
}

impl Waiting {
    fn written(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Completes when the group with a record is written.
#[derive(Debug)]
#[must_use = "the answer may leave only when the record is written"]
pub struct Appended(Option<Arc<Waiting>>);

impl Lane {
    /// A lane into a log; one that keeps nothing where there is none.
    pub fn new(log: Option<Arc<AuditLog>>) -> Self {
        Self(log.map(|log| {
            Arc::new(LaneState {
                log,
                gathered: Mutex::default(),
                begun: Notify::new(),
            })
        }))
    }

    /// Puts a record, whose bytes `write` appends, into the group that is being gathered.
    pub fn append(&self, write: impl FnOnce(&mut Vec<u8>)) -> Appended {
        self.put(|group| group.push(write))
    }

    /// The same of a record that need not be read for its segment's index: `note` notes what is in it.
    pub fn append_noted(&self, write: impl FnOnce(&mut Vec<u8>), note: impl FnOnce(&mut Notes)) -> Appended {
        self.put(|group| group.push_noted(write, note))
    }

    fn put(&self, push: impl FnOnce(&mut NewGroup)) -> Appended {
        let Some(lane) = &self.0 else {
            return Appended(None);
        };
        let mut gathered = lane.gathered();
        if gathered.group.is_empty() {
            lane.begun.notify_one();
        }
        push(&mut gathered.group);
        Appended(Some(Arc::clone(&gathered.waiting)))
    }

    /// Writes groups as they are gathered, for ever. Runs on the thread whose lane it is, or on one that may wait for a disk.
    pub async fn run(self) {
        let Some(lane) = self.0 else {
            return std::future::pending().await;
        };
        let mut spare = Gathered::default();
        loop {
            lane.begun.notified().await;
            std::mem::swap(&mut *lane.gathered(), &mut spare);
            if spare.group.is_empty() {
                continue;
            }
            let written = lane.log.write_lane(&mut spare.group);
            spare.group.clear();
            let waiting = std::mem::take(&mut spare.waiting);
            let before = std::mem::replace(&mut *waiting.written(), Written::Done(written));
            if let Written::NotYet(wakers) = before {
                wakers.into_iter().for_each(Waker::wake);
            }
        }
    }
}

impl LaneState {
    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Future for Appended {
    type Output = Result<(), NotLogged>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(waiting) = &self.0 else {
            return Poll::Ready(Ok(()));
        };
        match &mut *waiting.written() {
            Written::Done(written) => Poll::Ready(*written),
            Written::NotYet(wakers) => {
                wakers.push(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests;
