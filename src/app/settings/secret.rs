//! Values that must not be printed: the draw's master secret, and the password within a store address.

use std::fmt;

use serde::Deserialize;
use zeroize::Zeroizing;

/// A secret as hex digits, 32 bytes or more, or none.
///
/// `Debug` says only whether it is set; there is no `Display` and no `Serialize`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Secret(Zeroizing<String>);

/// The address of an upstream store, or none.
///
/// `Debug` and `Display` mask what may be a password: all that stands before `@`, and the query.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct StoreUrl(Zeroizing<String>);

const LEAST_HEX_DIGITS: usize = 64;
const MASK: &str = "***";

// === impl Secret ===

impl Secret {
    /// Says whether there is a secret.
    #[must_use]
    pub fn is_set(&self) -> bool {
        !self.0.is_empty()
    }

    /// Gives the hex digits, for the one place that derives keys from them.
    #[must_use]
    pub fn expose(&self) -> Option<&str> {
        self.is_set().then(|| self.0.as_str())
    }

    /// Says whether it is set, for `--check-config`.
    pub(super) fn shown(&self) -> &'static str {
        if self.is_set() { "(set)" } else { "(not set)" }
    }
}

impl TryFrom<String> for Secret {
    type Error = &'static str;

    /// Takes hex digits; the error does not repeat them.
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let whole_bytes = text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if text.is_empty() || whole_bytes && text.len() >= LEAST_HEX_DIGITS {
            Ok(Self(Zeroizing::new(text)))
        } else {
            Err("a secret is 64 or more hex digits")
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

// === impl StoreUrl ===

impl StoreUrl {
    /// Wraps an address.
    pub fn new(url: impl Into<String>) -> Self {
        Self(Zeroizing::new(url.into()))
    }

    /// Says whether there is no address, which means the embedded store.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives the address with its password, for the one place that connects.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for StoreUrl {
    fn from(url: String) -> Self {
        Self::new(url)
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An embedded store is a path: it has no password, and may well hold `@` or `?`.
        if self.0.starts_with("sqlite://") {
            return f.write_str(&self.0);
        }
        let (scheme, rest) = self
            .0
            .split_once("://")
            .map_or((None, self.0.as_str()), |(s, r)| (Some(s), r));
        if let Some(scheme) = scheme {
            write!(f, "{scheme}://")?;
        }
        // From the last `@`, not the first: a password with a stray `@` or `/` stays masked as well.
        let host = match rest.rsplit_once('@') {
            Some((_, host)) => {
                write!(f, "{MASK}@")?;
                host
            }
            None => rest,
        };
        match host.split_once('?') {
            Some((host, _)) => write!(f, "{host}?{MASK}"),
            None => f.write_str(host),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_hex_of_at_least_32_bytes_or_nothing() {
        assert!(Secret::try_from("aB".repeat(32)).is_ok_and(|secret| secret.is_set()));
        assert!(Secret::try_from(String::new()).is_ok_and(|secret| !secret.is_set()));
        for text in [
            "ab".repeat(31),
            format!("{}a", "ab".repeat(32)),
            "xy".repeat(32),
            "é".repeat(32),
        ] {
            assert!(Secret::try_from(text).is_err());
        }
    }

    #[test]
    fn debug_says_only_whether_a_secret_is_set() {
        let secret = Secret::try_from("ab".repeat(32)).unwrap();
        assert_eq!(format!("{secret:?}"), "(set)");
        assert_eq!(secret.expose().map(str::len), Some(64));
        assert_eq!(format!("{:?}", Secret::default()), "(not set)");
    }

    #[test]
    fn password_in_a_store_address_is_masked() {
        for (url, shown) in [
            (
                "postgres://greenlane:pw@db:5432/customs",
                "postgres://***@db:5432/customs",
            ),
            (
                "postgres://greenlane:p/w@p@db/customs",
                "postgres://***@db/customs",
            ),
            (
                "postgres://db/customs?user=u&password=pw",
                "postgres://db/customs?***",
            ),
            ("nats://pw@broker:4222", "nats://***@broker:4222"),
            ("greenlane:pw@db", "***@db"),
            ("nats://broker:4222", "nats://broker:4222"),
            ("sqlite:///data/a@b.db?mode=ro", "sqlite:///data/a@b.db?mode=ro"),
            ("", ""),
        ] {
            assert_eq!(StoreUrl::new(url).to_string(), shown);
            assert_eq!(format!("{:?}", StoreUrl::new(url)), format!("\"{shown}\""));
        }
    }
}
