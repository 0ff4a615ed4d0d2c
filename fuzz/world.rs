//! A small country: a register with an enterprise of every kind, orders of every kind, every policy, one instant.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, RwLock},
    time::{Duration, Instant, SystemTime},
};

use greenlane::{
    audit::archive::PolicyArchive,
    domain::recognition::shipped_arrangements,
    facilitation::{DrawKeys, Facilitation, Moment},
    policy::PolicyBook,
    registry::{Change, FreshnessClock, FreshnessLimits, Generation, Registry},
    upstream::log::LogEntry,
    wire::validate::Window,
};
use jiff::Timestamp;
use serde_json::json;

/// When everything happens: `CN-GACC-282` is in force.
pub(crate) const NOW: &str = "2026-11-23T02:00:00Z";
/// The identifier of every decision.
pub(crate) const DECISION_ID: &str = "019ab0f0-7c00-7000-8000-000000000000";
/// The store that the register is of.
pub(crate) const EPOCH: &str = "0d8cb6de-3c38-4b2f-a8b3-6a2c4f1e9b77";

/// Everything that a decision is made of.
pub(crate) struct World {
    pub(crate) facilitation: Facilitation,
    pub(crate) book: PolicyBook,
    pub(crate) archive: RwLock<PolicyArchive>,
    pub(crate) clock: FreshnessClock,
    pub(crate) window: Window,
    /// When the store confirmed its head.
    confirmed: (Instant, SystemTime),
}

pub(crate) static WORLD: LazyLock<World> = LazyLock::new(World::new);

/// The instant of everything.
pub(crate) fn now() -> Timestamp {
    NOW.parse().expect("an instant")
}

impl World {
    fn new() -> Self {
        let registry = Arc::new(Registry::default());
        registry.replace(Arc::new(generation()));
        // They are proven by the tests; here that would take longer than everything else.
        let book = PolicyBook::read_unproven(&BTreeMap::new()).expect("the shipped policies are good");
        let mut archive = PolicyArchive::default();
        archive.add(&book);
        let freshness = FreshnessLimits {
            relief_max_age: Duration::from_mins(5),
            decision_max_age: Duration::from_hours(24),
        };
        let draws = DrawKeys::from_hex(&"07".repeat(32)).expect("long enough");
        let clock = FreshnessClock::default();
        let confirmed = (
            Instant::now(),
            SystemTime::UNIX_EPOCH + Duration::from_secs(now().as_second().unsigned_abs()),
        );
        clock.confirm(confirmed.0, confirmed.1);
        Self {
            facilitation: Facilitation::new(registry, book.clone(), freshness, draws),
            archive: RwLock::new(archive),
            clock,
            window: Window {
                now: now(),
                ahead: Duration::from_mins(5),
                // So that every policy is met.
                behind: Duration::from_hours(20 * 365 * 24),
                first_policy: book.policies()[0].document.effective_from,
            },
            book,
            confirmed,
        }
    }

    /// The one instant, with data that is fresh, stale or expired by then.
    pub(crate) fn moment(&self, age: u8) -> Moment {
        let ages = [Duration::ZERO, Duration::from_mins(6), Duration::from_hours(25)];
        let age = ages[usize::from(age) % ages.len()];
        Moment {
            monotonic: self.confirmed.0 + age,
            wall: self.confirmed.1 + age,
            timestamp: now(),
        }
    }
}

/// The register of the country.
pub(crate) fn generation() -> Generation {
    static CHANGES: LazyLock<Vec<Change>> =
        LazyLock::new(|| rows().iter().filter_map(LogEntry::change).collect());
    let generation = Generation::new(EPOCH, 16);
    generation.load(&CHANGES);
    generation.finish_load(CHANGES.len() as u64, Some([7, 0]));
    generation
}

/// A row of a change log.
pub(crate) fn entry(sequence: u64, entity: &str, key: &str, row: Option<&serde_json::Value>) -> LogEntry {
    LogEntry {
        sequence,
        entity: entity.to_owned(),
        key: key.to_owned(),
        op: if row.is_some() { "UPSERT" } else { "DELETE" }.to_owned(),
        row: row.map(ToString::to_string),
        committed_at: "2026-11-23T01:00:00.000Z".to_owned(),
        author: None,
    }
}

/// The rows of the register, as a change log has them.
pub(crate) fn rows() -> Vec<LogEntry> {
    let mut rows = enterprises();
    rows.extend(partners());
    rows.extend(orders());
    let numbered = (1..).zip(rows);
    numbered
        .map(|(sequence, (entity, key, row))| entry(sequence, entity, &key, Some(&row)))
        .collect()
}

type Row = (&'static str, String, serde_json::Value);

fn enterprises() -> Vec<Row> {
    let enterprise = |code: &str, social: Option<&str>, tier: &str, until: Option<&str>, suspended: u8| {
        let row = json!({"customs_code": code, "social_credit_code": social, "name": "上海进出口有限公司", "credit_tier": tier,
            "tier_effective_from": "2013-01-01", "tier_valid_until": until, "suspended": suspended});
        ("enterprise", code.to_owned(), row)
    };
    let scheduled = |code: &str, tier: &str, from: &str| {
        let row = json!({"customs_code": code, "credit_tier": tier, "effective_from": from});
        ("scheduled_tier", format!("{code}|{from}"), row)
    };
    vec![
        enterprise(
            "1101919103",
            Some("91110000600037341L"),
            "ADVANCED_CERTIFIED",
            None,
            0,
        ),
        enterprise(
            "1101919104",
            Some("91310110666007217T"),
            "ADVANCED_CERTIFIED",
            None,
            1,
        ),
        enterprise("1101919107", None, "CERTIFIED", Some("2027-01-01"), 0),
        enterprise("1101919201", Some("91350100M0001TGQXM"), "REGULAR", None, 0),
        enterprise("1101919202", None, "DISCREDITED", Some("2025-01-01"), 0),
        enterprise("1101919203", None, "SERIOUSLY_DISCREDITED", None, 0),
        enterprise("1101919204", None, "NO_SUCH_TIER", None, 0),
        scheduled("1101919201", "CERTIFIED", "2026-06-01"),
        scheduled("1101919103", "DISCREDITED", "2026-12-01"),
        scheduled("1101919107", "REGULAR", "2020-01-01"),
        scheduled("1101919203", "NO_SUCH_TIER", "2026-06-01"),
    ]
}

fn partners() -> Vec<Row> {
    let operator = |code: &str, programme: &str, until: Option<&str>, suspended: u8| {
        let row = json!({"aeo_code": code, "country": &code[..2], "programme": programme, "name": "Operator Pte Ltd",
            "valid_from": "2020-01-01", "valid_until": until, "suspended": suspended});
        ("recognised_operator", code.to_owned(), row)
    };
    let shipped = shipped_arrangements().expect("the shipped arrangements are good");
    // Countries with one arrangement and with several.
    let kept = shipped
        .iter()
        .filter(|row| ["SG", "KR", "HK", "AT"].contains(&row.country.as_str()));
    let arrangements = kept.map(|row| {
        let until = Some(&row.effective_to).filter(|until| !until.is_empty());
        let key = [&row.country, &row.programme, &row.direction, &row.transport_modes, &row.effective_from];
        let key = key.map(String::as_str).join("|");
        let row = json!({"country": row.country, "programme": row.programme, "direction": row.direction,
            "transport_modes": row.transport_modes, "effective_from": row.effective_from, "effective_to": until});
        ("mutual_recognition", key, row)
    });
    let mut rows = vec![
        operator("SG201234567890", "STP-Plus", None, 0),
        operator("KR1234", "AEO", Some("2027-01-01"), 0),
        operator("HK77", "AEO", None, 1),
        operator("ATAEOF0001", "AEOF", None, 0),
    ];
    rows.extend(arrangements);
    rows
}

fn orders() -> Vec<Row> {
    let order = |id: &str, kind: &str, basis: &str, selectors: serde_json::Value| {
        let mut row = json!({"id": id, "kind": kind, "basis": basis, "valid_from": "2026-01-01T00:00:00Z", "valid_to": null,
            "legal_basis": "Customs Law Art 28", "public_reason": "Selected", "confidential_reason": "Undervaluation"});
        let own = row.as_object_mut().expect("an object");
        own.extend(selectors.as_object().expect("an object").clone());
        ("control_order", id.to_owned(), row)
    };
    vec![
        order("O-1", "HOLD", "TARGETED", json!({"enterprise_id": "1101919203"})),
        order("O-2", "INSPECT", "MANDATED", json!({"hs_prefix": "2204"})),
        order("O-3", "INSPECT", "TARGETED", json!({"origin_country": "KP"})),
        order("O-4", "DOCUMENTS", "TARGETED", json!({"customs_office": "5301"})),
        order(
            "O-5",
            "INSPECT",
            "EMERGENCY",
            json!({"container_number": "CSQU3054383", "direction": "IMPORT"}),
        ),
        order(
            "O-6",
            "INSPECT",
            "TARGETED",
            json!({"enterprise_id": "AEO<HK 77>", "hs_prefix": "85"}),
        ),
        order(
            "O-7",
            "NO_SUCH_KIND",
            "TARGETED",
            json!({"customs_office": "0202"}),
        ),
    ]
}
