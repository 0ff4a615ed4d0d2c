//! `greenlane audit replay`

use std::{path::PathBuf, sync::RwLock, time::Instant};

use anyhow::Context as _;
use serde_json::json;

use super::Log;
use crate::{
    app::policies,
    audit::{
        archive::PolicyArchive,
        read::LogReader,
        replay::{NAMED, Named, Replayed, Summary, replay_log},
        scan::Selection,
    },
    cli::{Context, output, period::Period},
    policy::PolicyBook,
};

/// Decide every logged decision again, from the logged facts with the policy of the logged digest, and compare
///
/// Asks neither a server nor a store. Policies and operating parameters come from the log itself, and where it lacks them from
/// this program and from --policies. Exit codes: 0 when every decision is equal or not replayable, 1 when one differs.
#[derive(Debug, clap::Args)]
pub(super) struct Replay {
    #[command(flatten)]
    log: Log,

    #[command(flatten)]
    period: Period,

    /// Only the decision of this identifier
    #[arg(long, value_name = "ID")]
    decision: Option<String>,

    /// Directory with more policies, such as former contents of `policy.directory`
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
}

impl Replay {
    /// Runs the command; whether no decision differs.
    pub(super) fn run(self, context: &Context) -> anyhow::Result<bool> {
        let mut archive = PolicyArchive::embedded();
        if let Some(directory) = &self.policies {
            let files =
                policies::read_files(Some(directory)).with_context(|| directory.display().to_string())?;
            archive.add(&PolicyBook::read_unproven(&files)?);
        }
        let selection = Selection {
            from: self.period.from,
            to: self.period.to,
            decision_id: self.decision.clone(),
        };
        let directory = self.log.directory(context);
        let bar = output::progress(Some(size_of_log(&directory)?));
        let begun = Instant::now();
        let groups = LogReader::open(&directory, 0)?;
        let summary = replay_log(groups, &RwLock::new(archive), &selection, |bytes| bar.inc(bytes))?;
        bar.finish_and_clear();
        let decisions = summary.equal + summary.differs + summary.not_replayable;
        if let Some(id) = self.decision
            && decisions == 0
        {
            anyhow::bail!("the log does not hold the decision {id}");
        }
        print(context, &summary, decisions, begun.elapsed().as_secs_f64())?;
        Ok(summary.differs == 0)
    }
}

/// The bytes of a log's segments.
pub(in crate::cli) fn size_of_log(directory: &std::path::Path) -> anyhow::Result<u64> {
    let shown = || directory.display().to_string();
    let segments = crate::audit::segment::list(directory).with_context(shown)?;
    let sizes = segments
        .iter()
        .map(|(_, path)| std::fs::metadata(path).map(|file| file.len()));
    sizes.sum::<std::io::Result<u64>>().with_context(shown)
}

fn print(context: &Context, summary: &Summary, decisions: u64, seconds: f64) -> anyhow::Result<()> {
    let Summary {
        equal,
        differs,
        not_replayable,
        named,
    } = summary;
    match context.output {
        output::Format::Json => output::json(&json!({
            "decisions": decisions,
            "equal": equal,
            "differs": differs,
            "not_replayable": not_replayable,
            "seconds": seconds,
            "named": named.iter().map(as_json).collect::<Vec<_>>(),
        })),
        output::Format::Table => {
            output::line(&format!(
                "{decisions} decisions: {equal} equal, {differs} differ, {not_replayable} not replayable; {seconds:.2} s"
            ))?;
            if named.is_empty() {
                return Ok(());
            }
            if differs + not_replayable > NAMED as u64 {
                output::line(&format!("the first {NAMED} that are not equal:"))?;
            }
            let row = |own: &Named| {
                let (outcome, what) = match &own.replayed {
                    Replayed::Equal => ("equal", String::new()),
                    Replayed::Differs(paths) => ("differs", paths.join(", ")),
                    Replayed::NotReplayable(why) => ("not replayable", why.clone()),
                };
                [
                    own.sequence.to_string(),
                    own.decision_id.clone(),
                    outcome.to_owned(),
                    what,
                ]
            };
            Ok(output::table(
                &["sequence", "decision", "outcome", "fields, or why"],
                named.iter().map(row),
            )?)
        }
    }
}

fn as_json(named: &Named) -> serde_json::Value {
    let message = named.replayed.clone().message();
    json!({
        "sequence": named.sequence,
        "decision_id": named.decision_id,
        "outcome": output::term(message.outcome().as_str_name(), "REPLAY_OUTCOME_"),
        "differing_fields": message.differing_fields,
        "explanation": message.explanation,
    })
}
