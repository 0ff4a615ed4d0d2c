//! `greenlane snapshot`: snapshot files

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    process::ExitCode,
    time::SystemTime,
};

use anyhow::Context as _;
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::json;

use super::{Context, client, output};
use crate::{
    app::{policies, source_settings},
    domain::CreditTier,
    registry::Position,
    upstream::{
        file::{self, About, Info, SnapshotFile},
        source::Source,
    },
};

/// Bytes that are asked of the file system at once.
const BUFFER: usize = 1 << 20;

/// Write, show and verify snapshot files: all that a replica holds, in one file
///
/// A replica writes one at `server.data_dir` by itself and starts from it when its store does not answer. A file holds the
/// confidential reasons of control orders: only its owner can read it, and copies want the same care.
#[derive(Debug, clap::Args)]
pub(super) struct Snapshot {
    #[command(subcommand)]
    command: SnapshotCommand,
}

#[derive(Debug, Subcommand)]
enum SnapshotCommand {
    /// Write everything that the store at `upstream.url` holds to a file
    Export {
        /// The file; one that is there is replaced once the new one is whole
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Show what a file says of itself; checks its checksums
    Info {
        /// The file
        file: PathBuf,
    },
    /// Read all of a file, and count and hash every row afresh; exit code 1 and the first damage if there is one
    Verify {
        /// The file
        file: PathBuf,
    },
}

impl Snapshot {
    /// Runs the command.
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self.command {
            SnapshotCommand::Export { to } => export(context, &to)?,
            SnapshotCommand::Info { file } => {
                let info = SnapshotFile::new(&file).info();
                show(context, &file, &info.with_context(|| file.display().to_string())?)?;
            }
            SnapshotCommand::Verify { file } => {
                let info = verify(&file).with_context(|| file.display().to_string())?;
                show(context, &file, &info)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn export(context: &Context, to: &Path) -> anyhow::Result<()> {
    let settings = context.settings();
    let policy_digest = policies::digest_in_force(&policies::read_book(settings.policy.directory())?);
    let mut source = Source::open(&source_settings(settings))?;
    let asked = SystemTime::now();
    let snapshot = client::block_on(async { Ok(source.snapshot().await?) })?;
    let about = About {
        store: source.kind(),
        policy_digest: &policy_digest,
        confirmed_at: snapshot.confirmed.map_or(asked, |confirmed| confirmed.wall),
    };
    let written = SnapshotFile::new(to)
        .write(&snapshot.generation, &about)
        .with_context(|| to.display().to_string())?;
    show(context, to, &written.info)
}

fn verify(path: &Path) -> anyhow::Result<Info> {
    let input = File::open(path)?;
    let length = input.metadata()?.len();
    let progress = output::progress(Some(length));
    let input = BufReader::with_capacity(BUFFER, progress.wrap_read(input));
    let loaded = file::decode(input, length);
    // The counting takes about as long again, and says nothing meanwhile.
    progress.finish_and_clear();
    let loaded = loaded?;
    loaded.check()?;
    Ok(loaded.info)
}

fn show(context: &Context, file: &Path, info: &Info) -> anyhow::Result<()> {
    let instant = |at: SystemTime| {
        Timestamp::try_from(at)
            .map(|at| at.to_string())
            .unwrap_or_default()
    };
    let Position { epoch, sequence } = &info.place.position;
    let tiers = || {
        CreditTier::ALL
            .iter()
            .map(|tier| (tier.name(), info.tiers[tier.index()]))
    };
    match context.output {
        output::Format::Json => output::json(&json!({
            "file": file.display().to_string(),
            "format_version": info.format_version(),
            "store": info.store,
            "epoch": &**epoch,
            "sequence": sequence,
            "mark": info.place.mark,
            "confirmed_at": instant(info.confirmed_at),
            "written_at": instant(info.written_at),
            "policy_digest": info.policy_digest,
            "enterprises": info.enterprises(),
            "tiers": tiers().map(|(name, count)| (name.to_owned(), count.into())).collect::<serde_json::Map<_, _>>(),
            "digest": info.digest,
            "bytes": info.bytes,
            "blocks": info.blocks,
            "sha256": info.sha256,
        }))?,
        output::Format::Table => {
            let mut rows = vec![
                ("file", file.display().to_string()),
                ("format version", info.format_version().to_string()),
                ("store", info.store.clone()),
                ("version", format!("{epoch} {sequence}")),
                ("confirmed at", instant(info.confirmed_at)),
                ("written at", instant(info.written_at)),
                ("policy digest", info.policy_digest.clone()),
                ("enterprises", info.enterprises().to_string()),
            ];
            rows.extend(tiers().map(|(name, count)| (name, count.to_string())));
            rows.extend([
                ("digest", info.digest.clone()),
                ("bytes", info.bytes.to_string()),
                ("SHA-256", info.sha256.clone()),
            ]);
            output::table(
                &["snapshot", ""],
                rows.into_iter().map(|(name, value)| [name.to_owned(), value]),
            )?;
        }
    }
    Ok(())
}
