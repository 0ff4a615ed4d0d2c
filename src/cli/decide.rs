//! `greenlane decide`

mod flags;
mod replay;

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use prost::Message as _;

use super::{Context, client, decision, output};
use crate::wire::{
    json,
    pb::{self, batch_decide_result, facilitation_service_client::FacilitationServiceClient},
};

/// Requests a batch; half of what the contract allows.
const BATCH: usize = 500;

/// Ask a running server to decide declarations
#[derive(Debug, clap::Args)]
pub(super) struct Decide {
    /// One `DecideRequest` as JSON, several as NDJSON or a JSON array; - for standard input
    #[arg(conflicts_with_all = ["from_csv", "declaration_number"])]
    file: Option<PathBuf>,

    /// Replay a CSV file of declarations and print the mix of lanes and rates
    #[arg(long, value_name = "FILE", conflicts_with = "declaration_number")]
    from_csv: Option<PathBuf>,

    /// With --from-csv: write the enterprises it names, for `enterprise import`, with tiers in the real proportions,
    /// and exit
    #[arg(long, value_name = "FILE", requires = "from_csv")]
    enterprises: Option<PathBuf>,

    #[command(flatten)]
    flags: flags::Flags,
}

impl Decide {
    /// Runs the command; a declaration that is refused gives exit code 1.
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match (&self.from_csv, &self.enterprises, &self.file) {
            (Some(csv), Some(enterprises), _) => replay::write_enterprises(csv, enterprises),
            (Some(csv), None, _) => replay::run(context, csv),
            (None, _, Some(file)) => decide(context, &read(file)?),
            (None, _, None) => match self.flags.request()? {
                Some(request) => decide(context, &[request]),
                None => bail!("give a file, --from-csv, or --declaration-number and the other flags"),
            },
        }
    }
}

/// Reads requests: a JSON object, an array of them, or one a line.
pub(super) fn read(file: &Path) -> anyhow::Result<Vec<pb::DecideRequest>> {
    let named = || file.display().to_string();
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).with_context(named)?;
    } else {
        text = std::fs::read_to_string(file).with_context(named)?;
    }
    let mut requests = Vec::new();
    // Values that follow on each other, on one line or on many.
    for (index, value) in serde_json::Deserializer::from_str(&text)
        .into_iter::<serde_json::Value>()
        .enumerate()
    {
        let values = match value.with_context(named)? {
            serde_json::Value::Array(values) => values,
            value @ (serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::String(_)
            | serde_json::Value::Object(_)) => vec![value],
        };
        for value in values {
            let request = json::from_value("DecideRequest", value);
            requests.push(request.with_context(|| format!("{}: document {}", named(), index + 1))?);
        }
    }
    Ok(requests)
}

fn decide(context: &Context, requests: &[pb::DecideRequest]) -> anyhow::Result<ExitCode> {
    let mut decisions = Vec::new();
    let mut refused = 0;
    client::block_on(async {
        let mut service = Decider::connect(context).await?;
        for batch in requests.chunks(BATCH) {
            for (request, result) in batch.iter().zip(service.decide(batch).await?) {
                match result {
                    Ok(decided) if context.output == output::Format::Json => {
                        let value = json::to_value("Decision", &decided)?;
                        // One a line, so that programs can read them as they come.
                        output::line(&value.to_string())?;
                    }
                    Ok(decided) => decisions.push((String::new(), decided)),
                    Err(error) => {
                        refused += 1;
                        eprintln!("{}: {error}", request.declaration_number);
                    }
                }
            }
        }
        Ok(())
    })?;
    if !decisions.is_empty() {
        decision::print(&decisions)?;
    }
    Ok(if refused == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A connection that decides batches.
pub(super) struct Decider(FacilitationServiceClient<client::Authorized>);

impl Decider {
    pub(super) async fn connect(context: &Context) -> anyhow::Result<Self> {
        let channel = client::connect(context).await?;
        Ok(Self(
            FacilitationServiceClient::new(channel).max_decoding_message_size(client::MAX_MESSAGE),
        ))
    }

    /// Decides a batch; one result a request, in order.
    pub(super) async fn decide(
        &mut self,
        requests: &[pb::DecideRequest],
    ) -> anyhow::Result<Vec<Result<pb::Decision, String>>> {
        let requests = requests
            .iter()
            .map(|request| request.encode_to_vec().into())
            .collect();
        let answered = self.0.batch_decide(pb::BatchDecideRequest { requests }).await;
        let results = answered
            .map_err(|status| client::refusal(&status))?
            .into_inner()
            .results;
        Ok(results
            .into_iter()
            .map(|result| match result.result {
                Some(batch_decide_result::Result::Decision(decision)) => Ok(decision),
                Some(batch_decide_result::Result::Error(error)) => Err(item_error(&error)),
                None => Err("no result".to_owned()),
            })
            .collect())
    }
}

fn item_error(error: &pb::ItemError) -> String {
    let violations = error
        .violations
        .iter()
        .map(|own| format!("\n  {}: {}", own.field, own.description));
    format!("{}{}", error.message, violations.collect::<String>())
}
