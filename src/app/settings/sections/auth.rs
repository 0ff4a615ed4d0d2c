//! Who is asked who they are, and by what callers are known.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use super::{super::Span, unless_empty};

/// `[auth]`: who calls. Without a callers file everybody is anonymous and has every role.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSettings {
    /// File (TOML) that tells callers by certificate or token, each with its roles; empty is none, and asks nobody.
    pub callers_file: PathBuf,
    /// File (JWKS) of the keys by which tokens are believed; empty is none.
    pub jwks_file: PathBuf,
    /// Address of those keys, `https` or, on loopback, `http`; empty is none.
    pub jwks_url: String,
    /// Certificates (PEM) by which that address' TLS certificate is trusted; empty is the system's.
    pub jwks_ca_file: PathBuf,
    /// What a token's `iss` must be.
    pub issuer: String,
    /// What must be in a token's `aud`.
    pub audience: String,
    /// By how much the issuer's clock may differ from this one; at most five minutes.
    pub clock_skew: Span,
    /// Time between two looks at `jwks_url`; a token of a key that is not held causes one at once.
    pub refresh_interval: Span,
    /// Whether `/metrics` is for anybody.
    pub open_metrics: bool,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            callers_file: PathBuf::new(),
            jwks_file: PathBuf::new(),
            jwks_url: String::new(),
            jwks_ca_file: PathBuf::new(),
            issuer: String::new(),
            audience: String::new(),
            clock_skew: Span::new(Duration::from_secs(30)),
            refresh_interval: Span::new(Duration::from_mins(5)),
            open_metrics: false,
        }
    }
}

impl AuthSettings {
    /// The callers file, or `None` where nobody is asked who they are.
    pub fn callers_file(&self) -> Option<&Path> {
        unless_empty(&self.callers_file)
    }

    /// The file of keys, or `None` where there is none.
    pub fn jwks_file(&self) -> Option<&Path> {
        unless_empty(&self.jwks_file)
    }

    /// Whether tokens are taken.
    pub fn takes_tokens(&self) -> bool {
        self.jwks_file().is_some() || !self.jwks_url.is_empty()
    }
}
