//! From a generation to the bytes of a snapshot file, and to a file that is there whole or not at all.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufWriter, Write},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use super::{
    About, Info, Written,
    error::FileError,
    frame::{Encoder, Kind},
    parts::{Header, Trailer, encode_tables},
};
use crate::registry::{Generation, image::Block};

/// Bytes of the tables in a block.
const TABLES_BLOCK: usize = 1 << 20;
/// How often a new name is tried when another writer takes the file away.
const TRIES: usize = 8;

/// Writes an image of a generation, to a file or wherever else its bytes shall go; commits go on meanwhile.
///
/// # Errors
///
/// When the output refuses.
pub fn encode<W: Write>(
    generation: &Generation,
    about: &About<'_>,
    output: W,
) -> Result<(W, Written), FileError> {
    let begun = Instant::now();
    let mut encoder = Encoder::new(output)?;
    let header = Header {
        epoch: generation.epoch().to_owned(),
        enterprises: generation.enterprise_count(),
    };
    encoder.block(Kind::Header, &header.encode())?;
    let tables = generation.dump(|block| match block {
        Block::Enterprises(bytes) => encoder.block(Kind::Enterprises, bytes),
        Block::Changed(bytes) => encoder.block(Kind::Changed, bytes),
    })?;
    for piece in encode_tables(&tables).chunks(TABLES_BLOCK) {
        encoder.block(Kind::Tables, piece)?;
    }
    let trailer = Trailer {
        place: tables.place,
        confirmed_at: about.confirmed_at,
        written_at: SystemTime::now(),
        store: about.store.to_owned(),
        policy_digest: about.policy_digest.to_owned(),
        tiers: tables.tiers,
        digest: tables.digest,
        blocks: encoder.blocks,
    };
    encoder.block(Kind::Trailer, &trailer.encode())?;
    let (output, bytes, hash) = encoder.finish()?;
    let written = Written {
        info: Info::new(trailer, bytes, hash),
        took: begun.elapsed(),
    };
    Ok((output, written))
}

/// Writes the file aside, brings it to the disk, and puts it in the place of the former one.
pub(super) fn write(path: &Path, generation: &Generation, about: &About<'_>) -> Result<Written, FileError> {
    let begun = Instant::now();
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    remove_leftovers(folder, path);
    let aside = Aside::create(path)?;
    let output = BufWriter::with_capacity(1 << 20, &aside.file);
    let (_, mut written) = encode(generation, about, output)?;
    let doing = |what: &str| FileError::io(format!("{what} {}", aside.path.display()));
    aside.file.sync_all().map_err(doing("bringing to the disk"))?;
    fs::rename(&aside.path, path).map_err(doing("renaming"))?;
    // The new name is in the folder, which has to come to the disk as well.
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(FileError::io(format!(
            "bringing to the disk {}",
            folder.display()
        )))?;
    written.took = begun.elapsed();
    Ok(written)
}

/// What every name of a file aside begins with.
fn aside_prefix(path: &Path) -> Option<String> {
    Some(format!("{}.tmp-", path.file_name()?.to_str()?))
}

/// Removes what writers that were killed have left. One that lives holds a lock on its file.
fn remove_leftovers(folder: &Path, path: &Path) {
    let (Some(prefix), Ok(entries)) = (aside_prefix(path), fs::read_dir(folder)) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(&prefix) {
            continue;
        }
        // Locked until it is gone: who has just made it sees by that, or by its having gone, that it is not theirs.
        if let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            // Whoever else removes it does the same work.
            drop(fs::remove_file(entry.path()));
        }
    }
}

/// A file that is being written; goes with this unless it got another name.
struct Aside {
    path: PathBuf,
    file: File,
}

impl Aside {
    fn create(path: &Path) -> Result<Self, FileError> {
        let prefix = aside_prefix(path).ok_or_else(|| {
            let error = io::Error::from(io::ErrorKind::InvalidFilename);
            FileError::io(path.display().to_string())(error)
        })?;
        let mut tried = Ok(());
        for _ in 0..TRIES {
            let path = path.with_file_name(format!("{prefix}{:016x}", rand::random::<u64>()));
            let failed = FileError::io(format!("creating {}", path.display()));
            let created = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path);
            let file = match created {
                Ok(file) => file,
                Err(error) => return Err(failed(error)),
            };
            let aside = Self { path, file };
            match aside.file.try_lock() {
                Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Unsupported => {
                    return Err(failed(error));
                }
                // Another writer may have taken it for a leftover between its making and its locking.
                Ok(()) | Err(TryLockError::Error(_)) => match aside.file.metadata() {
                    Ok(metadata) if metadata.nlink() > 0 => return Ok(aside),
                    Ok(_) => {}
                    Err(error) => return Err(failed(error)),
                },
                Err(TryLockError::WouldBlock) => {}
            }
            tried = Err(failed(io::Error::from(io::ErrorKind::ResourceBusy)));
        }
        tried.and_then(|()| Err(FileError::inconsistent("the folder", "no file can be created")))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // After the renaming there is no file of that name.
        drop(fs::remove_file(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, process::Command};

    use super::{
        super::{
            SnapshotFile,
            tests::{about, generation},
        },
        *,
    };

    fn names_in(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn two_writers_at_once_leave_one_whole_file_and_leftovers_go() {
        let folder = tempfile::tempdir().unwrap();
        let file = SnapshotFile::new(folder.path().join("registry.snapshot"));
        fs::write(
            folder.path().join("registry.snapshot.tmp-0123"),
            "of a writer that was killed",
        )
        .unwrap();
        fs::write(folder.path().join("registry.snapshot.old"), "somebody's").unwrap();
        let generations = [generation(2_000), generation(3_000), generation(4_000)];
        std::thread::scope(|scope| {
            for generation in &generations {
                scope.spawn(|| (0..10).for_each(|_| drop(file.write(generation, &about()).unwrap())));
            }
        });
        assert_eq!(
            names_in(folder.path()),
            ["registry.snapshot", "registry.snapshot.old"]
        );
        let verified = file.verify().unwrap();
        assert!(generations.iter().any(|one| one.digest() == verified.digest));
        assert_eq!(file.info().unwrap(), verified);
        let mode = fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "it holds confidential reasons");
    }

    #[test]
    fn a_full_disk_leaves_the_former_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
            .arg(folder.path())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no right to mount a small file system");
            return;
        }
        let file = SnapshotFile::new(folder.path().join("registry.snapshot"));
        let written = file.write(&generation(100), &about());
        let full = file.write(&generation(50_000), &about());
        let (names, info) = (names_in(folder.path()), file.verify());
        let unmounted = Command::new("umount").arg(folder.path()).status();
        assert!(unmounted.unwrap().success());
        let error = full.expect_err("a full disk");
        assert!(
            matches!(&error, FileError::Io { error, .. } if error.kind() == io::ErrorKind::StorageFull),
            "{error:?}"
        );
        assert_eq!(info.unwrap(), written.unwrap().info);
        assert_eq!(names, ["registry.snapshot"]);
    }
}
