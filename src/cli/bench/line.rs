//! What calls leave by, and how each is counted: by its answer, from the instant at which it should have left.

use std::{
    cell::RefCell,
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use prost::Message as _;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::sleep,
};
use tonic::{Code, Request, Status};

use super::{
    declarations::Declarations,
    load::{Plan, Shape},
    sample::Sample,
};
use crate::{
    cli::client,
    wire::pb::{
        self, batch_decide_result, decide_stream_response,
        facilitation_service_client::FacilitationServiceClient,
    },
};

/// Calls under way on one thread; what should leave beyond them fails here, as it would have failed there.
const MOST_UNDER_WAY: usize = 100_000;

/// A message of a stream that waits for its answer, and who waits with it.
type Waiting = (Due, Option<oneshot::Sender<()>>);

/// One call that should leave at an instant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    pub(super) at: Instant,
    /// Which of the declarations is the first of it.
    pub(super) first: u64,
    /// Whether it counts.
    pub(super) counts: bool,
}

/// What calls leave by.
#[derive(Clone)]
pub(super) enum Line {
    Calls(Connection),
    Stream(Stream),
}

/// A connection.
#[derive(Clone)]
pub(super) struct Connection {
    service: FacilitationServiceClient<client::Authorized>,
    plan: Plan,
    declarations: Arc<Declarations>,
    sample: Rc<RefCell<Sample>>,
}

/// A long `DecideStream`, which answers in the order of its messages.
#[derive(Clone)]
pub(super) struct Stream {
    connection: Connection,
    messages: mpsc::UnboundedSender<pb::DecideStreamRequest>,
    waiting: Rc<RefCell<VecDeque<Waiting>>>,
}

impl Line {
    /// Opens what the plan's calls leave by. A stream's answers are taken by a task.
    pub(super) async fn open(connection: Connection) -> anyhow::Result<Self> {
        if connection.plan.shape != Shape::Stream {
            return Ok(Self::Calls(connection));
        }
        let (messages, received) = mpsc::unbounded_channel();
        let waiting = Rc::new(RefCell::new(VecDeque::<Waiting>::new()));
        let outgoing = async_stream::stream! {
            let mut received = received;
            while let Some(message) = received.recv().await {
                yield message;
            }
        };
        let mut service = connection.service.clone();
        let opened = service.decide_stream(outgoing).await;
        let mut answers = opened.map_err(|status| client::refusal(&status))?.into_inner();
        let (sample, open) = (Rc::clone(&connection.sample), Rc::clone(&waiting));
        tokio::task::spawn_local(async move {
            loop {
                let answer = answers.message().await;
                let due = open.borrow_mut().pop_front();
                match (answer, due) {
                    (Ok(Some(answer)), Some((due, asker))) => {
                        let decided = match answer.result {
                            Some(decide_stream_response::Result::Decision(_)) => Ok(1),
                            Some(decide_stream_response::Result::Error(error)) => Err(named(error.code)),
                            None => Err("no result".to_owned()),
                        };
                        count_call(&sample, due, decided);
                        if let Some(asker) = asker {
                            // Who no longer waits has ended.
                            let _waiting = asker.send(());
                        }
                    }
                    (Err(status), due) => {
                        let rest = std::mem::take(&mut *open.borrow_mut());
                        for (due, _) in due.into_iter().chain(rest) {
                            count_call(&sample, due, Err(code(&status)));
                        }
                        return;
                    }
                    (Ok(_), _) => return,
                }
            }
        });
        Ok(Self::Stream(Stream {
            connection,
            messages,
            waiting,
        }))
    }

    /// Lets a call leave, whose answer is taken later.
    pub(super) fn send(&self, due: Due, under_way: &mut JoinSet<()>) {
        match self {
            Self::Calls(connection) if under_way.len() >= MOST_UNDER_WAY => {
                count_call(&connection.sample, due, Err("NOT_SENT".to_owned()));
            }
            Self::Calls(connection) => {
                let connection = connection.clone();
                under_way.spawn_local(async move { connection.call(due).await });
            }
            Self::Stream(stream) => stream.send(due, None),
        }
    }

    /// Makes a call and waits for its answer.
    pub(super) async fn ask(&self, due: Due) {
        match self {
            Self::Calls(connection) => connection.call(due).await,
            Self::Stream(stream) => {
                let (asker, answered) = oneshot::channel();
                stream.send(due, Some(asker));
                // A stream that ended has counted it.
                let _answered = answered.await;
            }
        }
    }

    /// Completes when nothing is waited for.
    pub(super) async fn is_empty(&self) {
        if let Self::Stream(stream) = self {
            while !stream.waiting.borrow().is_empty() {
                sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// Counts what was not answered in time.
    pub(super) fn give_up(&self) {
        if let Self::Stream(stream) = self {
            for (due, _) in stream.waiting.borrow_mut().drain(..) {
                count_call(
                    &stream.connection.sample,
                    due,
                    Err("DEADLINE_EXCEEDED".to_owned()),
                );
            }
        }
    }
}

impl Stream {
    fn send(&self, due: Due, asker: Option<oneshot::Sender<()>>) {
        let Connection {
            declarations, sample, ..
        } = &self.connection;
        if due.counts {
            sample.borrow_mut().left(due.at.elapsed());
        }
        let request = Some(declarations.get(due.first).encode_to_vec().into());
        if self
            .messages
            .send(pb::DecideStreamRequest {
                request,
                ..pb::DecideStreamRequest::default()
            })
            .is_ok()
        {
            self.waiting.borrow_mut().push_back((due, asker));
        } else {
            count_call(sample, due, Err("UNAVAILABLE".to_owned()));
        }
    }
}

impl Connection {
    /// That connection.
    pub(super) fn new(
        channel: client::Authorized,
        plan: &Plan,
        declarations: &Arc<Declarations>,
        sample: &Rc<RefCell<Sample>>,
    ) -> Self {
        Self {
            service: FacilitationServiceClient::new(channel).max_decoding_message_size(client::MAX_MESSAGE),
            plan: plan.clone(),
            declarations: Arc::clone(declarations),
            sample: Rc::clone(sample),
        }
    }

    /// Makes a call, and counts it.
    async fn call(&self, due: Due) {
        let mut service = self.service.clone();
        if due.counts {
            self.sample.borrow_mut().left(due.at.elapsed());
        }
        let decided = match self.plan.shape {
            Shape::Unary | Shape::Stream => {
                let request = self.declarations.get(due.first);
                service.decide(self.bounded(request)).await.map(|_| 1)
            }
            Shape::Batch => {
                let requests = (due.first..due.first + self.plan.batch as u64)
                    .map(|index| self.declarations.get(index).encode_to_vec().into());
                let request = pb::BatchDecideRequest {
                    requests: requests.collect(),
                };
                let answered = service.batch_decide(self.bounded(request)).await;
                answered.map(|answer| self.items(due, answer.get_ref()))
            }
        };
        count_call(&self.sample, due, decided.map_err(|status| code(&status)));
    }

    fn bounded<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.plan.timeout);
        request
    }

    /// Decisions of a batch; its items that failed are counted.
    fn items(&self, due: Due, answer: &pb::BatchDecideResponse) -> u64 {
        let mut decisions = 0;
        for result in &answer.results {
            match &result.result {
                Some(batch_decide_result::Result::Decision(_)) => decisions += 1,
                Some(batch_decide_result::Result::Error(error)) if due.counts => {
                    self.sample.borrow_mut().failed(named(error.code));
                }
                Some(batch_decide_result::Result::Error(_)) | None => {}
            }
        }
        decisions
    }
}

/// Counts a call that ended.
fn count_call(sample: &RefCell<Sample>, due: Due, decided: Result<u64, String>) {
    if !due.counts {
        return;
    }
    let mut sample = sample.borrow_mut();
    match decided {
        Ok(decisions) => {
            sample.answered(due.at.elapsed());
            sample.decisions += decisions;
        }
        Err(code) => sample.failed(code),
    }
}

fn code(status: &Status) -> String {
    named(status.code().into())
}

fn named(code: i32) -> String {
    format!("{:?}", Code::from(code))
}
