//! Identities of certificates: a URI, or all URIs that differ in their last segment alone.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// The longest identity, in bytes.
const MAX_BYTES: usize = 2048;

/// Which URI a caller's certificate has: exactly this one, or, where it ends with `/*`, any with one segment in the place of
/// the star.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The URI, or all of it before the star, the slash included.
    text: String,
    is_open: bool,
}

/// Why a text is no identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadIdentity {
    /// It is no URI.
    #[error(
        "must be a URI of visible ASCII with a scheme and a host, such as spiffe://customs.example/terminal/yantian"
    )]
    Uri,
    /// The star stands elsewhere.
    #[error(
        "a star must be the whole last segment, behind a host, such as spiffe://customs.example/terminal/*"
    )]
    Star,
}

impl Identity {
    /// Whether a certificate's URI is it. Nothing is folded or decoded: bytes are compared.
    pub fn matches(&self, uri: &str) -> bool {
        if self.is_open {
            split(uri).is_some_and(|(before, _)| before == self.text)
        } else {
            uri == self.text
        }
    }

    /// Whether some URI is both.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self.is_open, other.is_open) {
            (false, true) => other.matches(&self.text),
            (true, false) => self.matches(&other.text),
            (true, true) | (false, false) => self.text == other.text,
        }
    }

    /// The URI, or what stands before its last segment, with whether that is open.
    pub(super) fn key(&self) -> (&str, bool) {
        (&self.text, self.is_open)
    }
}

/// A URI up to its last slash, and its last segment, where that is one that may stand for a star: of the characters of
/// SPIFFE's path segments, and no dots alone.
pub(super) fn split(uri: &str) -> Option<(&str, &str)> {
    let at = uri.rfind('/')? + 1;
    let (before, segment) = uri.split_at(at);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_name = !matches!(segment, "" | "." | "..") && segment.bytes().all(allowed);
    is_name.then_some((before, segment))
}

impl FromStr for Identity {
    type Err = BadIdentity;

    fn from_str(text: &str) -> Result<Self, BadIdentity> {
        let (scheme, rest) = text.split_once("://").ok_or(BadIdentity::Uri)?;
        let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
        let host = rest.split('/').next().unwrap_or_default();
        let is_uri = text.len() <= MAX_BYTES
            && scheme.starts_with(|first: char| first.is_ascii_lowercase())
            && scheme.bytes().all(letters)
            && !host.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_uri {
            return Err(BadIdentity::Uri);
        }
        let (stem, is_open) = match text.strip_suffix("/*") {
            Some(stem) => (stem, true),
            None => (text, false),
        };
        if stem.contains('*') || host.contains('*') {
            return Err(BadIdentity::Star);
        }
        let text = if is_open {
            format!("{stem}/")
        } else {
            text.to_owned()
        };
        Ok(Self { text, is_open })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        f.write_str(if self.is_open { "*" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(text: &str) -> Identity {
        text.parse().expect("an identity")
    }

    #[test]
    fn a_uri_is_itself_alone() {
        let own = identity("spiffe://customs.example/terminal/yantian");
        assert!(own.matches("spiffe://customs.example/terminal/yantian"));
        for other in [
            "spiffe://customs.example/terminal/yantian/",
            "spiffe://customs.example/terminal/yantia",
            "spiffe://customs.example/terminal/Yantian",
            "SPIFFE://customs.example/terminal/yantian",
            "spiffe://customs.example/terminal/%79antian",
            "",
        ] {
            assert!(!own.matches(other), "{other}");
        }
    }

    #[test]
    fn a_star_is_one_segment() {
        let own = identity("spiffe://customs.example/terminal/*");
        for one in ["yantian", "7", "a.b-c_d", "..."] {
            assert!(
                own.matches(&format!("spiffe://customs.example/terminal/{one}")),
                "{one}"
            );
        }
        for other in ["", "a/b", ".", "..", "a%2Fb", "*", "a b", "a\0", "é"] {
            assert!(
                !own.matches(&format!("spiffe://customs.example/terminal/{other}")),
                "{other}"
            );
        }
        for other in [
            "spiffe://customs.example/terminal",
            "spiffe://customs.example/terminals/7",
            "spiffe://customs.example.org/terminal/7",
            "spiffe://evil/customs.example/terminal/7",
            "spiffe://customs.example/officer/7",
        ] {
            assert!(!own.matches(other), "{other}");
        }
    }

    #[test]
    fn what_is_no_identity_is_refused() {
        for text in [
            "",
            "terminal",
            "://host/a",
            "spiffe:///terminal/*",
            "Spiffe://customs.example/a",
            "spiffe://customs.example/a b",
            "spiffe://customs.example/é",
        ] {
            assert_eq!(text.parse::<Identity>(), Err(BadIdentity::Uri), "{text}");
        }
        for text in [
            "spiffe://*",
            "spiffe://*/terminal",
            "spiffe://*/*",
            "spiffe://customs.example/*/*",
            "spiffe://customs.example/term*",
            "spiffe://customs.example/*/terminal",
            "spiffe://customs.example/**",
        ] {
            assert_eq!(text.parse::<Identity>(), Err(BadIdentity::Star), "{text}");
        }
    }

    #[test]
    fn identities_overlap_where_one_uri_is_both() {
        let overlap = |a: &str, b: &str| {
            let (a, b) = (identity(a), identity(b));
            assert_eq!(a.overlaps(&b), b.overlaps(&a));
            a.overlaps(&b)
        };
        assert!(overlap("spiffe://a/t/*", "spiffe://a/t/*"));
        assert!(overlap("spiffe://a/t/*", "spiffe://a/t/7"));
        assert!(overlap("spiffe://a/t/7", "spiffe://a/t/7"));
        assert!(!overlap("spiffe://a/t/*", "spiffe://a/t/7/8"));
        assert!(!overlap("spiffe://a/t/*", "spiffe://a/*"));
        assert!(!overlap("spiffe://a/t/7", "spiffe://a/t/8"));
    }

    #[test]
    fn an_identity_is_shown_as_it_was_written() {
        for text in ["spiffe://a/t/*", "spiffe://a/t/7", "https://a"] {
            assert_eq!(identity(text).to_string(), text);
        }
    }
}
