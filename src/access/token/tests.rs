#[cfg(test)]
mod examples;

use proptest::prelude::*;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::*;

const NOW: u64 = 1_800_000_000;

fn rules() -> TokenRules {
    TokenRules {
        issuer: "https://id.customs.example".to_owned(),
        audience: "greenlane".to_owned(),
        clock_skew: 30,
    }
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn key_pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

fn keys() -> KeySet {
    key_set(&json!([{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": encoded(key_pair().public_key())}]))
}

fn key_set(keys: &Value) -> KeySet {
    KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn header() -> Value {
    json!({"alg": "EdDSA", "kid": "k", "typ": "JWT"})
}

fn claims() -> Value {
    json!({"iss": "https://id.customs.example", "aud": "greenlane", "sub": "s", "exp": NOW + 60})
}

fn signed_text(header: &str, payload: &str) -> String {
    let message = format!("{}.{}", encoded(header), encoded(payload));
    let signature = encoded(key_pair().sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn signed(header: &Value, payload: &Value) -> String {
    signed_text(&header.to_string(), &payload.to_string())
}

fn with(mut base: Value, name: &str, value: Value) -> Value {
    base[name] = value;
    base
}

fn without(mut base: Value, name: &str) -> Value {
    base.as_object_mut().unwrap().remove(name);
    base
}

fn verified(token: &str) -> Result<Verified, Cause> {
    verify(token, &keys(), &rules(), NOW)
}

fn of_claims(claims: &Value) -> Result<Verified, Cause> {
    verified(&signed(&header(), claims))
}

fn of_header(header: &Value) -> Result<Verified, Cause> {
    verified(&signed(header, &claims()))
}

#[test]
fn a_good_token_tells_whose_it_is_and_until_when() {
    let expected = Verified {
        issuer: "https://id.customs.example".to_owned(),
        subject: "s".to_owned(),
        expires_at: NOW + 90,
    };
    assert_eq!(of_claims(&claims()), Ok(expected));
}

// === headers ===

#[test]
fn algorithms_that_are_not_taken_are_refused() {
    for alg in [
        "none", "None", "HS256", "HS384", "HS512", "PS256", "ES256K", "ES512", "RS1", "EdDSA ", "eddsa", "",
    ] {
        assert_eq!(
            of_header(&with(header(), "alg", alg.into())),
            Err(Cause::Algorithm),
            "{alg}"
        );
    }
    assert_eq!(of_header(&without(header(), "alg")), Err(Cause::Malformed));
    let unsigned = format!(
        "{}.{}.",
        encoded(json!({"alg": "none"}).to_string()),
        encoded(claims().to_string())
    );
    assert_eq!(verified(&unsigned), Err(Cause::Algorithm));
}

#[test]
fn an_algorithm_of_another_kind_than_the_keys_is_refused() {
    for alg in ["RS256", "ES256", "ES384"] {
        assert_eq!(
            of_header(&with(header(), "alg", alg.into())),
            Err(Cause::Algorithm),
            "{alg}"
        );
    }
}

#[test]
fn what_must_be_understood_is_refused_whatever_it_is() {
    for member in ["crit", "b64", "zip", "enc", "cty"] {
        for value in [json!(null), json!([]), json!(["exp"]), json!(false), json!("JWT")] {
            assert_eq!(
                of_header(&with(header(), member, value)),
                Err(Cause::Algorithm),
                "{member}"
            );
        }
    }
}

#[test]
fn tokens_of_another_kind_are_refused() {
    for typ in ["JWT", "jwt", "at+jwt", "application/at+jwt"] {
        assert!(of_header(&with(header(), "typ", typ.into())).is_ok(), "{typ}");
    }
    assert!(of_header(&without(header(), "typ")).is_ok());
    for typ in ["logout+jwt", "dpop+jwt", "JOSE", ""] {
        assert_eq!(
            of_header(&with(header(), "typ", typ.into())),
            Err(Cause::Algorithm),
            "{typ}"
        );
    }
}

#[test]
fn keys_are_found_by_their_name_and_never_taken_from_the_token() {
    for kid in ["K", "", "k2"] {
        assert_eq!(
            of_header(&with(header(), "kid", kid.into())),
            Err(Cause::UnknownKey),
            "{kid}"
        );
    }
    assert_eq!(of_header(&without(header(), "kid")), Err(Cause::UnknownKey));
    let own = json!({"kty": "OKP", "crv": "Ed25519", "kid": "mine", "x": encoded(key_pair().public_key())});
    for member in ["jwk", "jku", "x5c", "x5u"] {
        let header = with(with(header(), "kid", "mine".into()), member, own.clone());
        assert_eq!(of_header(&header), Err(Cause::UnknownKey), "{member}");
    }
    let unnamed = key_set(&json!([{"kty": "OKP", "crv": "Ed25519", "x": encoded(key_pair().public_key())}]));
    let token = signed(&without(header(), "kid"), &claims());
    assert!(
        verify(&token, &unnamed, &rules(), NOW).is_ok(),
        "neither has a name"
    );
}

#[test]
fn a_signature_of_another_key_is_refused() {
    let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
    let message = format!(
        "{}.{}",
        encoded(header().to_string()),
        encoded(claims().to_string())
    );
    let token = format!("{message}.{}", encoded(other.sign(message.as_bytes())));
    assert_eq!(verified(&token), Err(Cause::Signature));
    assert_eq!(verified(&format!("{message}.")), Err(Cause::Signature));
}

// === claims ===

#[test]
fn the_issuer_is_the_one_that_is_set() {
    for issuer in [
        json!("https://id.customs.example/"),
        json!("https://evil"),
        json!(""),
        json!(null),
    ] {
        assert_eq!(of_claims(&with(claims(), "iss", issuer)), Err(Cause::Issuer));
    }
    assert_eq!(of_claims(&without(claims(), "iss")), Err(Cause::Issuer));
}

#[test]
fn the_audience_is_this_service_alone_or_among_others() {
    for audience in [
        json!("greenlane"),
        json!(["greenlane"]),
        json!(["other", "greenlane"]),
    ] {
        assert!(of_claims(&with(claims(), "aud", audience)).is_ok());
    }
    for audience in [
        json!("Greenlane"),
        json!("greenlane other"),
        json!([]),
        json!(["other"]),
        json!(""),
        json!(null),
    ] {
        assert_eq!(of_claims(&with(claims(), "aud", audience)), Err(Cause::Audience));
    }
    assert_eq!(of_claims(&without(claims(), "aud")), Err(Cause::Audience));
    assert_eq!(
        of_claims(&with(claims(), "aud", json!({"greenlane": 1}))),
        Err(Cause::Malformed)
    );
}

#[test]
fn times_hold_give_or_take_the_skew() {
    let exp = |at: Value| of_claims(&with(claims(), "exp", at)).map(|_| ());
    assert_eq!(exp(json!(NOW - 29)), Ok(()));
    assert_eq!(exp(json!(NOW - 30)), Err(Cause::Expired));
    assert_eq!(exp(json!(0)), Err(Cause::Expired));
    let nbf = |at: Value| of_claims(&with(claims(), "nbf", at)).map(|_| ());
    assert_eq!(nbf(json!(NOW + 30)), Ok(()));
    assert_eq!(nbf(json!(NOW + 31)), Err(Cause::NotYetValid));
    let iat = |at: Value| of_claims(&with(claims(), "iat", at)).map(|_| ());
    assert_eq!(iat(json!(NOW + 30)), Ok(()));
    assert_eq!(iat(json!(NOW + 31)), Err(Cause::NotYetValid));
    assert_eq!(iat(json!(1_800_000_030.5)), Err(Cause::NotYetValid));
    assert_eq!(iat(json!(1_800_000_029.5)), Ok(()));
}

#[test]
fn times_that_are_none_are_refused_and_expiry_is_required() {
    assert_eq!(of_claims(&without(claims(), "exp")), Err(Cause::Malformed));
    for time in [
        json!("1800000060"),
        json!(-1),
        json!(1e300),
        json!(NOW * 1000),
        json!([NOW]),
        json!(true),
    ] {
        assert_eq!(
            of_claims(&with(claims(), "exp", time.clone())),
            Err(Cause::Malformed),
            "{time}"
        );
        assert_eq!(
            of_claims(&with(claims(), "nbf", time.clone())),
            Err(Cause::Malformed),
            "{time}"
        );
    }
}

#[test]
fn a_subject_is_required() {
    for sub in [json!(""), json!(null), json!("s".repeat(1025))] {
        assert_eq!(of_claims(&with(claims(), "sub", sub)), Err(Cause::Malformed));
    }
    assert_eq!(of_claims(&without(claims(), "sub")), Err(Cause::Malformed));
}

#[test]
fn a_member_twice_is_refused() {
    let twice = signed_text(
        r#"{"alg":"EdDSA","alg":"EdDSA","kid":"k"}"#,
        &claims().to_string(),
    );
    assert_eq!(verified(&twice), Err(Cause::Malformed));
    let text = claims().to_string();
    let twice = text.replace('{', r#"{"sub":"other","#);
    assert_eq!(
        verified(&signed_text(&header().to_string(), &twice)),
        Err(Cause::Malformed)
    );
}

// === form ===

#[test]
fn a_text_of_another_form_is_refused() {
    let good = signed(&header(), &claims());
    let (message, signature) = good.rsplit_once('.').unwrap();
    for text in [
        String::new(),
        "..".to_owned(),
        message.to_owned(),
        format!("{good}."),
        format!("{good}="),
        format!("{good}.{signature}"),
        format!("{message}.a.{signature}"),
        format!(" {good}"),
        format!("{good}\n"),
        good.replace('-', "+"),
        format!("{message}.{signature}AA"),
    ]
    .iter()
    .filter(|text| **text != good)
    {
        let refused = verified(text).expect_err(text);
        assert!(
            matches!(refused, Cause::Malformed | Cause::Signature),
            "{text}: {refused:?}"
        );
    }
}

#[test]
fn a_token_over_8_kib_is_not_looked_at() {
    let long = signed(&header(), &with(claims(), "more", "x".repeat(8 << 10).into()));
    assert_eq!(verified(&long), Err(Cause::Malformed));
    let room = "x".repeat(5_800);
    let most = signed(&header(), &with(claims(), "more", room.into()));
    assert!(most.len() > 7_900 && most.len() <= MAX_BYTES, "{}", most.len());
    assert!(verified(&most).is_ok());
}

// === whatever comes ===

proptest! {
    #[test]
    fn a_token_with_any_bit_flipped_is_refused(at in any::<prop::sample::Index>(), bit in 0..7_u8) {
        let token = signed(&header(), &claims());
        let mut bytes = token.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let flipped = String::from_utf8(bytes).unwrap();
        prop_assert!(verified(&flipped).is_err(), "{flipped}");
    }

    #[test]
    fn no_text_ends_the_process(text in "\\PC*") {
        prop_assert!(verified(&text).is_err());
        let three = format!("{}.{}.{}", encoded(&text), encoded(&text), encoded(&text));
        prop_assert!(verified(&three).is_err());
    }
}
