use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{
    SOON,
    app::TestApp,
    http::{Answer, ask, exchange},
};

/// As many as the server serves.
const CONNECTIONS: usize = 256;

/// A connection on which that much of a request was sent.
async fn begun(app: &TestApp, request: &str) -> TcpStream {
    let mut socket = TcpStream::connect(app.http_address()).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

/// What the server says until it closes, and how long it took.
async fn until_closed(mut socket: TcpStream) -> (Vec<u8>, Duration) {
    let (begun, mut said) = (Instant::now(), Vec::new());
    let read = tokio::time::timeout(SOON, socket.read_to_end(&mut said)).await;
    // Closed in order or reset.
    drop(read.expect("the server closes"));
    (said, begun.elapsed())
}

#[tokio::test]
async fn probes_are_answered_within_a_second_while_slow_clients_hold_every_connection() {
    let app = TestApp::ready().await;
    let mut held = Vec::new();
    for request in [
        "",
        "GET /livez HTTP/1.1\r\nhost: slow\r\n",
        "GET /livez HTTP/1.1\r\nhost: kept\r\n\r\n",
    ] {
        for _ in 0..CONNECTIONS {
            held.push(begun(&app, request).await);
        }
        for path in ["/livez", "/readyz", "/metrics"] {
            let asked = Instant::now();
            assert_eq!(ask(app.http_address(), "GET", path).await.status, 200);
            assert!(
                asked.elapsed() < Duration::from_secs(1),
                "{path}: {:?}",
                asked.elapsed()
            );
        }
    }
}

#[tokio::test]
async fn who_does_not_go_on_is_given_up() {
    let app = TestApp::ready().await;
    let post = "POST /v1/decide HTTP/1.1\r\nhost: slow\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    let silent = begun(&app, "").await;
    let head = begun(&app, "GET /livez HTTP/1.1\r\nhost:").await;
    let kept = begun(&app, "GET /livez HTTP/1.1\r\nhost: kept\r\n\r\n").await;
    let body = begun(&app, post).await;
    let ended = tokio::join!(
        until_closed(silent),
        until_closed(head),
        until_closed(kept),
        until_closed(body)
    );
    let ((_, silent), (_, head), (answer, kept), (timeout, body)) = ended;
    let time = |seconds: u64| Duration::from_secs(seconds)..Duration::from_secs(seconds + 5);
    for took in [silent, head, kept] {
        assert!((time(4)).contains(&took), "{took:?}");
    }
    assert_eq!(Answer::read(&answer).status, 200);
    let timeout = Answer::read(&timeout);
    assert_eq!((timeout.status, &timeout.json()["code"]), (408, &4.into()));
    // After the answer the connection is of no more use.
    assert!(body < Duration::from_secs(17), "{body:?}");
}

#[tokio::test]
async fn a_head_without_measure_is_refused() {
    let app = TestApp::ready().await;
    let long = "x".repeat(20_000);
    for request in [
        format!("GET /v1/enterprises/{long} HTTP/1.1\r\nhost: replica\r\n\r\n"),
        format!("GET /livez HTTP/1.1\r\nhost: replica\r\nx: {long}\r\n\r\n"),
        format!(
            "GET /livez HTTP/1.1\r\nhost: replica\r\n{}\r\n",
            "x: y\r\n".repeat(200)
        ),
        "GET nowhere HTTP/9\r\n\r\n".to_owned(),
    ] {
        let answer = exchange(app.http_address(), request.as_bytes()).await;
        assert!(matches!(answer.status, 400 | 414 | 431), "{}", answer.head);
    }
    assert_eq!(ask(app.http_address(), "GET", "/livez").await.status, 200);
}
