//! `greenlane policy what-if`

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, RwLock},
};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::{
    audit::{
        archive::PolicyArchive,
        read::LogReader,
        scan::Selection,
        what_if::{BeforeAndAfter, Candidate, Fared, LaneChange, WhatIf as Counted, what_if},
    },
    cli::{
        Context,
        audit::{Log, size_of_log},
        output,
        period::Period,
    },
    domain::decision::Lane,
    policy::{Parameters, Policy, check},
};

/// Decide recorded traffic under a candidate policy or other operating parameters, and count what changes for whom
///
/// Facts and draws are those of the log. The policy takes the place of its namesake, or applies beside the others from its
/// date of effect on; it is proven first, as `policy check` does. Nothing is put in force.
#[derive(Debug, clap::Args)]
pub(super) struct WhatIf {
    /// The candidate policy
    #[arg(long, value_name = "FILE", required_unless_present = "parameters")]
    policy: Option<PathBuf>,

    /// The candidate parameters.toml
    #[arg(long, value_name = "FILE")]
    parameters: Option<PathBuf>,

    #[command(flatten)]
    log: Log,

    #[command(flatten)]
    period: Period,

    /// How many enterprises that change lane to name
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    top: usize,
}

impl WhatIf {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let candidate = self.candidate(context)?;
        let directory = self.log.directory(context);
        let bar = output::progress(Some(size_of_log(&directory)?));
        let archive = RwLock::new(PolicyArchive::embedded());
        let selection = Selection {
            from: self.period.from,
            to: self.period.to,
            decision_id: None,
        };
        let groups = LogReader::open(&directory, 0)?;
        let counted = what_if(groups, &archive, &selection, &candidate, |bytes| bar.inc(bytes))?;
        bar.finish_and_clear();
        match context.output {
            output::Format::Json => output::json(&as_json(&counted, self.top))?,
            output::Format::Table => tables(&counted, self.top)?,
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Reads the candidate and proves it.
    fn candidate(&self, context: &Context) -> anyhow::Result<Candidate> {
        let shown = |path: &Path| path.display().to_string();
        let read = |path: &Path| std::fs::read_to_string(path).with_context(|| shown(path));
        let policy = self.policy.as_ref().map(|path| {
            let policy = Policy::parse(&read(path)?).with_context(|| shown(path))?;
            anyhow::Ok(Arc::new(policy))
        });
        let parameters = self.parameters.as_ref().map(|path| {
            let parameters = Parameters::parse(&read(path)?).with_context(|| shown(path))?;
            anyhow::Ok(Arc::new(parameters))
        });
        let candidate = Candidate {
            policy: policy.transpose()?,
            parameters: parameters.transpose()?,
        };
        let book = super::book(context)?;
        let parameters = candidate.parameters.as_ref().unwrap_or(&book.parameters);
        match &candidate.policy {
            Some(policy) => {
                check::prove(policy, parameters)?;
            }
            None => {
                for policy in book.policies() {
                    check::prove(policy, parameters)?;
                }
            }
        }
        Ok(candidate)
    }
}

/// A figure before and after, told once where it stays.
fn both<T: PartialEq + ToString>([before, after]: [T; 2]) -> String {
    if before == after {
        before.to_string()
    } else {
        format!("{} → {}", before.to_string(), after.to_string())
    }
}

fn figure(sides: &BeforeAndAfter, figure: impl Fn(&Fared) -> u64) -> String {
    both([figure(&sides[0]), figure(&sides[1])])
}

fn lanes(sides: &BeforeAndAfter) -> impl Iterator<Item = String> + '_ {
    (0..Lane::ALL.len()).map(|at| figure(sides, |fared| fared.lanes[at]))
}

fn tables(counted: &Counted, top: usize) -> anyhow::Result<()> {
    let changed: u64 = counted.lane_changes.values().sum();
    output::line(&format!(
        "{} decisions, {changed} change lane, inspections {}; {} could not be decided",
        counted.total[0].decisions,
        figure(&counted.total, |fared| fared.selected),
        counted.not_replayable
    ))?;
    let mut headings = vec!["tier", "office", "decisions", "mean rate ppm", "inspections"];
    headings.extend(Lane::ALL.iter().map(|lane| lane.name()));
    let row = |tier: String, office: String, sides: &BeforeAndAfter| {
        let mut row = vec![
            tier,
            office,
            figure(sides, |fared| fared.decisions),
            figure(sides, Fared::mean_rate_ppm),
            figure(sides, |fared| fared.selected),
        ];
        row.extend(lanes(sides));
        row
    };
    let rows = counted.by_tier_and_office.iter();
    let rows = rows.map(|((tier, office), sides)| row(tier.to_string(), office.to_string(), sides));
    output::table(
        &headings,
        rows.chain([row("all".to_owned(), "all".to_owned(), &counted.total)]),
    )?;
    let days = counted.inspections_by_day.iter();
    output::table(
        &["day", "inspections"],
        days.map(|(day, sides)| [day.to_string(), both(*sides)]),
    )?;
    if changed == 0 {
        return Ok(());
    }
    let pairs = counted.lanes_changed().into_iter();
    output::table(
        &["lane", "decisions"],
        pairs.map(|(lanes, count)| [both(lanes), count.to_string()]),
    )?;
    let row = |(change, count): (&LaneChange, u64)| {
        [
            change.enterprise.clone(),
            both(change.credit_tier),
            both(change.lane),
            count.to_string(),
        ]
    };
    let most = counted.most_frequent(top).into_iter().map(row);
    Ok(output::table(&["enterprise", "tier", "lane", "decisions"], most)?)
}

fn fared(fared: &Fared) -> Value {
    let lanes = Lane::ALL.iter().zip(fared.lanes);
    json!({
        "decisions": fared.decisions,
        "mean_rate_ppm": fared.mean_rate_ppm(),
        "inspections": fared.selected,
        "lanes": lanes.map(|(lane, count)| (lane.name(), count)).collect::<std::collections::BTreeMap<_, _>>(),
    })
}

fn as_json(counted: &Counted, top: usize) -> Value {
    let by_tier_and_office = counted
        .by_tier_and_office
        .iter()
        .map(|((tier, office), [before, after])| {
            json!({
                "credit_tier": tier,
                "customs_office": office.as_str(),
                "before": fared(before),
                "after": fared(after),
            })
        });
    let days = counted.inspections_by_day.iter();
    let days = days.map(|(day, [before, after])| json!({"day": day, "before": before, "after": after}));
    let pairs = counted.lanes_changed().into_iter();
    let pairs =
        pairs.map(|([before, after], count)| json!({"before": before, "after": after, "decisions": count}));
    let most = counted.most_frequent(top).into_iter().map(|(change, count)| {
        json!({
            "enterprise": change.enterprise,
            "credit_tier": {"before": change.credit_tier[0], "after": change.credit_tier[1]},
            "lane": {"before": change.lane[0], "after": change.lane[1]},
            "decisions": count,
        })
    });
    json!({
        "before": fared(&counted.total[0]),
        "after": fared(&counted.total[1]),
        "not_replayable": counted.not_replayable,
        "by_tier_and_office": by_tier_and_office.collect::<Vec<_>>(),
        "inspections_by_day": days.collect::<Vec<_>>(),
        "lane_changes": pairs.collect::<Vec<_>>(),
        "enterprises": most.collect::<Vec<_>>(),
    })
}
