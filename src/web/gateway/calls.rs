//! Calls on their way to the thread that answers them, and that thread.

use std::{pin::Pin, sync::Arc, time::Duration};

use prost::Message as _;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot, watch},
    task::JoinSet,
};
use tracing::warn;

use super::{body::Body, route::Rpc};
use crate::{
    access::Caller,
    service::{
        admission::{Account, Charged},
        deadline::{Deadline, within},
        facilitation::FacilitationRpc,
        status::Refusal,
    },
    web::response::{Answer, answered},
    wire::{
        json::{self, JsonError},
        pb, raw,
    },
};

/// A call with its body.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) asked: Asked,
    pub(super) body: Body,
    /// Takes the answer; a client that is gone has dropped the other end.
    pub(super) answer: oneshot::Sender<Answer>,
}

/// What a call asks, of whom, and until when.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) rpc: Rpc,
    pub(super) deadline: Option<Deadline>,
    pub(super) caller: Arc<Caller>,
    /// Pays for the decisions of a batch.
    pub(super) account: Arc<Account>,
    /// Count the call until it is answered, whether or not its client still waits.
    pub(super) held: (OwnedSemaphorePermit, Charged),
}

/// Answers the gateway's calls.
pub struct Worker {
    calls: mpsc::UnboundedReceiver<Call>,
    facilitation: Arc<FacilitationRpc>,
    beside: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

impl Worker {
    pub(super) fn new(
        calls: mpsc::UnboundedReceiver<Call>,
        facilitation: FacilitationRpc,
        beside: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Self {
        Self {
            calls,
            facilitation: Arc::new(facilitation),
            beside,
        }
    }

    /// Answers calls until `drain` turns true, then those that were handed over, for at most `drain_deadline`.
    pub async fn run(self, mut drain: watch::Receiver<bool>, drain_deadline: Duration) {
        let Self {
            mut calls,
            facilitation,
            beside,
        } = self;
        let (mut besides, mut running) = (JoinSet::new(), JoinSet::new());
        besides.spawn(beside);
        let mut draining = false;
        // A sender that is gone has nobody left to serve.
        let mut begins = std::pin::pin!(async { drop(drain.wait_for(|&drain| drain).await) });
        loop {
            tokio::select! {
                call = calls.recv() => match call {
                    Some(call) => drop(running.spawn(call.run(Arc::clone(&facilitation)))),
                    None => break,
                },
                Some(_) = running.join_next() => {}
                () = begins.as_mut(), if !draining => {
                    draining = true;
                    calls.close();
                }
            }
        }
        let ended = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout(drain_deadline, ended).await.is_err() {
            warn!("JSON calls were still in flight at drain.deadline: they are not answered");
        }
    }
}

impl Call {
    async fn run(self, facilitation: Arc<FacilitationRpc>) {
        let Self { asked, body, answer } = self;
        let Asked {
            rpc,
            deadline,
            caller,
            account,
            held,
        } = asked;
        let given = match rpc {
            Rpc::Decide => {
                let decision = within(deadline, decide(&facilitation, &body, deadline, &caller)).await;
                answered("DecideResponse", decision)
            }
            Rpc::BatchDecide => {
                let results = within(
                    deadline,
                    batch_decide(&facilitation, &body, deadline, (&caller, &account)),
                )
                .await;
                answered("BatchDecideResponse", results)
            }
            Rpc::Simulate => {
                // Boxed, because what-if takes more room than a decision.
                let decision = Box::pin(simulate(&facilitation, &body, deadline, &caller));
                answered("SimulateResponse", within(deadline, decision).await)
            }
        };
        // Who is gone does not miss it.
        drop(answer.send(given));
        drop((body, held));
    }
}

async fn decide(
    facilitation: &FacilitationRpc,
    body: &Body,
    deadline: Option<Deadline>,
    caller: &Caller,
) -> Result<raw::DecideResponse, Refusal> {
    facilitation.ready()?;
    let request = json::read("DecideRequest", &body.bytes).map_err(unread)?;
    let decision = facilitation.decision(request, deadline, caller).await?;
    Ok(raw::DecideResponse { decision })
}

async fn batch_decide(
    facilitation: &FacilitationRpc,
    body: &Body,
    deadline: Option<Deadline>,
    (caller, account): (&Caller, &Account),
) -> Result<raw::BatchDecideResponse, Refusal> {
    facilitation.ready()?;
    let items = json::read_batch(&body.bytes).map_err(unread)?;
    // The first is paid for by the call.
    account.owe(items.len().saturating_sub(1));
    facilitation.answer_batch(items, deadline, caller).await
}

async fn simulate(
    facilitation: &FacilitationRpc,
    body: &Body,
    deadline: Option<Deadline>,
    caller: &Caller,
) -> Result<pb::SimulateResponse, Refusal> {
    facilitation.ready()?;
    let request = json::read("SimulateRequest", &body.bytes).map_err(unread)?;
    let request = pb::SimulateRequest::decode(request).map_err(|error| unread(error.into()))?;
    facilitation.answer_simulation(request, deadline, caller).await
}

fn unread(error: JsonError) -> Refusal {
    match error {
        JsonError::Invalid(violations) => Refusal::Invalid(violations),
        error @ (JsonError::Form(_) | JsonError::Unknown(_) | JsonError::Wire(_)) => {
            warn!(%error, "the contract's descriptors and messages disagree");
            Refusal::Internal
        }
    }
}
