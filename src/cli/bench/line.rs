//! What calls leave by, and how each is counted: by its answer, from the instant at which it should have left.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use h2::SendStream;
use prost::Message as _;
use tokio::{sync::oneshot, task::spawn_local, time::timeout};
use tonic::Code;

use super::{
    declarations::Declarations,
    load::{Plan, Shape},
    sample::Sample,
    transport::{Answer, Begun, Connection, Endpoint},
};
use crate::wire::{
    pb,
    reading::{Undecodable, each_field},
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

/// What the calls of one thread share.
pub(super) struct Calls {
    plan: Plan,
    declarations: Arc<Declarations>,
    sample: RefCell<Sample>,
    under_way: Cell<usize>,
}

/// What calls leave by: a connection.
#[derive(Clone)]
pub(super) struct Line {
    calls: Rc<Calls>,
    connection: Rc<Connection>,
    /// Where the plan's shape is one.
    stream: Option<Rc<Stream>>,
}

/// A long `DecideStream`, which answers in the order of its messages.
struct Stream {
    messages: RefCell<SendStream<Bytes>>,
    waiting: RefCell<VecDeque<Waiting>>,
}

impl Calls {
    /// Of nothing yet.
    pub(super) fn new(plan: &Plan, declarations: &Arc<Declarations>) -> anyhow::Result<Self> {
        Ok(Self {
            plan: plan.clone(),
            declarations: Arc::clone(declarations),
            sample: RefCell::new(Sample::new()?),
            under_way: Cell::new(0),
        })
    }

    /// One leaves, or should.
    fn begin(&self) {
        self.under_way.set(self.under_way.get() + 1);
    }

    /// How many have left, or should have, and are not counted yet.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.get()
    }

    /// What was measured.
    pub(super) fn sample(&self) -> Sample {
        self.sample.borrow().clone()
    }

    /// The message of a call that leaves.
    fn message(&self, due: Due) -> Bytes {
        if due.counts {
            self.sample.borrow_mut().left(due.at.elapsed());
        }
        let message = self
            .declarations
            .message(self.plan.shape, due.first, self.plan.each_call());
        message.into()
    }

    /// Counts a call that ended, with the decisions that it brought.
    fn ended(&self, due: Due, decided: Result<u64, String>) {
        self.under_way.set(self.under_way.get() - 1);
        if !due.counts {
            return;
        }
        let mut sample = self.sample.borrow_mut();
        match decided {
            Ok(decisions) => {
                sample.answered(due.at.elapsed());
                sample.decisions += decisions;
            }
            Err(code) => sample.failed(code),
        }
    }

    /// Decisions of a batch; its items that failed are counted.
    fn items(&self, due: Due, batch: &[u8]) -> Result<u64, String> {
        let mut decisions = 0;
        let read = each_field(batch, |_, item| {
            match decided(item.bytes()?, 1) {
                Ok(()) => decisions += 1,
                Err(code) if due.counts => self.sample.borrow_mut().failed(code),
                Err(_) => {}
            }
            Ok::<_, Undecodable>(())
        });
        read.map(|()| decisions).map_err(|error| error.to_string())
    }
}

impl Line {
    /// Opens what the plan's calls leave by. A stream's answers are taken by a task.
    pub(super) async fn open(to: &Arc<Endpoint>, calls: &Rc<Calls>) -> anyhow::Result<Self> {
        let mut line = Self {
            calls: Rc::clone(calls),
            connection: Rc::new(Connection::open(to).await?),
            stream: None,
        };
        if calls.plan.shape == Shape::Stream {
            let (response, messages) = line
                .connection
                .begin()
                .map_err(|code| anyhow::anyhow!("{code:?}"))?;
            let stream = Rc::new(Stream {
                messages: RefCell::new(messages),
                waiting: RefCell::default(),
            });
            line.stream = Some(Rc::clone(&stream));
            let calls = Rc::clone(calls);
            spawn_local(async move {
                let failed = match Answer::begun(response).await {
                    Ok(answer) => stream.take(answer, &calls).await,
                    Err(code) => code,
                };
                stream.give_up(&calls, failed);
            });
        }
        Ok(line)
    }

    /// Lets a call leave, whose answer is taken later.
    pub(super) fn send(&self, due: Due) {
        self.calls.begin();
        if self.calls.under_way() > MOST_UNDER_WAY {
            return self.calls.ended(due, Err("NOT_SENT".to_owned()));
        }
        match &self.stream {
            Some(stream) => stream.send(&self.calls, due, None),
            None => drop(spawn_local(self.clone().call(due))),
        }
    }

    /// Makes a call and waits for its answer.
    pub(super) async fn ask(&self, due: Due) {
        self.calls.begin();
        let Some(stream) = &self.stream else {
            return self.clone().call(due).await;
        };
        let (asker, answered) = oneshot::channel();
        stream.send(&self.calls, due, Some(asker));
        // A stream that ended has counted it.
        let _answered = answered.await;
    }

    /// Counts what was not answered in time.
    pub(super) fn give_up(&self) {
        if let Some(stream) = &self.stream {
            stream.give_up(&self.calls, Code::DeadlineExceeded);
        }
    }

    /// Begins a call at once; then waits for its answer, and counts it.
    fn call(self, due: Due) -> impl Future<Output = ()> {
        let message = self.calls.message(due);
        let begun = begun(&self.connection, &message);
        async move { self.answered(due, message, begun).await }
    }

    async fn answered(&self, due: Due, message: Bytes, begun: Result<Begun, Code>) {
        let Self {
            calls, connection, ..
        } = self;
        let answer = async {
            let (response, _) = match begun {
                Ok(begun) => begun,
                Err(_) => sent(connection.begin_again().await?, &message)?,
            };
            let mut answer = Answer::begun(response).await?;
            let first = answer.message().await?.ok_or(Code::Unknown)?;
            while answer.message().await?.is_some() {}
            Ok(first)
        };
        let answer = timeout(calls.plan.timeout, answer).await;
        let decided = match answer.unwrap_or(Err(Code::DeadlineExceeded)) {
            Ok(batch) if calls.plan.shape == Shape::Batch => calls.items(due, &batch),
            Ok(_) => Ok(1),
            Err(code) => Err(format!("{code:?}")),
        };
        calls.ended(due, decided);
    }
}

/// Begins a call and sends its only message.
fn begun(connection: &Connection, message: &Bytes) -> Result<Begun, Code> {
    sent(connection.begin()?, message)
}

fn sent((response, mut messages): Begun, message: &Bytes) -> Result<Begun, Code> {
    // The message is kept for another connection.
    let sent = messages.send_data(message.clone(), true);
    sent.map_err(|_| Code::Unavailable)?;
    Ok((response, messages))
}

impl Stream {
    fn send(&self, calls: &Calls, due: Due, asker: Option<oneshot::Sender<()>>) {
        let message = calls.message(due);
        if self.messages.borrow_mut().send_data(message, false).is_ok() {
            self.waiting.borrow_mut().push_back((due, asker));
        } else {
            calls.ended(due, Err(format!("{:?}", Code::Unavailable)));
        }
    }

    /// Counts each answer, and gives what it ends with.
    async fn take(&self, mut answer: Answer, calls: &Calls) -> Code {
        loop {
            let message = match answer.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return Code::Ok,
                Err(code) => return code,
            };
            let Some((due, asker)) = self.waiting.borrow_mut().pop_front() else {
                return Code::Internal;
            };
            calls.ended(due, decided(&message, 2).map(|()| 1));
            if let Some(asker) = asker {
                // Who no longer waits has ended.
                let _waiting = asker.send(());
            }
        }
    }

    /// Counts what was not answered.
    fn give_up(&self, calls: &Calls, code: Code) {
        for (due, _) in self.waiting.take() {
            calls.ended(due, Err(format!("{code:?}")));
        }
    }
}

/// Whether a result is a decision, in the field of that number, or else the code of the error, in the next.
fn decided(result: &[u8], decision: u32) -> Result<(), String> {
    let mut decided = Err("no result".to_owned());
    let read = each_field(result, |field, value| {
        if field == decision {
            decided = Ok(());
        } else if field == decision + 1 {
            let error = pb::ItemError::decode(value.bytes()?).map_err(|_| Undecodable)?;
            decided = Err(format!("{:?}", Code::from(error.code)));
        }
        Ok::<_, Undecodable>(())
    });
    read.map_err(|error| error.to_string())?;
    decided
}

#[cfg(test)]
mod tests {
    use pb::{batch_decide_result, decide_stream_response};

    use super::*;

    #[test]
    fn a_result_is_a_decision_or_the_code_of_its_error() {
        let refused = || pb::ItemError {
            code: Code::InvalidArgument.into(),
            ..pb::ItemError::default()
        };
        let streamed = |result| pb::DecideStreamResponse {
            correlation_id: 3,
            result: Some(result),
        };
        let decision = streamed(decide_stream_response::Result::Decision(pb::Decision::default()));
        assert_eq!(decided(&decision.encode_to_vec(), 2), Ok(()));
        let error = streamed(decide_stream_response::Result::Error(refused()));
        assert_eq!(decided(&error.encode_to_vec(), 2).unwrap_err(), "InvalidArgument");
        let item = pb::BatchDecideResult {
            result: Some(batch_decide_result::Result::Error(refused())),
        };
        assert_eq!(decided(&item.encode_to_vec(), 1).unwrap_err(), "InvalidArgument");
        assert_eq!(decided(&[], 1).unwrap_err(), "no result");
        assert!(decided(&[0xff], 1).is_err());
    }
}
