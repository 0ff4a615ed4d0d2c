//! What operators and authorities write: policies, operating parameters, mutual recognition.

use greenlane::{
    domain::recognition::{SHIPPED_ARRANGEMENTS, ShippedArrangement},
    policy::{Parameters, Policy, check},
    registry::{Keyed, row::Entity},
    upstream::{columns::Column, row},
};

use super::Seed;
use crate::world::WORLD;

/// A policy file: what is taken has a canonical form that gives the same policy, and a proof or what stands against it.
pub(crate) fn policy(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let policy = match Policy::parse(text) {
        Ok(policy) => policy,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return false;
        }
    };
    let again = Policy::from_canonical(policy.canonical(), &policy.digest);
    assert_eq!(again.expect("its own canonical form"), policy);
    if is_proven(&policy.digest) {
        match check::prove(&policy, &WORLD.book.parameters) {
            Ok(proof) => assert!(proof.decisions > 0),
            Err(finding) => assert_eq!(finding.policy, policy.id()),
        }
    }
    true
}

/// A proof takes as long as a thousand readings: one file in so many is proven, always the same ones.
fn is_proven(digest: &str) -> bool {
    digest.starts_with("00")
}

pub(crate) fn policy_seeds() -> Vec<Seed> {
    let files = [
        (
            "cn-gacc-225.toml",
            include_str!("../../src/policy/decrees/cn-gacc-225.toml"),
        ),
        (
            "cn-gacc-251.toml",
            include_str!("../../src/policy/decrees/cn-gacc-251.toml"),
        ),
        (
            "cn-gacc-282.toml",
            include_str!("../../src/policy/decrees/cn-gacc-282.toml"),
        ),
    ];
    files
        .map(|(name, text)| (name.to_owned(), without_comments(text)))
        .into()
}

/// Mutations of comments lead nowhere.
fn without_comments(text: &str) -> Vec<u8> {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .fold(String::new(), |kept, line| kept + line + "\n")
        .into_bytes()
}

/// Operating parameters, as [`policy`].
pub(crate) fn parameters(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let parameters = match Parameters::parse(text) {
        Ok(parameters) => parameters,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return false;
        }
    };
    let again = Parameters::from_canonical(parameters.canonical(), &parameters.digest);
    assert_eq!(again.expect("its own canonical form"), parameters);
    if is_proven(&parameters.digest) {
        // A policy may not hold under them: then both are refused.
        let policy = WORLD.book.policies().last().expect("a policy");
        drop(check::prove(policy, &parameters));
    }
    true
}

pub(crate) fn parameters_seeds() -> Vec<Seed> {
    let shipped = include_str!("../../src/policy/parameters.toml");
    let more = r#"
[[baseline]]
direction = "IMPORT"
customs_office = "2225"
transport_mode = "AIR"
rate_ppm = 30000
[[risk_uplift]]
hs_prefix = "2204"
origin_country = "FR"
customs_office = "2225"
trade_mode = "GENERAL"
direction = "IMPORT"
multiplier_ppm = 1500000
[[post_disruption]]
customs_office = "2225"
from = "2026-11-20T00:00:00Z"
to = "2026-11-30T00:00:00Z"
"#;
    let whole = format!("{shipped}\n{more}");
    vec![
        ("shipped".to_owned(), without_comments(shipped)),
        ("more".to_owned(), without_comments(&whole)),
    ]
}

/// Arrangements in CSV: a row that is taken is the row that a store would give.
pub(crate) fn arrangements(data: &[u8]) -> bool {
    let rows = csv::Reader::from_reader(data).into_deserialize::<ShippedArrangement>();
    let mut taken = false;
    for text in rows.flatten() {
        let columns = [
            &text.country,
            &text.programme,
            &text.direction,
            &text.transport_modes,
            &text.effective_from,
        ];
        let end = match text.effective_to.as_str() {
            "" => Column::Null,
            end => Column::Text(end.into()),
        };
        let columns = columns.map(|text| Column::Text(text.as_str().into()));
        let columns: Vec<_> = columns.into_iter().chain([end]).collect();
        let stored = row::put(Entity::MutualRecognition, &columns);
        match text.read() {
            Ok(read) => {
                assert!(
                    matches!(&stored.row, Keyed::Arrangement(own) if *own == read),
                    "{stored:?}"
                );
                assert_eq!(stored.unreadable, None);
                let bits = read.transport_modes.bits();
                assert_eq!(
                    greenlane::domain::recognition::TransportModes::from_bits(bits),
                    read.transport_modes
                );
                taken = true;
            }
            Err(error) => {
                assert!(matches!(stored.row, Keyed::ArrangementGone), "{stored:?}");
                assert!(stored.unreadable.is_some(), "{error}");
            }
        }
    }
    taken
}

pub(crate) fn arrangements_seeds() -> Vec<Seed> {
    let mut few: Vec<&str> = SHIPPED_ARRANGEMENTS.lines().collect();
    few.truncate(12);
    vec![("shipped.csv".to_owned(), few.join("\n").into_bytes())]
}
