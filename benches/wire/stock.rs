//! A server as a newcomer would write it, for `cargo bench --bench wire`: `#[tokio::main]`, the default release profile (see
//! `[profile.stock]` in Cargo.toml) and the system's allocator.

#![allow(clippy::expect_used, reason = "a benchmark stops at what it did not expect")]

#[path = "peers.rs"]
mod peers;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name);
        &arguments[at.expect("an argument") + 1]
    };
    let constant = peers::Constant::new(&std::fs::read(after("--decision")).expect("a decision"));
    let listener = tokio::net::TcpListener::bind(after("--address"))
        .await
        .expect("a port");
    constant.serve(listener).await;
}
