//! The stream of one watch.

use tokio::pin;
use tokio_stream::Stream;
use tonic::{Status, metadata::MetadataValue};

use super::shipment;
use crate::{
    service::{
        deadline::{self, Deadline},
        ending::{self, Ending},
        status::Refusal,
    },
    shipments::{Ended, Event, Watch, WatchError},
    wire::{
        pb::{self, watch_priorities_response},
        violations::Violations,
    },
};

/// The trailer that holds the token of a watch that the server ended.
const RESUME_TOKEN: &str = "greenlane-resume-token";

/// What a watch tells, until it or the connection ends, or the caller's deadline passes.
pub(super) fn responses(
    watch: Watch,
    deadline: Option<Deadline>,
    ending: Option<Ending>,
) -> impl Stream<Item = Result<pb::WatchPrioritiesResponse, Status>> + Send {
    async_stream::stream! {
        let mut watch = watch;
        pin! {
            let late = deadline::passed(deadline);
            let ends = ending::begun(ending);
        }
        loop {
            let event = tokio::select! {
                // First, so that a watch that always has something to tell ends too.
                biased;
                () = &mut late => {
                    yield Err(Refusal::DeadlineExceeded.into());
                    return;
                }
                (why, _) = &mut ends => {
                    yield Err(ended(why.into(), &watch.token()));
                    return;
                }
                event = watch.next() => event,
            };
            match event {
                Event::Shipment { view, token } => {
                    let event = watch_priorities_response::Event::Shipment(shipment(*view));
                    yield Ok(pb::WatchPrioritiesResponse { token, event: Some(event) });
                }
                Event::Heartbeat { token } => {
                    let event = watch_priorities_response::Event::Heartbeat(pb::Heartbeat {});
                    yield Ok(pb::WatchPrioritiesResponse { token, event: Some(event) });
                }
                Event::Ended { why, token } => {
                    let why = match why {
                        Ended::TooSlow => Refusal::TooSlow,
                        Ended::Draining => Refusal::Draining,
                    };
                    yield Err(ended(why, &token));
                    return;
                }
            }
        }
    }
}

fn ended(why: Refusal, token: &str) -> Status {
    let mut status = Status::from(why);
    if let Ok(token) = MetadataValue::try_from(token) {
        status.metadata_mut().insert(RESUME_TOKEN, token);
    }
    status
}

impl From<WatchError> for Refusal {
    fn from(error: WatchError) -> Self {
        match error {
            WatchError::Malformed => Self::Invalid(Violations::of(
                "resume_token",
                "must be a token of an earlier response",
            )),
            WatchError::TooOld => Self::TooOld,
            WatchError::TooMany => Self::TooManyWatches,
            WatchError::Unreachable(_) => Self::ShipmentsUnreachable,
        }
    }
}
