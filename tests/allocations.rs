//! How much a decision allocates: the answer's own reasons, and nothing else. A binary of its own, because it counts
//! through the global allocator.
//!
//! Measured: a typical decision of the core makes one allocation, the list of reasons (reserved for 8; more than 8
//! reasons make it two). Lookup and core make the same one when the declaration was drawn before; the first decision
//! on a declaration also remembers its draw, about 7 allocations more.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at what it did not expect"
)]

#[path = "it/support/facts.rs"]
mod facts;
#[path = "it/support/replica.rs"]
mod replica;

use std::{
    hint::black_box,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use allocation_counter::{AllocationInfo, measure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use greenlane::{
    access::{Callers, KeySet, Peer, TokenRules},
    audit::rates::{Cell, Observation, RateTable},
    domain::{CreditTier, PartyRole, Ppm, decision::InspectionBasis, declaration::Declaration},
    service::authentication::{Authentication, Credentials, Trusted},
};
use http::{HeaderMap, HeaderValue, header};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::json;

use crate::{
    facts::{BOOK, World, declaration, registered},
    replica::{Replica, enterprise},
};

const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// How a run of the closure allocates once it has run before.
fn measured(what: &str, mut run: impl FnMut()) -> AllocationInfo {
    run();
    let info = measure(&mut run);
    println!(
        "{what}: {} allocations, {} bytes",
        info.count_total, info.bytes_total
    );
    assert_eq!(info.count_current, 0, "{what}: everything is given back");
    info
}

#[test]
fn the_core_allocates_only_the_reasons() {
    let tiers: &[&[CreditTier]] = &[
        &[CreditTier::Regular],
        &[CreditTier::AdvancedCertified, CreditTier::AdvancedCertified],
        &[
            CreditTier::AdvancedCertified,
            CreditTier::Certified,
            CreditTier::Regular,
        ],
        &[CreditTier::Discredited, CreditTier::SeriouslyDiscredited],
    ];
    for day in ["2014-12-01", "2018-05-01", "2021-11-01", "2026-04-01"] {
        for tiers in tiers {
            let world = World::import(day, tiers);
            let facts = world.facts();
            let decide = || {
                drop(black_box(greenlane::policy::decide(
                    world.policy,
                    &world.parameters,
                    black_box(&facts),
                    world.draw,
                )));
            };
            let what = format!("core, {} with {tiers:?}", world.policy.id());
            assert_eq!(measured(&what, decide).count_total, 1, "{what}");
        }
    }
}

#[test]
fn many_reasons_cost_one_more_allocation() {
    let mut world = World::import("2021-11-01", &[CreditTier::Certified; 16]);
    for found in &mut world.found {
        found.enterprise.as_mut().unwrap().credit.suspended = true;
    }
    assert!(world.decide().reasons.len() > 16);
    let facts = world.facts();
    let info = measured("core, 16 suspended parties", || {
        drop(black_box(greenlane::policy::decide(
            world.policy,
            &world.parameters,
            black_box(&facts),
            world.draw,
        )));
    });
    // The list doubles: 8, 16, 32.
    assert!(info.count_total <= 3, "{info:?}");
}

#[test]
fn counting_a_decision_allocates_nothing_once_its_cell_is_there() {
    let table = RateTable::default();
    let observation = |draw: u64| Observation {
        cell: Cell {
            month: "2026-11".parse().unwrap(),
            customs_office: "2225".parse().unwrap(),
            credit_tier: CreditTier::Certified,
        },
        basis: InspectionBasis::Random,
        selected: draw.is_multiple_of(80),
        rate: Ppm(12_200),
        limit: Some(Ppm(12_200)),
        consignment: Some(draw.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
    };
    let observations: Vec<_> = (0..1_000).map(observation).collect();
    let info = measured("counting 1,000 decisions", || {
        for observation in &observations {
            table.count(black_box(observation));
        }
    });
    assert_eq!(info.count_total, 0, "{info:?}");
}

#[test]
fn lookup_and_core_allocate_no_more_than_the_core() {
    let rows: Vec<_> = (0..1_000_u32)
        .map(|number| enterprise(&format!("1101{number:06}"), CreditTier::ALL[number as usize % 5]))
        .collect();
    let replica = Replica::new(SECRET, &rows);
    let moment = Replica::moment("2026-11-20T04:00:00Z");
    let decide = |declaration: &Declaration| {
        let decided = replica.facilitation.decide(
            declaration,
            moment.timestamp,
            &replica.clock,
            &moment,
            |outcome| black_box(outcome.decision.reasons.len()),
        );
        assert!(decided.unwrap() > 0);
    };
    let named = |number: u32| {
        let mut declaration = declaration(&format!("222520261{number:09}"));
        for (role, code) in [(PartyRole::Consignee, 3), (PartyRole::Declarant, 0)] {
            let (mut party, _) = registered(role, 0, CreditTier::Regular);
            let code = format!("1101{:06}", number % 995 + code);
            party.id = greenlane::domain::identifier::EnterpriseId::Customs(code.parse().unwrap());
            declaration.parties.push(party);
        }
        declaration
    };
    // Keys, guards and caches of this thread are there once something was decided.
    for number in 0..2_000 {
        decide(&named(number));
    }
    let again = named(7);
    let info = measured("lookup and core, drawn before", || decide(&again));
    assert_eq!(info.count_total, 1, "{info:?}");

    let fresh: Vec<_> = (10_000..11_000).map(named).collect();
    let info = measure(|| fresh.iter().for_each(decide));
    let each = info.count_total / 1_000;
    println!(
        "lookup and core, first time: {each} allocations each ({} in all)",
        info.count_total
    );
    assert!(each <= 8, "{info:?}");
    assert_eq!(BOOK.policies().len(), 4);
}

/// What trusts one key and knows one caller by token, and the authorization of that caller.
fn trusted() -> (Arc<Authentication>, HeaderMap) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": encoded(pair.public_key().as_ref())}]});
    let callers = "[[caller]]\nname = \"a\"\nsubject = \"a\"\nroles = [\"clearance\"]\n";
    let rules = TokenRules {
        issuer: "i".to_owned(),
        audience: "g".to_owned(),
        clock_skew: 0,
    };
    let trusted = Trusted::new(
        Arc::new(Callers::read(callers).unwrap()),
        Arc::new(KeySet::read(keys.to_string().as_bytes()).unwrap()),
        rules,
    );
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({"iss": "i", "aud": "g", "sub": "a", "exp": now + 600, "more": "x".repeat(400)});
    let message = format!(
        "{}.{}",
        encoded(br#"{"alg":"EdDSA"}"#),
        encoded(claims.to_string().as_bytes())
    );
    let signature = encoded(pair.sign(message.as_bytes()).as_ref());
    let value = HeaderValue::from_str(&format!("Bearer {message}.{signature}")).unwrap();
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
    (Authentication::new(trusted, Arc::default()), headers)
}

#[test]
fn who_calls_again_on_a_connection_is_known_without_an_allocation() {
    let peer = || Peer {
        address: "127.0.0.1:1".parse().unwrap(),
        certificate: None,
    };
    let (authentication, headers) = trusted();
    for (what, authentication) in [
        ("a token of 700 bytes", authentication),
        ("nobody is asked", Authentication::off(Arc::default())),
    ] {
        let credentials = Credentials::new(authentication, peer());
        let known = || {
            assert!(black_box(credentials.caller(black_box(&headers))).is_ok());
        };
        assert_eq!(measured(what, known).count_total, 0, "{what}");
    }
}
