//! `greenlane audit`: the log of decisions

mod prove;
mod query;
mod replay;
mod verify;

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;

use super::Context;
use crate::{app::audit::directory, audit::signing};

pub(in crate::cli) use replay::size_of_log;

/// Look logged decisions up, verify and replay their log, and prove that one is in it
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
    Query(Box<query::Query>),
    Verify(verify::Verify),
    Prove(prove::Prove),
    Replay(replay::Replay),
}

impl Audit {
    /// Runs the command.
    pub(super) fn run(self, context: &Context) -> ExitCode {
        let good = match self.command {
            AuditCommand::Query(command) => command.run(context),
            AuditCommand::Verify(command) => command.run(context),
            AuditCommand::Prove(command) => command.run(context),
            AuditCommand::Replay(command) => command.run(context),
        };
        match good {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("greenlane: {error:#}");
                ExitCode::from(2)
            }
        }
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

/// Whose log.
#[derive(Debug, clap::Args)]
struct Signer {
    /// Public key of the replica, in PEM; take it from where the log's writer cannot change it. May be given for each key that
    /// the replica has had [default: `signing.pub` beside the key of the settings]
    #[arg(long, value_name = "FILE")]
    public_key: Vec<PathBuf>,
}

impl Signer {
    fn read(
        &self,
        context: &Context,
        log: &Log,
    ) -> Result<Vec<[u8; signing::PUBLIC_KEY_BYTES]>, signing::SigningError> {
        let own = &context.settings().audit.signing_key_file;
        if self.public_key.is_empty() {
            let path = if own.as_os_str().is_empty() {
                log.directory(context).join("signing.pub")
            } else {
                signing::public_path(own)
            };
            return Ok(vec![signing::read_public_key(&path)?]);
        }
        let paths = self.public_key.iter();
        paths.map(|path| signing::read_public_key(path)).collect()
    }
}
