//! The watch itself: one stream after the other, each from where the last one was.

use std::time::Duration;

use rand::RngExt as _;
use tokio::{sync::mpsc, time::timeout};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    cli::{Context, client},
    wire::{
        pb::{self, priority_service_client::PriorityServiceClient},
        shipment_key,
    },
};

/// A server that says nothing for so long is dead: three heartbeats, 10 s each, and a second on the way.
pub(super) const SILENCE: Duration = Duration::from_secs(31);

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What is heard, of the shipments or of the server.
#[derive(Debug)]
pub(super) enum Word {
    /// The server says something.
    Response(pb::WatchPrioritiesResponse),
    /// The server is lost, and will be asked again.
    Lost {
        /// What happened.
        why: String,
        /// The watch begins anew: what was heard before counts only once it is heard again.
        anew: bool,
        /// How long until then.
        again_in: Duration,
    },
}

/// Follows the shipments wherever the server goes.
pub(super) struct Follower {
    keys: Vec<pb::ShipmentKey>,
    token: String,
    pause: Duration,
    told: mpsc::Sender<Word>,
}

/// Why a stream ended.
enum End {
    /// It is worth another try.
    Lost(String),
    /// As before, but not from the token.
    Anew(String),
    /// The server wants the caller to wait so long.
    Wait(String, Duration),
    /// It will never be otherwise.
    Refused(anyhow::Error),
}

impl Follower {
    /// Follows the shipments with these keys; what is heard goes to `told`.
    pub(super) fn new(keys: &[String], told: mpsc::Sender<Word>) -> Self {
        Self {
            keys: keys.iter().map(|key| shipment_key::written(key)).collect(),
            token: String::new(),
            pause: FIRST_PAUSE,
            told,
        }
    }

    /// Asks for ever; gives the refusal that no other try would change.
    pub(super) async fn run(mut self, context: &Context) -> anyhow::Error {
        loop {
            let (why, anew, at_least) = match self.stream(context).await {
                End::Refused(refusal) => return refusal,
                End::Lost(why) => (why, false, Duration::ZERO),
                End::Wait(why, wait) => (why, false, wait),
                End::Anew(why) => {
                    self.token.clear();
                    (why, true, Duration::ZERO)
                }
            };
            // Spread, so that a server that comes back does not meet everybody at once.
            let spread = self.pause.mul_f64(rand::rng().random_range(0.5..=1.0));
            let again_in = spread.max(at_least);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            // Whoever shows words ends together with this.
            drop(self.told.send(Word::Lost { why, anew, again_in }).await);
            tokio::time::sleep(again_in).await;
        }
    }

    async fn stream(&mut self, context: &Context) -> End {
        let channel = match client::connect(context).await {
            Ok(channel) => channel,
            Err(error) => return End::Lost(format!("{error:#}")),
        };
        let mut service = PriorityServiceClient::new(channel).max_decoding_message_size(client::MAX_MESSAGE);
        let request = pb::WatchPrioritiesRequest {
            keys: self.keys.clone(),
            resume_token: self.token.clone(),
        };
        let mut responses = match timeout(SILENCE, service.watch_priorities(request)).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return self.ended(&status),
            Err(_) => return silent(),
        };
        loop {
            match timeout(SILENCE, responses.message()).await {
                Ok(Ok(Some(response))) => {
                    self.token.clone_from(&response.token);
                    self.pause = FIRST_PAUSE;
                    drop(self.told.send(Word::Response(response)).await);
                }
                Ok(Ok(None)) => return End::Lost("the server ended the watch".to_owned()),
                Ok(Err(status)) => return self.ended(&status),
                Err(_) => return silent(),
            }
        }
    }

    fn ended(&mut self, status: &Status) -> End {
        let why = format!("{:?}: {}", status.code(), status.message());
        match status.code() {
            Code::OutOfRange => End::Anew(why),
            // Of another store, or another release.
            Code::InvalidArgument if !self.token.is_empty() && names_the_token(status) => End::Anew(why),
            Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented => {
                End::Refused(client::refusal(status))
            }
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::NotFound
            | Code::AlreadyExists
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => {
                let token = status.metadata().get("greenlane-resume-token");
                if let Some(token) = token.and_then(|token| token.to_str().ok()) {
                    token.clone_into(&mut self.token);
                }
                let wait = status.get_details_retry_info().and_then(|info| info.retry_delay);
                wait.map_or_else(|| End::Lost(why.clone()), |wait| End::Wait(why.clone(), wait))
            }
        }
    }
}

fn silent() -> End {
    End::Lost(format!("nothing was heard for {} s", SILENCE.as_secs()))
}

fn names_the_token(status: &Status) -> bool {
    status.get_details_bad_request().is_some_and(|bad| {
        let mut violations = bad.field_violations.iter();
        violations.any(|violation| violation.field == "resume_token")
    })
}
