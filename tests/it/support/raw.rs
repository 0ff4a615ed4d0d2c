//! Calls that no proper client would make: HTTP/2 by hand.

use std::{net::SocketAddr, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request};
use tokio::{net::TcpStream, task::JoinSet};
use tonic::Status;

use super::SOON;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) http_status: u16,
    /// The messages, without their frames.
    pub(crate) messages: Vec<Bytes>,
    /// From the trailers, or the headers where there is nothing else.
    pub(crate) status: Status,
}

/// One gRPC frame around a message.
pub(crate) fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message);
    frame.freeze()
}

/// Calls a method with headers and messages as they are; ends the request unless it is to stay `open`.
pub(crate) async fn call(
    address: SocketAddr,
    path: &str,
    headers: &[(&'static str, &str)],
    messages: &[&[u8]],
    open: bool,
) -> Answer {
    tokio::time::timeout(SOON, exchange(address, path, headers, messages, open))
        .await
        .expect("an answer before the deadline")
}

/// A unary call with those bytes for a message.
pub(crate) async fn unary(address: SocketAddr, path: &str, message: &[u8]) -> Answer {
    call(address, path, &[], &[message], false).await
}

async fn exchange(
    address: SocketAddr,
    path: &str,
    headers: &[(&'static str, &str)],
    messages: &[&[u8]],
    open: bool,
) -> Answer {
    let socket = TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let mut client = client.ready().await.unwrap();
    let mut request = Request::post(format!("http://{address}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (response, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
    for message in messages {
        // A server that has answered already may have closed its side.
        drop(body.send_data(frame(message), false));
    }
    if !open {
        drop(body.send_data(Bytes::new(), true));
    }
    let response = response.await.unwrap();
    let http_status = response.status().as_u16();
    let (head, mut received) = response.into_parts();
    let mut data = BytesMut::new();
    while let Some(part) = received.data().await {
        let part = part.unwrap();
        received.flow_control().release_capacity(part.len()).unwrap();
        data.extend_from_slice(&part);
    }
    let trailers: Option<HeaderMap> = received.trailers().await.unwrap();
    let status = trailers
        .as_ref()
        .and_then(Status::from_header_map)
        .or_else(|| Status::from_header_map(&head.headers))
        .unwrap_or_else(|| Status::unknown("no grpc-status"));
    driver.abort_all();
    Answer {
        http_status,
        messages: unframe(data.freeze()),
        status,
    }
}

fn unframe(mut data: Bytes) -> Vec<Bytes> {
    let mut messages = Vec::new();
    while data.len() >= 5 {
        let head = data.split_to(5);
        let length = u32::from_be_bytes(head[1..].try_into().unwrap());
        messages.push(data.split_to(usize::try_from(length).unwrap()));
    }
    assert!(data.is_empty(), "half a frame");
    messages
}

/// As `grpc-timeout` writes it.
pub(crate) fn milliseconds(timeout: Duration) -> String {
    format!("{}m", timeout.as_millis())
}
