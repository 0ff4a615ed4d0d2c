//! `greenlane audit verify`

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context as _;
use serde_json::json;

use super::{Log, Signer, size_of_log};
use crate::{
    audit::{
        prove::Proof,
        verify::{Fault, HeadText, Reach, Report, verify},
    },
    cli::{Context, output},
};

/// Verify a whole log, or the proof of one decision
///
/// Reads everything: checksums, records, the chain through all of them, and the seals with their signatures. Names the first
/// bad record. What was removed at the end shows only against a signed head that was kept elsewhere.
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    #[command(flatten)]
    log: Log,

    #[command(flatten)]
    signer: Signer,

    /// Signed head that the log must reach; its signature stands beside it, in the file with `.sig` as its extension
    #[arg(long, value_name = "FILE", conflicts_with = "proof")]
    head: Option<PathBuf>,

    /// Verify this proof of `audit prove` instead of a log; needs the public key alone
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
}

impl Verify {
    /// Runs the command; whether all is good.
    pub(super) fn run(&self, context: &Context) -> anyhow::Result<bool> {
        match &self.proof {
            Some(file) => self.proof(context, file),
            None => self.whole(context),
        }
    }

    fn whole(&self, context: &Context) -> anyhow::Result<bool> {
        let directory = self.log.directory(context);
        let trusted = self.signer.read(context, &self.log)?;
        let head = self
            .head
            .as_ref()
            .map(|path| {
                let read = |path: &Path| fs::read(path).with_context(|| path.display().to_string());
                anyhow::Ok((read(path)?, read(&path.with_extension("sig"))?))
            })
            .transpose()?;
        let head = head
            .as_ref()
            .map(|(text, signature)| HeadText { text, signature });
        let begun = Instant::now();
        let bar = output::progress(Some(size_of_log(&directory).unwrap_or_default()));
        let report = verify(&directory, &trusted, head, &|bytes| bar.inc(bytes))?;
        bar.finish_and_clear();
        let seconds = begun.elapsed().as_secs_f64();
        match context.output {
            output::Format::Json => {
                let mut value = serde_json::to_value(&report)?;
                value["good"] = json!(report.is_good());
                value["seconds"] = json!(seconds);
                output::json(&value)?;
            }
            output::Format::Table => show(&report, seconds)?,
        }
        Ok(report.is_good())
    }

    fn proof(&self, context: &Context, file: &Path) -> anyhow::Result<bool> {
        let trusted = self.signer.read(context, &self.log)?;
        let text = fs::read(file).with_context(|| file.display().to_string())?;
        let proof: Proof =
            serde_json::from_slice(&text).with_context(|| format!("{}: no proof", file.display()))?;
        let checked = proof.check(&trusted);
        let (good, words) = match &checked {
            Ok(_) => (true, "the decision is in the log".to_owned()),
            Err(fault) => (false, fault.to_string()),
        };
        match context.output {
            output::Format::Json => output::json(&json!({
                "good": good,
                "outcome": words,
                "decision_id": proof.decision_id,
                "sequence": proof.sequence,
                "replica": checked.as_ref().ok().map(|proven| &proven.seal.replica),
                "segment": checked.as_ref().ok().map(|proven| proven.seal.segment),
                "sealed_at": checked.as_ref().ok().map(|proven| proven.seal.sealed_at.to_string()),
            }))?,
            output::Format::Table => {
                let mut rows = vec![("decision", proof.decision_id.clone())];
                if let Ok(proven) = &checked {
                    rows.extend([
                        ("replica", proven.seal.replica.clone()),
                        ("record", proven.sequence.to_string()),
                        ("sealed at", proven.seal.sealed_at.to_string()),
                    ]);
                }
                rows.push(("outcome", if good { words } else { format!("BAD: {words}") }));
                output::table(
                    &["proof", ""],
                    rows.into_iter().map(|(name, value)| [name.to_owned(), value]),
                )?;
            }
        }
        Ok(good)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn show(report: &Report, seconds: f64) -> anyhow::Result<()> {
    let Report {
        replica,
        first_sequence,
        last_sequence,
        segments,
        sealed,
        unsealed_from,
        records,
        decisions,
        unlogged_decisions,
        bytes,
        torn_tail,
        reach,
        faults,
        fault_count,
    } = report;
    let begins = if *first_sequence > 1 {
        format!("{first_sequence}: what was before it is deleted, its seals are there")
    } else {
        first_sequence.to_string()
    };
    let unsealed = if unsealed_from > last_sequence {
        "none".to_owned()
    } else {
        format!("{unsealed_from} to {last_sequence}: the chain alone vouches for them")
    };
    let torn = torn_tail.as_ref().map_or_else(
        || "none".to_owned(),
        |torn| {
            format!(
                "segment {:020} from byte {}, where record {} was being written; never acknowledged",
                torn.segment, torn.offset, torn.sequence
            )
        },
    );
    let reach = match reach {
        Reach::Nothing => "nothing shows how far the log went".to_owned(),
        Reach::Head { sequence, at } => format!("to record {sequence}, as signed at {at}"),
        Reach::OlderHead { sequence } => {
            format!("the head is of record {sequence}, which is deleted; nothing shows how far the log went")
        }
    };
    let outcome = match faults.first() {
        None => "good".to_owned(),
        Some(first) => format!(
            "BAD: {fault_count} faults; first bad record {}, segment {:020}, byte {}: {}",
            first.sequence, first.segment, first.offset, first.what
        ),
    };
    let megabytes = *bytes as f64 / 1e6;
    let rows = [
        ("replica", replica.clone()),
        ("first record", begins),
        ("last record", last_sequence.to_string()),
        ("records", format!("{records}, {decisions} decisions")),
        ("segments", format!("{segments}, {sealed} sealed")),
        ("without a seal yet", unsealed),
        ("decisions without a record", unlogged_decisions.to_string()),
        ("torn tail", torn),
        ("reaches", reach),
        (
            "read",
            format!(
                "{megabytes:.1} MB in {seconds:.2} s, {:.0} MB/s",
                megabytes / seconds
            ),
        ),
        ("outcome", outcome),
    ];
    output::table(
        &["audit log", ""],
        rows.into_iter().map(|(name, value)| [name.to_owned(), value]),
    )?;
    if !faults.is_empty() {
        let row = |fault: &Fault| {
            let records = if fault.last_sequence > fault.sequence {
                format!("{} to {}", fault.sequence, fault.last_sequence)
            } else {
                fault.sequence.to_string()
            };
            [
                records,
                format!("{:020}", fault.segment),
                fault.offset.to_string(),
                fault.what.to_string(),
            ]
        };
        output::table(&["records", "segment", "byte", "fault"], faults.iter().map(row))?;
    }
    Ok(())
}
