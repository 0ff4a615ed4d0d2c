//! The master secret of the draw: from a file that only its owner may read, or made once.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use super::settings::Settings;
use crate::trust::secret_file::open_to_others;

/// The file in the data folder that holds a secret made by `--generate-secret`.
const FILE: &str = "draw.secret";

/// Reads the master secret, as hexadecimal digits; makes one when told to and there is none.
pub fn master_secret(settings: &Settings, generate: bool) -> anyhow::Result<String> {
    if let Some(secret) = settings.draw.master_secret.expose() {
        return Ok(secret.to_owned());
    }
    if let Some(file) = settings.draw.master_secret_file() {
        return read(file).context("draw.master_secret_file");
    }
    let own = settings.server.data_dir.join(FILE);
    if own.exists() {
        return read(&own);
    }
    if !generate {
        bail!(
            "there is no master secret for the draw: set draw.master_secret_file or draw.master_secret, \
             or let --generate-secret write {}",
            own.display()
        );
    }
    make(&own)
}

fn read(file: &Path) -> anyhow::Result<String> {
    let metadata = fs::metadata(file).with_context(|| file.display().to_string())?;
    if let Some(mode) = open_to_others(&metadata) {
        bail!(
            "{}: mode {mode:04o} lets others read the secret; set it to 0600",
            file.display()
        );
    }
    fs::read_to_string(file).with_context(|| file.display().to_string())
}

fn make(file: &PathBuf) -> anyhow::Result<String> {
    let secret = hex::encode(rand::random::<[u8; 32]>());
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    // New, so that two starts at once cannot write two secrets.
    let mut options = fs::OpenOptions::new();
    let mut written = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .with_context(|| file.display().to_string())?;
    written.write_all(format!("{secret}\n").as_bytes())?;
    written.sync_all()?;
    tracing::info!(file = %file.display(), "master secret of the draw made; keep a copy: without it no draw can be recomputed");
    Ok(secret)
}
