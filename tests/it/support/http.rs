//! HTTP/1.1 by hand: what is written is what is sent.

use std::net::SocketAddr;

use bytes::Bytes;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::SOON;

/// What came back until the server closed.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let end = text.find("\r\n\r\n").expect("a whole head");
        let head = text[..end].to_lowercase();
        let status = head.strip_prefix("http/1.1 ").and_then(|head| head.get(..3));
        Self {
            status: status.and_then(|code| code.parse().ok()).expect("a status"),
            body: Bytes::copy_from_slice(&bytes[end + 4..]),
            head,
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields
            .into_iter()
            .find(|(own, _)| *own == name)
            .map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(
            self.header("content-type"),
            Some("application/json"),
            "{}",
            self.head
        );
        assert_eq!(self.header("cache-control"), Some("no-store"), "{}", self.head);
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The fields that the `BadRequest` of a `google.rpc.Status` names.
    pub(crate) fn fields(&self) -> Vec<String> {
        let value = self.json();
        let violations = value["details"][0]["fieldViolations"].as_array().cloned();
        let field = |violation: &Value| violation["field"].as_str().unwrap().to_owned();
        violations.unwrap_or_default().iter().map(field).collect()
    }
}

/// Sends bytes as they are, and reads until the server closes.
pub(crate) async fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let exchanged = tokio::time::timeout(SOON, async {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        answer
    });
    Answer::read(&exchanged.await.expect("an answer before the deadline"))
}

/// A request with a body, as it is written.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: replica\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method == "POST" {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

/// Asks by a method without a body.
pub(crate) async fn ask(address: SocketAddr, method: &str, path: &str) -> Answer {
    exchange(address, &request(method, path, &[], b"")).await
}

/// Posts JSON.
pub(crate) async fn post(address: SocketAddr, path: &str, body: impl AsRef<[u8]>) -> Answer {
    let headers = [("content-type", "application/json")];
    exchange(address, &request("POST", path, &headers, body.as_ref())).await
}
