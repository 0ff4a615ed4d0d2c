//! Clients that cost little, so that the server is what is busy: HTTP/2 by the `h2` crate, without a layer above it.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use greenlane::wire::{
    lenient::{BatchDecideRequest, DecideStreamRequest},
    pb,
};
use h2::{RecvStream, client::SendRequest};
use http::Request;
use prost::Message;
use rand::{SeedableRng as _, rngs::StdRng};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
};

use crate::support::server::request;

/// Decisions in a batch.
pub(crate) const BATCH: usize = 512;
/// Bytes that may come unasked for.
const WINDOW: u32 = 16 << 20;

/// How decisions are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `Decide`, one call at a time by each caller.
    Unary,
    /// One `DecideStream` for each connection, for all of its callers.
    Stream,
    /// `BatchDecide`.
    Batch,
}

/// A connection to a server.
#[derive(Clone)]
pub(crate) struct Caller(SendRequest<Bytes>);

/// A message as gRPC frames it.
fn framed(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::with_capacity(512);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).expect("short"));
    message.encode(&mut bytes).expect("there is room");
    bytes.freeze()
}

fn head(method: &str) -> Request<()> {
    let uri = format!("http://replica/greenlane.v1.FacilitationService/{method}");
    Request::post(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request")
}

impl Caller {
    /// Connects, as soon as the server answers; over TLS if there is a configuration.
    pub(crate) async fn connect(address: SocketAddr, tls: Option<&Arc<rustls::ClientConfig>>) -> Self {
        let deadline = Instant::now() + Duration::from_mins(5);
        let request = framed(&request(&mut StdRng::seed_from_u64(0), 1));
        loop {
            if let Ok(mut caller) = Self::greet(address, tls).await
                && caller.ask(&head("Decide"), request.clone()).await.is_some()
            {
                return caller;
            }
            assert!(Instant::now() < deadline, "the server did not get ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn greet(address: SocketAddr, tls: Option<&Arc<rustls::ClientConfig>>) -> io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let greeted = match tls {
            None => Self::over(socket).await,
            Some(tls) => {
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                let connector = tokio_rustls::TlsConnector::from(Arc::clone(tls));
                Self::over(connector.connect(name, socket).await?).await
            }
        };
        greeted.map_err(io::Error::other)
    }

    async fn over(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Self, h2::Error> {
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        let (sender, connection) = builder.handshake(io).await?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self(sender))
    }

    /// Calls, and gives the bytes of the answer with their frame, unless there is none.
    async fn ask(&mut self, head: &Request<()>, message: Bytes) -> Option<BytesMut> {
        poll_fn(|context| self.0.poll_ready(context)).await.ok()?;
        let (response, mut body) = self.0.send_request(head.clone(), false).ok()?;
        body.send_data(message, true).ok()?;
        let response = response.await.ok()?;
        if let Some(status) = response.headers().get("grpc-status") {
            // As long as it is not ready, it says UNAVAILABLE.
            assert_eq!(status, "14", "{response:?}");
            return None;
        }
        let mut received = response.into_body();
        let mut answer = BytesMut::new();
        while let Some(part) = take(&mut received).await {
            answer.extend_from_slice(&part);
        }
        let trailers = received.trailers().await.ok()??;
        (trailers["grpc-status"] == "0").then_some(answer)
    }

    async fn call(&mut self, head: &Request<()>, message: Bytes) -> BytesMut {
        self.ask(head, message).await.expect("an answer")
    }

    /// The decision on one declaration.
    pub(crate) async fn decision(&mut self) -> Bytes {
        let mut random = StdRng::seed_from_u64(0);
        let answer = self.call(&head("Decide"), framed(&request(&mut random, 1))).await;
        let response = pb::DecideResponse::decode(&answer[5..]).expect("an answer");
        response.decision.expect("a decision").encode_to_vec().into()
    }
}

async fn take(body: &mut RecvStream) -> Option<Bytes> {
    let part = body.data().await?.expect("the rest");
    body.flow_control()
        .release_capacity(part.len())
        .expect("it was taken");
    Some(part)
}

/// Has so many declarations decided, by so many callers on each connection; gives seconds.
pub(crate) async fn load(
    connections: &[Caller],
    callers: usize,
    shape: Shape,
    (decisions, enterprises): (usize, usize),
    seed: u64,
) -> f64 {
    let each = decisions / connections.len() / callers;
    let begun = Instant::now();
    let mut working = JoinSet::new();
    for (number, connection) in connections.iter().enumerate() {
        let random =
            |caller: usize| StdRng::seed_from_u64(seed * 10_000 + (number * callers + caller) as u64);
        if shape == Shape::Stream {
            working.spawn(stream(
                connection.clone(),
                random(0),
                callers,
                each * callers,
                enterprises,
            ));
            continue;
        }
        for caller in 0..callers {
            let (mut connection, mut random) = (connection.clone(), random(caller));
            working.spawn(async move {
                if shape == Shape::Unary {
                    let head = head("Decide");
                    for _ in 0..each {
                        let request = framed(&request(&mut random, enterprises));
                        connection.call(&head, request).await;
                    }
                    return;
                }
                let head = head("BatchDecide");
                for _ in 0..each / BATCH {
                    let requests =
                        (0..BATCH).map(|_| request(&mut random, enterprises).encode_to_vec().into());
                    let batch = BatchDecideRequest {
                        requests: requests.collect(),
                    };
                    connection.call(&head, framed(&batch)).await;
                }
            });
        }
    }
    while let Some(ended) = working.join_next().await {
        ended.expect("no panic");
    }
    begun.elapsed().as_secs_f64()
}

/// One stream, on which so many messages are outstanding.
async fn stream(
    mut connection: Caller,
    mut random: StdRng,
    outstanding: usize,
    decisions: usize,
    enterprises: usize,
) {
    let mut message = || {
        framed(&DecideStreamRequest {
            correlation_id: 7,
            request: Some(request(&mut random, enterprises).encode_to_vec().into()),
            undecodable: None,
        })
    };
    poll_fn(|context| connection.0.poll_ready(context))
        .await
        .expect("connected");
    let (response, mut body) = connection
        .0
        .send_request(head("DecideStream"), false)
        .expect("sent");
    let mut sent = decisions.min(outstanding);
    for _ in 0..sent {
        body.send_data(message(), false).expect("sent");
    }
    let mut received = response.await.expect("answered").into_body();
    let (mut answered, mut rest) = (0, BytesMut::new());
    while answered < decisions {
        rest.extend_from_slice(&take(&mut received).await.expect("an answer"));
        while rest.len() >= 5 {
            let length = u32::from_be_bytes(rest[1..5].try_into().expect("four bytes")) as usize;
            if rest.len() < 5 + length {
                break;
            }
            drop(rest.split_to(5 + length));
            answered += 1;
            if sent < decisions {
                body.send_data(message(), false).expect("sent");
                sent += 1;
            }
        }
    }
    body.send_data(Bytes::new(), true).expect("sent");
    assert!(take(&mut received).await.is_none());
}
