//! `greenlane serve`

use std::{process::ExitCode, sync::Arc};

use anyhow::Context as _;

use super::{Context, output};
use crate::app::{App, StopSignals, Stopped, callers::KnownCallers, policies, secret, telemetry};

/// The exit code when calls were cut at `drain.deadline`.
const CALLS_CUT: u8 = 3;
/// The exit code when something was not flushed.
const DATA_LEFT: u8 = 4;

/// Serve decisions over gRPC
///
/// On SIGTERM or SIGINT it drains, step by step, each within its bound (drain.*); a second signal does not wait for callers to
/// go. Exit codes: 0 when it stopped in order, 1 when it could not start or a part of it failed, 3 when calls were cut at
/// drain.deadline, 4 when something was not flushed: the last lines of the log say what.
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    /// Validate the configuration, print it with where each value came from, and exit
    #[arg(long)]
    check_config: bool,

    /// Make a master secret for the draw in the data folder if there is none
    #[arg(long)]
    generate_secret: bool,

    /// Take the first state of the store whatever has moved in it since the snapshot file
    #[arg(long)]
    accept_drift: bool,
}

impl Serve {
    /// Runs the command.
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let settings = context.settings();
        if self.check_config {
            telemetry::filter(&settings.log.level)?;
            policies::read_book(settings.policy.directory())?;
            KnownCallers::open(&settings.auth, &Arc::default())?;
            return check_config(context);
        }
        telemetry::start(&settings.log)?;
        secret::stay_out_of_core_dumps().context("core dumps cannot be switched off")?;
        let master_secret = secret::master_secret(settings, self.generate_secret)?;
        // Requests run on threads of their own; this one only accepts, watches and waits.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let stopped = runtime.block_on(async {
            let mut signals = StopSignals::receive()?;
            let app = App::build(settings, &master_secret, self.accept_drift).await?;
            Box::pin(app.run_until(async || signals.next().await)).await
        });
        // What was left behind may never end.
        runtime.shutdown_background();
        Ok(match stopped? {
            Stopped::InOrder => ExitCode::SUCCESS,
            Stopped::CallsCut => ExitCode::from(CALLS_CUT),
            Stopped::DataLeft => ExitCode::from(DATA_LEFT),
        })
    }
}

fn check_config(context: &Context) -> anyhow::Result<ExitCode> {
    let rows = context.loaded.rows();
    match context.output {
        output::Format::Table => {
            output::table(
                &["key", "value", "source"],
                rows.into_iter()
                    .map(|(key, value, source)| [key.to_owned(), value, source]),
            )?;
        }
        output::Format::Json => {
            let entry =
                |(key, value, source)| serde_json::json!({"key": key, "value": value, "source": source});
            output::json(&rows.into_iter().map(entry).collect::<Vec<_>>())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
