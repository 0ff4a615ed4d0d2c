//! `greenlane policy`: the policies and operating parameters, without a server

mod cases;
mod check;
mod show;
mod what_if;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use clap::Subcommand;

use super::{Context, output};
use crate::{
    app::policies,
    policy::{Policy as Decree, PolicyBook, diff::diff},
};

/// List, show, prove, try and compare policies
#[derive(Debug, clap::Args)]
pub(super) struct Policy {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    List(List),
    Show(show::Show),
    Check(check::Check),
    Test(cases::Test),
    Diff(Diff),
    WhatIf(what_if::WhatIf),
}

impl Policy {
    /// Runs the command.
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self.command {
            PolicyCommand::List(command) => command.run(context),
            PolicyCommand::Show(command) => command.run(context),
            PolicyCommand::Check(command) => command.run(context),
            PolicyCommand::Test(command) => command.run(context),
            PolicyCommand::Diff(command) => command.run(context),
            PolicyCommand::WhatIf(command) => command.run(context),
        }
    }
}

/// The embedded policies with those of `policy.directory`, not proven: these commands only look at them.
fn book(context: &Context) -> anyhow::Result<PolicyBook> {
    Ok(PolicyBook::read_unproven(&directory(context)?)?)
}

/// The files of `policy.directory`, by name.
fn directory(context: &Context) -> anyhow::Result<BTreeMap<String, String>> {
    let directory = context.settings().policy.directory();
    policies::read_files(directory).with_context(|| {
        let directory = directory.map(|path| path.display().to_string());
        format!("policy.directory {}", directory.unwrap_or_default())
    })
}

/// The texts of files, by their names without folders.
fn named_files(files: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
    let read = files.iter().map(|path| {
        let shown = || path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(shown)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok((name.unwrap_or_else(shown), text))
    });
    read.collect()
}

fn by_id<'b>(book: &'b PolicyBook, id: &str) -> anyhow::Result<&'b Arc<Decree>> {
    book.by_id(id).ok_or_else(|| {
        let known: Vec<_> = book.policies().iter().map(|policy| policy.id()).collect();
        anyhow::anyhow!("no policy {id:?}; there are {}", known.join(", "))
    })
}

/// List the policies in order of effect
#[derive(Debug, clap::Args)]
struct List {}

impl List {
    fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let Self {} = self;
        let book = book(context)?;
        match context.output {
            output::Format::Table => {
                let rows = book.policies().iter().map(|policy| {
                    let document = &policy.document;
                    [
                        document.id.clone(),
                        document.decree.clone(),
                        document.effective_from.to_string(),
                        yes(document.provisional),
                        short(&policy.digest),
                    ]
                });
                let parameters =
                    ["parameters", "", "", "", &short(&book.parameters.digest)].map(str::to_owned);
                output::table(
                    &["id", "decree", "effective from", "provisional", "digest"],
                    rows.chain([parameters]),
                )?;
            }
            output::Format::Json => {
                let policy = |policy: &Arc<Decree>| {
                    let document = &policy.document;
                    serde_json::json!({
                        "id": document.id,
                        "authority": document.authority,
                        "decree": document.decree,
                        "title": document.title,
                        "effective_from": document.effective_from,
                        "provisional": document.provisional,
                        "digest": policy.digest,
                    })
                };
                output::json(&serde_json::json!({
                    "policies": book.policies().iter().map(policy).collect::<Vec<_>>(),
                    "parameters": {"digest": book.parameters.digest},
                }))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Show what changes for whom from one policy to another
#[derive(Debug, clap::Args)]
struct Diff {
    /// Such as CN-GACC-237
    before: String,

    /// Such as CN-GACC-251
    after: String,
}

impl Diff {
    fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let book = book(context)?;
        let (before, after) = (by_id(&book, &self.before)?, by_id(&book, &self.after)?);
        let baseline = book.parameters.document.default_baseline_ppm;
        let changes = diff(before, after, baseline);
        match context.output {
            output::Format::Table if changes.is_empty() => output::line("nothing changes for anybody")?,
            output::Format::Table => {
                let rows = changes.into_iter().map(|change| {
                    let tier = change.credit_tier.to_string();
                    [tier, change.what, change.before, change.after]
                });
                output::table(&["tier", "what", before.id(), after.id()], rows)?;
            }
            output::Format::Json => output::json(&serde_json::json!({
                "before": before.id(),
                "after": after.id(),
                "changes": changes,
            }))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn yes(holds: bool) -> String {
    if holds { "yes" } else { "no" }.to_owned()
}

/// The beginning of a digest: enough to tell tables apart by eye.
fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}
