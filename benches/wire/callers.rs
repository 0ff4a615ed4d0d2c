//! How the clients ask: calls, streams and batches.

use std::{io, net::SocketAddr, time::Instant};

use bytes::Bytes;
use greenlane::wire::{
    lenient::{BatchDecideRequest, DecideStreamRequest},
    pb::{self, facilitation_service_client::FacilitationServiceClient},
};
use prost::Message as _;
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::task::JoinSet;

use crate::support::{
    connection::{Connection, Event, framed},
    server::{connect, request},
};

/// Decisions in a batch.
pub(crate) const BATCH: usize = 512;

/// How decisions are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `Decide`: so many calls at once on each connection.
    Unary(usize),
    /// One `DecideStream` on each connection, with so many messages unanswered.
    Stream(usize),
    /// `BatchDecide`: so many calls at once on each connection.
    Batch(usize),
}

/// Requests of that shape, for so many decisions.
fn requests(shape: Shape, decisions: usize, enterprises: usize, seed: u64) -> Vec<Bytes> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut one = || request(&mut random, enterprises);
    match shape {
        Shape::Unary(_) => (0..decisions).map(|_| framed(&one())).collect(),
        Shape::Stream(_) => {
            let message = |_| DecideStreamRequest {
                correlation_id: 7,
                request: Some(one().encode_to_vec().into()),
                undecodable: None,
            };
            (0..decisions)
                .map(message)
                .map(|message| framed(&message))
                .collect()
        }
        Shape::Batch(_) => {
            let batch = |_| BatchDecideRequest {
                requests: (0..BATCH).map(|_| one().encode_to_vec().into()).collect(),
            };
            (0..decisions / BATCH)
                .map(batch)
                .map(|batch| framed(&batch))
                .collect()
        }
    }
}

/// Sends every request, and takes every answer.
async fn ask(connection: &mut Connection, shape: Shape, requests: &[Bytes]) -> io::Result<()> {
    let mut waiting = requests.iter();
    let (method, outstanding) = match shape {
        Shape::Unary(outstanding) => ("Decide", outstanding),
        Shape::Stream(outstanding) => ("DecideStream", outstanding),
        Shape::Batch(outstanding) => ("BatchDecide", outstanding),
    };
    let stream = matches!(shape, Shape::Stream(_)).then(|| connection.begin(method));
    let mut send = |connection: &mut Connection| {
        if let Some(request) = waiting.next() {
            if let Some(stream) = stream {
                connection.send(stream, request, false);
            } else {
                let stream = connection.begin(method);
                connection.send(stream, request, true);
            }
        }
    };
    (0..outstanding).for_each(|_| send(connection));
    // Of a stream, what there is of a message; of calls, whether one has had data.
    let (mut answered, mut message) = (0, Vec::new());
    let refused = || io::Error::other("refused");
    while answered < requests.len() {
        connection.write().await?;
        connection.read().await?;
        while let Some(event) = connection.event()? {
            match event {
                Event::Data(_, payload) if stream.is_none() => message.extend(payload.first()),
                Event::Data(_, payload) => {
                    message.extend_from_slice(&payload);
                    while let Some(length) = message.get(1..5) {
                        let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
                        let whole = 5 + length as usize;
                        if message.len() < whole {
                            break;
                        }
                        message.drain(..whole);
                        answered += 1;
                        send(connection);
                    }
                }
                Event::Ended(_) if stream.is_some() || message.is_empty() => return Err(refused()),
                Event::Ended(_) => {
                    answered += 1;
                    send(connection);
                }
            }
        }
    }
    if let Some(stream) = stream {
        connection.end(stream);
        connection.write().await?;
        // Its end is not left to whoever asks next.
        loop {
            connection.read().await?;
            if let Some(Event::Ended(_)) = connection.event()? {
                break;
            }
        }
    }
    Ok(())
}

/// The decision on one declaration, by a client that looks at every status.
pub(crate) async fn decision(address: SocketAddr) -> Vec<u8> {
    let mut client = FacilitationServiceClient::new(connect(address).await);
    let answered = client.decide(request(&mut StdRng::seed_from_u64(0), 1)).await;
    let response: pb::DecideResponse = answered.expect("decided").into_inner();
    response.decision.expect("a decision").encode_to_vec()
}

/// Has so many declarations decided; gives seconds.
pub(crate) async fn load(
    connections: &mut Vec<Connection>,
    shape: Shape,
    (decisions, enterprises): (usize, usize),
    seed: u64,
) -> f64 {
    let each = decisions / connections.len();
    let prepared: Vec<_> = (0..connections.len() as u64)
        .map(|number| requests(shape, each, enterprises, seed * 100 + number))
        .collect();
    let begun = Instant::now();
    let mut working = JoinSet::new();
    for (mut connection, requests) in std::mem::take(connections).into_iter().zip(prepared) {
        working.spawn(async move {
            ask(&mut connection, shape, &requests)
                .await
                .expect("every answer");
            connection
        });
    }
    while let Some(ended) = working.join_next().await {
        connections.push(ended.expect("no panic"));
    }
    begun.elapsed().as_secs_f64()
}
