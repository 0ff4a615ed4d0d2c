//! `greenlane migrate`

use std::process::ExitCode;

use super::{Context, client, enterprise::said};
use crate::{
    app::source_settings,
    upstream::{
        postgres,
        sqlite::{Reader, StorePath},
    },
};

/// Make the schema of the store at upstream.url, or bring it up to date
///
/// What is there already stays. A database is migrated by its owner with this command, before the release that needs it
/// is served; an embedded store is migrated by serve too.
#[derive(Debug, clap::Args)]
pub(super) struct Migrate {
    /// Also delete change log rows older than `upstream.change_log_retention`
    #[arg(long)]
    trim: bool,
}

impl Migrate {
    /// Runs the command.
    pub(super) fn run(&self, context: &Context) -> anyhow::Result<ExitCode> {
        let settings = context.settings();
        let retention = settings.upstream.change_log_retention.get();
        let url = settings.upstream_url();
        let is_database = url.starts_with("postgres://") || url.starts_with("postgresql://");
        let (done, mut told, trimmed) = if is_database {
            let database = source_settings(settings).postgres();
            client::block_on(async {
                let migrated = postgres::migrate(&database).await?;
                let trimmed = if self.trim {
                    Some(postgres::trim(&database, retention).await?)
                } else {
                    None
                };
                let postgres::Migrated {
                    namespace,
                    from,
                    to,
                    epoch,
                } = migrated;
                let done = match from {
                    None => format!("made schema version {to} in {namespace:?}"),
                    Some(from) if from == to => format!("schema version {to} in {namespace:?} is up to date"),
                    Some(from) => {
                        format!("brought the schema in {namespace:?} from version {from} to {to}")
                    }
                };
                let told = serde_json::json!({
                    "schema": namespace,
                    "from_version": from,
                    "to_version": to,
                    "epoch": epoch,
                });
                Ok((done, told, trimmed))
            })?
        } else {
            let path = StorePath::from_url(&url)?;
            let existed = path.0.exists();
            drop(path.open_or_create()?);
            let file = path.0.display().to_string();
            let done = if existed { "brought up to date" } else { "made" };
            let told = serde_json::json!({"file": file, "done": done});
            let done = format!("{done}: {file}");
            let poll_interval = settings.upstream.poll_interval.get();
            let trimmed = if self.trim {
                Some(Reader::new(path, poll_interval).trim(retention)?)
            } else {
                None
            };
            (done, told, trimmed)
        };
        let text = match trimmed {
            Some(trimmed) => {
                told["trimmed"] = trimmed.into();
                format!("{done}\ntrimmed {trimmed} change log rows")
            }
            None => done,
        };
        said(context, &text, &told)
    }
}
