//! Who calls: key sets, tokens, the callers file, certificates.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use greenlane::{
    access::{Callers, KeySet, PeerCertificate, TokenRules, Verified, token},
    trust::certificate::{Facts, next_update},
};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::json;

use super::Seed;

/// Seconds since 1970 by which tokens are looked at.
const NOW: u64 = 1_800_000_000;
const SIGNED: u8 = 1;

static KEY: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("32 bytes"));

static KEYS: LazyLock<KeySet> =
    LazyLock::new(|| KeySet::read(key_set().to_string().as_bytes()).expect("a key set"));

static RULES: LazyLock<TokenRules> = LazyLock::new(|| TokenRules {
    issuer: "https://id.customs.example".to_owned(),
    audience: "greenlane".to_owned(),
    clock_skew: 30,
});

fn key_set() -> serde_json::Value {
    let x = URL_SAFE_NO_PAD.encode(KEY.public_key());
    json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "use": "sig", "alg": "EdDSA", "x": x}]})
}

/// A token. Where the first byte is odd, the rest is its header and its claims, two lines of JSON that are signed here, so that
/// what is behind the signature is reached; else it is the token itself, and is believed only if the key has signed it.
pub(crate) fn bearer(data: &[u8]) -> bool {
    let Some((&kind, bytes)) = data.split_first() else {
        return false;
    };
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    if kind % 2 == SIGNED {
        let (header, claims) = text.split_once('\n').unwrap_or((text, ""));
        return believed(&signed(header, claims)).is_some();
    }
    if believed(text).is_none() {
        return false;
    }
    // One key, one header and one set of claims that it has ever signed.
    let (message, _) = text.rsplit_once('.').expect("it has three parts");
    let own = signed(&header().to_string(), &claims().to_string());
    assert!(own.starts_with(&format!("{message}.")), "nobody signed {text}");
    true
}

fn believed(text: &str) -> Option<Verified> {
    let verified = token::verify(text, &KEYS, &RULES, NOW).ok()?;
    assert_eq!(verified.issuer, RULES.issuer);
    assert!(!verified.subject.is_empty());
    assert!(NOW < verified.expires_at, "{verified:?}");
    let later = token::verify(text, &KEYS, &RULES, verified.expires_at);
    assert!(later.is_err(), "believed at its end: {verified:?}");
    Some(verified)
}

fn signed(header: &str, claims: &str) -> String {
    let message = [header, claims]
        .map(|part| URL_SAFE_NO_PAD.encode(part))
        .join(".");
    let signature = URL_SAFE_NO_PAD.encode(KEY.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn header() -> serde_json::Value {
    json!({"alg": "EdDSA", "kid": "k", "typ": "JWT"})
}

fn claims() -> serde_json::Value {
    json!({"iss": "https://id.customs.example", "aud": ["greenlane", "other"], "sub": "single-window", "exp": NOW + 60,
        "nbf": NOW - 60, "iat": 1_799_999_940.5})
}

pub(crate) fn bearer_seeds() -> Vec<Seed> {
    let two_lines = |claims: serde_json::Value| {
        let text = format!("{}\n{claims}", header());
        [&[SIGNED][..], text.as_bytes()].concat()
    };
    let mut one = claims();
    one["aud"] = "greenlane".into();
    let token = signed(&header().to_string(), &claims().to_string());
    vec![
        ("claims".to_owned(), two_lines(claims())),
        ("one-audience".to_owned(), two_lines(one)),
        ("token".to_owned(), [&[0][..], token.as_bytes()].concat()),
    ]
}

/// A key set: of a key that is taken, no signature of zeros is one by any algorithm but by luck of nobody's.
pub(crate) fn keys(data: &[u8]) -> bool {
    let keys = match KeySet::read(data) {
        Ok(keys) => keys,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return false;
        }
    };
    assert!(!keys.is_empty());
    for (algorithm, signature) in [
        ("RS256", 256),
        ("RS512", 512),
        ("ES256", 64),
        ("ES384", 96),
        ("EdDSA", 64),
    ] {
        for kid in [json!(null), json!("k")] {
            let header = json!({"alg": algorithm, "kid": kid});
            let parts = [
                header.to_string().into_bytes(),
                b"{}".to_vec(),
                vec![1; signature],
            ];
            let token = parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
            let verified = token::verify(&token, &keys, &RULES, NOW);
            assert!(verified.is_err(), "{verified:?}");
        }
    }
    true
}

pub(crate) fn keys_seeds() -> Vec<Seed> {
    // The keys of RFC 7517 (A.1) and RFC 8037 (A.2), and a modulus of 2048 bits.
    let modulus = URL_SAFE_NO_PAD.encode([0xa5; 256]);
    let several = json!({"keys": [
        {"kty": "RSA", "kid": "k", "n": modulus, "e": "AQAB", "alg": "RS256"},
        {"kty": "EC", "crv": "P-256", "kid": "k", "key_ops": ["verify"],
            "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"},
        {"kty": "EC", "crv": "P-384", "x": URL_SAFE_NO_PAD.encode([1; 48]), "y": URL_SAFE_NO_PAD.encode([2; 48])},
        {"kty": "oct", "k": "AQAB"},
    ]});
    vec![
        ("one.json".to_owned(), key_set().to_string().into_bytes()),
        ("several.json".to_owned(), several.to_string().into_bytes()),
    ]
}

/// A callers file: whoever is found by it has a name and a role.
pub(crate) fn callers(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let callers = match Callers::read(text) {
        Ok(callers) => callers,
        Err(error) => {
            assert!(!error.problem.is_empty());
            assert!(
                (1..=text.matches('\n').count() + 1).contains(&error.line),
                "{error}"
            );
            return false;
        }
    };
    let uris = [
        "spiffe://customs.example/terminal/yantian",
        "spiffe://customs.example/officer/7",
    ];
    let certificate = |uris: &[&str]| PeerCertificate {
        uris: uris.iter().map(ToString::to_string).collect(),
    };
    let each = uris.map(|uri| callers.of_certificate(&certificate(&[uri])).ok());
    let both = callers.of_certificate(&certificate(&uris)).ok();
    // With both identities it is nobody, unless one caller has both or one of them is nobody's.
    match each {
        [Some(one), Some(other)] if one.name != other.name => assert!(both.is_none()),
        [one, other] => assert_eq!(both.map(|own| &own.name), one.or(other).map(|own| &own.name)),
    }
    let of_token = callers.of_token(&RULES.issuer, "single-window").ok();
    for caller in each.into_iter().flatten().chain(of_token) {
        assert!(
            !caller.name.is_empty() && caller.roles != greenlane::access::Roles::NONE,
            "{caller:?}"
        );
    }
    true
}

pub(crate) fn callers_seeds() -> Vec<Seed> {
    let text = r#"[[caller]]
name = "port-of-yantian"
identity = "spiffe://customs.example/terminal/*"
roles = ["terminal"]

[[caller]]
name = "single-window"
subject = "single-window"
issuer = "https://id.customs.example"
roles = ["clearance", "operator"]

[[caller]]
name = "officer-7"
identity = "spiffe://customs.example/officer/7"
subject = "7"
roles = ["officer", "auditor"]
"#;
    vec![("callers.toml".to_owned(), text.as_bytes().to_vec())]
}

/// A certificate in DER: its URIs as they stand there; or a revocation list.
pub(crate) fn certificate(data: &[u8]) -> bool {
    let is_list = next_update(data).is_ok();
    let Ok(facts) = Facts::read(data) else {
        return is_list;
    };
    assert!(!is_list, "both a certificate and a list");
    for uri in &facts.uris {
        assert!(uri.is_ascii(), "{uri:?}");
        let bytes = uri.as_bytes();
        assert!(
            bytes.is_empty() || data.windows(bytes.len()).any(|own| own == bytes),
            "{uri:?}"
        );
    }
    let within = facts.not_good_at(facts.not_before).is_none();
    assert_eq!(within, facts.not_before.as_secs() <= facts.not_after.as_secs());
    assert!(facts.not_good_at(std::time::Duration::MAX).is_some());
    true
}
