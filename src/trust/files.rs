//! Files in PEM that settings name: read with their mode judged, and told of in errors without what they hold.

use std::{
    fmt::Display,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
    pem::{self, PemObject},
};

use super::secret_file::{open_to_others, writable_by_others};

/// Bytes that a file may have: a revocation list may be long.
const MAX_BYTES: u64 = 64 << 20;

/// Why a file is not used. Says nothing of what it holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {}: {problem}", path.display())]
pub struct TrustError {
    /// The setting that names the file.
    pub setting: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// A file that a setting names; an empty path is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedFile {
    setting: &'static str,
    path: PathBuf,
}

/// Who may do what with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// Others may not read it.
    Secret,
    /// Others may not write it.
    Unaltered,
}

impl NamedFile {
    /// The file at that path, which that setting names.
    pub fn new(setting: &'static str, path: &Path) -> Self {
        let path = path.to_owned();
        Self { setting, path }
    }

    /// Whether there is one.
    pub fn is_set(&self) -> bool {
        !self.path.as_os_str().is_empty()
    }

    /// Reads it; nothing, where there is none.
    pub(super) fn read(&self, kept: Kept) -> Result<Vec<u8>, TrustError> {
        let mut bytes = Vec::new();
        if !self.is_set() {
            return Ok(bytes);
        }
        let mut file = File::open(&self.path).map_err(|error| self.problem(error))?;
        // Of what is open, not of what stands at the path a moment later.
        let metadata = file.metadata().map_err(|error| self.problem(error))?;
        let wrong = match kept {
            Kept::Secret => open_to_others(&metadata).map(|mode| (mode, "read the key; set it to 0600")),
            Kept::Unaltered => writable_by_others(&metadata).map(|mode| (mode, "write it; set it to 0644")),
        };
        if let Some((mode, what)) = wrong {
            return Err(self.problem(format!("mode {mode:04o} lets others {what}")));
        }
        let read = file.by_ref().take(MAX_BYTES + 1).read_to_end(&mut bytes);
        match read {
            Err(error) => Err(self.problem(error)),
            Ok(read) if read as u64 > MAX_BYTES => Err(self.problem("is larger than 64 MiB")),
            Ok(_) => Ok(bytes),
        }
    }

    /// The certificates in those bytes of it: one at least.
    pub(super) fn certificates(&self, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TrustError> {
        self.items(bytes, "certificate")
    }

    /// The revocation lists in those bytes of it: one at least.
    pub(super) fn revocation_lists(
        &self,
        bytes: &[u8],
    ) -> Result<Vec<CertificateRevocationListDer<'static>>, TrustError> {
        self.items(bytes, "certificate revocation list")
    }

    /// The private key in those bytes of it.
    pub(super) fn private_key(&self, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, TrustError> {
        // The library's words would repeat a line.
        PrivateKeyDer::from_pem_slice(bytes).map_err(|_| {
            let encrypted = bytes.windows(9).any(|part| part == b"ENCRYPTED");
            self.problem(if encrypted {
                "is encrypted: it must be a private key that needs no passphrase"
            } else {
                "holds no private key in PEM (PKCS#8, PKCS#1 or SEC1)"
            })
        })
    }

    /// What is wrong with it.
    pub(super) fn problem(&self, problem: impl Display) -> TrustError {
        TrustError {
            setting: self.setting,
            path: self.path.clone(),
            problem: problem.to_string(),
        }
    }

    fn items<T: PemObject>(&self, bytes: &[u8], what: &str) -> Result<Vec<T>, TrustError> {
        match T::pem_slice_iter(bytes).collect::<Result<Vec<T>, pem::Error>>() {
            Ok(items) if !items.is_empty() => Ok(items),
            // The library's words would repeat a line, and a key may stand in the same file.
            Ok(_) | Err(_) => Err(self.problem(format!("holds no {what} in PEM, or is torn"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn file(folder: &Path, text: &str, mode: u32) -> NamedFile {
        let path = folder.join("file.pem");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        NamedFile::new("tls.key_file", &path)
    }

    #[test]
    fn a_key_that_others_may_read_and_a_certificate_that_others_may_write_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for (mode, kept, problem) in [
            (0o600, Kept::Secret, None),
            (0o640, Kept::Secret, Some("mode 0640 lets others read the key")),
            (0o644, Kept::Secret, Some("mode 0644 lets others read the key")),
            (0o644, Kept::Unaltered, None),
            (0o664, Kept::Unaltered, Some("mode 0664 lets others write it")),
            (0o646, Kept::Unaltered, Some("mode 0646 lets others write it")),
        ] {
            let file = file(folder.path(), "text", mode);
            match (file.read(kept), problem) {
                (Ok(bytes), None) => assert_eq!(bytes, b"text"),
                (Err(error), Some(problem)) => {
                    let told = error.to_string();
                    assert!(
                        told.starts_with("tls.key_file /") && told.contains(problem),
                        "{told}"
                    );
                }
                (read, _) => panic!("{mode:04o} {kept:?}: {read:?}"),
            }
        }
        let missing = NamedFile::new("tls.client_crl_file", &folder.path().join("none"));
        let told = missing.read(Kept::Unaltered).unwrap_err().to_string();
        assert!(
            told.starts_with("tls.client_crl_file /") && told.contains("No such file"),
            "{told}"
        );
        assert_eq!(NamedFile::default().read(Kept::Secret), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_with_a_file_never_repeats_a_line_of_it() {
        let file = NamedFile::new("tls.key_file", Path::new("/key.pem"));
        for text in [
            "",
            "SECRET",
            "-----BEGIN SECRET\nSECRET",
            "-----BEGIN PRIVATE KEY-----\nSECRET!\n-----END PRIVATE KEY-----\n",
            "-----BEGIN PRIVATE KEY-----\nSECRET\n",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nU0VDUkVU\n-----END ENCRYPTED PRIVATE KEY-----\n",
        ] {
            let key = file.private_key(text.as_bytes()).unwrap_err().to_string();
            let certificates = file.certificates(text.as_bytes()).unwrap_err().to_string();
            let lists = file.revocation_lists(text.as_bytes()).unwrap_err().to_string();
            for told in [key, certificates, lists] {
                assert!(!told.contains("SECRET") && !told.contains("U0VD"), "{told}");
            }
        }
    }
}
