//! What a relay answers to replicas, from what its follower has confirmed last.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use async_nats::{Client, Message, Subscriber};
use futures_util::StreamExt as _;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::super::{
    Asked, UpstreamError,
    nats::{
        Names,
        head::{Head, Permit, PermitRequest},
    },
};

/// Replicas that may fetch a snapshot at once.
const FETCHES: usize = 4;
/// A replica that has said nothing for so long fetches no more.
const LEASE: Duration = Duration::from_secs(30);
/// After a subscription failed, the next is tried no earlier.
const AGAIN: Duration = Duration::from_secs(1);
/// Relays that share the questions for permits: each replica is answered by one of them.
const QUEUE: &str = "relays";

/// A head that the store has confirmed.
#[derive(Debug, Clone)]
pub(super) struct Confirmed {
    pub(super) epoch: String,
    pub(super) sequence: u64,
    pub(super) digest: String,
    pub(super) stream: u64,
    pub(super) stream_sequence: u64,
    pub(super) asked: Asked,
}

/// What is answered, shared between the follower's side and the answering task.
#[derive(Debug)]
pub(super) struct Answers {
    relay: String,
    confirmed: Mutex<Option<Confirmed>>,
    /// Whether there is anything to answer: a relay that has nothing to say does not listen either.
    speaking: watch::Sender<bool>,
    leases: Mutex<HashMap<String, Instant>>,
}

impl Answers {
    pub(super) fn new(relay: String) -> Arc<Self> {
        Arc::new(Self {
            relay,
            confirmed: Mutex::default(),
            speaking: watch::Sender::new(false),
            leases: Mutex::default(),
        })
    }

    /// Whether there is something to answer.
    pub(super) fn speaking(&self) -> watch::Receiver<bool> {
        self.speaking.subscribe()
    }

    /// From now on, this.
    pub(super) fn confirm(&self, confirmed: Confirmed) {
        *lock(&self.confirmed) = Some(confirmed);
        self.speaking
            .send_if_modified(|speaking| !std::mem::replace(speaking, true));
    }

    /// From now on, nothing.
    pub(super) fn silence(&self) {
        *lock(&self.confirmed) = None;
        self.speaking
            .send_if_modified(|speaking| std::mem::replace(speaking, false));
    }

    /// The answer at these instants.
    fn head(&self, now: Instant, now_wall: SystemTime) -> Option<Head> {
        let confirmed = lock(&self.confirmed).clone()?;
        let Asked { monotonic, wall } = confirmed.asked;
        // One clock stands still while a machine sleeps, the other may be set.
        let age = now
            .saturating_duration_since(monotonic)
            .max(now_wall.duration_since(wall).unwrap_or_default());
        Some(Head {
            epoch: confirmed.epoch,
            sequence: confirmed.sequence,
            age_ns: u64::try_from(age.as_nanos()).unwrap_or(u64::MAX),
            digest: confirmed.digest,
            stream: confirmed.stream,
            stream_sequence: confirmed.stream_sequence,
            relay: self.relay.clone(),
        })
    }

    /// Whether a replica may fetch now; it counts as fetching from then on.
    fn permit(&self, replica: &str, now: Instant) -> bool {
        let mut leases = lock(&self.leases);
        leases.retain(|_, told| now.saturating_duration_since(*told) < LEASE);
        let granted = leases.contains_key(replica) || leases.len() < FETCHES;
        if granted {
            leases.insert(replica.to_owned(), now);
        }
        granted
    }

    /// A replica with a permit goes on, or has ended.
    fn told(&self, request: &PermitRequest, now: Instant) {
        let mut leases = lock(&self.leases);
        if request.ended {
            leases.remove(&request.replica);
        } else if let Some(told) = leases.get_mut(&request.replica) {
            *told = now;
        }
    }

    /// Answers for as long as there is anything to say.
    pub(super) async fn run(self: Arc<Self>, client: Client, names: Names) {
        let mut speaking = self.speaking.subscribe();
        while speaking.wait_for(|speaking| *speaking).await.is_ok() {
            let result = tokio::select! {
                result = self.answer(&client, &names) => result,
                _ = speaking.wait_for(|speaking| !*speaking) => continue,
            };
            if let Err(problem) = result {
                warn!(%problem, "questions of replicas cannot be taken");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    async fn answer(&self, client: &Client, names: &Names) -> Result<(), UpstreamError> {
        let failed = |error| UpstreamError::Unavailable(format!("nats: subscribe: {error}"));
        // Every relay answers every question for the head, and the first answer counts: a relay that hangs costs nothing.
        let mut heads = client.subscribe(names.head()).await.map_err(failed)?;
        let permits = client.queue_subscribe(names.permit(), QUEUE.to_owned()).await;
        let mut permits: Subscriber = permits.map_err(failed)?;
        let mut back = client
            .subscribe(names.permit_back(&self.relay))
            .await
            .map_err(failed)?;
        loop {
            tokio::select! {
                question = heads.next() => {
                    let Some(question) = question else { break };
                    if let Some(head) = self.head(Instant::now(), SystemTime::now()) {
                        reply(client, &question, &head).await;
                    }
                }
                question = permits.next() => {
                    let Some(question) = question else { break };
                    if let Ok(request) = serde_json::from_slice::<PermitRequest>(&question.payload) {
                        let permit = Permit {
                            granted: self.permit(&request.replica, Instant::now()),
                            relay: self.relay.clone(),
                        };
                        reply(client, &question, &permit).await;
                    }
                }
                told = back.next() => {
                    let Some(told) = told else { break };
                    if let Ok(request) = serde_json::from_slice::<PermitRequest>(&told.payload) {
                        self.told(&request, Instant::now());
                    }
                }
            }
        }
        Err(UpstreamError::Unavailable("nats: connection closed".to_owned()))
    }
}

async fn reply(client: &Client, question: &Message, answer: &impl serde::Serialize) {
    let Some(to) = &question.reply else {
        return;
    };
    let answer = serde_json::to_vec(answer).unwrap_or_default();
    if let Err(error) = client.publish(to.clone(), answer.into()).await {
        debug!(%error, "a replica was not answered");
    }
}

/// Nothing panics while it holds these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confirmed(asked: Asked) -> Confirmed {
        Confirmed {
            epoch: "e".to_owned(),
            sequence: 7,
            digest: "d".to_owned(),
            stream: 1,
            stream_sequence: 2,
            asked,
        }
    }

    #[test]
    fn an_answer_is_as_old_as_the_slower_clock_says() {
        let answers = Answers::new("r".to_owned());
        let asked = Asked::now();
        assert_eq!(answers.head(asked.monotonic, asked.wall), None);
        answers.confirm(confirmed(asked));
        let (second, hour) = (Duration::from_secs(1), Duration::from_hours(1));
        let age = |now, wall| {
            answers
                .head(now, wall)
                .map(|head| Duration::from_nanos(head.age_ns))
        };
        assert_eq!(age(asked.monotonic + second, asked.wall), Some(second));
        assert_eq!(
            age(asked.monotonic + second, asked.wall + hour),
            Some(hour),
            "the machine slept"
        );
        assert_eq!(
            age(asked.monotonic + hour, asked.wall - hour),
            Some(hour),
            "the wall clock was set back"
        );
        answers.silence();
        assert_eq!(answers.head(asked.monotonic, asked.wall), None);
    }

    #[test]
    fn only_so_many_replicas_fetch_at_once_and_a_lost_one_makes_room() {
        let answers = Answers::new("r".to_owned());
        let now = Instant::now();
        for replica in ["a", "b", "c", "d"] {
            assert!(answers.permit(replica, now));
        }
        assert!(!answers.permit("e", now));
        assert!(answers.permit("a", now), "it has a permit already");
        let request = |replica: &str, ended| PermitRequest {
            replica: replica.to_owned(),
            ended,
        };
        answers.told(&request("b", true), now);
        assert!(answers.permit("e", now));
        assert!(!answers.permit("f", now));
        answers.told(&request("a", false), now + LEASE / 2);
        assert!(
            answers.permit("f", now + LEASE),
            "the others have not been heard of"
        );
        assert!(answers.permit("g", now + LEASE) && answers.permit("h", now + LEASE));
        assert!(!answers.permit("i", now + LEASE), "a, f, g and h");
    }
}
