//! `greenlane policy check`

use std::{path::PathBuf, process::ExitCode};

use serde_json::json;

use super::{directory, named_files};
use crate::{
    cli::{Context, output},
    policy::{PolicyBook, check},
};

/// Prove that under every policy a better tier never fares worse
///
/// The tables are finite, so the proof is exhaustive: every rate rule at every baseline, every cell, and the whole
/// evaluation over every combination of what enters it.
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// Policies and parameters.toml to check: each replaces its namesake or is added
    files: Vec<PathBuf>,
}

impl Check {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let mut files = directory(context)?;
        files.extend(named_files(&self.files)?);
        let book = PolicyBook::read_unproven(&files)?;
        let mut rows = Vec::new();
        let mut documents = Vec::new();
        let mut findings = Vec::new();
        for policy in book.policies() {
            let id = policy.id();
            match check::prove(policy, &book.parameters) {
                Ok(proof) => {
                    let (rates, decisions) = (proof.rates, proof.decisions);
                    rows.push([id.to_owned(), rates.to_string(), decisions.to_string()]);
                    documents.push(json!({"policy": id, "rates": rates, "decisions": decisions}));
                }
                Err(finding) => {
                    documents.push(json!({"policy": id, "finding": finding.problem}));
                    findings.push(finding.to_string());
                }
            }
        }
        match context.output {
            output::Format::Table => {
                output::table(&["proven", "rates compared", "decisions compared"], rows)?;
            }
            output::Format::Json => output::json(&documents)?,
        }
        anyhow::ensure!(findings.is_empty(), "{}", findings.join("\n"));
        Ok(ExitCode::SUCCESS)
    }
}
