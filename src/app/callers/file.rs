//! A small file that is read again when its contents have changed.

use std::{
    fs::File,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 4 << 20;
/// The permission of everybody to write.
const WRITABLE_BY_OTHERS: u32 = 0o002;

/// A file, and what it held when it was last looked at. Contents are compared: a file that is swapped by a link, or within one
/// tick of the clock, shows too.
#[derive(Debug)]
pub(super) struct WatchedFile {
    path: PathBuf,
    seen: Option<Result<Vec<u8>, String>>,
}

impl WatchedFile {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            seen: None,
        }
    }

    /// Whether it holds something else than when it was last read, or can be read no longer, or again.
    pub(super) fn has_changed(&self) -> bool {
        self.seen.as_ref() != Some(&self.look())
    }

    /// What it holds now.
    pub(super) fn read(&mut self) -> Result<Vec<u8>, String> {
        let held = self.look();
        self.seen = Some(held.clone());
        held
    }

    fn look(&self) -> Result<Vec<u8>, String> {
        let file = File::open(&self.path).map_err(|error| error.to_string())?;
        let metadata = file.metadata().map_err(|error| error.to_string())?;
        let mode = metadata.permissions().mode();
        if mode & WRITABLE_BY_OTHERS != 0 {
            return Err(format!("mode {:04o} lets anybody change it", mode & 0o7777));
        }
        let mut bytes = Vec::new();
        let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|error| error.to_string())?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(format!("it has more than {MAX_BYTES} bytes"));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_has_changed_when_its_contents_have_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("callers.toml");
        let mut file = WatchedFile::new(&path);
        assert!(file.read().is_err());
        assert!(!file.has_changed(), "it is still not there");
        fs::write(&path, "a").unwrap();
        assert!(file.has_changed());
        assert_eq!(file.read(), Ok(b"a".to_vec()));
        assert!(!file.has_changed());
        fs::write(&path, "b").unwrap();
        assert!(file.has_changed());
    }

    #[test]
    fn a_file_that_anybody_may_change_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("callers.toml");
        fs::write(&path, "a").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let refused = WatchedFile::new(&path).read().unwrap_err();
        assert_eq!(refused, "mode 0666 lets anybody change it");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
        assert!(WatchedFile::new(&path).read().is_ok());
    }
}
