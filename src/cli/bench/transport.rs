//! The connections of the load, straight on HTTP/2 (RFC 9113): with the channels, layers and codecs of a usual client a call costs
//! more than it costs the server that is to be loaded.

use std::{cell::RefCell, io, sync::Arc};

use anyhow::Context as _;
use bytes::{Buf as _, Bytes, BytesMut};
use h2::{
    RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{HeaderMap, Request, Uri, header};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Mutex,
    task::spawn_local,
};
use tokio_rustls::TlsConnector;
use tonic::{Code, Status, service::Interceptor as _};
use tracing::debug;

use super::load::{Plan, Shape};
use crate::{
    app::tls,
    cli::{Context, client},
};

/// Bytes of answers that the server may send before they were taken: of a stream, and of a connection.
const STREAM_WINDOW: u32 = 16 << 20;
const CONNECTION_WINDOW: u32 = 1 << 30;

/// Where calls go, and what all of them say.
pub(super) struct Endpoint {
    authority: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    head: Request<()>,
}

/// A connection, opened again when it has ended.
pub(super) struct Connection {
    to: Arc<Endpoint>,
    requests: RefCell<SendRequest<Bytes>>,
    opening: Mutex<()>,
}

/// A call: what its answer comes by, and what its messages leave by.
pub(super) type Begun = (ResponseFuture, SendStream<Bytes>);

/// The messages of an answer, as they come.
pub(super) struct Answer {
    body: RecvStream,
    read: BytesMut,
}

impl Endpoint {
    /// The server of the settings, to be asked as the plan says.
    pub(super) fn new(context: &Context, plan: &Plan) -> anyhow::Result<Self> {
        let settings = context.settings();
        let (address, setting) = client::address(settings)?;
        let named = || format!("{setting} {address:?}");
        let server: Uri = address.parse().with_context(named)?;
        let authority = server.authority().with_context(named)?;
        let is_tls = server.scheme_str() == Some("https");
        let tls = if is_tls {
            let name = match &*settings.client.tls_name {
                "" => authority.host().trim_start_matches('[').trim_end_matches(']'),
                name => name,
            };
            let name = ServerName::try_from(name.to_owned()).with_context(named)?;
            let config = tls::client_files(&settings.client).http2()?;
            Some((TlsConnector::from(Arc::new(config)), name))
        } else {
            None
        };
        let method = match plan.shape {
            Shape::Unary => "Decide",
            Shape::Batch => "BatchDecide",
            Shape::Stream => "DecideStream",
        };
        let mut head = Request::post(format!("{address}/greenlane.v1.FacilitationService/{method}"))
            .header(header::TE, "trailers")
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(
                header::USER_AGENT,
                concat!("greenlane-bench/", env!("CARGO_PKG_VERSION")),
            )
            .body(())
            .with_context(named)?;
        let mut own = tonic::Request::new(());
        if plan.shape != Shape::Stream {
            own.set_timeout(plan.timeout);
        }
        let own = client::Bearer::read(&settings.client.token_file)?.call(own)?;
        head.headers_mut().extend(own.metadata().clone().into_headers());
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Self {
            authority: format!("{}:{port}", authority.host()),
            tls,
            head,
        })
    }

    async fn connect(&self) -> io::Result<SendRequest<Bytes>> {
        let connected = async {
            let socket = TcpStream::connect(&self.authority).await?;
            socket.set_nodelay(true)?;
            match &self.tls {
                None => greeted(socket).await,
                Some((tls, name)) => greeted(tls.connect(name.clone(), socket).await?).await,
            }
        };
        tokio::time::timeout(client::CONNECT_TIMEOUT, connected).await?
    }
}

/// Greets the server, and serves the connection beside what waits for it.
async fn greeted(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> io::Result<SendRequest<Bytes>> {
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let (requests, connection) = builder.handshake(socket).await.map_err(io::Error::other)?;
    spawn_local(async move {
        if let Err(error) = connection.await {
            debug!(%error, "a connection of the load ended");
        }
    });
    Ok(requests)
}

impl Connection {
    pub(super) async fn open(to: &Arc<Endpoint>) -> anyhow::Result<Self> {
        let requests = to
            .connect()
            .await
            .with_context(|| format!("no server answers at {}", to.authority))?;
        Ok(Self {
            to: Arc::clone(to),
            requests: RefCell::new(requests),
            opening: Mutex::new(()),
        })
    }

    /// Begins a call at once.
    pub(super) fn begin(&self) -> Result<Begun, Code> {
        // A clone may queue its stream behind others that wait for a place.
        let mut requests = self.requests.borrow().clone();
        requests
            .send_request(self.to.head.clone(), false)
            .map_err(|error| code(&error))
    }

    /// Begins a call that could not begin, because the connection has ended: on another to the same server, which whoever comes
    /// first opens.
    pub(super) async fn begin_again(&self) -> Result<Begun, Code> {
        let _alone = self.opening.lock().await;
        if let Ok(begun) = self.begin() {
            return Ok(begun);
        }
        let requests = self.to.connect().await.map_err(|_| Code::Unavailable)?;
        self.requests.replace(requests);
        self.begin()
    }
}

impl Answer {
    /// An answer that begins well.
    pub(super) async fn begun(response: ResponseFuture) -> Result<Self, Code> {
        let (head, body) = response.await.map_err(|error| code(&error))?.into_parts();
        if head.status != http::StatusCode::OK {
            return Err(Code::Unknown);
        }
        // Who has nothing to say but the end says it at once.
        match status(&head.headers) {
            None | Some(Code::Ok) => Ok(Self {
                body,
                read: BytesMut::new(),
            }),
            Some(refused) => Err(refused),
        }
    }

    /// The next message; none where it ended well.
    pub(super) async fn message(&mut self) -> Result<Option<Bytes>, Code> {
        loop {
            if let Some(message) = self.next() {
                return Ok(Some(message));
            }
            let Some(bytes) = self.body.data().await else {
                break;
            };
            let bytes = bytes.map_err(|error| code(&error))?;
            let window = self.body.flow_control();
            window
                .release_capacity(bytes.len())
                .map_err(|error| code(&error))?;
            self.read.extend_from_slice(&bytes);
        }
        let trailers = self.body.trailers().await.map_err(|error| code(&error))?;
        match trailers.as_ref().and_then(status) {
            Some(Code::Ok) => Ok(None),
            Some(failed) => Err(failed),
            None => Err(Code::Unknown),
        }
    }

    fn next(&mut self) -> Option<Bytes> {
        let mut head = self.read.get(1..5)?;
        let length = usize::try_from(head.get_u32()).ok()?;
        if self.read.len() - 5 < length {
            return None;
        }
        self.read.advance(5);
        Some(self.read.split_to(length).freeze())
    }
}

fn status(headers: &HeaderMap) -> Option<Code> {
    headers
        .get("grpc-status")
        .map(|status| Code::from_bytes(status.as_bytes()))
}

/// What a call ends with whose connection or stream has.
fn code(error: &h2::Error) -> Code {
    match error.reason() {
        Some(reason) if !error.is_go_away() => Status::from_error(Box::new(h2::Error::from(reason))).code(),
        Some(_) | None => Code::Unavailable,
    }
}
