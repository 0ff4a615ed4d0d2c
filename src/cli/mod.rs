//! The command line: one file a command, each a thin client of the library or of the gRPC API.

mod audit;
mod author;
mod bench;
mod client;
mod completions;
mod connection;
mod decide;
mod decision;
mod demo;
mod draw;
mod enterprise;
mod healthcheck;
mod keys;
mod migrate;
mod order;
pub mod output;
mod period;
mod policy;
mod priority;
mod relay;
mod serve;
mod shipment;
mod snapshot;
mod status;
mod watch;

pub use enterprise::EnterpriseFile;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::app::settings::{self, Loaded, Settings};

/// Customs facilitation decisions: inspection rate, draw, priority, green channel and lane, with reasons.
#[derive(Debug, Parser)]
#[command(name = "greenlane", version = crate::app::version::text(), about, propagate_version = true)]
pub struct Cli {
    /// Configuration file [default: ./greenlane.toml if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Overrides one setting, such as --set `server.grpc_addr=127.0.0.1:6000`
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,

    /// How to print
    #[arg(long, global = true, value_enum, default_value_t)]
    output: output::Format,

    #[command(flatten)]
    connection: connection::Connection,

    #[command(subcommand)]
    command: Command,
}

/// What a command works with.
#[derive(Debug)]
pub struct Context {
    /// The effective configuration, with where each value came from.
    pub loaded: Loaded,
    /// How to print.
    pub output: output::Format,
}

impl Context {
    /// The effective configuration.
    pub fn settings(&self) -> &Settings {
        &self.loaded.settings
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fill an empty store with a sample register, serve, decide sample declarations and keep serving
    Demo,
    Serve(serve::Serve),
    Migrate(migrate::Migrate),
    Enterprise(enterprise::Enterprise),
    Order(order::Order),
    Policy(policy::Policy),
    Snapshot(snapshot::Snapshot),
    Audit(audit::Audit),
    Draw(draw::Draw),
    Relay(relay::Relay),
    Healthcheck(healthcheck::Healthcheck),
    Completions(completions::Completions),
    Decide(Box<decide::Decide>),
    Bench(Box<bench::Bench>),
    Priority(priority::Priority),
    Watch(watch::Watch),
    /// Show the state of a running server: registry, freshness, policies
    Status,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Parses the command line and runs the command.
pub fn run() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    // A variable that is no Unicode can be none of ours.
    let environment = std::env::vars_os().map(|(name, value)| {
        (
            name.to_string_lossy().into_owned(),
            value.to_string_lossy().into_owned(),
        )
    });
    let flags = cli.connection.settings().into_iter().chain(cli.set);
    let loaded = settings::load(cli.config.as_deref(), environment, flags)?;
    let context = Context {
        loaded,
        output: cli.output,
    };
    match cli.command {
        Command::Demo => demo::run(&context),
        Command::Serve(command) => command.run(&context),
        Command::Migrate(command) => command.run(&context),
        Command::Enterprise(command) => command.run(&context),
        Command::Order(command) => command.run(&context),
        Command::Policy(command) => command.run(&context),
        Command::Snapshot(command) => command.run(&context),
        Command::Audit(command) => Ok(command.run(&context)),
        Command::Draw(command) => command.run(&context),
        Command::Relay(command) => command.run(&context),
        Command::Healthcheck(command) => command.run(&context),
        Command::Completions(command) => command.run(&context),
        Command::Decide(command) => command.run(&context),
        Command::Bench(command) => command.run(&context),
        Command::Priority(command) => command.run(&context),
        Command::Watch(command) => command.run(&context),
        Command::Status => status::run(&context),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn no_command_has_a_flag_that_hides_one_of_all_commands() {
        fn flags(command: &clap::Command, path: &str, all: &[String], hidden: &mut Vec<String>) {
            for below in command.get_subcommands() {
                let path = format!("{path} {}", below.get_name());
                let own = below.get_arguments().map(|flag| flag.get_id().to_string());
                hidden.extend(
                    own.filter(|id| all.contains(id))
                        .map(|id| format!("{path}: {id}")),
                );
                flags(below, &path, all, hidden);
            }
        }
        let command = Cli::command();
        let global = command.get_arguments().filter(|flag| flag.is_global_set());
        let global: Vec<_> = global.map(|flag| flag.get_id().to_string()).collect();
        assert!(global.contains(&"server".to_owned()), "{global:?}");
        let mut hidden = Vec::new();
        flags(&command, "greenlane", &global, &mut hidden);
        assert_eq!(hidden, Vec::<String>::new());
    }
}
