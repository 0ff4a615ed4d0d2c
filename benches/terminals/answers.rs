//! Answers to terminals beside decisions, in interleaved rounds.

use std::time::{Duration, Instant};

use greenlane::wire::pb::{
    self, batch_get_priority_result::Result as Answered,
    facilitation_service_client::FacilitationServiceClient, priority_service_client::PriorityServiceClient,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::{
    BATCH, Options, decide_batch, declared, key, saved,
    support::server::{Server, connect, cpu, median, since},
};

const CONNECTIONS: usize = 8;
/// Containers that are asked for.
const CONTAINERS: usize = 20_000;

/// What is asked; each knows how many calls are outstanding on a connection, and how many answers make a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Decide,
    BatchDecide,
    Get,
    /// Of so many keys; containers where that is true.
    BatchGet(usize, bool),
}

impl Question {
    fn answers(self) -> usize {
        match self {
            Self::Decide | Self::BatchDecide => 40_960,
            Self::Get => 65_536,
            Self::BatchGet(..) => 256_000,
        }
    }

    fn outstanding(self) -> usize {
        match self {
            Self::Decide | Self::Get => 16,
            Self::BatchDecide | Self::BatchGet(..) => 2,
        }
    }

    fn each(self) -> usize {
        match self {
            Self::Decide | Self::Get => 1,
            Self::BatchDecide => BATCH,
            Self::BatchGet(keys, _) => keys,
        }
    }

    fn name(self) -> String {
        match self {
            Self::Decide => "Decide".to_owned(),
            Self::BatchDecide => format!("BatchDecide of {BATCH}"),
            Self::Get => "GetPriority".to_owned(),
            Self::BatchGet(keys, false) => format!("BatchGetPriority of {keys} declarations"),
            Self::BatchGet(keys, true) => format!("BatchGetPriority of {keys} containers"),
        }
    }
}

/// Asks once; every key and every declaration must be answered.
async fn ask(question: Question, channel: &Channel, first: usize, random: &mut StdRng, options: &Options) {
    match question {
        Question::Decide => {
            let mut client = FacilitationServiceClient::new(channel.clone());
            let answered = client.decide(declared(first, options)).await.expect("decided");
            assert!(answered.into_inner().decision.is_some(), "a decision");
        }
        Question::BatchDecide => {
            let mut client = FacilitationServiceClient::new(channel.clone());
            decide_batch(&mut client, first..first + BATCH, options).await;
        }
        Question::Get => {
            let mut client = PriorityServiceClient::new(channel.clone());
            let key = key(random.random_range(0..options.shipments), false);
            let request = pb::GetPriorityRequest { key: Some(key) };
            let answered = client.get_priority(request).await.expect("found");
            assert!(answered.into_inner().shipment.is_some(), "a shipment");
        }
        Question::BatchGet(keys, by_container) => {
            let mut client = PriorityServiceClient::new(channel.clone());
            // Of a container, the store is asked once: the first round asks for these.
            let most = if by_container { CONTAINERS } else { usize::MAX };
            let numbers = 0..options.shipments.min(most);
            let keys = (0..keys).map(|_| key(random.random_range(numbers.clone()), by_container));
            let keys: Vec<_> = keys.collect();
            let asked = keys.len();
            let answered = client
                .batch_get_priority(pb::BatchGetPriorityRequest { keys })
                .await;
            let results = answered.expect("answered").into_inner().results;
            let is_found =
                |result: &pb::BatchGetPriorityResult| matches!(result.result, Some(Answered::Shipment(_)));
            assert!(
                results.len() == asked && results.iter().all(is_found),
                "all found"
            );
        }
    }
}

/// Asks from every connection, many at once; gives the answers. Decisions are on numbers from `first` on.
async fn load(question: Question, channels: &[Channel], first: usize, options: &'static Options) -> usize {
    let callers = CONNECTIONS * question.outstanding();
    let calls = (question.answers() / question.each() / callers).max(1);
    let mut asking = JoinSet::new();
    for caller in 0..callers {
        let channel = channels[caller % CONNECTIONS].clone();
        let mut random = StdRng::seed_from_u64((first + caller) as u64);
        asking.spawn(async move {
            for call in 0..calls {
                let first = first + (caller * calls + call) * question.each();
                ask(question, &channel, first, &mut random, options).await;
            }
        });
    }
    while let Some(ended) = asking.join_next().await {
        ended.expect("no panic");
    }
    callers * calls * question.each()
}

/// What a round took.
struct Round {
    answers_a_second: f64,
    /// Of the server, until the last answer, in microseconds an answer.
    cpu: f64,
    /// And from there until everything was saved.
    behind: f64,
    /// Shares of the time that the server and this process were busy.
    busy: [f64; 2],
}

pub(super) async fn measure(server: &Server, options: &'static Options) {
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(connect(server.address).await);
    }
    let questions = [
        Question::Decide,
        Question::BatchDecide,
        Question::Get,
        Question::BatchGet(100, false),
        Question::BatchGet(options.keys, false),
        Question::BatchGet(options.keys, true),
    ];
    let own = std::process::id();
    let mut first = options.shipments;
    let mut rounds: Vec<Vec<Round>> = questions.iter().map(|_| Vec::new()).collect();
    // The first round warms.
    for round in 0..=options.rounds {
        for (question, rounds) in questions.into_iter().zip(&mut rounds) {
            let (from, before, own_before) = (Instant::now(), server.cpu(), cpu(own));
            let answers = load(question, &channels, first, options).await;
            let seconds = from.elapsed().as_secs_f64();
            let (spent, own_spent) = (since(server.cpu(), before), since(cpu(own), own_before));
            let mut behind = Duration::ZERO;
            if matches!(question, Question::Decide | Question::BatchDecide) {
                first += answers;
                saved(server, 0).await;
                behind = since(server.cpu(), before + spent);
            }
            let each = |time: Duration| time.as_secs_f64() * 1e6 / answers as f64;
            if round > 0 {
                rounds.push(Round {
                    answers_a_second: answers as f64 / seconds,
                    cpu: each(spent),
                    behind: each(behind),
                    busy: [spent, own_spent].map(|time| time.as_secs_f64() / seconds * 100.0),
                });
            }
        }
    }
    println!();
    println!(
        "{:<42} {:>12} {:>16} {:>16} {:>13} {:>13}",
        "median of rounds",
        "answers/s",
        "us CPU an answer",
        "and saved behind",
        "server busy %",
        "client busy %"
    );
    for (question, rounds) in questions.into_iter().zip(&rounds) {
        let middle = |value: fn(&Round) -> f64| median(rounds.iter().map(value).collect());
        println!(
            "{:<42} {:>12.0} {:>16.2} {:>16.2} {:>13.0} {:>13.0}",
            question.name(),
            middle(|round| round.answers_a_second),
            middle(|round| round.cpu),
            middle(|round| round.behind),
            middle(|round| round.busy[0]),
            middle(|round| round.busy[1]),
        );
    }
}
