//! Files that stand beside a segment and have its name: `.seal`, `.sig`, `.index` and others. Each is there whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::background;

/// Bytes that are written at once.
const PIECE: usize = 64 * 1024;

/// Files written so far by this process.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// The sidecar of a segment with that extension.
pub fn path(segment: &Path, extension: &str) -> PathBuf {
    segment.with_extension(extension)
}

/// Writes a file anew: the disk has all of it before it has its name.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // The sealer and a query may make the same file at once: each has a name of its own until it is whole.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", WRITTEN.fetch_add(1, Ordering::Relaxed)));
    let new = path.with_file_name(name);
    let written = File::create(&new)
        .and_then(|mut file| {
            for piece in bytes.chunks(PIECE) {
                file.write_all(piece)?;
                background::give_way();
            }
            file.sync_all()
        })
        .and_then(|()| fs::rename(&new, path))
        .and_then(|()| sync_directory(path));
    if written.is_err() {
        let _removed = fs::remove_file(&new);
    }
    written
}

/// Reads a file; `None` when it is not there.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a directory that only its owner may enter: keys, requests and confidential reasons are nobody else's to read. One that
/// exists stays as it is.
pub fn make_private_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes the disk have the entries of the directory in which `path` lies.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}
