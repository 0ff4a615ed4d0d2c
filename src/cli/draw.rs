//! `greenlane draw`: commitments to the keys of the draw, their revelation, and the proof of what was drawn

mod verify;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use jiff::Timestamp;

use super::{Context, client, enterprise::said, output};
use crate::{
    app::{draws::revealed_from, secret, source_settings},
    audit::draw::commitment::{Commitment, instant},
    facilitation::DrawKeys,
    policy::draw::Epoch,
    upstream::commitments::Commitments,
    wire::{
        json,
        pb::{self, audit_service_client::AuditServiceClient},
    },
};

/// Show the commitments to the keys of the random draw, reveal a key after its time, and check what was drawn
///
/// The key of a month is committed to before the month begins, and revealed after `draw.reveal_after`: then anybody can
/// recompute every draw. `serve` does both by itself.
#[derive(Debug, clap::Args)]
pub(super) struct Draw {
    #[command(subcommand)]
    command: DrawCommand,
}

#[derive(Debug, Subcommand)]
enum DrawCommand {
    /// Show the commitments, what each is worth, and the keys revealed
    Commitments {
        /// Ask the running server rather than the store at `upstream.url`
        #[arg(long)]
        from_server: bool,
    },
    /// Reveal the key of a month whose time has come, in the store at `upstream.url`
    Reveal {
        /// The month, such as 2026-08
        #[arg(long, value_name = "MONTH")]
        epoch: Epoch,
    },
    Verify(Box<verify::Verify>),
}

impl Draw {
    /// Runs the command.
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self.command {
            DrawCommand::Commitments { from_server } => {
                commitments(context, from_server)?;
                Ok(ExitCode::SUCCESS)
            }
            DrawCommand::Reveal { epoch } => reveal(context, epoch),
            DrawCommand::Verify(command) => command.run(context),
        }
    }
}

fn commitments(context: &Context, from_server: bool) -> anyhow::Result<()> {
    let commitments = client::block_on(async {
        if from_server {
            let mut audit = AuditServiceClient::new(client::connect(context).await?);
            let listed = audit
                .list_draw_commitments(pb::ListDrawCommitmentsRequest {})
                .await;
            return Ok(listed.map_err(|status| client::refusal(&status))?.into_inner());
        }
        let commitments = stored(context).await?;
        let commitments = commitments.iter().map(Commitment::message).collect();
        Ok(pb::ListDrawCommitmentsResponse { commitments })
    })?;
    match context.output {
        output::Format::Json => output::json(&json::to_value("ListDrawCommitmentsResponse", &commitments)?),
        output::Format::Table => {
            let row = |own: &pb::DrawCommitment| {
                [
                    own.epoch.clone(),
                    own.commitment.clone(),
                    own.published_at.as_ref().map(output::instant).unwrap_or_default(),
                    own.replica.clone(),
                    own.worth.clone(),
                    own.revealed_key.clone(),
                ]
            };
            let headings = ["epoch", "commitment", "published at", "by", "", "revealed key"];
            Ok(output::table(&headings, commitments.commitments.iter().map(row))?)
        }
    }
}

/// The commitments in the store, by epoch.
async fn stored(context: &Context) -> anyhow::Result<Vec<Commitment>> {
    let store = Commitments::of(&source_settings(context.settings()))?;
    let stored = store.list().await.context("the store's draw commitments")?;
    Ok(stored
        .into_iter()
        .map(Commitment::read)
        .collect::<Result<_, _>>()?)
}

/// The keys that the settings' master secret gives.
fn keys(context: &Context) -> anyhow::Result<DrawKeys> {
    let secret = secret::master_secret(context.settings(), false)?;
    DrawKeys::from_hex(&secret).context("draw.master_secret")
}

fn reveal(context: &Context, epoch: Epoch) -> anyhow::Result<ExitCode> {
    let from = revealed_from(epoch, context.settings().draw.reveal_after.get());
    let now = Timestamp::now();
    anyhow::ensure!(
        now >= from,
        "the key of {epoch} may not be revealed before {}: draw.reveal_after has not passed since the month's end",
        instant(from)
    );
    let key = keys(context)?.key(epoch);
    client::block_on(async {
        let commitments = stored(context).await?;
        let commitment = commitments.iter().find(|own| own.epoch == epoch);
        let commitment = commitment.with_context(|| format!("the store holds no commitment of {epoch}"))?;
        anyhow::ensure!(
            commitment.is_of(&key),
            "the commitment of {epoch} is of another key than the one that draw.master_secret gives"
        );
        let store = Commitments::of(&source_settings(context.settings()))?;
        let revealed = store
            .reveal(&epoch.to_string(), &key.reveal(), &instant(now))
            .await?;
        anyhow::ensure!(revealed, "another key of {epoch} stands revealed already");
        Ok(())
    })?;
    let done = serde_json::json!({"epoch": epoch.to_string(), "revealed_key": key.reveal()});
    said(
        context,
        &format!("revealed the key of {epoch}: {}", key.reveal()),
        &done,
    )
}
