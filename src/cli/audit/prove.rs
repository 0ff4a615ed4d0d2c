//! `greenlane audit prove`

use std::{fs, path::PathBuf};

use anyhow::Context as _;

use super::Log;
use crate::{
    audit::prove::{ProveError, prove},
    cli::{Context, output},
};

/// Write the proof that a decision is in the log: its record, its path to the Merkle root of its segment, and the signed seal
///
/// Whoever has the public key can check it offline: `greenlane audit verify --proof FILE --public-key signing.pub`. The record
/// holds the confidential reasons of control orders: give it only to those who may see them.
#[derive(Debug, clap::Args)]
pub(super) struct Prove {
    /// The decision: its id
    #[arg(value_name = "DECISION_ID")]
    decision_id: String,

    #[command(flatten)]
    log: Log,

    /// The file [default: standard output]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

impl Prove {
    /// Runs the command; whether there is a proof.
    pub(super) fn run(&self, context: &Context) -> anyhow::Result<bool> {
        let proof = match prove(&self.log.directory(context), &self.decision_id) {
            Ok(proof) => proof,
            Err(
                problem @ (ProveError::NotFound(_) | ProveError::NotSealed { .. } | ProveError::Damaged(_)),
            ) => {
                eprintln!("greenlane: {problem}");
                return Ok(false);
            }
            Err(problem) => return Err(problem.into()),
        };
        match &self.to {
            None => output::json(&proof)?,
            Some(file) => {
                let text = serde_json::to_string_pretty(&proof)? + "\n";
                fs::write(file, text).with_context(|| file.display().to_string())?;
            }
        }
        Ok(true)
    }
}
