//! The audit log of a running service: how it is opened, with which records, and who writes its groups.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{bail, ensure};
use jiff::Timestamp;
use rustix::system::uname;
use tokio::{sync::watch, task::JoinSet};
use tracing::{error, warn};

use super::{
    parts::NotFlushed,
    settings::{AuditDurability, AuditFailure, Settings},
};
use crate::{
    audit::{
        archive::activation,
        index::{INDEX, SegmentIndex, notes::SegmentNotes},
        log::{AuditLog, Lane, OnFailure, record},
        query::OwnLog,
        rates::{self, RATES, RateTable},
        remembered,
        retention::Retention,
        seal::SealedSegment,
        sealer::Sealer,
        segment::{MAX_NAME, ReplicaName},
        signing::SigningKey,
        writer::WriterSettings,
    },
    facilitation::{Facilitation, REMEMBERED},
    policy::PolicyBook,
    upstream::follower::{OrderChange, OrderListener},
    wire::{
        convert,
        pb::{self, audit_record::Entry},
    },
};

/// The log's directory in the data directory, unless another is set.
const DIRECTORY: &str = "audit";
/// The signing key in the log's directory, unless another is set.
const SIGNING_KEY: &str = "signing.key";
/// Between two looks for segments that need not be kept.
const RETENTION_EVERY: Duration = Duration::from_secs(5);
/// Smallest segment, in bytes: a group of a large batch fits several times.
const MIN_SEGMENT_BYTES: u64 = 64 * 1024;

/// Where the log of these settings lies.
pub fn directory(settings: &Settings) -> PathBuf {
    if settings.audit.directory.as_os_str().is_empty() {
        settings.server.data_dir.join(DIRECTORY)
    } else {
        settings.audit.directory.clone()
    }
}

/// Where the key is that signs what this replica says.
pub fn signing_key_file(settings: &Settings) -> PathBuf {
    if settings.audit.signing_key_file.as_os_str().is_empty() {
        directory(settings).join(SIGNING_KEY)
    } else {
        settings.audit.signing_key_file.clone()
    }
}

/// The log of a service, open.
#[derive(Debug)]
pub(super) struct Proof {
    /// `None` where nothing is logged.
    pub(super) log: Option<Arc<AuditLog>>,
    /// Signs what this replica says: seals, heads and draw commitments.
    pub(super) key: Arc<SigningKey>,
    /// Whether a group waits for the disk, which no serving thread may.
    durable: bool,
    /// Lanes whose groups a thread of their own writes.
    lanes: Vec<Lane>,
    sealer: Option<Sealer>,
    directory: PathBuf,
    retention: Retention,
}

impl Proof {
    /// The log as it is searched; `None` where nothing is logged.
    pub(super) fn own_log(&self) -> Option<OwnLog> {
        let log = self.log.as_ref()?;
        Some(OwnLog {
            directory: self.directory.clone(),
            replica: log.replica().to_owned(),
            head: log.head(),
        })
    }

    /// Opens the log; `book` are the policies in force.
    pub(super) fn open(settings: &Settings, book: &PolicyBook) -> anyhow::Result<Self> {
        let audit = &settings.audit;
        let mut proof = Self {
            log: None,
            key: Arc::new(SigningKey::load_or_make(&signing_key_file(settings))?),
            durable: audit.durability == AuditDurability::Power,
            lanes: Vec::new(),
            sealer: None,
            directory: directory(settings),
            retention: Retention {
                max_age: audit.max_age.get(),
                max_bytes: audit.max_bytes,
                delete_unshipped: audit.delete_unshipped,
            },
        };
        if audit.durability == AuditDurability::Off {
            return Ok(proof);
        }
        let on_failure = match audit.on_failure {
            AuditFailure::Refuse => OnFailure::Refuse,
            AuditFailure::Serve => OnFailure::Serve,
        };
        let writer = WriterSettings {
            directory: proof.directory.clone(),
            replica: replica_name(&audit.replica),
            segment_bytes: audit.segment_bytes.max(MIN_SEGMENT_BYTES),
            sync: proof.durable,
        };
        let key = Arc::clone(&proof.key);
        let sealer = Sealer::spawn(writer.directory.clone(), key, Box::new(add_sidecars))?;
        let opened = pb::LogOpened {
            program: env!("CARGO_PKG_VERSION").to_owned(),
            public_key: proof.key.public_key().to_vec(),
            ..pb::LogOpened::default()
        };
        let log = AuditLog::open(writer, on_failure, opened, activation(book), sealer.take_full())?;
        sealer.catch_up(log.head().borrow().segment);
        (proof.log, proof.sealer) = (Some(log), Some(sealer));
        Ok(proof)
    }

    /// A lane for a serving thread, and what that thread is to run beside its calls.
    pub(super) fn lane(&mut self) -> (Lane, Lane) {
        let lane = Lane::new(self.log.clone());
        if self.durable {
            self.lanes.push(lane.clone());
            (lane, Lane::new(None))
        } else {
            (lane.clone(), lane)
        }
    }

    /// Writes the groups of the lanes that wait for the disk, and deletes what need not be kept, until `stop` turns true.
    /// `shipped_to` tells the last record that the store has taken over.
    pub(super) async fn run(
        self,
        shipped_to: watch::Receiver<u64>,
        mut stop: watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        let mut writing = JoinSet::new();
        for lane in self.lanes {
            writing.spawn(lane.run());
        }
        while !*stop.borrow() {
            let shipped_to = *shipped_to.borrow();
            if let Err(problem) = self
                .retention
                .apply(&self.directory, shipped_to, Timestamp::now())
            {
                warn!(%problem, "old audit segments could not be deleted");
            }
            ensure!(
                self.sealer.as_ref().is_none_or(Sealer::is_running),
                "the sealing thread ended by itself"
            );
            tokio::select! {
                () = tokio::time::sleep(RETENTION_EVERY) => {}
                // A sender that is gone has nobody left to serve.
                stopped = stop.wait_for(|stop| *stop) => if stopped.is_err() { break },
                Some(_) = writing.join_next() => bail!("who writes a lane ended by itself"),
            }
        }
        let closed = self.log.map_or(Ok(()), |log| log.close());
        if let Some(sealer) = self.sealer {
            sealer.end();
        }
        closed.map_err(NotFlushed::of)
    }
}

/// What is put beside a segment once it is sealed.
fn add_sidecars(sealed: &SealedSegment, notes: Option<SegmentNotes>) {
    let segment = &sealed.path;
    if segment.with_extension(INDEX).exists() && segment.with_extension(RATES).exists() {
        return;
    }
    let notes = match notes.map_or_else(|| SegmentNotes::read(segment), Ok) {
        Ok(notes) => notes,
        Err(problem) => {
            warn!(%problem, "a sealed audit segment cannot be read");
            return;
        }
    };
    // Without an index a query makes it, without counts the next start counts.
    if let Err(problem) = SegmentIndex::put(segment, &notes) {
        warn!(%problem, "an audit segment could not be indexed");
    }
    if let Err(problem) = rates::put_beside(segment, notes.counts()) {
        warn!(%problem, "the realized rates of an audit segment could not be put beside it");
    }
}

/// Puts the changes of control orders that come in force into the log, each set of them as a group.
pub(super) fn logged_orders(log: Arc<AuditLog>) -> OrderListener {
    OrderListener(Box::new(move |changes| {
        let change = |change: &OrderChange| {
            let OrderChange {
                id,
                order,
                position,
                committed_at,
                author,
            } = change.clone();
            record(Entry::OrderChange(pb::ControlOrderChange {
                id,
                order: order.as_deref().map(convert::control_order),
                registry_version: Some(pb::RegistryVersion {
                    epoch: position.epoch.to_string(),
                    sequence: position.sequence,
                }),
                committed_at: committed_at.map(convert::instant),
                author: author.unwrap_or_default(),
            }))
        };
        let records: Vec<_> = changes.iter().map(change).collect();
        if let Err(problem) = log.append(&records) {
            error!(%problem, orders = records.len(), "the audit log does not tell of changed control orders");
        }
    }))
}

/// Takes up what earlier runs knew from the log, before anything is decided: draws that declarations keep, and realized rates.
pub(super) fn take_up(settings: &Settings, facilitation: &Facilitation, rates: &RateTable) {
    let directory = directory(settings);
    let remember = |number, first| facilitation.draws().remember(&number, first);
    if let Err(problem) = remembered::draws(&directory, REMEMBERED, remember) {
        error!(%problem, "the draws of earlier decisions are not remembered");
    }
    if let Err(problem) = rates.add_log(&directory) {
        error!(%problem, "realized rates begin without what the audit log holds");
    }
}

/// The name that a replica without a log goes by.
pub(super) fn name_without_log(settings: &Settings) -> String {
    replica_name(&settings.audit.replica).to_string()
}

/// The name that a new log gets: the given one or the machine's, and a part that no other volume has.
fn replica_name(given: &str) -> ReplicaName {
    const RANDOM: usize = 9;
    let machine = uname();
    let name = if given.is_empty() {
        machine.nodename().to_str().unwrap_or("replica")
    } else {
        given
    };
    let mut own = ReplicaName::new();
    for character in name
        .chars()
        .filter(char::is_ascii_graphic)
        .take(MAX_NAME - RANDOM)
    {
        own.push(character);
    }
    own.push('-');
    own.push_str(&hex::encode(rand::random::<[u8; 4]>()));
    own
}
