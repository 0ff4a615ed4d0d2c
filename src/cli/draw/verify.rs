//! `greenlane draw verify`

use std::{collections::HashMap, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};

use super::{Context, client, keys, output, stored};
use crate::{
    app::audit::directory,
    audit::{
        draw::{
            commitment::Commitment,
            month::{Finding, Kind, MonthCheck},
        },
        read::LogReader,
    },
    policy::draw::{Epoch, EpochKey},
    wire::{
        json,
        pb::{self, audit_service_client::AuditServiceClient},
    },
};

/// Check what was drawn: a whole month against the log, or one decision
///
/// With --month every decision that was accepted in that month (in China) is read from the log; draws and selections are
/// recomputed, the key is held against its commitment, and consignments that were drawn twice are flagged. Exit code 1 if
/// anything does not hold.
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// The month to check, such as 2026-10
    #[arg(long, value_name = "MONTH", required_unless_present = "decision")]
    month: Option<Epoch>,

    /// Ask the running server at `server.grpc_addr` to check one decision: its id
    #[arg(long, value_name = "ID", conflicts_with_all = ["month", "log", "key"])]
    decision: Option<String>,

    /// A replica's log; may be given several times [default: the log of `audit.directory`]
    #[arg(long, value_name = "DIR")]
    log: Vec<PathBuf>,

    /// The month's key, 64 hexadecimal digits [default: as revealed, else from the master secret]
    #[arg(long, value_name = "HEX", value_parser = key)]
    key: Option<EpochKey>,

    /// Read no store: the log alone tells what was committed to
    #[arg(long)]
    no_store: bool,
}

fn key(text: &str) -> Result<EpochKey, String> {
    EpochKey::from_hex(text).ok_or_else(|| "a key is 64 hexadecimal digits".to_owned())
}

impl Verify {
    /// Runs the command.
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match (&self.decision, self.month) {
            (Some(id), _) => decision(context, id.clone()),
            (None, Some(month)) => self.month(context, month),
            (None, None) => bail!("--month or --decision is needed"),
        }
    }

    fn month(&self, context: &Context, month: Epoch) -> anyhow::Result<ExitCode> {
        let commitments = if self.no_store {
            Vec::new()
        } else {
            client::block_on(stored(context)).context("--no-store goes without")?
        };
        let mut keys = Keys::new(self, context, month, &commitments)?;
        let commitment = commitments.into_iter().find(|own| own.epoch == month);
        let mut check = MonthCheck::new(month, commitment);
        let own = [directory(context.settings())];
        let logs = if self.log.is_empty() { &own[..] } else { &self.log };
        let bar = output::progress(None);
        for log in logs {
            check.log_of("");
            for group in LogReader::open(log, 0)? {
                let group = group?;
                bar.inc(group.payload.len() as u64);
                for (sequence, record) in group.decoded() {
                    check.take(sequence, &record, |epoch| keys.of(epoch));
                }
            }
        }
        bar.finish_and_clear();
        let key = keys.of(month);
        let objections = check.objections(key.as_ref());
        let commitment = key.map(|key| key.commitment).unwrap_or_default();
        match context.output {
            output::Format::Json => output::json(&as_json(&check, &objections, &commitment))?,
            output::Format::Table => table(month, &check, &objections, &commitment)?,
        }
        Ok(if objections.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// The keys to check with, each derived once.
struct Keys {
    secret: Option<crate::facilitation::DrawKeys>,
    known: HashMap<Epoch, Option<EpochKey>>,
}

impl Keys {
    fn new(
        verify: &Verify,
        context: &Context,
        month: Epoch,
        commitments: &[Commitment],
    ) -> anyhow::Result<Self> {
        let revealed = commitments
            .iter()
            .filter_map(|own| Some((own.epoch, Some(own.revealed()?))));
        let mut known: HashMap<_, _> = revealed.collect();
        if let Some(key) = &verify.key {
            known.insert(month, Some(key.clone()));
        }
        let secret = match keys(context) {
            Ok(secret) => Some(secret),
            // An auditor has no master secret, and needs none.
            Err(_) if known.contains_key(&month) => None,
            Err(problem) => {
                return Err(problem.context(format!(
                    "the key of {month} is not revealed, and --key is not given"
                )));
            }
        };
        Ok(Self { secret, known })
    }

    fn of(&mut self, epoch: Epoch) -> Option<EpochKey> {
        let derived = || self.secret.as_ref().map(|secret| secret.key(epoch));
        self.known.entry(epoch).or_insert_with(derived).clone()
    }
}

fn decision(context: &Context, decision_id: String) -> anyhow::Result<ExitCode> {
    let verified = client::block_on(async {
        let mut audit = AuditServiceClient::new(client::connect(context).await?);
        let verified = audit.verify_draw(pb::VerifyDrawRequest { decision_id }).await;
        Ok(verified.map_err(|status| client::refusal(&status))?.into_inner())
    })?;
    match context.output {
        output::Format::Json => output::json(&json::to_value("VerifyDrawResponse", &verified)?)?,
        output::Format::Table => output::line(&verified.explanation)?,
    }
    Ok(if verified.valid {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The figures of a month, by what they are.
fn figures(check: &MonthCheck) -> Vec<(&'static str, u64)> {
    let counts = &check.counts;
    let found = |kind: Kind| {
        (
            kind.name(),
            counts.findings.get(&kind).copied().unwrap_or_default(),
        )
    };
    let counted = [
        ("decisions", counts.decisions),
        ("draws", counts.drawn),
        ("draws recomputed", counts.recomputed),
        ("draws kept from an earlier decision", counts.kept),
        ("selected by draw", counts.selected),
        ("selected by order", counts.ordered),
        ("not drawn", counts.not_drawn),
    ];
    counted.into_iter().chain(Kind::ALL.map(found)).collect()
}

fn as_json(check: &MonthCheck, objections: &[String], commitment: &str) -> serde_json::Value {
    let finding = |found: &Finding| {
        serde_json::json!({
            "replica": found.replica,
            "sequence": found.sequence.to_string(),
            "decision_id": found.decision_id,
            "kind": found.kind.name(),
            "what": found.what,
        })
    };
    let figures: serde_json::Map<_, _> = figures(check)
        .into_iter()
        .map(|(name, figure)| (name.replace(' ', "_"), figure.into()))
        .collect();
    serde_json::json!({
        "holds": objections.is_empty(),
        "commitment": commitment,
        "objections": objections,
        "remarks": check.remarks(),
        "figures": figures,
        "findings": check.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn table(month: Epoch, check: &MonthCheck, objections: &[String], commitment: &str) -> anyhow::Result<()> {
    let name = month.to_string();
    let figures = figures(check);
    let figures = figures
        .iter()
        .map(|(name, figure)| [(*name).to_owned(), figure.to_string()]);
    output::table(&["draws of", &name], figures)?;
    if !check.findings.is_empty() {
        let row = |found: &Finding| {
            [
                found.replica.clone(),
                found.sequence.to_string(),
                found.decision_id.clone(),
                found.what.clone(),
            ]
        };
        let headings = ["replica", "sequence", "decision", "finding"];
        output::table(&headings, check.findings.iter().map(row))?;
    }
    if !commitment.is_empty() {
        output::line(&format!("SHA-256 of the key: {commitment}"))?;
    }
    for remark in check.remarks() {
        output::line(&format!("note: {remark}"))?;
    }
    for objection in objections {
        output::line(&format!("DOES NOT HOLD: {objection}"))?;
    }
    if objections.is_empty() {
        output::line(&format!("every draw of {month} holds"))?;
    }
    Ok(())
}
