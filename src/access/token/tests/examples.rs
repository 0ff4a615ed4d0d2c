//! Signatures of every algorithm: the RFCs' examples, and such as are made here.

use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    },
};

use super::*;

#[test]
fn signatures_by_elliptic_curves_hold() {
    let random = SystemRandom::new();
    for (algorithm, curve, alg, size) in [
        (&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", "ES256", 32),
        (&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384", "ES384", 48),
    ] {
        let pair = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pair.as_ref(), &random).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(size);
        let keys =
            key_set(&json!([{"kty": "EC", "crv": curve, "kid": "k", "x": encoded(x), "y": encoded(y)}]));
        let header = with(header(), "alg", alg.into()).to_string();
        let message = format!("{}.{}", encoded(header), encoded(claims().to_string()));
        let signature = pair.sign(&random, message.as_bytes()).unwrap();
        let token = format!("{message}.{}", encoded(signature));
        assert!(verify(&token, &keys, &rules(), NOW).is_ok(), "{alg}");
        assert_eq!(
            verify(&token, &keys_of_others(), &rules(), NOW),
            Err(Cause::Algorithm),
            "{alg}"
        );
    }
}

/// Of the same name, and of another kind.
fn keys_of_others() -> KeySet {
    keys()
}

/// RFC 7515, A.2: RS256.
#[test]
fn the_example_of_rsa_holds() {
    let keys = key_set(&json!([{
        "kty": "RSA",
        "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
        "e": "AQAB",
    }]));
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    example_holds(token, &keys, &["RS384", "RS512", "ES256", "EdDSA"]);
}

/// RFC 7515, A.3: ES256.
#[test]
fn the_example_of_p256_holds() {
    let keys = key_set(&json!([{
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    }]));
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    example_holds(token, &keys, &["ES384", "RS256", "EdDSA"]);
}

/// RFC 8037, A.4: Ed25519.
#[test]
fn the_example_of_ed25519_holds() {
    let keys = key_set(
        &json!([{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]),
    );
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(
        signed_payload(token, &keys),
        Ok(b"Example of Ed25519 signing".to_vec())
    );
    assert_eq!(
        verify(token, &keys, &rules(), NOW),
        Err(Cause::Malformed),
        "no claims"
    );
}

/// The example of a token by "joe", which expired in 2011, and has neither an audience nor a subject.
fn example_holds(token: &str, keys: &KeySet, others: &[&str]) {
    let payload = signed_payload(token, keys).expect("the signature holds");
    assert!(payload.starts_with(b"{\"iss\":\"joe\",\r\n \"exp\":1300819380,"));
    assert_eq!(verify(token, keys, &rules(), NOW), Err(Cause::Issuer));
    let (_, rest) = token.split_once('.').unwrap();
    for alg in others {
        let header = encoded(json!({ "alg": alg }).to_string());
        assert!(
            signed_payload(&format!("{header}.{rest}"), keys).is_err(),
            "{alg}"
        );
    }
}
