//! `FacilitationService`: what clearance systems call.

mod answer;
mod encoded;
mod simulate;
mod versions;

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use tokio::task::yield_now;
use tokio_stream::Stream;
use tonic::{Response, Status, Streaming};

pub use self::answer::Answered;
use self::answer::Decided;
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
        pb, raw, usual,
        validate::{self, ValidRequest, Window},
        violations::{Violations, undecodable_field},
    },
};

/// Items of a batch that are read and decided at once: few enough to stay near the processor. Then others have their turn.
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

/// A request that may be decided.
#[derive(Debug)]
struct Request {
    valid: ValidRequest,
    /// The message, where it is not a usual one.
    message: Option<Box<pb::DecideRequest>>,
}

/// Why a request is not decided at once.
#[derive(Debug)]
enum NotYet {
    Refused(Refusal),
    /// The registry is to reach a version first.
    Waits(Box<Request>, pb::RegistryVersion),
}

impl From<Refusal> for NotYet {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Request {
    /// The version that the registry is to have reached before it is decided.
    fn wanted(&self) -> Option<&pb::RegistryVersion> {
        self.message.as_ref()?.min_registry_version.as_ref()
    }
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

    /// Reads an encoded `DecideRequest`, and holds it against every rule.
    fn read(&self, bytes: &Bytes, moment: &Moment) -> Result<Request, Refusal> {
        if bytes.len() > MAX_REQUEST_BYTES {
            return Err(Refusal::RequestTooLarge);
        }
        let AcceptanceWindow { ahead, behind } = self.window;
        let window = Window {
            now: moment.timestamp,
            ahead,
            behind,
            first_policy: self.first_policy(),
        };
        if let Some(valid) = usual::request(bytes, &window) {
            return Ok(Request { valid, message: None });
        }
        let message = pb::DecideRequest::decode(bytes.clone());
        let message = message.map_err(|error| Refusal::Invalid(undecodable_field(&error)))?;
        let valid = validate::request(&message, &window).map_err(Refusal::Invalid)?;
        Ok(Request {
            valid,
            message: Some(Box::new(message)),
        })
    }

    /// The answer to an encoded `DecideRequest`, once it is in the log.
    pub(super) async fn answer(
        &self,
        bytes: Bytes,
        deadline: Option<Deadline>,
        caller: &Caller,
    ) -> Result<Answered, Refusal> {
        self.ready()?;
        let moment = Moment::now();
        let begun = moment.monotonic;
        self.in_time(deadline, &moment)?;
        let decided = match self.decide_at_once(&bytes, &moment, caller) {
            Ok(decided) => decided,
            Err(NotYet::Refused(refusal)) => return Err(refusal),
            Err(NotYet::Waits(request, wanted)) => {
                self.reach(&wanted, deadline).await?;
                self.decide(&bytes, &request, &Moment::now(), caller)?
            }
        };
        self.logged(decided, begun).await
    }

    /// Decides, unless the registry is to reach a version first. No part of a future, which would carry what this one needs.
    fn decide_at_once(&self, bytes: &Bytes, moment: &Moment, caller: &Caller) -> Result<Decided, NotYet> {
        let request = self.read(bytes, moment)?;
        if let Some(wanted) = request.wanted().cloned() {
            return Err(NotYet::Waits(Box::new(request), wanted));
        }
        Ok(self.decide(bytes, &request, moment, caller)?)
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
        Ok(self.answer(bytes, deadline, caller).await?.decision.decision())
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
        let mut items = items.into_iter();
        if items.len() > MAX_BATCH {
            return Err(Refusal::Invalid(Violations::of(
                "requests",
                "must be at most 1000",
            )));
        }
        let mut moment = Moment::now();
        let begun = moment.monotonic;
        let mut versions = self.versions(deadline);
        // All of them are gathered before the first is waited for: they share groups.
        let mut decided = Vec::with_capacity(items.len());
        let mut turn = Vec::with_capacity(BATCH_TURN.min(items.len()));
        loop {
            turn.extend(items.by_ref().take(BATCH_TURN).map(|bytes| {
                let bytes = bytes.map_err(Refusal::Invalid)?;
                let request = self.read(&bytes, &moment)?;
                Ok::<_, Refusal>((bytes, request))
            }));
            if turn.is_empty() {
                break;
            }
            let wanted = |(_, request): &(_, Request)| request.wanted().cloned();
            let wanted: Vec<_> = turn.iter().flatten().filter_map(wanted).collect();
            if !wanted.is_empty() {
                versions.reach_all(&wanted).await;
                moment = Moment::now();
            }
            let requests = turn.iter().flatten();
            self.facilitation
                .touch(requests.map(|(_, request)| &request.valid.declaration));
            decided.extend(turn.iter().map(|item| {
                let (bytes, request) = item.as_ref().map_err(Refusal::clone)?;
                if let Some(wanted) = request.wanted() {
                    versions.reached(wanted)?;
                }
                self.in_time(deadline, &moment)?;
                self.decide(bytes, request, &moment, caller)
            }));
            turn.clear();
            if items.len() > 0 {
                yield_now().await;
                moment = Moment::now();
            }
        }
        let mut results = Vec::with_capacity(decided.len());
        for decided in decided {
            let answer = match decided {
                Ok(decided) => self
                    .logged(decided, begun)
                    .await
                    .map(|answered| answered.decision.decision()),
                Err(refusal) => Err(refusal),
            };
            results.push(answer.map_err(item_error).into());
        }
        Ok(raw::BatchDecideResponse { results })
    }
}

/// Whom decisions are counted for, where they are.
fn account_of<T>(request: &tonic::Request<T>) -> Option<Arc<Account>> {
    request.extensions().get::<Arc<Account>>().cloned()
}

fn deadline_of<T>(request: &tonic::Request<T>) -> Option<Deadline> {
    request.extensions().get::<Deadline>().copied()
}

#[tonic::async_trait]
impl facilitation_service_server::FacilitationService for FacilitationRpc {
    type DecideStreamStream = Pin<Box<dyn Stream<Item = Result<raw::DecideStreamResponse, Status>> + Send>>;

    async fn decide(
        &self,
        request: tonic::Request<raw::DecideRequest>,
    ) -> Result<Response<raw::DecideResponse>, Status> {
        let deadline = deadline_of(&request);
        let caller = calling::caller()?;
        let Answered { decision, given } = self.answer(request.into_inner().0, deadline, &caller).await?;
        given::leave(given);
        let decision = decision.decision();
        Ok(Response::new(raw::DecideResponse { decision }))
    }

    async fn batch_decide(
        &self,
        request: tonic::Request<pb::BatchDecideRequest>,
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
        request: tonic::Request<Streaming<pb::DecideStreamRequest>>,
    ) -> Result<Response<Self::DecideStreamStream>, Status> {
        self.ready()?;
        let (deadline, ending) = (deadline_of(&request), Ending::of(&request));
        let (own, account) = (Arc::new((self.clone(), calling::caller()?)), account_of(&request));
        let answers = answers(request.into_inner(), deadline, ending, account, move |bytes| {
            let own = Arc::clone(&own);
            async move {
                let (own, caller) = &*own;
                own.answer_item(bytes, deadline, caller).await
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn simulate(
        &self,
        request: tonic::Request<pb::SimulateRequest>,
    ) -> Result<Response<pb::SimulateResponse>, Status> {
        let deadline = deadline_of(&request);
        let caller = calling::caller()?;
        let response = self
            .answer_simulation(request.into_inner(), deadline, &caller)
            .await?;
        Ok(Response::new(response))
    }
}
