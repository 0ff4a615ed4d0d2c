//! Questions to relays for the head: one each heartbeat, none waits for another's answer.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};

use super::{
    super::{Asked, UpstreamError},
    Names,
    head::Head,
    unavailable,
};

/// Questions that may wait for an answer; what comes later than that is not worth having.
const OPEN: usize = 64;

/// Asks, and keeps what was answered.
#[derive(Debug)]
pub(super) struct Questions {
    subject: String,
    /// Answers come to this subject and the question's number.
    inbox: String,
    answers: Subscriber,
    interval: Duration,
    /// The number of the oldest open question, and when each was asked.
    first: u64,
    asked: VecDeque<Asked>,
    last: Option<Instant>,
    answered: VecDeque<(Head, Asked)>,
}

impl Questions {
    /// Nothing asked yet.
    pub(super) async fn new(
        client: &Client,
        names: &Names,
        interval: Duration,
    ) -> Result<Self, UpstreamError> {
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*")).await;
        Ok(Self {
            subject: names.head(),
            answers: answers.map_err(|error| unavailable("subscribe", error))?,
            inbox,
            interval,
            first: 0,
            asked: VecDeque::new(),
            last: None,
            answered: VecDeque::new(),
        })
    }

    /// Asks, if it is time to.
    pub(super) async fn ask(&mut self, client: &Client) -> Result<(), UpstreamError> {
        if self.last.is_some_and(|last| last.elapsed() < self.interval) {
            return Ok(());
        }
        if self.asked.len() == OPEN {
            self.asked.pop_front();
            self.first += 1;
        }
        let reply = format!("{}.{}", self.inbox, self.first + self.asked.len() as u64);
        self.last = Some(Instant::now());
        self.asked.push_back(Asked::now());
        // Sending waits only where the connection's queue is full.
        let sent = client.publish_with_reply(self.subject.clone(), reply, Bytes::new());
        let sent = tokio::time::timeout(self.interval, sent).await;
        sent.map_err(|_| UpstreamError::timed_out("nats: ask", self.interval))?
            .map_err(|error| unavailable("ask", error))
    }

    /// Completes when there is an answer, or the next question is due. May be dropped at any time.
    pub(super) async fn answered_or_due(&mut self) {
        let since = self.last.map_or(self.interval, |last| last.elapsed());
        let due = tokio::time::sleep(self.interval.saturating_sub(since));
        tokio::pin!(due);
        while self.answered.is_empty() {
            tokio::select! {
                message = self.answers.next() => match message {
                    Some(message) => self.receive(&message),
                    // The client is gone, and with it everything else: the next look tells.
                    None => return due.await,
                },
                () = &mut due => return,
            }
        }
    }

    /// The next answer that is here.
    pub(super) fn take(&mut self) -> Option<(Head, Asked)> {
        while self.answered.is_empty() {
            let message = self.answers.next().now_or_never()??;
            self.receive(&message);
        }
        self.answered.pop_front()
    }

    fn receive(&mut self, message: &async_nats::Message) {
        // Without a relay the server itself answers, with a status and no words.
        let Ok(head) = serde_json::from_slice::<Head>(&message.payload) else {
            return;
        };
        let number = message
            .subject
            .rsplit_once('.')
            .and_then(|(_, number)| number.parse::<u64>().ok());
        let index = number.and_then(|number| number.checked_sub(self.first));
        let asked = index.and_then(|index| self.asked.get(usize::try_from(index).ok()?));
        if let Some(asked) = asked {
            self.answered.push_back((head, *asked));
        }
    }
}
