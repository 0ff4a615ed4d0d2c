//! What a stream stands on: it outlives the moment in which its caller was known.

use std::{sync::Arc, time::Duration};

use http::HeaderValue;
use tokio::time::sleep;

use super::{Authentication, now};
use crate::access::{Caller, Cause, Peer};

/// The longest until the clock is looked at again: it may be set meanwhile.
const LOOK: Duration = Duration::from_mins(1);

/// The credential of a stream, and who it was of when the stream began.
#[derive(Debug, Clone)]
pub struct Standing {
    authentication: Arc<Authentication>,
    peer: Peer,
    authorization: Option<HeaderValue>,
    caller: Arc<Caller>,
}

impl Standing {
    pub(super) const fn new(
        authentication: Arc<Authentication>,
        peer: Peer,
        authorization: Option<HeaderValue>,
        caller: Arc<Caller>,
    ) -> Self {
        Self {
            authentication,
            peer,
            authorization,
            caller,
        }
    }

    /// Completes when the credential holds no more, or is of a caller of another name or of other roles: what is read and seen
    /// on the stream went by those.
    pub(in crate::service) async fn lost(self) -> Cause {
        let Some(guard) = &self.authentication.guard else {
            return std::future::pending().await;
        };
        let mut changes = guard.changes.subscribe();
        let cause = loop {
            changes.mark_unchanged();
            let known = guard.known(&guard.trusted.load(), &self.peer, self.authorization.as_ref());
            let until = match known {
                Ok(known) if known.caller == self.caller => known.until,
                Ok(_) => break Cause::Changed,
                Err(cause) => break cause,
            };
            let left = until.map_or(LOOK, |until| Duration::from_secs(until.saturating_sub(now())));
            tokio::select! {
                () = sleep(left.min(LOOK)) => {}
                _ = changes.changed() => {}
            }
        };
        self.authentication.metrics.auth.failed(cause.label());
        cause
    }
}
