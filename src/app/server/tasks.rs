//! The tasks of a connection's calls: each counts as open, and is given up when its answer is not taken.

use std::{
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use hyper::rt::Executor;
use hyper_util::rt::TokioExecutor;
use tokio::time::sleep;

use crate::{
    metrics::{Metrics, Shed},
    service::{
        admission::Conduct,
        given::{self, Progress},
    },
};

/// Runs the calls of one connection. A clone for each of them.
#[derive(Debug, Clone)]
pub(super) struct Tasks(pub(super) Arc<Shared>);

/// What the calls of one connection share: of its own, so that no other processor counts who holds it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) conduct: Arc<Conduct>,
    /// How long an answer, or the next part of one, may wait for its caller; zero: any time.
    pub(super) stall: Duration,
    pub(super) metrics: Arc<Metrics>,
}

impl<C> Executor<C> for Tasks
where
    C: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, call: C) {
        let (shared, open) = (Arc::clone(&self.0), self.0.conduct.open());
        let task = async move {
            let _open = open;
            let mut call = pin!(call);
            let mut untaken = None;
            let taken = poll_fn(|context| {
                if call.as_mut().poll(context).is_ready() {
                    given::take_progress();
                    return Poll::Ready(true);
                }
                // Something was handed out, and there was no look for more behind it: the caller's window is full.
                match given::take_progress() {
                    Progress::HandedOut if !shared.stall.is_zero() => {
                        untaken = Some(Box::pin(sleep(shared.stall)));
                    }
                    Progress::Taken => untaken = None,
                    Progress::HandedOut | Progress::None => {}
                }
                match &mut untaken {
                    Some(untaken) => untaken.as_mut().poll(context).map(|()| false),
                    None => Poll::Pending,
                }
            });
            if !taken.await {
                // What is dropped is reset.
                shared.metrics.shed(Shed::Stalled, 1);
            }
        };
        if !self.0.conduct.takes_refusal() {
            return TokioExecutor::new().execute(task);
        }
        // At once, and not behind all that is worked on: it leaves with what its connection writes next.
        let mut task = Box::pin(task);
        if task
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
        {
            // Of its request there is more to come.
            TokioExecutor::new().execute(task);
        }
    }
}
