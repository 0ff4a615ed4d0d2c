use serde_json::json;

use super::*;

/// The modulus of RFC 7515, A.2.1.
const N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";

fn read(key: Value) -> Result<Key, String> {
    Key::read(key)
}

fn refused(key: Value) -> String {
    read(key).expect_err("refused")
}

fn rsa(with: Value) -> Value {
    with_members(json!({"kty": "RSA", "n": N, "e": "AQAB"}), with)
}

/// The key of RFC 7517, A.1.
fn p256(with: Value) -> Value {
    let key = json!({
        "kty": "EC", "crv": "P-256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    });
    with_members(key, with)
}

/// The key of RFC 8037, A.2.
fn ed25519(with: Value) -> Value {
    let key = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    with_members(key, with)
}

fn with_members(mut key: Value, with: Value) -> Value {
    let (Value::Object(own), Value::Object(more)) = (&mut key, with) else {
        panic!("objects");
    };
    own.extend(more);
    key
}

#[test]
fn keys_of_every_kind_are_taken_with_and_without_their_algorithm() {
    for (key, algorithms) in [
        (rsa(json!({})), &["RS256", "RS384", "RS512"][..]),
        (p256(json!({})), &["ES256"]),
        (ed25519(json!({})), &["EdDSA"]),
    ] {
        assert!(read(key.clone()).is_ok(), "{key}");
        for name in algorithms {
            let with = with_members(
                key.clone(),
                json!({"alg": name, "use": "sig", "key_ops": ["verify"]}),
            );
            let read = read(with).unwrap();
            assert_eq!(read.only, Algorithm::of(name));
        }
    }
}

#[test]
fn keys_whose_members_disagree_are_not_used() {
    for (key, why) in [
        (rsa(json!({"alg": "ES256"})), "another kind"),
        (rsa(json!({"alg": "EdDSA"})), "another kind"),
        (p256(json!({"alg": "ES384"})), "another kind"),
        (p256(json!({"alg": "RS256"})), "another kind"),
        (ed25519(json!({"alg": "ES256"})), "another kind"),
        (rsa(json!({"alg": "PS256"})), "not taken (alg)"),
        (rsa(json!({"alg": "HS256"})), "not taken (alg)"),
        (rsa(json!({"alg": "none"})), "not taken (alg)"),
        (rsa(json!({"use": "enc"})), "(use)"),
        (rsa(json!({"key_ops": ["sign"]})), "(key_ops)"),
        (rsa(json!({"kty": "EC"})), "(kty, crv)"),
        (rsa(json!({"kty": "oct", "k": "c2VjcmV0"})), "(kty, crv)"),
        (p256(json!({"crv": "P-521"})), "(kty, crv)"),
        (p256(json!({"crv": "secp256k1"})), "(kty, crv)"),
        (p256(json!({"crv": "P-384"})), "another length"),
        (ed25519(json!({"crv": "X25519"})), "(kty, crv)"),
        (ed25519(json!({"x": "AQAB"})), "another length"),
        (
            ed25519(json!({"d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"})),
            "private",
        ),
        (p256(json!({"d": null})), "private"),
        (rsa(json!({"n": "AQAB"})), "has 17 bits"),
        (rsa(json!({"n": "not base64"})), "no base64url"),
        (rsa(json!({"e": null})), "has no e"),
        (json!({"kty": "RSA"}), "has no n"),
        (json!({"n": N}), "cannot be read"),
        (json!("key"), "cannot be read"),
    ] {
        let told = refused(key.clone());
        assert!(told.contains(why), "{key}: {told}");
    }
}

#[test]
fn rsa_keys_have_2048_bits_at_least() {
    let modulus = |bytes: usize, first: u8| {
        let mut n = vec![0xa5; bytes];
        n[0] = first;
        rsa(json!({"n": URL_SAFE_NO_PAD.encode(n)}))
    };
    assert!(refused(modulus(256, 0x7f)).contains("has 2047 bits"));
    assert!(read(modulus(256, 0x80)).is_ok());
    assert!(read(modulus(257, 0)).is_ok(), "a leading zero");
    assert!(refused(modulus(128, 0x80)).contains("has 1024 bits"));
    assert!(refused(modulus(1025, 0x01)).contains("has 8193 bits"));
}

#[test]
fn a_set_takes_what_it_can_use_and_says_what_it_passed_over() {
    let set = json!({"keys": [rsa(json!({"kid": "a"})), {"kty": "oct", "k": "AQAB"}, p256(json!({"kid": "b"}))], "more": 1});
    let set = KeySet::read(set.to_string().as_bytes()).unwrap();
    assert_eq!(set.len(), 2);
    assert_eq!(set.passed_over.len(), 1);
    assert!(set.passed_over[0].starts_with("key 1 "), "{:?}", set.passed_over);
    for none in ["{\"keys\": []}", "{\"keys\": [{\"kty\": \"oct\"}]}"] {
        assert!(
            matches!(KeySet::read(none.as_bytes()), Err(KeySetError::NoKey(_))),
            "{none}"
        );
    }
    for broken in ["", "[]", "{}", "{\"keys\": 1}", "{\"keys\": [", "null"] {
        assert!(
            matches!(KeySet::read(broken.as_bytes()), Err(KeySetError::Form(_))),
            "{broken}"
        );
    }
    let large = vec![b' '; MAX_BYTES + 1];
    assert_eq!(KeySet::read(&large).err(), Some(KeySetError::TooLarge));
}
