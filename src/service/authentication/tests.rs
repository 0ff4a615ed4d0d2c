use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderName;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::json;

use super::*;
use crate::{
    access::{Callers, KeySet, PeerCertificate, Quota, Role, TokenRules},
    metrics::AUTH_FAILURES,
};

const CALLERS: &str = r#"
[[caller]]
name = "yantian"
identity = "spiffe://customs.example/terminal/*"
roles = ["terminal"]

[[caller]]
name = "window"
subject = "window"
roles = ["clearance"]
"#;

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn trusted(callers: &str, seed: u8) -> Trusted {
    let x = URL_SAFE_NO_PAD.encode(pair(seed).public_key());
    let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": seed.to_string(), "x": x}]});
    let rules = TokenRules {
        issuer: "i".to_owned(),
        audience: "a".to_owned(),
        clock_skew: 0,
    };
    Trusted::new(
        Arc::new(Callers::read(callers).unwrap()),
        Arc::new(KeySet::read(keys.to_string().as_bytes()).unwrap()),
        rules,
    )
}

fn authentication() -> Arc<Authentication> {
    Authentication::new(trusted(CALLERS, 1), Arc::default())
}

fn bearer(seed: u8, subject: &str, expires_in: u64) -> String {
    let header = json!({"alg": "EdDSA", "kid": seed.to_string()});
    let claims = json!({"iss": "i", "aud": "a", "sub": subject, "exp": now() + expires_in});
    let encoded = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encoded(header), encoded(claims));
    let signature = URL_SAFE_NO_PAD.encode(pair(seed).sign(message.as_bytes()));
    format!("Bearer {message}.{signature}")
}

fn headers(authorization: &[&str]) -> HeaderMap {
    let header = |value: &&str| (header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    let mut headers: HeaderMap<HeaderValue> = HeaderMap::new();
    for (name, value) in authorization.iter().map(header) {
        let name: HeaderName = name;
        headers.append(name, value);
    }
    headers
}

fn peer(uri: Option<&str>) -> Peer {
    let certificate = uri.map(|uri| {
        Arc::new(PeerCertificate {
            uris: vec![uri.to_owned()],
        })
    });
    Peer {
        address: "127.0.0.1:9".parse().unwrap(),
        certificate,
    }
}

fn name(known: Result<Arc<Caller>, Cause>) -> Result<String, Cause> {
    known.map(|caller| caller.name.to_string())
}

const TERMINAL: Option<&str> = Some("spiffe://customs.example/terminal/7");

#[test]
fn the_metrics_know_every_cause() {
    assert_eq!(Cause::ALL.map(Cause::label), AUTH_FAILURES);
}

#[test]
fn where_nobody_is_asked_everybody_is_anonymous_and_may_do_everything() {
    let off = Authentication::off(Arc::default());
    let credentials = Credentials::new(Arc::clone(&off), peer(None));
    for headers in [headers(&[]), headers(&["Bearer x"]), headers(&["x", "y"])] {
        for caller in [off.caller(&peer(None), &headers), credentials.caller(&headers)] {
            let caller = caller.unwrap();
            assert_eq!((&*caller.name, caller.roles), ("anonymous", Roles::ALL));
        }
    }
}

#[test]
fn a_token_names_the_caller_whatever_the_certificate_says() {
    let authentication = authentication();
    let good = bearer(1, "window", 60);
    let of = |uri, authorization: &[&str]| {
        let headers = headers(authorization);
        let credentials = Credentials::new(Arc::clone(&authentication), peer(uri));
        let first = name(credentials.caller(&headers));
        assert_eq!(first, name(credentials.caller(&headers)), "asked again");
        assert_eq!(first, name(authentication.caller(&peer(uri), &headers)));
        first
    };
    assert_eq!(of(TERMINAL, &[]), Ok("yantian".to_owned()));
    assert_eq!(of(None, &[&good]), Ok("window".to_owned()));
    assert_eq!(
        of(None, &[&good.replace("Bearer", "bEARER")]),
        Ok("window".to_owned())
    );
    assert_eq!(of(TERMINAL, &[&good]), Ok("window".to_owned()));
    assert_eq!(of(None, &[]), Err(Cause::Missing));
    assert_eq!(
        of(Some("spiffe://customs.example/other"), &[]),
        Err(Cause::UnknownCaller)
    );
    for bad in ["", "Bearer", "Bearer ", "Basic d2luZG93Og==", "window"] {
        assert_eq!(
            of(TERMINAL, &[bad]),
            Err(Cause::Malformed),
            "{bad}: the certificate does not stand in"
        );
    }
    assert_eq!(
        of(TERMINAL, &[&good, &good]),
        Err(Cause::Malformed),
        "two of them"
    );
    assert_eq!(
        of(TERMINAL, &[&bearer(1, "nobody", 60)]),
        Err(Cause::UnknownCaller)
    );
    assert_eq!(of(TERMINAL, &[&bearer(2, "window", 60)]), Err(Cause::UnknownKey));
    assert_eq!(of(TERMINAL, &[&bearer(1, "window", 0)]), Err(Cause::Expired));
    let long = format!("Bearer {}", "x".repeat(9 << 10));
    assert_eq!(of(TERMINAL, &[&long]), Err(Cause::Malformed));
}

#[test]
fn a_connection_may_carry_calls_of_several_callers() {
    let credentials = Credentials::new(authentication(), peer(TERMINAL));
    let token = bearer(1, "window", 60);
    for _ in 0..3 {
        assert_eq!(name(credentials.caller(&headers(&[]))), Ok("yantian".to_owned()));
        assert_eq!(
            name(credentials.caller(&headers(&[&token]))),
            Ok("window".to_owned())
        );
        assert_eq!(
            name(credentials.caller(&headers(&["Bearer a.b.c"]))),
            Err(Cause::Malformed)
        );
    }
}

#[test]
fn what_is_trusted_no_longer_is_not_remembered() {
    let authentication = authentication();
    let credentials = Credentials::new(Arc::clone(&authentication), peer(TERMINAL));
    let (token, none) = (headers(&[&bearer(1, "window", 60)]), headers(&[]));
    assert!(credentials.caller(&token).is_ok() && credentials.caller(&none).is_ok());

    authentication.replace(trusted(CALLERS, 2));
    assert_eq!(
        name(credentials.caller(&token)),
        Err(Cause::UnknownKey),
        "the key has gone"
    );
    assert_eq!(
        name(credentials.caller(&headers(&[&bearer(2, "window", 60)]))),
        Ok("window".to_owned())
    );

    let others = CALLERS
        .replace("terminal/*", "gate/*")
        .replace("\"window\"", "\"door\"");
    authentication.replace(trusted(&others, 2));
    assert_eq!(
        name(credentials.caller(&none)),
        Err(Cause::UnknownCaller),
        "the caller has gone"
    );
    assert_eq!(
        name(credentials.caller(&headers(&[&bearer(2, "window", 60)]))),
        Err(Cause::UnknownCaller)
    );

    authentication.replace(trusted(&CALLERS.replace("terminal\"]", "officer\"]"), 1));
    let caller = credentials.caller(&none).unwrap();
    assert_eq!(
        caller.roles,
        Roles::of(&[Role::Officer]),
        "the roles have changed"
    );
}

#[test]
fn a_token_that_was_remembered_expires_all_the_same() {
    let authentication = authentication();
    let trusted = authentication.guard.as_ref().unwrap().trusted.load_full();
    let token = bearer(1, "window", 60);
    assert!(trusted.of_token(token.as_bytes(), now()).is_ok());
    assert!(trusted.of_token(token.as_bytes(), now() + 58).is_ok());
    let late = trusted.of_token(token.as_bytes(), now() + 61);
    assert_eq!(late.map(|_| ()), Err(Cause::Expired));
}

#[test]
fn roles_are_wanted_by_method_and_refusals_say_which() {
    let authentication = authentication();
    let caller = Caller {
        name: "window".into(),
        roles: Roles::of(&[Role::Clearance]),
        quota: Quota::default(),
    };
    let may = |path: &str| authentication.permitted_method(&caller, path);
    assert_eq!(may("/greenlane.v1.FacilitationService/Decide"), Ok(()));
    assert_eq!(may("/grpc.health.v1.Health/Check"), Ok(()));
    assert_eq!(
        may("/greenlane.v1.FacilitationService/Forget"),
        Err(Refusal::NotServed)
    );
    let refused = may("/greenlane.v1.RegistryService/GetEnterprise").unwrap_err();
    let message =
        "/greenlane.v1.RegistryService/GetEnterprise is for callers of a role among: officer, operator";
    assert_eq!(refused.message(), message);
    assert_eq!(refused.info().unwrap().reason, "ROLE_MISSING");
}

#[tokio::test(flavor = "current_thread")]
async fn a_key_that_is_not_held_is_asked_for() {
    let authentication = authentication();
    drop(authentication.caller(&peer(None), &headers(&[&bearer(1, "window", 60)])));
    let soon = Duration::from_millis(10);
    assert!(
        tokio::time::timeout(soon, authentication.key_wanted())
            .await
            .is_err()
    );
    drop(authentication.caller(&peer(None), &headers(&[&bearer(3, "window", 60)])));
    tokio::time::timeout(Duration::from_secs(30), authentication.key_wanted())
        .await
        .expect("asked for");
}

/// Why a stream ends, if it does by then.
async fn ends(standing: Standing, within: u64) -> Option<Cause> {
    tokio::time::timeout(Duration::from_secs(within), standing.lost())
        .await
        .ok()
}

#[tokio::test(flavor = "current_thread")]
async fn a_stream_ends_with_its_token_and_with_what_its_caller_may() {
    let authentication = authentication();
    let credentials = Credentials::new(Arc::clone(&authentication), peer(TERMINAL));
    let standing = |headers: &HeaderMap| credentials.standing(&credentials.caller(headers).unwrap(), headers);

    let short = headers(&[&bearer(1, "window", 2)]);
    assert_eq!(ends(standing(&short), 30).await, Some(Cause::Expired));

    let (terminal, window) = (headers(&[]), headers(&[&bearer(1, "window", 600)]));
    let (terminal, window) = (standing(&terminal), standing(&window));
    assert_eq!(
        ends(terminal.clone(), 0).await,
        None,
        "a certificate ends with its connection"
    );
    let waiting = tokio::join!(ends(terminal, 30), ends(window.clone(), 30), async {
        authentication.replace(trusted(&CALLERS.replace("terminal\"]", "officer\"]"), 2));
    });
    assert_eq!(
        (waiting.0, waiting.1),
        (Some(Cause::Changed), Some(Cause::UnknownKey))
    );

    authentication.replace(trusted(CALLERS, 1));
    assert_eq!(ends(window, 0).await, None, "the key is back");
}
