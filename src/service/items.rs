//! The items of batches and streams: each is answered alone.

use std::{future::ready, sync::Arc};

use bytes::Bytes;
use futures_util::{
    future::Either,
    stream::{FuturesOrdered, StreamExt as _},
};
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

/// Messages of a stream that are decided before the first of them is answered: they share a group of the log, and a write.
const AT_ONCE: usize = 64;

/// What a stream goes on with.
enum Step {
    Asked(Result<Option<pb::DecideStreamRequest>, Status>),
    Answered(raw::DecideStreamResponse),
    Over(Refusal),
}

/// Answers the messages of a stream in their order; ends with the caller, with the deadline, or with the connection: then
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
        let mut answering = FuturesOrdered::new();
        pin! {
            let late = deadline::passed(deadline);
            let left = ending::overdue(ending.clone());
            let ends = ending::begun(ending);
        }
        let end = 'stream: loop {
            let step = tokio::select! {
                // These two first: whoever never pauses is to be left too.
                biased;
                () = &mut late => Step::Over(Refusal::DeadlineExceeded),
                why = &mut left => Step::Over(why.into()),
                // What has come is looked at together.
                next = requests.message(), if answering.len() < AT_ONCE => Step::Asked(next),
                Some(answered) = answering.next() => Step::Answered(answered),
                // With some unanswered, it is not known yet whether more has come.
                (why, _) = &mut ends, if answering.is_empty() => Step::Over(why.into()),
            };
            let asked = match step {
                Step::Answered(answered) => {
                    yield Ok(answered);
                    continue;
                }
                Step::Over(refusal) => break Some(refusal.into()),
                Step::Asked(asked) => asked,
            };
            // A timer is looked at only when the thread has time for it.
            if deadline.is_some_and(|deadline| deadline.0 <= Instant::now()) {
                break Some(Refusal::DeadlineExceeded.into());
            }
            let pb::DecideStreamRequest { correlation_id, request, undecodable } = match asked {
                Ok(None) => break None,
                Ok(Some(message)) => message,
                // The transport failed, or a frame is over limits.max_message_bytes: nothing can follow.
                Err(status) => break Some(status),
            };
            if let Some(account) = &account {
                // A stream that is over its caller's quota is slowed down, not refused.
                while let Some(wait) = account.take_or_wait() {
                    while let Some(answered) = answering.next().await {
                        yield Ok(answered);
                    }
                    tokio::select! {
                        () = sleep(wait) => {}
                        () = &mut late => break 'stream Some(Refusal::DeadlineExceeded.into()),
                        why = &mut left => break 'stream Some(Refusal::from(why).into()),
                    }
                }
            }
            let answered = match undecodable {
                Some(error) => Either::Left(ready(Err(Refusal::Invalid(undecodable_field(&error))))),
                None => Either::Right(answer(request)),
            };
            answering.push_back(async move {
                raw::DecideStreamResponse::new(correlation_id, answered.await.map_err(item_error))
            });
        };
        // What is logged is given.
        while let Some(answered) = answering.next().await {
            yield Ok(answered);
        }
        if let Some(status) = end {
            yield Err(status);
        }
    }
}
