//! Everything that the store holds, at one sequence.

use std::{sync::Arc, time::Duration};

use rand::RngExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::{Client, SimpleQueryRow};
use tracing::info;

use super::{
    super::{Asked, Mark, Snapshot, UpstreamError},
    Settings,
    connect::Address,
    copy,
    poll::{LOG_ROW, log_entry, number},
    schema::rows,
    within,
};
use crate::{
    background,
    registry::{
        Generation, Position, StoreDigest,
        row::{Change, Entity},
    },
};

/// Snapshots of a database that may be under way at once, over all replicas: a fleet that starts cold takes its turns.
const SLOTS: usize = 4;
/// The class of the advisory locks that stand for the slots: "grln".
const SLOT_CLASS: i32 = 0x6772_6c6e;
/// Between two tries to get a slot, at first and at last; each is jittered.
const SLOT_WAIT: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// Steps of rows that wait to be taken: memory stays flat when they are taken more slowly than they come.
const STEPS_AHEAD: usize = 4;

/// Where a transaction that reads everything stands.
struct Head {
    position: Position,
    mark: Mark,
    /// About how many enterprises there are.
    enterprises: usize,
    asked: Asked,
}

/// Reads everything into a new generation.
pub(super) async fn snapshot(client: &Client, bound: Duration) -> Result<Snapshot, UpstreamError> {
    let head = begin(client, bound).await?;
    let generation = Generation::new(&head.position.epoch, head.enterprises);
    let load = |generation: &mut Generation, changes: &[Change]| generation.load(changes);
    let generation = read_everything(client, bound, generation, load).await?;
    generation.finish_load(head.position.sequence, head.mark);
    Ok(Snapshot {
        generation: Arc::new(generation),
        confirmed: Some(head.asked),
    })
}

/// The digest of everything that the store holds; `begun` is told the position at which it is taken.
pub async fn store_digest(
    settings: &Settings,
    begun: oneshot::Sender<Position>,
) -> Result<String, UpstreamError> {
    let session = Address::read(settings)?.session(settings).await?;
    let head = begin(&session.client, settings.timeout).await?;
    // Nobody may wait for the position any more; the digest is asked for all the same.
    drop(begun.send(head.position));
    let add = |digest: &mut StoreDigest, changes: &[Change]| {
        for change in changes {
            digest.add(change);
            background::give_way();
        }
    };
    let digest = read_everything(&session.client, settings.timeout, StoreDigest::default(), add).await?;
    Ok(digest.hex())
}

/// Begins a transaction that sees one commit, once there is a slot for it.
async fn begin(client: &Client, bound: Duration) -> Result<Head, UpstreamError> {
    let [mut wait, longest] = SLOT_WAIT;
    let mut waited = false;
    loop {
        let asked = Asked::now();
        if within(bound, "beginning a snapshot", take_slot(client)).await? {
            return within(bound, "asking for the head", head(client, asked)).await;
        }
        if !waited {
            info!("other replicas take their snapshots of the database: waiting for a turn");
            waited = true;
        }
        within(bound, "ending a transaction", client.batch_execute("ROLLBACK")).await?;
        let jittered = wait.mul_f64(rand::rng().random_range(0.5..1.5));
        tokio::time::sleep(jittered).await;
        wait = longest.min(wait * 2);
    }
}

/// Begins the transaction and tries to get a slot, which ends with it. A replica that vanished holds its slot no longer
/// than the server's own bounds allow.
async fn take_slot(client: &Client) -> Result<bool, UpstreamError> {
    let first = rand::rng().random_range(0..SLOTS);
    let slots: Vec<_> = (0..SLOTS)
        .map(|next| format!("({})", (first + next) % SLOTS))
        .collect();
    let sql = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
         SET LOCAL datestyle = 'ISO, YMD';
         SET LOCAL timezone = 'UTC';
         SET LOCAL statement_timeout = 0;
         SET LOCAL idle_in_transaction_session_timeout = '60s';
         SET LOCAL tcp_user_timeout = '30s';
         SELECT slot FROM (VALUES {}) AS slots(slot) WHERE pg_try_advisory_xact_lock({SLOT_CLASS}, slot) LIMIT 1",
        slots.join(", ")
    );
    Ok(!rows(client.simple_query(&sql).await?).is_empty())
}

async fn head(client: &Client, asked: Asked) -> Result<Head, UpstreamError> {
    // As the planner estimates: the density when last analyzed, over the pages of now.
    let sql = format!(
        "SELECT epoch, sequence,
                (SELECT ceil(CASE WHEN reltuples > 0 AND relpages > 0 THEN reltuples / relpages ELSE 64 END
                             * pg_relation_size(oid) / current_setting('block_size')::int)::bigint
                   FROM pg_class WHERE oid = to_regclass('enterprise'))
           FROM registry_meta;
         SELECT {LOG_ROW} FROM change_log WHERE sequence = (SELECT sequence FROM registry_meta)"
    );
    let found = rows(client.simple_query(&sql).await?);
    let Some((meta, log)) = found.split_first() else {
        return Err(UpstreamError::Corrupt("registry_meta has no row".to_owned()));
    };
    let mark = log.first().map(log_entry).transpose()?;
    Ok(Head {
        position: Position {
            epoch: text(meta, 0)?.into(),
            sequence: number(meta, 1)?,
        },
        mark: mark.map(|entry| [entry.fingerprint(), 0]),
        enterprises: number(meta, 2)?,
        asked,
    })
}

fn text(row: &SimpleQueryRow, index: usize) -> Result<&str, UpstreamError> {
    row.get(index)
        .ok_or_else(|| UpstreamError::Corrupt(format!("registry_meta: column {index} is NULL")))
}

/// Reads every row into what takes them, on a thread beside this one, and ends the transaction.
async fn read_everything<T: Send + 'static>(
    client: &Client,
    bound: Duration,
    mut taker: T,
    take: fn(&mut T, &[Change]),
) -> Result<T, UpstreamError> {
    let (steps, mut waiting) = mpsc::channel::<Vec<Change>>(STEPS_AHEAD);
    let taking = tokio::task::spawn_blocking(background::helping(move || {
        while let Some(changes) = waiting.blocking_recv() {
            take(&mut taker, &changes);
        }
        taker
    }));
    for entity in Entity::ALL {
        copy::read_table(client, entity, bound, &steps).await?;
    }
    drop(steps);
    let taker = taking.await;
    let taker = taker.map_err(|error| UpstreamError::Unavailable(error.to_string()))?;
    within(bound, "ending a transaction", client.batch_execute("COMMIT")).await?;
    Ok(taker)
}
