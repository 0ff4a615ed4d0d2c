//! `FacilitationService`: what clearance systems call.

mod answer;
mod simulate;
mod versions;

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use tokio::task::yield_now;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use self::answer::Answered;
use super::{
    admission::Account,
    calling,
    deadline::Deadline,
    ending::Ending,
    given,
    intake::MAX_REQUEST_BYTES,
    items::{answers, item_error},
    served::facilitation_service_server,
    status::Refusal,
};
use crate::{
    access::Caller,
    audit::{log::Lane, rates::RateTable},
    facilitation::{Facilitation, Moment},
    metrics::{Metrics, Shed},
    shipments::Shipments,
    upstream::{history::History, status::FeedStatus},
    wire::{
        lenient::MAX_BATCH,
        pb, raw,
        validate::{self, ValidRequest, Window},
        violations::{Violations, undecodable_field},
    },
};

/// Decisions of a batch between which others have their turn.
const BATCH_TURN: usize = 32;

/// Which acceptance times are taken.
#[derive(Debug, Clone, Copy)]
pub struct AcceptanceWindow {
    /// How far ahead of the server's time.
    pub ahead: Duration,
    /// How far behind it.
    pub behind: Duration,
}

/// The service.
#[derive(Debug, Clone)]
pub struct FacilitationRpc {
    /// Decides.
    pub facilitation: Arc<Facilitation>,
    /// Tells how far the registry is.
    pub feed: Arc<FeedStatus>,
    /// Which acceptance times are taken.
    pub window: AcceptanceWindow,
    /// Former rows, where the store keeps them.
    pub history: Option<History>,
    /// Where decisions are logged before they are given.
    pub lane: Lane,
    /// Counts what was selected.
    pub rates: Arc<RateTable>,
    /// Counts what was answered.
    pub metrics: Arc<Metrics>,
    /// Told of what was answered.
    pub shipments: Arc<Shipments>,
}

impl FacilitationRpc {
    /// Whether there is data to decide on.
    pub fn ready(&self) -> Result<(), Refusal> {
        if self.feed.is_ready() {
            Ok(())
        } else {
            Err(Refusal::NotReady)
        }
    }

    fn first_policy(&self) -> crate::domain::Date {
        let first = self
            .facilitation
            .policies()
            .policies()
            .first()
            .map(|policy| policy.document.effective_from);
        first.unwrap_or(crate::domain::Date::MAX)
    }

    fn validate(&self, request: &pb::DecideRequest, moment: &Moment) -> Result<ValidRequest, Refusal> {
        let AcceptanceWindow { ahead, behind } = self.window;
        let window = Window {
            now: moment.timestamp,
            ahead,
            behind,
            first_policy: self.first_policy(),
        };
        validate::request(request, &window).map_err(Refusal::Invalid)
    }

    /// The answer to an encoded `DecideRequest`, once it is in the log.
    async fn answer(
        &self,
        bytes: Bytes,
        deadline: Option<Deadline>,
        caller: &Caller,
    ) -> Result<Answered, Refusal> {
        self.ready()?;
        let mut moment = Moment::now();
        let begun = moment.monotonic;
        self.in_time(deadline, &moment)?;
        let request = decode(bytes.clone())?;
        let valid = self.validate(&request, &moment)?;
        if let Some(wanted) = &request.min_registry_version {
            self.reach(wanted, deadline).await?;
            moment = Moment::now();
        }
        let decided = self.decide(&bytes, &request, &valid, &moment, caller)?;
        self.logged(decided, begun).await
    }

    /// Nothing is decided for a caller that does not wait for it any more.
    fn in_time(&self, deadline: Option<Deadline>, moment: &Moment) -> Result<(), Refusal> {
        if deadline.is_some_and(|deadline| deadline.0.into_std() <= moment.monotonic) {
            self.metrics.shed(Shed::Late, 1);
            return Err(Refusal::DeadlineExceeded);
        }
        Ok(())
    }

    /// The encoded `Decision` on an encoded `DecideRequest`, once it is in the log, as the caller may see it.
    pub async fn decision(
        &self,
        bytes: Bytes,
        deadline: Option<Deadline>,
        caller: &Caller,
    ) -> Result<Bytes, Refusal> {
        Ok(self.answer(bytes, deadline, caller).await?.decision)
    }

    /// As [`Self::answer`], for a message of a stream, which may lack the request.
    async fn answer_item(
        &self,
        bytes: Option<Bytes>,
        deadline: Option<Deadline>,
        caller: &Caller,
    ) -> Result<Bytes, Refusal> {
        self.ready()?;
        let bytes = bytes.ok_or_else(|| Refusal::Invalid(Violations::of("request", "is required")))?;
        self.decision(bytes, deadline, caller).await
    }

    /// As [`Self::decision`] for each of many, in their order; those that could not be read are answered with why.
    pub async fn answer_batch<I>(
        &self,
        items: I,
        deadline: Option<Deadline>,
        caller: &Caller,
    ) -> Result<raw::BatchDecideResponse, Refusal>
    where
        I: IntoIterator<Item = Result<Bytes, Violations>, IntoIter: ExactSizeIterator>,
    {
        self.ready()?;
        let items = items.into_iter();
        if items.len() > MAX_BATCH {
            return Err(Refusal::Invalid(Violations::of(
                "requests",
                "must be at most 1000",
            )));
        }
        let mut moment = Moment::now();
        let begun = moment.monotonic;
        let valid = |bytes: Result<Bytes, Violations>| {
            let bytes = bytes.map_err(Refusal::Invalid)?;
            let request = decode(bytes.clone())?;
            let valid = self.validate(&request, &moment)?;
            Ok::<_, Refusal>((bytes, request, valid))
        };
        let items: Vec<_> = items.map(valid).collect();
        let wanted = items
            .iter()
            .flatten()
            .filter_map(|(_, request, _)| request.min_registry_version.clone());
        let wanted: Vec<_> = wanted.collect();
        let reached = if wanted.is_empty() {
            None
        } else {
            let reached = self.reach_all(&wanted, deadline).await;
            moment = Moment::now();
            Some(reached)
        };
        let decide = |item: Result<(Bytes, pb::DecideRequest, ValidRequest), Refusal>, moment: &Moment| {
            let (bytes, request, valid) = item?;
            if let (Some(reached), Some(wanted)) = (&reached, &request.min_registry_version) {
                reached(wanted)?;
            }
            self.in_time(deadline, moment)?;
            self.decide(&bytes, &request, &valid, moment, caller)
        };
        // All of them are gathered before the first is waited for: they share groups.
        let mut decided = Vec::with_capacity(items.len());
        for (place, item) in items.into_iter().enumerate() {
            if place > 0 && place % BATCH_TURN == 0 {
                yield_now().await;
                moment = Moment::now();
            }
            decided.push(decide(item, &moment));
        }
        let mut results = Vec::with_capacity(decided.len());
        for decided in decided {
            let answer = match decided {
                Ok(decided) => self
                    .logged(decided, begun)
                    .await
                    .map(|answered| answered.decision),
                Err(refusal) => Err(refusal),
            };
            results.push(answer.map_err(item_error).into());
        }
        Ok(raw::BatchDecideResponse { results })
    }
}

fn decode(bytes: Bytes) -> Result<pb::DecideRequest, Refusal> {
    if bytes.len() > MAX_REQUEST_BYTES {
        return Err(Refusal::RequestTooLarge);
    }
    pb::DecideRequest::decode(bytes).map_err(|error| Refusal::Invalid(undecodable_field(&error)))
}

/// Whom decisions are counted for, where they are.
fn account_of<T>(request: &Request<T>) -> Option<Arc<Account>> {
    request.extensions().get::<Arc<Account>>().cloned()
}

fn deadline_of<T>(request: &Request<T>) -> Option<Deadline> {
    request.extensions().get::<Deadline>().copied()
}

#[tonic::async_trait]
impl facilitation_service_server::FacilitationService for FacilitationRpc {
    type DecideStreamStream = Pin<Box<dyn Stream<Item = Result<raw::DecideStreamResponse, Status>> + Send>>;

    async fn decide(
        &self,
        request: Request<raw::DecideRequest>,
    ) -> Result<Response<raw::DecideResponse>, Status> {
        let deadline = deadline_of(&request);
        let caller = calling::caller()?;
        let Answered { decision, given } = self.answer(request.into_inner().0, deadline, &caller).await?;
        given::leave(given);
        Ok(Response::new(raw::DecideResponse { decision }))
    }

    async fn batch_decide(
        &self,
        request: Request<pb::BatchDecideRequest>,
    ) -> Result<Response<raw::BatchDecideResponse>, Status> {
        let (deadline, account) = (deadline_of(&request), account_of(&request));
        let requests = request.into_inner().requests;
        if let Some(account) = account {
            // The first is paid for by the call.
            account.owe(requests.len().saturating_sub(1));
        }
        let items = requests.into_iter().map(Ok);
        let response = self.answer_batch(items, deadline, &*calling::caller()?).await?;
        Ok(Response::new(response))
    }

    async fn decide_stream(
        &self,
        request: Request<Streaming<pb::DecideStreamRequest>>,
    ) -> Result<Response<Self::DecideStreamStream>, Status> {
        self.ready()?;
        let (deadline, ending) = (deadline_of(&request), Ending::of(&request));
        let (own, caller, account) = (self.clone(), calling::caller()?, account_of(&request));
        let answers = answers(request.into_inner(), deadline, ending, account, move |bytes| {
            let (own, caller) = (own.clone(), Arc::clone(&caller));
            async move { own.answer_item(bytes, deadline, &caller).await }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn simulate(
        &self,
        request: Request<pb::SimulateRequest>,
    ) -> Result<Response<pb::SimulateResponse>, Status> {
        let deadline = deadline_of(&request);
        let caller = calling::caller()?;
        let response = self
            .answer_simulation(request.into_inner(), deadline, &caller)
            .await?;
        Ok(Response::new(response))
    }
}
