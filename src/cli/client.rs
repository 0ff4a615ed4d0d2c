//! A client of a running server: the one that the configuration names.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tonic::{Status, transport::Channel};
use tonic_types::StatusExt as _;

use super::Context;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Batches of full requests are larger than the library's 4 MiB.
pub(super) const MAX_MESSAGE: usize = 64 << 20;

/// Runs a command that talks to the server.
pub(super) fn block_on<T>(run: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run)
}

/// Connects to `server.grpc_addr`.
pub(super) async fn connect(context: &Context) -> anyhow::Result<Channel> {
    let address = context.settings().server.grpc_addr;
    let endpoint = Channel::from_shared(format!("http://{address}"))?.connect_timeout(CONNECT_TIMEOUT);
    endpoint
        .connect()
        .await
        .with_context(|| format!("no server answers at {address} (server.grpc_addr)"))
}

/// A refusal in words: the code, the message, and each field that breaks a rule.
pub(super) fn refusal(status: &Status) -> anyhow::Error {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    if let Some(bad_request) = status.get_details_bad_request() {
        for violation in bad_request.field_violations {
            text.push_str("\n  ");
            text.push_str(&violation.field);
            text.push_str(": ");
            text.push_str(&violation.description);
        }
    }
    anyhow!(text)
}
