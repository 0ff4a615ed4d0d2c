//! Bearer tokens: JWT (RFC 7519) in the compact form of a signed object (RFC 7515, 7.1), after the practices of RFC 8725.
//!
//! ```text
//! text -> three parts -> header: algorithm, key -> signature -> claims: issuer, audience, times, subject
//! ```
//!
//! The signature comes before the claims: of a token that is not believed nothing is told.

mod password;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, de::Error as _};

pub use self::password::password;
use super::{
    Cause,
    keys::{Algorithm, KeySet, Present},
};

/// The longest token that is looked at, in bytes.
pub const MAX_BYTES: usize = 8 << 10;
/// Seconds since 1970 that are no time: the year 10000, and times that somebody counts in milliseconds.
const MAX_TIME: u64 = 253_402_300_800;
/// The longest subject, in bytes.
const MAX_SUBJECT_BYTES: usize = 1024;

/// What stands behind a scheme, which may be in any case of letters (RFC 9110, 11.1), in an `authorization`; `None` where that
/// is of another scheme.
pub fn credentials<'a>(authorization: &'a str, scheme: &str) -> Option<&'a str> {
    let (own, credentials) = authorization.split_at_checked(scheme.len())?;
    own.eq_ignore_ascii_case(scheme).then_some(credentials)
}

/// What a token must say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenRules {
    /// Who issues it.
    pub issuer: String,
    /// Whom it must be for.
    pub audience: String,
    /// By how many seconds clocks may differ.
    pub clock_skew: u64,
}

/// What is known of whoever has a token that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Who issued it.
    pub issuer: String,
    /// Whose it is.
    pub subject: String,
    /// From which second since 1970 on it holds no more, clock skew included.
    pub expires_at: u64,
}

/// The header, as far as it counts; other members are passed over (RFC 7515, 4).
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    /// Says that another object is within.
    #[serde(default)]
    cty: Present,
    /// Members that must be understood; there is none that is.
    #[serde(default)]
    crit: Present,
    #[serde(default)]
    b64: Present,
    #[serde(default)]
    zip: Present,
    #[serde(default)]
    enc: Present,
}

/// The claims, as far as they count.
#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    sub: Option<String>,
    aud: Option<Audience>,
    exp: Option<Time>,
    nbf: Option<Time>,
    iat: Option<Time>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// A `NumericDate`: seconds since 1970, perhaps with a fraction.
struct Time(Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let time = Duration::try_from_secs_f64(f64::deserialize(deserializer)?);
        match time {
            Ok(time) if time.as_secs() < MAX_TIME => Ok(Self(time)),
            _ => Err(D::Error::custom("no time")),
        }
    }
}

impl Time {
    /// The first whole second that is not before it.
    fn rounded_up(&self) -> u64 {
        self.0.as_secs() + u64::from(self.0.subsec_nanos() > 0)
    }
}

/// Checks a token against the keys and the rules, at so many seconds since 1970.
pub fn verify(token: &str, keys: &KeySet, rules: &TokenRules, now: u64) -> Result<Verified, Cause> {
    let payload = signed_payload(token, keys)?;
    let claims = serde_json::from_slice(&payload).map_err(|_| Cause::Malformed)?;
    checked(claims, rules, now)
}

/// What was signed, if the signature holds.
fn signed_payload(token: &str, keys: &KeySet) -> Result<Vec<u8>, Cause> {
    if token.len() > MAX_BYTES {
        return Err(Cause::Malformed);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(Cause::Malformed)?;
    let (header, payload) = message.split_once('.').ok_or(Cause::Malformed)?;
    if payload.contains('.') {
        return Err(Cause::Malformed);
    }
    let header: Header = serde_json::from_slice(&decoded(header)?).map_err(|_| Cause::Malformed)?;
    let algorithm = taken(&header)?;
    let signature = decoded(signature)?;
    let payload = decoded(payload)?;
    keys.verify(header.kid.as_deref(), algorithm, message.as_bytes(), &signature)?;
    Ok(payload)
}

/// The algorithm of a header that asks for nothing that is not done here.
fn taken(header: &Header) -> Result<Algorithm, Cause> {
    let Header {
        alg,
        kid: _,
        typ,
        cty,
        crit,
        b64,
        zip,
        enc,
    } = header;
    // A token of another kind, such as one that tells of a logout, may be signed by the same key (RFC 8725, 3.11).
    let kinds = ["JWT", "at+jwt", "application/at+jwt"];
    let is_of_kind = typ
        .as_deref()
        .is_none_or(|typ| kinds.iter().any(|kind| typ.eq_ignore_ascii_case(kind)));
    if !is_of_kind || [cty, crit, b64, zip, enc].iter().any(|present| present.0) {
        return Err(Cause::Algorithm);
    }
    Algorithm::of(alg).ok_or(Cause::Algorithm)
}

fn decoded(part: &str) -> Result<Vec<u8>, Cause> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Cause::Malformed)
}

fn checked(claims: Claims, rules: &TokenRules, now: u64) -> Result<Verified, Cause> {
    let Claims {
        iss,
        sub,
        aud,
        exp,
        nbf,
        iat,
    } = claims;
    let TokenRules {
        issuer,
        audience,
        clock_skew,
    } = rules;
    if iss.as_ref() != Some(issuer) {
        return Err(Cause::Issuer);
    }
    let is_for_us = match &aud {
        None => false,
        Some(Audience::One(aud)) => aud == audience,
        Some(Audience::Many(auds)) => auds.contains(audience),
    };
    if !is_for_us {
        return Err(Cause::Audience);
    }
    let expires_at = exp
        .ok_or(Cause::Malformed)?
        .0
        .as_secs()
        .saturating_add(*clock_skew);
    if now >= expires_at {
        return Err(Cause::Expired);
    }
    let is_ahead = |time: &Time| time.rounded_up() > now.saturating_add(*clock_skew);
    if nbf.as_ref().is_some_and(is_ahead) || iat.as_ref().is_some_and(is_ahead) {
        return Err(Cause::NotYetValid);
    }
    let subject = sub.filter(|sub| !sub.is_empty() && sub.len() <= MAX_SUBJECT_BYTES);
    Ok(Verified {
        issuer: issuer.clone(),
        subject: subject.ok_or(Cause::Malformed)?,
        expires_at,
    })
}

#[cfg(test)]
mod tests;
