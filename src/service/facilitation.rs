//! `FacilitationService`: what clearance systems call.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use tokio::{sync::watch, time::Instant};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    deadline::Deadline,
    items::{answers, item_error},
    status::Refusal,
};
use crate::{
    domain::identifier::EnterpriseId,
    facilitation::{Facilitation, Moment, Simulation},
    registry::Position,
    upstream::{history::History, status::FeedStatus},
    wire::{
        convert,
        pb::{self, batch_decide_result},
        validate::{self, ValidRequest, Window},
        violations::{Violations, undecodable_field},
    },
};

/// Most requests in a batch.
const MAX_BATCH: usize = 1000;
/// How long a request waits for `min_registry_version` where its deadline is later.
const VERSION_WAIT: Duration = Duration::from_secs(1);

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
}

impl FacilitationRpc {
    fn ready(&self) -> Result<(), Refusal> {
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

    fn decide(
        &self,
        request: pb::DecideRequest,
        valid: &ValidRequest,
        moment: &Moment,
    ) -> Result<pb::Decision, Refusal> {
        let ValidRequest {
            declaration,
            accepted_at,
        } = valid;
        let decided =
            self.facilitation
                .decide(declaration, *accepted_at, &self.feed.clock, moment, |outcome| {
                    convert::decision(decision_id(moment), request, &outcome)
                });
        Ok(decided?)
    }

    /// Waits until the registry has reached a version, at most until the deadline or [`VERSION_WAIT`].
    async fn reach(&self, wanted: &pb::RegistryVersion, deadline: Option<Deadline>) -> Result<(), Refusal> {
        let mut positions = self.feed.positions();
        let reached = |position: &Option<Position>| {
            position
                .as_ref()
                .is_some_and(|position| reaches(position, wanted))
        };
        if reached(&positions.borrow()) {
            return Ok(());
        }
        let bound = Instant::now() + VERSION_WAIT;
        let limit = deadline.map_or(bound, |deadline| deadline.0.min(bound));
        if let Ok(Ok(_)) = tokio::time::timeout_at(limit, positions.wait_for(reached)).await {
            return Ok(());
        }
        Err(Self::not_reached(
            &positions,
            wanted,
            deadline.is_some_and(|deadline| deadline.0 <= bound),
        ))
    }

    fn not_reached(
        positions: &watch::Receiver<Option<Position>>,
        wanted: &pb::RegistryVersion,
        deadline_first: bool,
    ) -> Refusal {
        let ours = positions
            .borrow()
            .as_ref()
            .is_some_and(|position| *position.epoch == *wanted.epoch);
        match (ours, deadline_first) {
            (false, _) => Refusal::OtherEpoch,
            (true, true) => Refusal::DeadlineExceeded,
            (true, false) => Refusal::Behind,
        }
    }

    /// One request of a stream, from its bytes.
    async fn answer_item(
        &self,
        bytes: Option<Bytes>,
        deadline: Option<Deadline>,
    ) -> Result<pb::Decision, Refusal> {
        self.ready()?;
        let bytes = bytes.ok_or_else(|| Refusal::Invalid(Violations::of("request", "is required")))?;
        let request = decode(bytes)?;
        let mut moment = Moment::now();
        let valid = self.validate(&request, &moment)?;
        if let Some(wanted) = &request.min_registry_version {
            self.reach(wanted, deadline).await?;
            moment = Moment::now();
        }
        self.decide(request, &valid, &moment)
    }
}

fn decode(bytes: Bytes) -> Result<pb::DecideRequest, Refusal> {
    pb::DecideRequest::decode(bytes).map_err(|error| Refusal::Invalid(undecodable_field(&error)))
}

fn reaches(position: &Position, wanted: &pb::RegistryVersion) -> bool {
    *position.epoch == *wanted.epoch && position.sequence >= wanted.sequence
}

/// A `UUIDv7`: sorts by time, unique without any shared counter.
fn decision_id(moment: &Moment) -> String {
    let milliseconds = u64::try_from(moment.timestamp.as_millisecond()).unwrap_or_default();
    let random: [u8; 10] = rand::random();
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let id = uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid();
    id.hyphenated().encode_lower(&mut text).to_owned()
}

fn deadline_of<T>(request: &Request<T>) -> Option<Deadline> {
    request.extensions().get::<Deadline>().copied()
}

#[tonic::async_trait]
impl pb::facilitation_service_server::FacilitationService for FacilitationRpc {
    type DecideStreamStream = Pin<Box<dyn Stream<Item = Result<pb::DecideStreamResponse, Status>> + Send>>;

    async fn decide(
        &self,
        request: Request<pb::DecideRequest>,
    ) -> Result<Response<pb::DecideResponse>, Status> {
        self.ready()?;
        let deadline = deadline_of(&request);
        let request = request.into_inner();
        let mut moment = Moment::now();
        let valid = self.validate(&request, &moment)?;
        if let Some(wanted) = &request.min_registry_version {
            self.reach(wanted, deadline).await?;
            moment = Moment::now();
        }
        let decision = self.decide(request, &valid, &moment)?;
        Ok(Response::new(pb::DecideResponse {
            decision: Some(decision),
        }))
    }

    async fn batch_decide(
        &self,
        request: Request<pb::BatchDecideRequest>,
    ) -> Result<Response<pb::BatchDecideResponse>, Status> {
        self.ready()?;
        let deadline = deadline_of(&request);
        let items = request.into_inner().requests;
        if items.len() > MAX_BATCH {
            return Err(Refusal::Invalid(Violations::of("requests", "must be at most 1000")).into());
        }
        let mut moment = Moment::now();
        let valid = |bytes| {
            let request = decode(bytes)?;
            let valid = self.validate(&request, &moment)?;
            Ok::<_, Refusal>((request, valid))
        };
        let items: Vec<_> = items.into_iter().map(valid).collect();
        // The items wait together, for as long as one would alone.
        let wanted = items
            .iter()
            .flatten()
            .filter_map(|(request, _)| request.min_registry_version.as_ref());
        let waits: Vec<_> = wanted.cloned().collect();
        if !waits.is_empty() {
            let reached = |position: &Option<Position>| {
                position
                    .as_ref()
                    .is_some_and(|position| waits.iter().all(|wanted| reaches(position, wanted)))
            };
            let bound = Instant::now() + VERSION_WAIT;
            let limit = deadline.map_or(bound, |deadline| deadline.0.min(bound));
            // Those that were not reached are told so one by one below.
            drop(tokio::time::timeout_at(limit, self.feed.positions().wait_for(reached)).await);
            moment = Moment::now();
        }
        let positions = self.feed.positions();
        let deadline_first = deadline.is_some_and(|deadline| deadline.0 <= Instant::now());
        let answer = |item: Result<(pb::DecideRequest, ValidRequest), Refusal>| {
            let (request, valid) = item?;
            if let Some(wanted) = &request.min_registry_version
                && !positions
                    .borrow()
                    .as_ref()
                    .is_some_and(|position| reaches(position, wanted))
            {
                return Err(Self::not_reached(&positions, wanted, deadline_first));
            }
            self.decide(request, &valid, &moment)
        };
        let result = |answer| match answer {
            Ok(decision) => batch_decide_result::Result::Decision(decision),
            Err(refusal) => batch_decide_result::Result::Error(item_error(refusal)),
        };
        let results = items.into_iter().map(answer).map(result);
        let results = results
            .map(|result| pb::BatchDecideResult { result: Some(result) })
            .collect();
        Ok(Response::new(pb::BatchDecideResponse { results }))
    }

    async fn decide_stream(
        &self,
        request: Request<Streaming<pb::DecideStreamRequest>>,
    ) -> Result<Response<Self::DecideStreamStream>, Status> {
        self.ready()?;
        let deadline = deadline_of(&request);
        let own = self.clone();
        let answers = answers(request.into_inner(), deadline, move |bytes| {
            let own = own.clone();
            async move { own.answer_item(bytes, deadline).await }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn simulate(
        &self,
        request: Request<pb::SimulateRequest>,
    ) -> Result<Response<pb::SimulateResponse>, Status> {
        self.ready()?;
        let deadline = deadline_of(&request);
        let request = request.into_inner();
        let mut moment = Moment::now();
        let book = self.facilitation.policies();
        let policy = book.by_id(&request.policy_id).cloned();
        let first_policy = self.first_policy();
        drop(book);
        let policy_known = request.policy_id.is_empty() || policy.is_some();
        let valid = validate::simulation(&request, moment.timestamp, first_policy, policy_known)
            .map_err(Refusal::Invalid)?;
        // Validation has seen that there is one.
        let inner = request.request.unwrap_or_default();
        if let Some(wanted) = &inner.min_registry_version {
            self.reach(wanted, deadline).await?;
            moment = Moment::now();
        }
        let known = match valid.known_at {
            None => None,
            Some(known_at) => {
                let ids: Vec<EnterpriseId> = valid
                    .request
                    .declaration
                    .parties
                    .iter()
                    .map(|party| party.id)
                    .collect();
                let history = self.history.clone().ok_or(Refusal::NoHistory)?;
                let rows = history.at(known_at, ids).await;
                Some(rows.map_err(|error| {
                    tracing::warn!(%error, "history could not be read");
                    Status::unavailable("the store's history cannot be read now")
                })?)
            }
        };
        // Without as_of the decision time is now, and now is after the wait.
        let decided_at = if request.as_of.is_some() {
            valid.decided_at
        } else {
            moment.timestamp
        };
        let simulation = Simulation {
            policy,
            overrides: valid.overrides,
            known,
        };
        let ValidRequest {
            declaration,
            accepted_at,
        } = valid.request;
        let times = (accepted_at, decided_at);
        let clock = &self.feed.clock;
        let decision =
            self.facilitation
                .simulate(&declaration, times, &simulation, clock, &moment, |outcome| {
                    convert::decision(String::new(), inner, &outcome)
                });
        let decision = decision.map_err(Refusal::from)?;
        Ok(Response::new(pb::SimulateResponse {
            decision: Some(decision),
        }))
    }
}
