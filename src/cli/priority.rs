//! `greenlane priority`

use std::process::ExitCode;

use serde_json::json;

use super::{Context, client, keys::Keys, output, shipment};
use crate::wire::{
    json,
    pb::{self, batch_get_priority_result::Result as Found, priority_service_client::PriorityServiceClient},
    shipment_key,
};

/// Keys a batch, as many as the contract allows.
const BATCH: usize = 1000;
/// The exit code when a key has no answer.
const UNANSWERED: u8 = 3;

/// Ask a running server for the lane and priority of shipments, in the order of the yard
///
/// What may leave comes first, then by rank, then by time of decision. With --output json one line a key, in their order.
/// The exit code is 3 when a key is malformed or was never decided: hold that shipment.
#[derive(Debug, clap::Args)]
pub(super) struct Priority {
    #[command(flatten)]
    keys: Keys,
}

impl Priority {
    /// Runs the command.
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let keys = self.keys.read()?;
        let answers = client::block_on(ask(context, &keys))?;
        match context.output {
            output::Format::Json => {
                for (key, answer) in keys.iter().zip(&answers) {
                    let (field, value) = match answer {
                        Ok(shipment) => ("shipment", json::to_whole_value("Shipment", shipment)?),
                        Err(error) => ("error", json::to_value("ItemError", error)?),
                    };
                    output::line(&json!({"key": key, field: value}).to_string())?;
                }
            }
            output::Format::Table => print(&keys, &answers)?,
        }
        Ok(if answers.iter().all(Result::is_ok) {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(UNANSWERED)
        })
    }
}

type Answer = Result<pb::Shipment, pb::ItemError>;

/// One answer a key.
async fn ask(context: &Context, keys: &[String]) -> anyhow::Result<Vec<Answer>> {
    let mut service = PriorityServiceClient::new(client::connect(context).await?)
        .max_decoding_message_size(client::MAX_MESSAGE);
    let mut answers = Vec::with_capacity(keys.len());
    for keys in keys.chunks(BATCH) {
        let request = pb::BatchGetPriorityRequest {
            keys: keys.iter().map(|key| shipment_key::written(key)).collect(),
        };
        let answered = service.batch_get_priority(request).await;
        let mut results = answered
            .map_err(|status| client::refusal(&status))?
            .into_inner()
            .results
            .into_iter();
        answers.extend(
            keys.iter()
                .map(|_| match results.next().and_then(|result| result.result) {
                    Some(Found::Shipment(found)) => Ok(shipment::strict(found)),
                    Some(Found::Error(error)) => Err(error),
                    None => Err(pb::ItemError {
                        message: "the server did not answer".to_owned(),
                        ..pb::ItemError::default()
                    }),
                }),
        );
    }
    Ok(answers)
}

fn print(keys: &[String], answers: &[Answer]) -> anyhow::Result<()> {
    let mut found = Vec::new();
    let mut rows = Vec::new();
    for (key, answer) in keys.iter().zip(answers) {
        match answer {
            Ok(shipment) => found.push((key, shipment)),
            Err(error) => rows.push(unanswered(key, error)),
        }
    }
    found.sort_by_cached_key(|(_, shipment)| shipment::place(shipment));
    let found = found.into_iter().map(|(key, shipment)| row(key, shipment));
    let headings = [
        "shipment",
        "gate",
        "lane",
        "class",
        "rank",
        "decided UTC",
        "valid to UTC",
        "",
    ];
    output::table(&headings, found.chain(rows))?;
    Ok(())
}

fn row(key: &str, own: &pb::Shipment) -> [String; 8] {
    let declaration = if key == own.declaration_number {
        String::new()
    } else {
        format!("on {}", own.declaration_number)
    };
    [
        key.to_owned(),
        shipment::gate(own).to_owned(),
        shipment::lane(own),
        shipment::class(own),
        shipment::rank(own),
        shipment::minute(own.decided_at.as_ref()),
        shipment::minute(own.valid_until.as_ref()),
        declaration,
    ]
}

fn unanswered(key: &str, error: &pb::ItemError) -> [String; 8] {
    let empty = String::new;
    let (key, hold) = (key.to_owned(), "HOLD".to_owned());
    [
        key,
        hold,
        empty(),
        empty(),
        empty(),
        empty(),
        empty(),
        error.message.clone(),
    ]
}
