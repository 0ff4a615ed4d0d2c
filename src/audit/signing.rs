//! The key that signs: Ed25519 (RFC 8032), in the files that openssl reads and writes (RFC 8410).
//!
//! The private key is PKCS#8 v1 in PEM, as `openssl genpkey -algorithm ed25519` writes it; the public key stands beside it
//! as `.pub`, as `openssl pkey -pubout` writes it. A signature is the 64 raw bytes, over the very bytes of a text, so that
//! `openssl pkeyutl -verify -pubin -inkey signing.pub -rawin -in TEXT -sigfile SIGNATURE` checks it.

use std::{
    fmt, fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};
use thiserror::Error;
use zeroize::Zeroizing;

use super::sidecar::make_private_directory;
use crate::trust::secret_file::{self, NotTaken};

/// Bytes of a public key.
pub const PUBLIC_KEY_BYTES: usize = 32;
/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

const SEED_BYTES: usize = 32;
/// PKCS#8 v1 of an Ed25519 key up to its 32 bytes (RFC 8410 section 7).
const PRIVATE_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// `SubjectPublicKeyInfo` of an Ed25519 key up to its 32 bytes (RFC 8410 section 4).
const PUBLIC_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
const PRIVATE_LABEL: &str = "PRIVATE KEY";
const PUBLIC_LABEL: &str = "PUBLIC KEY";

/// Why there is no key.
#[derive(Debug, Error)]
pub enum SigningError {
    /// The file, or the folder it is in, cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than its owner may read the private key.
    #[error("{path}: mode {mode:04o} lets others read the key; set it to 0600", path = path.display())]
    Readable {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{path}: is no Ed25519 {what} in PEM, as openssl writes it", path = path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// The kind of key it should hold.
        what: &'static str,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers for a key")]
    NoRandomness,
}

/// A private key. Never shown.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: [u8; PUBLIC_KEY_BYTES],
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("public", &hex::encode(self.public))
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Reads the key in `path`, or makes one there (mode 0600) when there is none; writes its public key beside it.
    pub fn load_or_make(path: &Path) -> Result<Self, SigningError> {
        let key = match Self::load(path) {
            Err(SigningError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                make(path)?;
                // Of two starts at once one made it, and both read that one.
                Self::load(path)?
            }
            other => other?,
        };
        let public = public_path(path);
        let text = key.public_pem();
        if fs::read_to_string(&public).ok().as_deref() != Some(text.as_str()) {
            let written = write_aside(&public, text.as_bytes(), 0o644);
            written
                .and_then(|aside| fs::rename(aside, &public))
                .map_err(|source| SigningError::File { path: public, source })?;
        }
        Ok(key)
    }

    /// Reads the key in `path`, which [others may not read](secret_file::open_to_others).
    pub fn load(path: &Path) -> Result<Self, SigningError> {
        let text = secret_file::read(path).map_err(|problem| match problem {
            NotTaken::Unread(source) => SigningError::File {
                path: path.to_owned(),
                source,
            },
            NotTaken::OpenToOthers(mode) => SigningError::Readable {
                path: path.to_owned(),
                mode,
            },
        })?;
        body(&text, PRIVATE_LABEL, &PRIVATE_PREFIX)
            .and_then(|seed| Self::from_seed(&Zeroizing::new(seed)))
            .ok_or_else(|| SigningError::Malformed {
                path: path.to_owned(),
                what: "private key (PKCS#8)",
            })
    }

    fn from_seed(seed: &[u8; SEED_BYTES]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        let public = pair.public_key().as_ref().try_into().ok()?;
        Some(Self { pair, public })
    }

    /// The public key that belongs to it.
    pub fn public_key(&self) -> [u8; PUBLIC_KEY_BYTES] {
        self.public
    }

    /// The public key in PEM.
    pub fn public_pem(&self) -> String {
        pem(PUBLIC_LABEL, &[&PUBLIC_PREFIX[..], &self.public].concat())
    }

    /// Signs those bytes.
    pub fn sign(&self, bytes: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let mut signature = [0; SIGNATURE_BYTES];
        // An Ed25519 signature has 64 bytes.
        signature.copy_from_slice(self.pair.sign(bytes).as_ref());
        signature
    }
}

/// Whether that key signed those bytes so. Everything that is malformed was not.
pub fn verify(public_key: &[u8], bytes: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key)
        .verify(bytes, signature)
        .is_ok()
}

/// Reads a public key in PEM.
pub fn read_public_key(path: &Path) -> Result<[u8; PUBLIC_KEY_BYTES], SigningError> {
    let text = fs::read_to_string(path).map_err(|source| SigningError::File {
        path: path.to_owned(),
        source,
    })?;
    body(&text, PUBLIC_LABEL, &PUBLIC_PREFIX).ok_or_else(|| SigningError::Malformed {
        path: path.to_owned(),
        what: "public key",
    })
}

/// Where the public key of the private key in `path` stands: the same name with `.pub`.
pub fn public_path(path: &Path) -> PathBuf {
    path.with_extension("pub")
}

/// Makes a key in a file that nobody has made meanwhile; one that somebody did make stays.
fn make(path: &Path) -> Result<(), SigningError> {
    let failed = |source| SigningError::File {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        make_private_directory(folder).map_err(failed)?;
    }
    let seed: [u8; SEED_BYTES] = ring::rand::generate(&SystemRandom::new())
        .map_err(|_| SigningError::NoRandomness)?
        .expose();
    let der = Zeroizing::new([&PRIVATE_PREFIX[..], &*Zeroizing::new(seed)].concat());
    let text = Zeroizing::new(pem(PRIVATE_LABEL, &der));
    let aside = write_aside(path, text.as_bytes(), 0o600).map_err(failed)?;
    // A link, not a rename: it fails where there is a key already, and a torn one is never seen.
    let linked = fs::hard_link(&aside, path);
    fs::remove_file(&aside).map_err(failed)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(failed),
    }
}

/// Writes a whole new file beside `path`, on the disk when this returns.
fn write_aside(path: &Path, bytes: &[u8], mode: u32) -> io::Result<PathBuf> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:016x}", rand::random::<u64>()));
    let aside = path.with_file_name(name);
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode).open(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(aside)
}

/// A PEM text of so few bytes that they stand on one line.
fn pem(label: &str, der: &[u8]) -> String {
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        STANDARD.encode(der)
    )
}

/// The 32 bytes behind a prefix, in the PEM block of that label.
fn body(text: &str, label: &str, prefix: &[u8]) -> Option<[u8; 32]> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (base64, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let base64: Zeroizing<String> = Zeroizing::new(base64.split_ascii_whitespace().collect());
    let der = Zeroizing::new(STANDARD.decode(&*base64).ok()?);
    der.strip_prefix(prefix)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, process::Command};

    use super::*;

    fn openssl(folder: &Path, arguments: &[&str]) -> bool {
        let mut command = Command::new("openssl");
        let done = command.current_dir(folder).args(arguments).output();
        done.expect("openssl runs").status.success()
    }

    #[test]
    fn openssl_verifies_our_signature_and_reads_our_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit/signing.key");
        let key = SigningKey::load_or_make(&path).unwrap();
        let folder = path.parent().unwrap();
        let text = b"greenlane-audit-seal-v1\nreplica: a\n";
        fs::write(folder.join("text"), text).unwrap();
        fs::write(folder.join("signature"), key.sign(text)).unwrap();
        let verify = "pkeyutl -verify -pubin -inkey signing.pub -rawin -in text -sigfile signature";
        let verify: Vec<_> = verify.split(' ').collect();
        assert!(openssl(folder, &verify));
        let public = "pkey -in signing.key -pubout -out theirs.pub";
        assert!(openssl(folder, &public.split(' ').collect::<Vec<_>>()));
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(read("signing.pub"), read("theirs.pub"));

        fs::write(folder.join("text"), b"greenlane-audit-seal-v1\nreplica: b\n").unwrap();
        assert!(!openssl(folder, &verify));
    }

    #[test]
    fn a_key_that_openssl_made_signs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own.key");
        let made = ["genpkey", "-algorithm", "ed25519", "-out", "own.key"];
        assert!(openssl(folder.path(), &made));
        let key = SigningKey::load_or_make(&path).unwrap();
        fs::write(folder.path().join("text"), b"text").unwrap();
        let sign = "pkeyutl -sign -inkey own.key -rawin -in text -out signature";
        assert!(openssl(folder.path(), &sign.split(' ').collect::<Vec<_>>()));
        // Ed25519 is deterministic: the same key and text give the same signature.
        let theirs = fs::read(folder.path().join("signature")).unwrap();
        assert_eq!(key.sign(b"text")[..], theirs);
        assert_eq!(read_public_key(&public_path(&path)).unwrap(), key.public_key());
    }

    #[test]
    fn a_signature_of_rfc_8032_comes_out() {
        // RFC 8032 section 7.1, test 2: one byte.
        let seed = hex::decode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").unwrap();
        let key = SigningKey::from_seed(&seed.try_into().unwrap()).unwrap();
        let public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        assert_eq!(hex::encode(key.public_key()), public);
        let signature = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        assert_eq!(hex::encode(key.sign(&[0x72])), signature);
        assert!(verify(&key.public_key(), &[0x72], &key.sign(&[0x72])));
        assert!(!verify(&key.public_key(), &[0x73], &key.sign(&[0x72])));
        assert!(!verify(&[], &[0x72], &[]));
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        let made = std::thread::scope(|scope| {
            let start = || SigningKey::load_or_make(&path).unwrap().public_key();
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            starts
                .into_iter()
                .map(|start| start.join().unwrap())
                .collect::<Vec<_>>()
        });
        assert!(made.iter().all(|key| key == &made[0]));
        let key = SigningKey::load(&path).unwrap();
        assert_eq!(key.public_key(), made[0]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let names = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 2, "nothing is left beside the two keys");
        let text = fs::read_to_string(&path).unwrap();
        let seed = body(&text, PRIVATE_LABEL, &PRIVATE_PREFIX).unwrap();
        let shown = format!("{key:?}");
        assert!(shown.contains(&hex::encode(made[0])) && !shown.contains(&hex::encode(seed)));
    }

    #[test]
    fn a_key_that_others_may_read_and_a_file_of_something_else_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        SigningKey::load_or_make(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            SigningKey::load(&path),
            Err(SigningError::Readable { mode: 0o640, .. })
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for other in [
            "",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            fs::write(&path, other).unwrap();
            assert!(matches!(
                SigningKey::load_or_make(&path),
                Err(SigningError::Malformed { .. })
            ));
        }
    }
}
