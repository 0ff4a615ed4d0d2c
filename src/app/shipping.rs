//! The audit log on its way to the store, and whoever asks what is in either.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    audit::{Proof, directory},
    feed::source_settings,
    settings::Settings,
};
use crate::{
    audit::{
        head::SignedHead, log::AuditLog, query::Decisions, ship::Shipper, signing::SigningKey, writer::Head,
    },
    metrics::Metrics,
    upstream::archive::{Archive, ArchiveReader, SignedText},
};

/// What is made of a log and a store.
#[derive(Debug)]
pub(super) struct Shipping {
    /// Ships the log; `None` where nothing is logged.
    pub(super) shipper: Option<Shipper>,
    /// Looks decisions up.
    pub(super) decisions: Decisions,
    /// The last record that the store has taken over; 0 for none.
    pub(super) shipped_to: watch::Receiver<u64>,
}

impl Shipping {
    /// Connects to nothing yet.
    pub(super) fn new(settings: &Settings, proof: &Proof, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let store = source_settings(settings);
        let log = proof.log.as_ref();
        let told = watch::Sender::new(0);
        let archive = ArchiveReader::open(&store)?;
        let shipped_to = told.subscribe();
        let decisions = Decisions::new(proof.own_log(), archive, told.subscribe());
        let shipper = match log {
            None => None,
            Some(log) => {
                let key = Arc::clone(&proof.key);
                Some(shipper(settings, log, key, metrics, told, Archive::open(&store)?))
            }
        };
        Ok(Self {
            shipper,
            decisions,
            shipped_to,
        })
    }
}

fn shipper(
    settings: &Settings,
    log: &Arc<AuditLog>,
    key: Arc<SigningKey>,
    metrics: &Arc<Metrics>,
    shipped_to: watch::Sender<u64>,
    archive: Archive,
) -> Shipper {
    let replica = log.replica().to_owned();
    Shipper {
        archive,
        groups: settings.audit.ship,
        directory: directory(settings),
        public_key: key.public_pem(),
        sign: {
            let replica = replica.clone();
            Box::new(move |head| signed(&replica, head, &key))
        },
        replica,
        head: log.head(),
        head_interval: settings.audit.head_interval.get(),
        shipped_to,
        metrics: Arc::clone(metrics),
    }
}

fn signed(replica: &str, head: &Head, key: &SigningKey) -> SignedText {
    let now = Timestamp::now();
    let signed = SignedHead {
        replica: replica.to_owned(),
        sequence: head.sequence,
        chain: head.chain,
        at: Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now),
        public_key: key.public_key(),
    };
    let (text, signature) = signed.sign(key);
    SignedText {
        sequence: head.sequence,
        text,
        signature: signature.to_vec(),
    }
}
