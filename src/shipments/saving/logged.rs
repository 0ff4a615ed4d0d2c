//! The audit log as the place where decisions are that nobody has asked for yet.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::error;

use super::kept_since;
use crate::{
    audit::{
        index,
        query::{LoggedShipments, OwnLog},
    },
    shipments::{memory::Shipments, rebuild::LogEntry, view::Key},
};

/// An answer that took longer does not count: what was asked for may have been forgotten meanwhile.
const LONGEST: Duration = Duration::from_secs(30);

/// Tells what the log holds.
#[derive(Debug)]
pub(super) struct Logged {
    /// `None` while a question is under way, and once one has panicked.
    log: Option<LoggedShipments>,
    retention: Duration,
    is_failing: bool,
}

impl Logged {
    /// That log, as far as shipments are kept: zero, for ever.
    pub(super) fn new(log: OwnLog, retention: Duration) -> Self {
        Self {
            log: Some(LoggedShipments::new(log)),
            retention,
            is_failing: false,
        }
    }

    /// Has the memory take in what the log tells of these keys; `false` where it cannot be asked.
    pub(super) async fn tell(&mut self, shipments: &Arc<Shipments>, keys: Vec<Key>) -> bool {
        let begun = Instant::now();
        let Some(mut log) = self.log.take() else {
            return false;
        };
        let unseen = shipments.asked.as_ref().map(|asked| asked.to_see(&keys));
        let since = kept_since(self.retention);
        let memory = Arc::clone(shipments);
        let asked = tokio::task::spawn_blocking(move || {
            let sought: Vec<_> = keys.iter().map(sought).collect();
            let records = log.find(&sought, since);
            let told = records.map(|records| {
                let read = |record| LogEntry::read(&memory.facilitation, record);
                memory.recall(records.iter().filter_map(|record| read(record)));
            });
            (log, told)
        });
        let Ok((log, told)) = asked.await else {
            return false;
        };
        self.log = Some(log);
        let was_failing = std::mem::replace(&mut self.is_failing, told.is_err());
        if let Err(problem) = &told
            && !was_failing
        {
            error!(%problem, "the audit log cannot be asked for shipments");
        }
        let is_told = told.is_ok() && begun.elapsed() < LONGEST;
        if is_told && let (Some(asked), Some(unseen)) = (&shipments.asked, unseen) {
            asked.seen(&unseen);
        }
        is_told
    }
}

fn sought(key: &Key) -> index::Key<'_> {
    match key {
        Key::Declaration(number) => index::Key::Declaration(number.as_str()),
        Key::Container(number) => index::Key::Container(number.as_str()),
    }
}
