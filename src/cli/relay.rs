//! `greenlane relay`

use std::{net::SocketAddr, process::ExitCode};

use anyhow::Context as _;

use super::Context;
use crate::app::{self, relay, secret, settings::StoreUrl, telemetry};

/// Feed NATS `JetStream` from a store, so that replicas need only NATS. Two relays may run
#[derive(Debug, clap::Args)]
pub(super) struct Relay {
    /// The store to read: `sqlite://path` or `postgres://...`
    #[arg(long, value_name = "URL")]
    from: String,

    /// Where to publish: `nats://host:port,host:port`
    #[arg(long, value_name = "URL")]
    to: String,

    /// Serve probes (/livez, /readyz, /startupz) and /metrics at this address, such as 127.0.0.1:8080
    #[arg(long, value_name = "ADDRESS")]
    http_addr: Option<SocketAddr>,

    /// Take the first state of the store whatever has moved in it since the snapshot file
    #[arg(long)]
    accept_drift: bool,
}

impl Relay {
    /// Runs the command.
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let mut settings = context.settings().clone();
        settings.upstream.url = StoreUrl::new(self.from);
        let (to, accept_drift) = (StoreUrl::new(self.to), self.accept_drift);
        telemetry::start(&settings.log)?;
        secret::stay_out_of_core_dumps().context("core dumps cannot be switched off")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let stopped = app::stop_signal()?;
            let relay = relay::Relay::build(&settings, &to, self.http_addr, accept_drift)?;
            relay.run_until(stopped).await
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
