//! Reads bodies whole, and bounds what all of them hold.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A body, and the share of the memory for bodies that it takes until it is dropped.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    _held: Option<OwnedSemaphorePermit>,
}

/// Why a body is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is larger than the limit.
    TooLarge,
    /// There is no memory for it beside the others.
    TooMuchHeld,
    /// The client ended before the body did, or sent something else.
    Broken,
}

/// Reads a body of at most `limit` bytes, of which `memory` has a permit each.
pub(super) async fn read(mut body: Incoming, limit: usize, memory: &Arc<Semaphore>) -> Result<Body, Unread> {
    let (mut bytes, mut held) = (BytesMut::new(), None::<OwnedSemaphorePermit>);
    let mut refused = None;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else {
            continue;
        };
        // What is too much is read to its end all the same: who still writes does not read the answer.
        if refused.is_some() {
            continue;
        }
        if limit - bytes.len() < data.len() {
            refused = Some(Unread::TooLarge);
        } else if let Ok(permits) = u32::try_from(data.len())
            && let Ok(more) = Arc::clone(memory).try_acquire_many_owned(permits)
        {
            bytes.extend_from_slice(&data);
            match &mut held {
                None => held = Some(more),
                Some(held) => held.merge(more),
            }
        } else {
            refused = Some(Unread::TooMuchHeld);
        }
        if refused.is_some() {
            (bytes, held) = (BytesMut::new(), None);
        }
    }
    match refused {
        None => Ok(Body {
            bytes: bytes.freeze(),
            _held: held,
        }),
        Some(refused) => Err(refused),
    }
}
