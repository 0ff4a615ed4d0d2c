//! The credentials of one connection: most of its calls are of the caller of the last one.

use std::{cell::RefCell, sync::Arc};

use http::{HeaderMap, HeaderValue};

use super::{Authentication, Known, Standing, Trusted, authorization};
use crate::access::{Caller, Cause, Peer};

/// What a connection's calls are known by.
#[derive(Debug, Clone)]
pub struct Credentials {
    authentication: Arc<Authentication>,
    peer: Peer,
    /// Whoever called last, or calls where nobody is asked. Of this connection's own, so that no other processor counts who
    /// holds it.
    last: RefCell<Option<Last>>,
    anonymous: Arc<Caller>,
}

#[derive(Debug, Clone)]
struct Last {
    trusted: Arc<Trusted>,
    authorization: Option<HeaderValue>,
    known: Known,
}

impl Credentials {
    /// Those of a connection from that peer.
    pub fn new(authentication: Arc<Authentication>, peer: Peer) -> Self {
        Self {
            authentication,
            peer,
            last: RefCell::new(None),
            anonymous: Arc::new(Caller::clone(Caller::anonymous())),
        }
    }

    /// What tells of callers.
    pub fn authentication(&self) -> &Authentication {
        &self.authentication
    }

    /// The other end of the connection.
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Who sends a call with these headers.
    pub fn caller(&self, headers: &HeaderMap) -> Result<Arc<Caller>, Cause> {
        let Some(guard) = &self.authentication.guard else {
            return Ok(Arc::clone(&self.anonymous));
        };
        let trusted = guard.trusted.load();
        let found = authorization(headers).and_then(|authorization| {
            if let Some(last) = &*self.last.borrow()
                && Arc::ptr_eq(&last.trusted, &trusted)
                && last.authorization.as_ref() == authorization
                && last.known.holds()
            {
                return Ok(Arc::clone(&last.known.caller));
            }
            let Known { caller, until } = guard.known(&trusted, &self.peer, authorization)?;
            let caller = Arc::new(Caller::clone(&caller));
            self.last.replace(Some(Last {
                trusted: Arc::clone(&trusted),
                authorization: authorization.cloned(),
                known: Known {
                    caller: Arc::clone(&caller),
                    until,
                },
            }));
            Ok(caller)
        });
        self.authentication.counted(found)
    }

    /// What a stream of that caller, begun with these headers, stands on.
    pub fn standing(&self, caller: &Arc<Caller>, headers: &HeaderMap) -> Standing {
        let authorization = authorization(headers).ok().flatten().cloned();
        Standing::new(
            Arc::clone(&self.authentication),
            self.peer.clone(),
            authorization,
            Arc::clone(caller),
        )
    }
}
