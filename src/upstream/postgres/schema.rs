//! The schema: made and updated by `greenlane migrate`, and asked for by everybody else.

use std::time::Duration;

use tokio_postgres::{
    Client, SimpleQueryMessage, SimpleQueryRow,
    types::{ToSql, Type},
};

use super::{super::UpstreamError, Settings, connect::Address, within};
use crate::domain::recognition::{ShippedArrangement, shipped_arrangements};

const TABLES: &str = include_str!("tables.sql");
const AUDIT: &str = include_str!("audit.sql");
const SHIPMENTS: &str = include_str!("shipments.sql");
const TRIGGERS: &str = include_str!("triggers.sql");

/// The schema of this release; a comment on `registry_meta` tells which one a store has.
const VERSION: u32 = 3;
const COMMENT: &str = "greenlane schema ";
/// `CREATE OR REPLACE TRIGGER` came with it.
const OLDEST_SERVER: u32 = 140_000;
/// Bound on a migration: it waits for writers, and makes indexes.
const MIGRATION: Duration = Duration::from_mins(5);
/// Bound on a trim: the first one after a bulk load deletes millions of rows.
const TRIM: Duration = Duration::from_mins(15);

/// What a migration did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// The database's schema (namespace) that holds the store.
    pub namespace: String,
    /// The version it had; `None` where there was none.
    pub from: Option<u32>,
    /// The version it has.
    pub to: u32,
    /// The store's identity.
    pub epoch: String,
}

/// Makes the store's schema, or brings it up to date; what is there already stays. All of it or nothing.
pub async fn migrate(settings: &Settings) -> Result<Migrated, UpstreamError> {
    let session = Address::read(settings)?.any_session(settings).await?;
    within(MIGRATION, "migrating", migrate_on(&session.client)).await
}

async fn migrate_on(client: &Client) -> Result<Migrated, UpstreamError> {
    // A migration behind a writer that does not end would hold up every other writer.
    let asked = "BEGIN;
         SET LOCAL lock_timeout = '10s';
         SELECT pg_advisory_xact_lock(hashtextextended('greenlane migrate', 0));
         SELECT current_setting('server_version_num'), current_setting('server_encoding'), current_schema(),
                quote_ident(current_schema()), to_regclass('mutual_recognition')";
    let rows = rows(client.simple_query(asked).await?);
    let [.., about] = &rows[..] else {
        return Err(UpstreamError::Unavailable(
            "the database says nothing of itself".to_owned(),
        ));
    };
    let version: u32 = about
        .get(0)
        .and_then(|text| text.parse().ok())
        .unwrap_or_default();
    if version < OLDEST_SERVER {
        return Err(UpstreamError::Unsupported(format!(
            "the server is PostgreSQL {}: 14 or later is needed",
            version / 10_000
        )));
    }
    // Texts that are no Unicode would not come back as they were written.
    if about.get(1) != Some("UTF8") {
        let encoding = about.get(1).unwrap_or_default();
        return Err(UpstreamError::Unsupported(format!(
            "the database's encoding is {encoding}: UTF8 is needed"
        )));
    }
    let (Some(namespace), Some(quoted)) = (about.get(2), about.get(3)) else {
        return Err(UpstreamError::Unsupported(
            "no schema of the search_path exists: create one, or name it in the URL (options=-csearch_path%3D...)"
                .to_owned(),
        ));
    };
    let from = version_of(client).await?;
    let seeded = about.get(4).is_some();

    // The triggers' functions keep this path: no writer's own objects come before ours.
    client
        .batch_execute(&format!(
            "SET LOCAL search_path = {quoted}, pg_temp; SET LOCAL client_min_messages = warning;
             {TABLES} {AUDIT} {SHIPMENTS}"
        ))
        .await?;
    if !seeded {
        // Before the triggers exist: what a store is born with is no change.
        seed(client).await?;
    }
    client.batch_execute(TRIGGERS).await?;
    let ended = format!(
        "COMMENT ON TABLE registry_meta IS '{COMMENT}{VERSION}'; SELECT epoch FROM registry_meta; COMMIT"
    );
    let epoch = self::rows(client.simple_query(&ended).await?);
    let epoch = epoch.first().and_then(|row| row.get(0)).unwrap_or_default();
    Ok(Migrated {
        namespace: namespace.to_owned(),
        from,
        to: VERSION,
        epoch: epoch.to_owned(),
    })
}

async fn seed(client: &Client) -> Result<(), UpstreamError> {
    let shipped = shipped_arrangements().map_err(|error| UpstreamError::Corrupt(error.to_string()))?;
    let column = |of: fn(&ShippedArrangement) -> &str| shipped.iter().map(of).collect::<Vec<_>>();
    let columns = [
        column(|row| &row.country),
        column(|row| &row.programme),
        column(|row| &row.direction),
        column(|row| &row.transport_modes),
        column(|row| &row.effective_from),
        column(|row| &row.effective_to),
    ];
    let parameters = columns
        .each_ref()
        .map(|column| (column as &(dyn ToSql + Sync), Type::TEXT_ARRAY));
    client
        .execute_typed(
            "INSERT INTO mutual_recognition
             (country, programme, direction, transport_modes, effective_from, effective_to)
             SELECT country, programme, direction, modes, begins::date, nullif(ends, '')::date
               FROM unnest($1, $2, $3, $4, $5, $6) AS shipped(country, programme, direction, modes, begins, ends)",
            &parameters,
        )
        .await?;
    Ok(())
}

/// Refuses a database that holds no store, or one of an older schema, and a standby: it lags behind, so that data would
/// count as confirmed that is not.
pub(super) async fn require_current(client: &Client, bound: Duration) -> Result<(), UpstreamError> {
    let standby = "SELECT 1 WHERE pg_is_in_recovery()";
    let standby = within(bound, "asking for the server", client.simple_query(standby)).await?;
    if !rows(standby).is_empty() {
        return Err(UpstreamError::Unavailable(
            "the server is a standby, whose head may be old: name the primary, or all of them with \
             target_session_attrs=read-write"
                .to_owned(),
        ));
    }
    let version = within(bound, "asking for the schema", version_of(client)).await?;
    match version {
        Some(version) if version >= VERSION => Ok(()),
        Some(version) => Err(UpstreamError::Corrupt(format!(
            "the store's schema is version {version} and {VERSION} is needed: run greenlane migrate"
        ))),
        None => Err(UpstreamError::Corrupt(
            "the database holds no registry: run greenlane migrate".to_owned(),
        )),
    }
}

/// The version of the schema: 0 where there is a store that does not tell.
async fn version_of(client: &Client) -> Result<Option<u32>, UpstreamError> {
    let asked =
        "SELECT obj_description(oid, 'pg_class') FROM pg_class WHERE oid = to_regclass('registry_meta')";
    let found = rows(client.simple_query(asked).await?);
    Ok(found.first().map(|row| {
        let comment = row.get(0).unwrap_or_default();
        let version = comment.strip_prefix(COMMENT);
        version.and_then(|version| version.parse().ok()).unwrap_or(0)
    }))
}

/// Deletes log rows older than `retention`, but never the last one, which tells a fork. Gives how many went.
pub async fn trim(settings: &Settings, retention: Duration) -> Result<u64, UpstreamError> {
    let session = Address::read(settings)?.session(settings).await?;
    let client = &session.client;
    let work = async {
        client.batch_execute("BEGIN").await?;
        // Only from the beginning: clock steps may leave an older row above a younger one, and the log must have no hole.
        let trimmed = client
            .execute_typed(
                "DELETE FROM change_log
                  WHERE sequence < least((SELECT sequence FROM registry_meta),
                                         (SELECT sequence FROM change_log
                                           WHERE committed_at >= now() - make_interval(secs => $1)
                                           ORDER BY sequence LIMIT 1))",
                &[(&retention.as_secs_f64(), Type::FLOAT8)],
            )
            .await?;
        if trimmed > 0 {
            client
                .batch_execute(
                    "UPDATE registry_meta
                        SET low_watermark = greatest(low_watermark, (SELECT min(sequence) - 1 FROM change_log))",
                )
                .await?;
        }
        client.batch_execute("COMMIT").await?;
        Ok::<_, UpstreamError>(trimmed)
    };
    within(TRIM, "trimming the change log", work).await
}

/// The rows among the messages of a simple query.
pub(super) fn rows(messages: Vec<SimpleQueryMessage>) -> Vec<SimpleQueryRow> {
    let rows = messages.into_iter().filter_map(|message| {
        if let SimpleQueryMessage::Row(row) = message {
            Some(row)
        } else {
            None
        }
    });
    rows.collect()
}
