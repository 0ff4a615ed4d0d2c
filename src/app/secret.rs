//! Secrets: the draw's master secret, from a file that only its owner may read, or made once; and what keeps all of them to this
//! process.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use rustix::process;
use zeroize::Zeroizing;

use super::settings::Settings;
use crate::trust::secret_file::{self, NotTaken};

/// The file in the data folder that holds a secret made by `--generate-secret`.
const FILE: &str = "draw.secret";

/// Reads the master secret, as hexadecimal digits, or the lines of several; makes one when told to and there is none.
pub fn master_secret(settings: &Settings, generate: bool) -> anyhow::Result<Zeroizing<String>> {
    if let Some(secret) = settings.draw.master_secret.expose() {
        return Ok(Zeroizing::new(secret.to_owned()));
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

/// Refuses files with what a store knows us by that others may read.
pub fn check_store_secrets(settings: &Settings) -> anyhow::Result<()> {
    let upstream = &settings.upstream;
    for (setting, file) in [
        ("upstream.password_file", &upstream.password_file),
        ("upstream.credentials_file", &upstream.credentials_file),
        ("upstream.tls_key_file", &upstream.tls_key_file),
    ] {
        if !file.as_os_str().is_empty() {
            let opened = secret_file::open(file).map(drop);
            opened.map_err(told(file)).context(setting)?;
        }
    }
    Ok(())
}

/// From now on no core dump of this process is written, whatever the system's limits: it would hold every secret. Other
/// processes of the same user can no longer look into its memory either.
pub fn stay_out_of_core_dumps() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    process::set_dumpable_behavior(process::DumpableBehavior::NotDumpable)?;
    let none = process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    process::setrlimit(process::Resource::Core, none)?;
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Zeroizing<String>> {
    secret_file::read(file).map_err(told(file))
}

/// Why nothing was taken from that file, in words.
fn told(file: &Path) -> impl FnOnce(NotTaken) -> anyhow::Error {
    let file = file.display().to_string();
    |problem| match problem {
        NotTaken::Unread(error) => anyhow::Error::new(error).context(file),
        NotTaken::OpenToOthers(mode) => {
            anyhow!("{file}: mode {mode:04o} lets others read the secret; set it to 0600")
        }
    }
}

fn make(file: &PathBuf) -> anyhow::Result<Zeroizing<String>> {
    let bytes = Zeroizing::new(rand::random::<[u8; 32]>());
    let secret = Zeroizing::new(hex::encode(*bytes));
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
    written.write_all(secret.as_bytes())?;
    written.write_all(b"\n")?;
    written.sync_all()?;
    tracing::info!(file = %file.display(), "master secret of the draw made; keep a copy: without it no draw can be recomputed");
    Ok(secret)
}
