//! Audit logs in a database: groups and what they are looked up by, moved together with how far it has come.

mod read;

pub use self::read::ArchiveReader;

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use jiff::{Timestamp, tz::Offset};
use tokio_postgres::{
    Client,
    types::{ToSql, Type},
};

use super::{
    super::{
        UpstreamError,
        archive::{HeadTaken, Progress, ShippedDecision, ShippedGroup, SignedText, hash, signed},
    },
    Settings,
    connect::Kept,
};

/// Months whose partitions are made ahead.
const AHEAD: Duration = Duration::from_hours(24 * 31);
/// Between the parts of one text that holds several: not in any customs code.
const SEPARATOR: &str = ",";

/// Ships to a database.
#[derive(Debug)]
pub struct Archive {
    kept: Kept,
    /// The months whose partitions are known to be there, as `YYYYMM`.
    months: BTreeSet<i32>,
}

impl Archive {
    /// An archive in that database; connects at the first use.
    pub fn new(settings: Settings) -> Result<Self, UpstreamError> {
        Ok(Self {
            kept: Kept::new(settings)?,
            months: BTreeSet::new(),
        })
    }

    /// How far it has come with a replica's log.
    pub async fn progress(&mut self, replica: &str) -> Result<Progress, UpstreamError> {
        self.on_session(async |client| {
            let found = client
                .query_typed_opt(
                    "SELECT next_sequence, chain FROM audit_progress WHERE replica = $1",
                    &[(&replica, Type::TEXT)],
                )
                .await?;
            let Some(row) = found else {
                return Ok(Progress::default());
            };
            let next: i64 = row.try_get(0)?;
            Ok(Progress {
                next_sequence: u64::try_from(next).unwrap_or_default(),
                chain: hash(row.try_get(1)?)?,
            })
        })
        .await
    }

    /// Takes over groups that follow on `from`, all of them or none.
    pub async fn ship(
        &mut self,
        replica: &str,
        from: &Progress,
        groups: &[ShippedGroup],
    ) -> Result<Progress, UpstreamError> {
        let Some(last) = groups.last() else {
            return Ok(*from);
        };
        self.make_partitions(groups).await?;
        let to = last.progress();
        self.on_session(async |client| {
            client.batch_execute("BEGIN").await?;
            move_progress(client, replica, from, &to).await?;
            insert_groups(client, replica, groups).await?;
            insert_decisions(client, replica, groups).await?;
            client.batch_execute("COMMIT").await?;
            Ok(to)
        })
        .await
    }

    /// The first sequence of the last segment of which it has the seal; 0 for none.
    pub async fn last_seal(&mut self, replica: &str) -> Result<u64, UpstreamError> {
        self.on_session(async |client| {
            let row = client
                .query_typed(
                    "SELECT coalesce(max(first_sequence), 0) FROM audit_seal WHERE replica = $1",
                    &[(&replica, Type::TEXT)],
                )
                .await?;
            let last: i64 = row.first().map_or(Ok(0), |row| row.try_get(0))?;
            Ok(u64::try_from(last).unwrap_or_default())
        })
        .await
    }

    /// Takes a seal; one that it has stays.
    pub async fn put_seal(&mut self, replica: &str, seal: &SignedText) -> Result<(), UpstreamError> {
        let put = "INSERT INTO audit_seal (replica, first_sequence, seal, signature)
                   VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        self.put_signed(put, replica, seal).await.map(drop)
    }

    /// Takes the public key, in PEM, with which a replica signs; one that it has stays.
    pub async fn put_key(&mut self, replica: &str, pem: &str) -> Result<(), UpstreamError> {
        self.on_session(async |client| {
            let put = "INSERT INTO audit_key (replica, public_key) VALUES ($1, $2) ON CONFLICT DO NOTHING";
            client
                .execute_typed(put, &[(&replica, Type::TEXT), (&pem, Type::TEXT)])
                .await?;
            Ok(())
        })
        .await
    }

    /// Takes a head, unless it has one of a later record.
    pub async fn put_head(&mut self, replica: &str, head: &SignedText) -> Result<HeadTaken, UpstreamError> {
        let put = "INSERT INTO audit_head AS stored (replica, sequence, head, signature)
                   VALUES ($1, $2, $3, $4)
                   ON CONFLICT (replica) DO UPDATE
                      SET sequence = excluded.sequence, head = excluded.head, signature = excluded.signature
                    WHERE stored.sequence <= excluded.sequence";
        if self.put_signed(put, replica, head).await? > 0 {
            return Ok(HeadTaken::Taken);
        }
        self.on_session(async |client| {
            let stored = client
                .query_typed_opt(
                    "SELECT sequence FROM audit_head WHERE replica = $1",
                    &[(&replica, Type::TEXT)],
                )
                .await?;
            let stored: i64 = stored.map_or(Ok(0), |row| row.try_get(0))?;
            Ok(HeadTaken::Behind {
                stored: u64::try_from(stored).unwrap_or_default(),
            })
        })
        .await
    }

    async fn put_signed(
        &mut self,
        put: &str,
        replica: &str,
        signed_text: &SignedText,
    ) -> Result<u64, UpstreamError> {
        self.on_session(async |client| {
            let put = client
                .execute_typed(
                    put,
                    &[
                        (&replica, Type::TEXT),
                        (&signed(signed_text.sequence), Type::INT8),
                        (&signed_text.text, Type::TEXT),
                        (&signed_text.signature, Type::BYTEA),
                    ],
                )
                .await?;
            Ok(put)
        })
        .await
    }

    /// Makes the partitions that these groups need, and this and the next month's.
    async fn make_partitions(&mut self, groups: &[ShippedGroup]) -> Result<(), UpstreamError> {
        let now = SystemTime::now();
        let mut needed: Vec<SystemTime> = vec![now, now + AHEAD];
        for group in groups {
            needed.push(group.written_at);
            needed.extend(group.decisions.iter().map(|decision| time(decision.decided_at)));
        }
        for at in needed {
            let month = month(at);
            if self.months.contains(&month) {
                continue;
            }
            self.on_session(async |client| {
                client
                    .query_typed("SELECT audit_partitions($1)", &[(&at, Type::TIMESTAMPTZ)])
                    .await?;
                Ok(())
            })
            .await?;
            self.months.insert(month);
        }
        Ok(())
    }

    async fn on_session<T>(
        &mut self,
        work: impl AsyncFnOnce(&Client) -> Result<T, UpstreamError>,
    ) -> Result<T, UpstreamError> {
        if !self.kept.is_open() {
            // Partitions may have been dropped meanwhile, or the database be another one.
            self.months.clear();
        }
        self.kept.with("the audit log's archive", work).await
    }
}

/// Compare and set: whoever ships the same a second time, or beside another, changes nothing.
async fn move_progress(
    client: &Client,
    replica: &str,
    from: &Progress,
    to: &Progress,
) -> Result<(), UpstreamError> {
    let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
        (&replica, Type::TEXT),
        (&signed(to.next_sequence), Type::INT8),
        (&&to.chain[..], Type::BYTEA),
        (&signed(from.next_sequence), Type::INT8),
        (&&from.chain[..], Type::BYTEA),
    ];
    let moved = if *from == Progress::default() {
        let first = "INSERT INTO audit_progress (replica, next_sequence, chain) VALUES ($1, $2, $3)
                     ON CONFLICT DO NOTHING";
        client.execute_typed(first, &parameters[..3]).await?
    } else {
        let next = "UPDATE audit_progress SET next_sequence = $2, chain = $3
                     WHERE replica = $1 AND next_sequence = $4 AND chain = $5";
        client.execute_typed(next, &parameters).await?
    };
    if moved == 1 {
        return Ok(());
    }
    client.batch_execute("ROLLBACK").await?;
    Err(UpstreamError::Unavailable(
        "the archive has come to another place in this log meanwhile".to_owned(),
    ))
}

async fn insert_groups(client: &Client, replica: &str, groups: &[ShippedGroup]) -> Result<(), UpstreamError> {
    let first: Vec<i64> = groups.iter().map(|group| signed(group.first_sequence)).collect();
    let records: Vec<i32> = groups.iter().map(|group| small(group.records)).collect();
    let written: Vec<SystemTime> = groups.iter().map(|group| group.written_at).collect();
    let frames: Vec<&[u8]> = groups.iter().map(|group| &group.frame[..]).collect();
    client
        .execute_typed(
            "INSERT INTO audit_group (replica, first_sequence, records, written_at, frame)
             SELECT $1, * FROM unnest($2, $3, $4, $5)",
            &[
                (&replica, Type::TEXT),
                (&first, Type::INT8_ARRAY),
                (&records, Type::INT4_ARRAY),
                (&written, Type::TIMESTAMPTZ_ARRAY),
                (&frames, Type::BYTEA_ARRAY),
            ],
        )
        .await?;
    Ok(())
}

async fn insert_decisions(
    client: &Client,
    replica: &str,
    groups: &[ShippedGroup],
) -> Result<(), UpstreamError> {
    let all: Vec<(&ShippedGroup, &ShippedDecision)> = groups
        .iter()
        .flat_map(|group| group.decisions.iter().map(move |decision| (group, decision)))
        .collect();
    if all.is_empty() {
        return Ok(());
    }
    let number = |of: fn(&ShippedDecision) -> i32| all.iter().map(|(_, d)| of(d)).collect::<Vec<_>>();
    let text = |of: fn(&ShippedDecision) -> &str| all.iter().map(|(_, d)| of(d)).collect::<Vec<_>>();
    let sequences: Vec<i64> = all.iter().map(|(_, d)| signed(d.sequence)).collect();
    let firsts: Vec<i64> = all
        .iter()
        .map(|(group, _)| signed(group.first_sequence))
        .collect();
    let written: Vec<SystemTime> = all.iter().map(|(group, _)| group.written_at).collect();
    let decided: Vec<SystemTime> = all.iter().map(|(_, d)| time(d.decided_at)).collect();
    let nanos: Vec<i16> = all.iter().map(|(_, d)| nanos(d.decided_at)).collect();
    let ids: Vec<Option<&str>> = all.iter().map(|(_, d)| d.decision_id.as_deref()).collect();
    let codes: Vec<String> = all.iter().map(|(_, d)| d.customs_codes.join(SEPARATOR)).collect();
    client
        .execute_typed(
            "INSERT INTO audit_decision (replica, sequence, first_sequence, written_at, decided_at, decided_nanos,
                                         decision_id, declaration_number, customs_office, lane, customs_codes,
                                         record_offset, record_length)
             SELECT $1, sequence, first_sequence, written_at, decided_at, decided_nanos, decision_id::uuid,
                    declaration_number, customs_office, lane, string_to_array(customs_codes, ','),
                    record_offset, record_length
               FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
                 AS d(sequence, first_sequence, written_at, decided_at, decided_nanos, decision_id,
                      declaration_number, customs_office, lane, customs_codes, record_offset, record_length)",
            &[
                (&replica, Type::TEXT),
                (&sequences, Type::INT8_ARRAY),
                (&firsts, Type::INT8_ARRAY),
                (&written, Type::TIMESTAMPTZ_ARRAY),
                (&decided, Type::TIMESTAMPTZ_ARRAY),
                (&nanos, Type::INT2_ARRAY),
                (&ids, Type::TEXT_ARRAY),
                (&text(|d| &d.declaration_number), Type::TEXT_ARRAY),
                (&text(|d| &d.customs_office), Type::TEXT_ARRAY),
                (&text(|d| &d.lane), Type::TEXT_ARRAY),
                (&codes, Type::TEXT_ARRAY),
                (&number(|d| small(d.offset)), Type::INT4_ARRAY),
                (&number(|d| small(d.length)), Type::INT4_ARRAY),
            ],
        )
        .await?;
    Ok(())
}

fn small(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The microseconds of an instant, as the database keeps them.
fn time(at: Timestamp) -> SystemTime {
    let micros = u64::try_from(at.as_microsecond()).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
}

/// What the microseconds leave.
fn nanos(at: Timestamp) -> i16 {
    i16::try_from(at.as_nanosecond().rem_euclid(1_000)).unwrap_or_default()
}

/// The month of an instant in UTC, as `YYYYMM`.
fn month(at: SystemTime) -> i32 {
    let at = Offset::UTC.to_datetime(Timestamp::try_from(at).unwrap_or_default());
    i32::from(at.year()) * 100 + i32::from(at.month())
}
