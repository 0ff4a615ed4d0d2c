//! Who calls: found by the token of the call or the certificate of the connection, and remembered as long as both hold.
//!
//! ```text
//! authorization --same as the last one on this connection?--> its caller              some ten nanoseconds
//!                \--verified lately?--> its caller                                    a look-up
//!                 \--signature, claims, callers file--> its caller, or why there is none
//! ```
//!
//! What is trusted is swapped whole, with everything that was remembered under it: a key or a caller that is gone is gone for
//! the next call, and streams whose caller is no longer what it was are ended.

mod connection;
mod standing;
mod trusted;

pub use connection::Credentials;
pub use standing::Standing;
pub use trusted::Trusted;

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderValue, header};
use tokio::sync::{Notify, watch};

use crate::{
    access::{Access, Caller, Cause, Peer, Roles, permission},
    metrics::Metrics,
    service::status::Refusal,
};

/// Finds out who calls.
#[derive(Debug)]
pub struct Authentication {
    /// `None` where nobody is asked who they are.
    guard: Option<Guard>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Guard {
    trusted: ArcSwap<Trusted>,
    /// Changes after what is trusted has changed.
    changes: watch::Sender<()>,
    /// Told when a token is of a key that is not held.
    key_wanted: Notify,
}

/// A caller that is known, for as long as its credential holds.
#[derive(Debug, Clone)]
pub struct Known {
    /// Who.
    pub caller: Arc<Caller>,
    /// The second since 1970 from which on the token holds no more; `None` of a certificate, which ends with its connection.
    pub until: Option<u64>,
}

impl Authentication {
    /// Everybody is anonymous and has every role.
    pub fn off(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { guard: None, metrics })
    }

    /// Callers are those that are trusted.
    pub fn new(trusted: Trusted, metrics: Arc<Metrics>) -> Arc<Self> {
        let guard = Guard {
            trusted: ArcSwap::from_pointee(trusted),
            changes: watch::Sender::new(()),
            key_wanted: Notify::new(),
        };
        Arc::new(Self {
            guard: Some(guard),
            metrics,
        })
    }

    /// From now on those are trusted, and nobody else.
    pub fn replace(&self, trusted: Trusted) {
        if let Some(guard) = &self.guard {
            guard.trusted.store(Arc::new(trusted));
            guard.changes.send_replace(());
        }
    }

    /// Whether a token may make somebody known.
    pub fn takes_tokens(&self) -> bool {
        let guard = self.guard.as_ref();
        guard.is_some_and(|guard| guard.trusted.load().takes_tokens())
    }

    /// Completes when a token is of a key that is not held.
    pub async fn key_wanted(&self) {
        match &self.guard {
            Some(guard) => guard.key_wanted.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Who sends a request with these headers. To be asked for a request at a time; of many on one connection, ask its
    /// [`Credentials`].
    pub fn caller(&self, peer: &Peer, headers: &HeaderMap) -> Result<Arc<Caller>, Cause> {
        let Some(guard) = &self.guard else {
            return Ok(Arc::clone(Caller::anonymous()));
        };
        let known = authorization(headers).and_then(|token| guard.known(&guard.trusted.load(), peer, token));
        self.counted(known).map(|known| known.caller)
    }

    /// Whether the caller may have something that is for these roles; `what` names it.
    pub fn permitted(&self, caller: &Caller, roles: Roles, what: &str) -> Result<(), Refusal> {
        if caller.roles.has_any(roles) {
            return Ok(());
        }
        self.metrics.auth.failed(Cause::Permission.label());
        Err(Refusal::Forbidden {
            what: what.to_owned(),
            roles,
        })
    }

    /// Whether the caller may call the method.
    pub fn permitted_method(&self, caller: &Caller, path: &str) -> Result<(), Refusal> {
        self.permitted_access(caller, permission::of_method(path), path)
    }

    /// The same, where it is known already who may call it.
    pub fn permitted_access(
        &self,
        caller: &Caller,
        access: Option<Access>,
        path: &str,
    ) -> Result<(), Refusal> {
        match access {
            None => Err(Refusal::NotServed),
            Some(Access::Open) => Ok(()),
            Some(Access::Of(roles)) => self.permitted(caller, roles, path),
        }
    }

    fn counted<T>(&self, known: Result<T, Cause>) -> Result<T, Cause> {
        known.inspect_err(|cause| self.metrics.auth.failed(cause.label()))
    }
}

impl Guard {
    fn known(&self, trusted: &Trusted, peer: &Peer, token: Option<&HeaderValue>) -> Result<Known, Cause> {
        let known = match (token, &peer.certificate) {
            (Some(token), _) => trusted.of_token(token.as_bytes(), now()),
            (None, Some(certificate)) => trusted.of_certificate(certificate),
            (None, None) => Err(Cause::Missing),
        };
        if matches!(known, Err(Cause::UnknownKey)) {
            self.key_wanted.notify_one();
        }
        known
    }
}

impl Known {
    /// Whether the credential still holds.
    fn holds(&self) -> bool {
        self.until.is_none_or(|until| now() < until)
    }
}

/// The one header by which a call says who it is from, if there is any.
fn authorization(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Cause> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let first = values.next();
    // Of two, others on the way may have looked at the one that we do not.
    if values.next().is_some() {
        return Err(Cause::Malformed);
    }
    Ok(first)
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
