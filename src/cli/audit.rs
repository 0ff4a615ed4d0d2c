//! `greenlane audit`: the log of decisions

mod replay;

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;

use super::Context;
use crate::app::audit::directory;

pub(in crate::cli) use replay::size_of_log;

/// Replay the log of decisions
///
/// Works on the files alone, beside a running server or on a copy. Exit codes: 0 when all is good, 1 when something is bad,
/// 2 when it could not be read.
#[derive(Debug, clap::Args)]
pub(super) struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    Replay(replay::Replay),
}

impl Audit {
    /// Runs the command.
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let good = match self.command {
            AuditCommand::Replay(command) => command.run(context),
        };
        Ok(match good {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("greenlane: {error:#}");
                ExitCode::from(2)
            }
        })
    }
}

/// Which log.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Log {
    /// Directory of the log [default: that of the settings]
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
}

impl Log {
    /// The directory.
    pub(in crate::cli) fn directory(&self, context: &Context) -> PathBuf {
        self.log.clone().unwrap_or_else(|| directory(context.settings()))
    }
}
