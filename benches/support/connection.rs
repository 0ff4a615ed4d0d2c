//! Clients that cost little, so that the server is what is busy: frames of HTTP/2 (RFC 9113) written and counted by hand, as
//! load generators do. What a client has to send leaves in one write.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use prost::Message;
use rand::{SeedableRng as _, rngs::StdRng};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpSocket,
};
use tokio_rustls::TlsConnector;

use super::{
    frames::{self, DATA, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE},
    server::request,
};

/// Payload of the longest frame that any peer takes.
const LONGEST: usize = 16_384;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

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

/// What comes of a call.
pub(crate) enum Event {
    /// Bytes of its answers.
    Data(u32, BytesMut),
    /// It is over; a refusal is one that had no data.
    Ended(u32),
}

/// A message as gRPC frames it.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::with_capacity(512);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).expect("short"));
    message.encode(&mut bytes).expect("there is room");
    bytes.freeze()
}

impl Connection {
    /// Connects, once the server answers; over TLS if there is a configuration, from an address of its own if there is one.
    pub(crate) async fn open(
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
        from: Option<IpAddr>,
    ) -> Self {
        let deadline = Instant::now() + Duration::from_mins(5);
        loop {
            if let Ok(mut connection) = Self::greet(address, tls, from).await
                && connection.is_answered().await.unwrap_or(false)
            {
                return connection;
            }
            assert!(Instant::now() < deadline, "the server did not get ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn greet(
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
        from: Option<IpAddr>,
    ) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = from {
            socket.bind((from, 0).into())?;
        }
        let socket = socket.connect(address).await?;
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

    /// Whether a declaration is decided.
    async fn is_answered(&mut self) -> io::Result<bool> {
        let stream = self.begin("Decide");
        let one = framed(&request(&mut StdRng::seed_from_u64(0), 1));
        self.send(stream, &one, true);
        let mut has_data = false;
        loop {
            self.write().await?;
            self.read().await?;
            while let Some(event) = self.event()? {
                match event {
                    Event::Data(..) => has_data = true,
                    Event::Ended(_) => return Ok(has_data),
                }
            }
        }
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        frames::put(&mut self.out, kind, flags, stream, payload);
    }

    /// Begins a call.
    pub(crate) fn begin(&mut self, method: &'static str) -> u32 {
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

    /// Sends a framed message.
    pub(crate) fn send(&mut self, stream: u32, message: &[u8], is_last: bool) {
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

    /// No more messages follow.
    pub(crate) fn end(&mut self, stream: u32) {
        self.frame(DATA, END_STREAM, stream, &[]);
    }

    /// Writes what was begun and sent.
    pub(crate) async fn write(&mut self) -> io::Result<()> {
        self.socket.write_all(&self.out).await?;
        self.out.clear();
        self.socket.flush().await
    }

    /// Waits for more to come. Loses nothing where it is not waited for to the end.
    pub(crate) async fn read(&mut self) -> io::Result<()> {
        if self.socket.read_buf(&mut self.read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// The next thing that came; what it asks for is to be written.
    pub(crate) fn event(&mut self) -> io::Result<Option<Event>> {
        while let Some((kind, flags, stream, payload)) = self.next_frame() {
            match kind {
                DATA => {
                    self.taken += u32::try_from(payload.len()).expect("short");
                    if self.taken > 1 << 24 {
                        let taken = std::mem::take(&mut self.taken);
                        self.frame(WINDOW_UPDATE, 0, 0, &taken.to_be_bytes());
                    }
                    return Ok(Some(Event::Data(stream, payload)));
                }
                HEADERS if flags & END_STREAM != 0 => return Ok(Some(Event::Ended(stream))),
                SETTINGS if flags & ACK == 0 => self.frame(SETTINGS, ACK, 0, &[]),
                PING if flags & ACK == 0 => self.frame(PING, ACK, 0, &payload),
                // The answer was given, and the rest of the request is not wanted (8.1).
                RST_STREAM if *payload == [0; 4] => {}
                GOAWAY | RST_STREAM => {
                    return Err(io::Error::other(format!("{kind} on {stream}: {payload:?}")));
                }
                _ => {}
            }
        }
        Ok(None)
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
