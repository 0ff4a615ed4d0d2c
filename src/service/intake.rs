//! The body of a request, bounded while its message is not whole: in time, and in what all such bodies hold together.
//!
//! A message that is whole is decoded and answered at once. One that is not costs memory for as long as its sender likes,
//! whether it comes byte by byte or stops in the middle; of a stream, the time between two messages is its caller's own.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

use super::{admission::Conduct, status::Refusal};
use crate::metrics::{Metrics, Shed};

/// Bytes of a message that are not counted: most messages are whole before they are looked at.
const UNCOUNTED: usize = 4096;
/// Bytes of a message that asks for one answer: a hundred times what it needs, and decoded it is up to thirty times as much.
pub const MAX_REQUEST_BYTES: usize = 1024 * 1024;
/// Of a message in gRPC: whether it is compressed, and its length.
const HEAD: usize = 5;

/// What holds for every body of a process. A clone a thread, so that no other processor counts who holds it.
#[derive(Debug, Clone)]
pub struct Intakes {
    /// How long a message may take; zero: any time.
    pub timeout: Duration,
    /// Bytes that unfinished messages may hold together.
    pub max_held: usize,
    /// What they hold.
    pub held: Arc<AtomicUsize>,
    /// Counts what is given up.
    pub metrics: Arc<Metrics>,
}

/// What a body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One request.
    One,
    /// A batch of them.
    Batch,
    /// One after the other, each with a time of its own.
    Stream,
}

/// A request's body.
#[derive(Debug)]
pub struct Intake<B = Incoming> {
    body: B,
    intakes: Arc<Intakes>,
    conduct: Arc<Conduct>,
    message: Message,
    /// Of this body, in `intakes.held`.
    held: usize,
    kind: Kind,
    since: Instant,
    /// There only once something had to be waited for.
    late: Option<Pin<Box<Sleep>>>,
    /// What was looked at and put back.
    put_back: VecDeque<Result<Frame<Bytes>, Status>>,
    ended: bool,
}

impl<B> Intake<B> {
    /// The body of a call that began then, on a connection of that `conduct`.
    pub fn new(body: B, intakes: Arc<Intakes>, conduct: Arc<Conduct>, kind: Kind, begun: Instant) -> Self {
        Self {
            body,
            intakes,
            conduct,
            message: Message::default(),
            held: 0,
            kind,
            since: begun,
            late: None,
            put_back: VecDeque::new(),
            ended: false,
        }
    }

    /// Takes note of bytes, unless they are too many, or there is no room for what is unfinished.
    fn take(&mut self, data: &[u8]) -> Result<(), Refusal> {
        let whole = self.message.take(data);
        if whole && self.kind == Kind::Stream {
            self.late = None;
        }
        if self.kind != Kind::Batch && self.message.longest > MAX_REQUEST_BYTES {
            return Err(Refusal::RequestTooLarge);
        }
        let counted = self.message.unfinished().saturating_sub(UNCOUNTED);
        if counted > self.held {
            let more = counted - self.held;
            let before = self.intakes.held.fetch_add(more, Ordering::Relaxed);
            self.held = counted;
            if before.saturating_add(more) > self.intakes.max_held {
                self.intakes.metrics.shed(Shed::UnfinishedBytes, 1);
                return Err(Refusal::TooMuchUnfinished);
            }
        } else {
            self.release(self.held - counted);
        }
        Ok(())
    }

    fn release(&mut self, bytes: usize) {
        if bytes > 0 {
            self.intakes.held.fetch_sub(bytes, Ordering::Relaxed);
            self.held -= bytes;
        }
    }

    /// Whether what is missing is overdue.
    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        if self.intakes.timeout.is_zero() || (self.kind == Kind::Stream && self.message.is_between()) {
            return false;
        }
        let (since, kind) = (self.since, self.kind);
        let late = self.late.get_or_insert_with(|| {
            let since = if kind == Kind::Stream {
                Instant::now()
            } else {
                since
            };
            Box::pin(sleep_until(since + self.intakes.timeout))
        });
        late.as_mut().poll(context).is_ready()
    }

    fn give_up(&mut self, refusal: Refusal) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.ended = true;
        Poll::Ready(Some(Err(refusal.into())))
    }
}

impl<B> Intake<B>
where
    Self: Body<Data = Bytes, Error = Status> + Unpin,
{
    /// The one message of a body that is as most are: at most so many bytes, not compressed, in a frame of its own, and
    /// nothing behind it. Any other body is left as it was, for who knows what to answer to it.
    pub async fn usual_message(&mut self, most: usize) -> Option<Bytes> {
        let mut message = None;
        while let Some(frame) = poll_fn(|context| Pin::new(&mut *self).poll_frame(context)).await {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) if data.is_empty() => {}
                Ok(Ok(data)) if message.is_none() && is_one_message(&data, most) => message = Some(data),
                // Nothing is read from trailers.
                Ok(Err(_)) if message.is_some() => {}
                unusual => {
                    let unusual = unusual.map(|frame| frame.map_or_else(|frame| frame, Frame::data));
                    self.put_back = message.map(|data| Ok(Frame::data(data))).into_iter().collect();
                    self.put_back.push_back(unusual);
                    return None;
                }
            }
        }
        message.map(|mut data| data.split_off(HEAD))
    }
}

/// Whether that is the whole frame of one message.
fn is_one_message(data: &Bytes, most: usize) -> bool {
    let Some((&[is_compressed, ref length @ ..], message)) = data.split_first_chunk::<HEAD>() else {
        return false;
    };
    let is_whole = usize::try_from(u32::from_be_bytes(*length)) == Ok(message.len());
    is_compressed == 0 && is_whole && message.len() <= most
}

impl<B> Drop for Intake<B> {
    fn drop(&mut self) {
        self.release(self.held);
    }
}

impl<B: Body<Data = Bytes, Error: Into<tonic::codegen::StdError>> + Unpin> Body for Intake<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(frame) = self.put_back.pop_front() {
            return Poll::Ready(Some(frame));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref()
                    && let Err(refusal) = self.take(data.chunk())
                {
                    return self.give_up(refusal);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                // What is answered now, nobody takes.
                self.conduct.reset();
                self.ended = true;
                Poll::Ready(Some(Err(Status::from_error(error.into()))))
            }
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Pending if self.is_late(context) => {
                self.intakes.metrics.shed(Shed::Stalled, 1);
                self.give_up(Refusal::Unfinished)
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.put_back.is_empty() && (self.ended || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Where one is in a sequence of messages.
#[derive(Debug, Default)]
struct Message {
    head: [u8; HEAD],
    /// Bytes of the head that are there.
    of_head: usize,
    /// Bytes of the message that are there.
    have: usize,
    /// Bytes that are missing.
    missing: usize,
    /// Bytes of the longest that was announced.
    longest: usize,
}

impl Message {
    /// Goes on over bytes, and tells whether a message became whole.
    fn take(&mut self, mut data: &[u8]) -> bool {
        let mut whole = false;
        while !data.is_empty() {
            if self.of_head < HEAD {
                let part = data.len().min(HEAD - self.of_head);
                self.head[self.of_head..self.of_head + part].copy_from_slice(&data[..part]);
                self.of_head += part;
                data = &data[part..];
                if self.of_head == HEAD {
                    let [_, length @ ..] = self.head;
                    self.missing = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                    self.longest = self.longest.max(self.missing);
                }
            } else {
                let part = data.len().min(self.missing);
                self.have += part;
                self.missing -= part;
                data = &data[part..];
            }
            if self.of_head == HEAD && self.missing == 0 {
                (self.of_head, self.have) = (0, 0);
                whole = true;
            }
        }
        whole
    }

    /// Bytes of the one that is not whole.
    const fn unfinished(&self) -> usize {
        self.have
    }

    const fn is_between(&self) -> bool {
        self.of_head == 0
    }
}

#[cfg(test)]
mod tests;
