//! Key sets (JWKS, RFC 7517): the public keys by which tokens are believed.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::Value;
use thiserror::Error;

use super::Cause;

/// The largest key set, in bytes.
pub const MAX_BYTES: usize = 256 << 10;
/// The least bits of an RSA key's modulus, and the most.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// How a token is signed (RFC 7518, 3.1; RFC 8037, 3.1). There is neither `none` nor anything with a shared secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// By its name in a header or a key.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "EdDSA" => Self::EdDsa,
            _ => return None,
        })
    }
}

/// The keys of an issuer.
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    keys: Vec<Key>,
    /// The keys that are not used, each with why.
    pub passed_over: Vec<String>,
}

#[derive(Debug, Clone)]
struct Key {
    id: Option<String>,
    /// The only algorithm it is for, where the set says so.
    only: Option<Algorithm>,
    material: Material,
}

#[derive(Debug, Clone)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// Why a key set is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeySetError {
    /// It is too large.
    #[error("the key set has more than {MAX_BYTES} bytes")]
    TooLarge,
    /// It is no key set.
    #[error("it is no key set (RFC 7517): {0}")]
    Form(String),
    /// No key in it can be used.
    #[error("the key set has no key that can be used: {0}")]
    NoKey(String),
}

impl KeySet {
    /// Reads a set. Keys that cannot be used are passed over, as RFC 7517 (5) has it; a set of no others is refused.
    pub fn read(json: &[u8]) -> Result<Self, KeySetError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        if json.len() > MAX_BYTES {
            return Err(KeySetError::TooLarge);
        }
        let Set { keys } =
            serde_json::from_slice(json).map_err(|error| KeySetError::Form(error.to_string()))?;
        let mut set = Self::default();
        for (place, key) in keys.into_iter().enumerate() {
            match Key::read(key) {
                Ok(key) => set.keys.push(key),
                Err(why) => set.passed_over.push(format!("key {place} {why}")),
            }
        }
        if set.keys.is_empty() {
            let why = set.passed_over.join("; ");
            return Err(KeySetError::NoKey(if why.is_empty() {
                "it is empty".to_owned()
            } else {
                why
            }));
        }
        Ok(set)
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a signature is of the key that the token names, by the algorithm that it names. A token that names none can
    /// only be of a key without a name.
    pub(super) fn verify(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Cause> {
        let named = self.keys.iter().filter(|key| key.id.as_deref() == id);
        let mut refused = Cause::UnknownKey;
        for key in named {
            match key.verify(algorithm, message, signature) {
                Ok(()) => return Ok(()),
                Err(cause) => refused = cause,
            }
        }
        Err(refused)
    }
}

/// A key as it is written (RFC 7517, 4; RFC 7518, 6; RFC 8037, 2).
#[derive(Deserialize)]
struct Written {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// The private part.
    #[serde(default)]
    d: Present,
}

/// Whether a member is there, whatever it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Present(pub(super) bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

impl Key {
    fn read(value: Value) -> Result<Self, String> {
        let Written {
            kty,
            kid: id,
            usage,
            key_ops,
            alg,
            crv,
            n,
            e,
            x,
            y,
            d,
        } = serde_json::from_value(value).map_err(|error| format!("cannot be read: {error}"))?;
        if d.0 {
            return Err("is a private key, which nobody may publish".to_owned());
        }
        if usage.is_some_and(|usage| usage != "sig") {
            return Err("is not for signatures (use)".to_owned());
        }
        if key_ops.is_some_and(|operations| !operations.iter().any(|operation| operation == "verify")) {
            return Err("is not for verifying (key_ops)".to_owned());
        }
        let only = match alg {
            None => None,
            Some(alg) => Some(Algorithm::of(&alg).ok_or("is of an algorithm that is not taken (alg)")?),
        };
        let material = match (kty.as_str(), crv.as_deref()) {
            ("RSA", _) => Material::rsa(bytes("n", n)?, bytes("e", e)?)?,
            ("EC", Some("P-256")) => Material::P256(point(32, &bytes("x", x)?, &bytes("y", y)?)?),
            ("EC", Some("P-384")) => Material::P384(point(48, &bytes("x", x)?, &bytes("y", y)?)?),
            ("OKP", Some("Ed25519")) => {
                let x = bytes("x", x)?;
                if x.len() != 32 {
                    return Err("has an x of another length than its curve".to_owned());
                }
                Material::Ed25519(x)
            }
            _ => return Err("is of a kind that is not taken (kty, crv)".to_owned()),
        };
        let key = Self { id, only, material };
        if key.only.is_some_and(|alg| !key.material.is_for(alg)) {
            return Err("is of another kind than its algorithm (kty, alg)".to_owned());
        }
        Ok(key)
    }

    fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Result<(), Cause> {
        if self.only.is_some_and(|only| only != algorithm) || !self.material.is_for(algorithm) {
            return Err(Cause::Algorithm);
        }
        let verified = match &self.material {
            Material::Rsa { n, e } => {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(rsa_parameters(algorithm)?, message, signature)
            }
            Material::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Material::P384(point) => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(message, signature)
            }
            Material::Ed25519(x) => UnparsedPublicKey::new(&ED25519, x).verify(message, signature),
        };
        verified.map_err(|_| Cause::Signature)
    }
}

impl Material {
    fn rsa(n: Vec<u8>, e: Vec<u8>) -> Result<Self, String> {
        // A modulus is written without leading zeros (RFC 7518, 6.3.1.1); some add one all the same.
        let n: Vec<u8> = n.into_iter().skip_while(|byte| *byte == 0).collect();
        let unused = n.first().map_or(0, |first| first.leading_zeros() as usize);
        let bits = n.len() * 8 - unused;
        if !RSA_BITS.contains(&bits) {
            return Err(format!(
                "has {bits} bits; RSA keys have {} to {}",
                RSA_BITS.start(),
                RSA_BITS.end()
            ));
        }
        let e: Vec<u8> = e.into_iter().skip_while(|byte| *byte == 0).collect();
        Ok(Self::Rsa { n, e })
    }

    const fn is_for(&self, algorithm: Algorithm) -> bool {
        matches!(
            (self, algorithm),
            (
                Self::Rsa { .. },
                Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512
            ) | (Self::P256(_), Algorithm::Es256)
                | (Self::P384(_), Algorithm::Es384)
                | (Self::Ed25519(_), Algorithm::EdDsa)
        )
    }
}

fn rsa_parameters(algorithm: Algorithm) -> Result<&'static RsaParameters, Cause> {
    match algorithm {
        Algorithm::Rs256 => Ok(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Ok(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Ok(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => Err(Cause::Algorithm),
    }
}

fn bytes(name: &str, text: Option<String>) -> Result<Vec<u8>, String> {
    let text = text.ok_or_else(|| format!("has no {name}"))?;
    let decoded = URL_SAFE_NO_PAD.decode(text);
    decoded.map_err(|_| format!("has a {name} that is no base64url"))
}

/// A point as SEC 1 writes it uncompressed.
fn point(length: usize, x: &[u8], y: &[u8]) -> Result<Vec<u8>, String> {
    if x.len() != length || y.len() != length {
        return Err("has coordinates of another length than its curve".to_owned());
    }
    Ok([&[4], x, y].concat())
}

#[cfg(test)]
mod tests;
