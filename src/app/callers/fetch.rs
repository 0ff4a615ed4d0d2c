//! Fetches a key set: one request on a connection of its own, bounded in time and size. Redirects are not followed, because they
//! would let one host put another in its place.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::spawn_blocking,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::KeyAddress;
use crate::{
    access::MAX_KEY_SET_BYTES,
    trust::{TrustError, client::ClientFiles},
};

/// How long a fetch may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Fetches from one address.
#[derive(Debug, Clone)]
pub(super) struct Fetcher {
    address: KeyAddress,
    files: ClientFiles,
}

impl Fetcher {
    /// Trusts the authorities of these files as they are when it fetches. That they can be read is seen now.
    pub(super) fn new(address: KeyAddress, files: ClientFiles) -> Result<Self, TrustError> {
        let own = Self { address, files };
        if own.address.is_https {
            own.files.http()?;
        }
        Ok(own)
    }

    /// The key set as it is written, or why there is none.
    pub(super) async fn fetch(self) -> Result<Vec<u8>, String> {
        match timeout(TIMEOUT, self.asked()).await {
            Ok(answered) => answered,
            Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
        }
    }

    async fn asked(&self) -> Result<Vec<u8>, String> {
        let KeyAddress {
            is_https, host, port, ..
        } = &self.address;
        let tls = if *is_https { Some(self.tls().await?) } else { None };
        let connected = TcpStream::connect((host.as_str(), *port)).await;
        let socket = connected.map_err(|error| error.to_string())?;
        let Some(tls) = tls else {
            return self.ask_over(socket).await;
        };
        let name = ServerName::try_from(host.clone()).map_err(|error| error.to_string())?;
        let encrypted = TlsConnector::from(Arc::new(tls)).connect(name, socket).await;
        self.ask_over(encrypted.map_err(|error| error.to_string())?).await
    }

    /// What it trusts now: files may have been replaced since.
    async fn tls(&self) -> Result<ClientConfig, String> {
        let files = self.files.clone();
        let read = spawn_blocking(move || files.http()).await;
        let mut config = read
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    async fn ask_over(
        &self,
        socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Vec<u8>, String> {
        let request = Request::get(&self.address.path)
            .header(header::HOST, &self.address.authority)
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .header(
                header::USER_AGENT,
                concat!("greenlane/", env!("CARGO_PKG_VERSION")),
            )
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket))
            .await
            .map_err(|error| error.to_string())?;
        let answered = async {
            let response = sender
                .send_request(request)
                .await
                .map_err(|error| error.to_string())?;
            if response.status() != StatusCode::OK {
                return Err(format!("it answers {}", response.status()));
            }
            let body = Limited::new(response.into_body(), MAX_KEY_SET_BYTES)
                .collect()
                .await;
            Ok(body.map_err(|error| error.to_string())?.to_bytes().to_vec())
        };
        // Both, until the answer is there; the connection is given up then.
        tokio::pin!(answered);
        tokio::select! {
            biased;
            answer = &mut answered => answer,
            ended = connection => {
                // What it read before it ended is still to be had.
                let answer = answered.await;
                answer.map_err(|error| ended.err().map_or(error, |ended| ended.to_string()))
            }
        }
    }
}
