//! `greenlane demo`

use std::process::ExitCode;

use anyhow::Context as _;
use tokio::sync::oneshot;

use super::{Context, decide::Decider, decision, output};
use crate::{
    app::{self, App, secret, settings::Settings, telemetry},
    domain::Date,
    facilitation::Moment,
    upstream::sqlite::StorePath,
    wire::{json, pb},
};

/// A register as a newcomer would meet it: twelve enterprises to try, and five thousand more.
const SAMPLE: &str = include_str!("demo/sample.sql");
/// Declarations to try, each with what it shows.
const DECLARATIONS: &str = include_str!("demo/declarations.json");

#[derive(serde::Deserialize)]
struct Sample {
    shows: String,
    request: serde_json::Value,
}

/// Runs the command.
pub(super) fn run(context: &Context) -> anyhow::Result<ExitCode> {
    let settings = context.settings();
    telemetry::start(&settings.log)?;
    let master_secret = secret::master_secret(settings, true)?;
    fill(settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let app = App::build(settings, &master_secret, false).await?;
        let (shown, wait) = oneshot::channel();
        let show = show(context);
        let stop = async {
            let showed = show.await;
            let failed = showed.is_err();
            // The receiver is read below, after the service has stopped.
            drop(shown.send(showed));
            if failed {
                return;
            }
            match app::stop_signal() {
                Ok(stopped) => stopped.await,
                Err(error) => tracing::error!(%error, "signals cannot be received: stopping"),
            }
        };
        Box::pin(app.run_until(app::once(stop))).await?;
        wait.await
            .context("the demo was stopped before it had shown anything")?
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Puts the sample register into a store that has no enterprise yet.
fn fill(settings: &Settings) -> anyhow::Result<()> {
    let connection = StorePath::from_url(&settings.upstream_url())?.open_or_create()?;
    let empty: bool = connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM enterprise)", [], |row| {
        row.get(0)
    })?;
    if empty {
        connection.execute_batch(SAMPLE).context("the sample register")?;
    }
    Ok(())
}

/// Sends the sample declarations through the real API and prints what comes back.
async fn show(context: &Context) -> anyhow::Result<()> {
    let year = Date::of(Moment::now().timestamp).civil().0;
    let samples: Vec<Sample> = serde_json::from_str(&DECLARATIONS.replace("YYYY", &year.to_string()))?;
    let requests: Vec<pb::DecideRequest> = samples
        .iter()
        .map(|sample| json::from_value("DecideRequest", sample.request.clone()))
        .collect::<Result<_, _>>()?;
    let mut service = Decider::connect(context).await?;
    let results = loop {
        match service.decide(&requests).await {
            Ok(results) => break results,
            // The first snapshot is being read; it takes milliseconds.
            Err(error) if error.to_string().starts_with("Unavailable") => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            Err(error) => return Err(error),
        }
    };
    let mut decisions = Vec::new();
    for (sample, result) in samples.into_iter().zip(results) {
        decisions.push((sample.shows, result.map_err(anyhow::Error::msg)?));
    }
    decision::print(&decisions)?;
    let settings = context.settings();
    let (grpc, http) = (settings.server.grpc_addr, settings.server.http_addr);
    let scheme = if settings.tls.is_set() { "https" } else { "http" };
    let store = settings.upstream_url();
    let database = store.strip_prefix("sqlite://").unwrap_or(&store);
    output::line(&format!(
        "\nServing gRPC on {grpc}; the console is {scheme}://{http}/; registry in {database}. Ctrl-C stops.\n\n\
         Try, in another terminal:\n  \
         greenlane status\n  \
         greenlane audit query\n  \
         greenlane audit replay\n  \
         greenlane decide --declaration-number 2225{year}1000000099 --customs-office 2225 \
         --party CONSIGNEE=1101910001 --goods 8471300000:KR\n  \
         sqlite3 {database} \"UPDATE enterprise SET suspended = 1 WHERE customs_code = '1101910001'\"\n  \
         buf curl --protocol grpc --http2-prior-knowledge http://{grpc} --list-methods"
    ))?;
    Ok(())
}
