//! The items of batches and streams: each is answered alone.

use std::sync::Arc;

use bytes::Bytes;
use tokio::{
    pin,
    time::{Instant, sleep},
};
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use super::{
    admission::Account,
    deadline::{self, Deadline},
    ending::{self, Ending},
    status::Refusal,
};
use crate::wire::{pb, raw, violations::undecodable_field};

/// A refusal as the item of a batch or stream carries it.
pub(super) fn item_error(refusal: Refusal) -> pb::ItemError {
    let (code, message) = (refusal.code(), refusal.message());
    let violations = if let Refusal::Invalid(violations) = refusal {
        violations.0
    } else {
        Vec::new()
    };
    let violation = |(field, description)| pb::FieldViolation { field, description };
    pb::ItemError {
        code: code as i32,
        message,
        violations: violations.into_iter().map(violation).collect(),
    }
}

/// Answers a stream message by message, in order; ends with the caller, with the deadline, or with the connection: then
/// what has come is answered first, as long as there is time.
pub(super) fn answers<F>(
    requests: Streaming<pb::DecideStreamRequest>,
    deadline: Option<Deadline>,
    ending: Option<Ending>,
    account: Option<Arc<Account>>,
    answer: impl Fn(Option<Bytes>) -> F + Send + 'static,
) -> impl Stream<Item = Result<raw::DecideStreamResponse, Status>> + Send
where
    F: Future<Output = Result<Bytes, Refusal>> + Send,
{
    async_stream::stream! {
        let mut requests = requests;
        pin! {
            let late = deadline::passed(deadline);
            let left = ending::overdue(ending.clone());
            let ends = ending::begun(ending);
        }
        loop {
            let next = tokio::select! {
                // These two first: whoever never pauses is to be left too.
                biased;
                () = &mut late => Err(Refusal::DeadlineExceeded),
                why = &mut left => Err(why.into()),
                next = requests.message() => Ok(next),
                (why, _) = &mut ends => Err(why.into()),
            };
            // A timer is looked at only when the thread has time for it.
            let is_late = deadline.is_some_and(|deadline| deadline.0 <= Instant::now());
            let next = if is_late { Err(Refusal::DeadlineExceeded) } else { next };
            let next = match next {
                Ok(next) => next,
                Err(refusal) => {
                    yield Err(refusal.into());
                    return;
                }
            };
            if let Some(account) = &account
                && matches!(next, Ok(Some(_)))
            {
                // A stream that is over its caller's quota is slowed down, not refused.
                while let Some(wait) = account.take_or_wait() {
                    tokio::select! {
                        () = sleep(wait) => {}
                        () = &mut late => break,
                        _ = &mut left => break,
                    }
                }
            }
            let (correlation_id, answered) = match next {
                Ok(None) => return,
                Ok(Some(pb::DecideStreamRequest { correlation_id, undecodable: Some(error), .. })) => {
                    (correlation_id, Err(Refusal::Invalid(undecodable_field(&error))))
                }
                Ok(Some(message)) => (message.correlation_id, answer(message.request).await),
                // The transport failed, or a frame is over limits.max_message_bytes: nothing can follow.
                Err(status) => {
                    yield Err(status);
                    return;
                }
            };
            yield Ok(raw::DecideStreamResponse::new(correlation_id, answered.map_err(item_error)));
        }
    }
}
