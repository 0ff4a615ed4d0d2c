//! What is trusted at one time, and what was found under it.

use std::{fmt, sync::Arc};

use moka::sync::Cache;

use super::Known;
use crate::access::{Callers, Cause, KeySet, PeerCertificate, TokenRules, token};

/// Bytes of tokens that are remembered.
const REMEMBERED_BYTES: u64 = 16 << 20;
/// What a remembered token takes besides its own bytes.
const ENTRY_BYTES: u32 = 256;
/// What stands before a token (RFC 6750, 2.1).
const SCHEME: &str = "Bearer ";

/// Callers, the keys by which their tokens are believed, and the tokens that were.
pub struct Trusted {
    callers: Arc<Callers>,
    keys: Arc<KeySet>,
    rules: TokenRules,
    /// By the authorization, whole: a digest could not be found faster, and would have to be believed.
    verified: Cache<Arc<[u8]>, Known, foldhash::quality::RandomState>,
}

/// Tokens are not shown.
impl fmt::Debug for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trusted").finish_non_exhaustive()
    }
}

impl Trusted {
    /// Nothing is remembered yet.
    pub fn new(callers: Arc<Callers>, keys: Arc<KeySet>, rules: TokenRules) -> Self {
        let weight = |authorization: &Arc<[u8]>, _: &Known| {
            let bytes = u32::try_from(authorization.len()).unwrap_or(u32::MAX);
            bytes.saturating_add(ENTRY_BYTES)
        };
        let verified = Cache::builder()
            .weigher(weight)
            .max_capacity(REMEMBERED_BYTES)
            .build_with_hasher(foldhash::quality::RandomState::default());
        Self {
            callers,
            keys,
            rules,
            verified,
        }
    }

    /// Without an issuer nobody's token is believed.
    pub(super) fn takes_tokens(&self) -> bool {
        !self.rules.issuer.is_empty()
    }

    pub(super) fn of_certificate(&self, certificate: &PeerCertificate) -> Result<Known, Cause> {
        let caller = self.callers.of_certificate(certificate)?;
        Ok(Known {
            caller: Arc::clone(caller),
            until: None,
        })
    }

    pub(super) fn of_token(&self, authorization: &[u8], now: u64) -> Result<Known, Cause> {
        if authorization.len() > SCHEME.len() + token::MAX_BYTES {
            return Err(Cause::Malformed);
        }
        if let Some(known) = self.verified.get(authorization) {
            return match known.until {
                Some(until) if until <= now => Err(Cause::Expired),
                _ => Ok(known),
            };
        }
        let text = std::str::from_utf8(authorization).map_err(|_| Cause::Malformed)?;
        let token = token::credentials(text, SCHEME).ok_or(Cause::Malformed)?;
        let verified = token::verify(token, &self.keys, &self.rules, now)?;
        let caller = self.callers.of_token(&verified.issuer, &verified.subject)?;
        let known = Known {
            caller: Arc::clone(caller),
            until: Some(verified.expires_at),
        };
        self.verified.insert(authorization.into(), known.clone());
        Ok(known)
    }
}
