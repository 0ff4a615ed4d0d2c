//! Clients that cost little, so that the server is what is busy: frames of HTTP/2 (RFC 9113) written and counted by hand, as
//! load generators do. A connection sends what its answers allow in one write.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use greenlane::wire::{
    lenient::{BatchDecideRequest, DecideStreamRequest},
    pb::{self, facilitation_service_client::FacilitationServiceClient},
};
use prost::Message;
use rand::{SeedableRng as _, rngs::StdRng};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::TlsConnector;

use crate::support::{
    frames::{self, DATA, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE},
    server::{connect, request},
};

/// Decisions in a batch.
pub(crate) const BATCH: usize = 512;

/// Payload of the longest frame that any peer takes.
const LONGEST: usize = 16_384;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

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

trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

/// A connection to a server.
pub(crate) struct Connection {
    socket: Box<dyn Socket>,
    /// What was read and not looked at.
    read: BytesMut,
    /// What is to be written.
    out: BytesMut,
    /// The method whose path stands in the peer's table of headers.
    method: &'static str,
    next_stream: u32,
    /// Bytes taken since the peer was told.
    taken: u32,
}

/// A message as gRPC frames it.
fn framed(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::with_capacity(512);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).expect("short"));
    message.encode(&mut bytes).expect("there is room");
    bytes.freeze()
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

impl Connection {
    /// Connects, once the server answers; over TLS if there is a configuration.
    pub(crate) async fn open(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Self {
        let deadline = Instant::now() + Duration::from_mins(5);
        let first = requests(Shape::Unary(1), 1, 1, 0);
        loop {
            if let Ok(mut connection) = Self::greet(address, tls).await
                && connection.load(Shape::Unary(1), &first).await.is_ok()
            {
                return connection;
            }
            assert!(Instant::now() < deadline, "the server did not get ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn greet(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let socket: Box<dyn Socket> = match tls {
            None => Box::new(socket),
            Some(tls) => {
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, socket).await?)
            }
        };
        let mut own = Self {
            socket,
            read: BytesMut::with_capacity(1 << 18),
            out: BytesMut::from(PREFACE),
            method: "",
            next_stream: 1,
            taken: 0,
        };
        // INITIAL_WINDOW_SIZE, and the connection's own: whatever comes is taken.
        own.frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
        own.frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes());
        Ok(own)
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        frames::put(&mut self.out, kind, flags, stream, payload);
    }

    /// Begins a call.
    fn begin(&mut self, method: &'static str) -> u32 {
        // POST, http, and four fields that the peer's table holds from the first call on (RFC 7541, 6.1 and 6.2.1).
        let mut block = vec![0x83, 0x86];
        if self.method == method {
            block.extend([65, 64, 63, 62].map(|at| 0x80 | at));
        } else {
            self.method = method;
            let path = format!("/greenlane.v1.FacilitationService/{method}");
            for (name, value) in [
                (":path", &*path),
                (":authority", "replica"),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
            ] {
                frames::put_field(&mut block, 0x40, name, value);
            }
        }
        let stream = self.next_stream;
        self.next_stream += 2;
        self.frame(HEADERS, END_HEADERS, stream, &block);
        stream
    }

    fn send(&mut self, stream: u32, message: &[u8], is_last: bool) {
        let parts = message.chunks(LONGEST).count();
        for (number, part) in message.chunks(LONGEST).enumerate() {
            let flags = if is_last && number + 1 == parts {
                END_STREAM
            } else {
                0
            };
            self.frame(DATA, flags, stream, part);
        }
    }

    /// Sends every request, and takes every answer.
    async fn load(&mut self, shape: Shape, requests: &[Bytes]) -> io::Result<()> {
        let mut waiting = requests.iter();
        let (method, outstanding) = match shape {
            Shape::Unary(outstanding) => ("Decide", outstanding),
            Shape::Stream(outstanding) => ("DecideStream", outstanding),
            Shape::Batch(outstanding) => ("BatchDecide", outstanding),
        };
        // The end of an earlier stream may still be on its way.
        let first = self.next_stream;
        let stream = matches!(shape, Shape::Stream(_)).then(|| self.begin(method));
        let mut send = |own: &mut Self| {
            if let Some(request) = waiting.next() {
                if let Some(stream) = stream {
                    own.send(stream, request, false);
                } else {
                    let stream = own.begin(method);
                    own.send(stream, request, true);
                }
            }
        };
        (0..outstanding).for_each(|_| send(self));
        // Of a stream, how much of a message is missing; of calls, whether one has had data.
        let (mut answered, mut message) = (0, Vec::new());
        while answered < requests.len() {
            self.write().await?;
            if self.socket.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            while let Some((kind, flags, own, payload)) = self.next_frame() {
                match kind {
                    DATA => {
                        self.taken += u32::try_from(payload.len()).expect("short");
                        if stream.is_some() {
                            message.extend_from_slice(&payload);
                            while let Some(length) = message.get(1..5) {
                                let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
                                let whole = 5 + length as usize;
                                if message.len() < whole {
                                    break;
                                }
                                message.drain(..whole);
                                answered += 1;
                                send(self);
                            }
                        } else {
                            message.push(0);
                        }
                    }
                    // A refusal has no message; trailers come behind one.
                    HEADERS if flags & END_STREAM != 0 && own >= first => {
                        if message.is_empty() {
                            let why = String::from_utf8_lossy(&payload);
                            return Err(io::Error::other(format!("refused: {why}")));
                        }
                        if stream.is_none() {
                            answered += 1;
                            send(self);
                        }
                    }
                    SETTINGS if flags & ACK == 0 => self.frame(SETTINGS, ACK, 0, &[]),
                    PING if flags & ACK == 0 => self.frame(PING, ACK, 0, &payload),
                    GOAWAY | RST_STREAM => {
                        return Err(io::Error::other(format!("{kind} on {own}: {payload:?}")));
                    }
                    _ => {}
                }
            }
            if self.taken > 1 << 24 {
                let taken = std::mem::take(&mut self.taken);
                self.frame(WINDOW_UPDATE, 0, 0, &taken.to_be_bytes());
            }
        }
        if let Some(stream) = stream {
            self.frame(DATA, END_STREAM, stream, &[]);
        }
        self.write().await
    }

    async fn write(&mut self) -> io::Result<()> {
        self.socket.write_all(&self.out).await?;
        self.out.clear();
        self.socket.flush().await
    }

    fn next_frame(&mut self) -> Option<(u8, u8, u32, BytesMut)> {
        let mut head = self.read.get(..9)?;
        let length = usize::try_from(head.get_uint(3)).expect("short");
        let (kind, flags, stream) = (head.get_u8(), head.get_u8(), head.get_u32());
        if self.read.len() < 9 + length {
            return None;
        }
        self.read.advance(9);
        Some((kind, flags, stream, self.read.split_to(length)))
    }
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
            connection.load(shape, &requests).await.expect("every answer");
            connection
        });
    }
    while let Some(ended) = working.join_next().await {
        connections.push(ended.expect("no panic"));
    }
    begun.elapsed().as_secs_f64()
}
