//! Authorities and certificates for tests, made by openssl.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tempfile::TempDir;

use super::{NamedFile, ServerFiles};

const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

/// Lists have extensions from version 2 on, which is what RFC 5280 asks for.
const REVOKING: &str = "[ca]\ndefault_ca = own\n\
    [own]\ndatabase = index\ncrlnumber = number\ndefault_md = sha256\ndefault_crl_days = 30\ncrl_extensions = lists\n\
    [lists]\nauthorityKeyIdentifier = keyid\n";

/// Runs openssl in a folder and gives what it says.
pub(crate) fn openssl(folder: &Path, arguments: &str) -> String {
    let mut command = Command::new("openssl");
    let done = command.current_dir(folder).args(arguments.split(' ')).output();
    let done = done.expect("openssl runs");
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "openssl {arguments}: {told}");
    String::from_utf8(done.stdout).unwrap()
}

/// Seconds since the Unix epoch of a line such as "notAfter=Dec  4 07:43:47 2026 GMT".
pub(crate) fn seconds_of_openssl(line: &str, name: &str) -> u64 {
    let text = line.trim().strip_prefix(name).unwrap();
    let date = Command::new("date")
        .args(["-u", "-d", text, "+%s"])
        .output()
        .unwrap();
    String::from_utf8(date.stdout).unwrap().trim().parse().unwrap()
}

/// An authority in a folder of its own, where what it issues lies too.
pub(crate) struct Authority {
    folder: TempDir,
}

/// How a certificate is made.
pub(crate) struct Made {
    /// As openssl has them, such as "DNS:a.example,URI:urn:b".
    pub(crate) names: Option<&'static str>,
    /// "clientAuth" or "serverAuth".
    pub(crate) usage: &'static str,
    pub(crate) days: u32,
}

impl Default for Made {
    fn default() -> Self {
        Self {
            names: None,
            usage: "clientAuth",
            days: 5,
        }
    }
}

/// A certificate with its key.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Issued {
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(&self.certificate).unwrap()
    }
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let make = format!(
            "req -x509 {NEW_KEY} -keyout ca.key -out ca.pem -subj /CN={name} -days 10 -addext keyUsage=critical,keyCertSign,cRLSign"
        );
        openssl(folder.path(), &make);
        Self { folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder().join("ca.pem")
    }

    pub(crate) fn issue(&self, name: &str, made: &Made) -> Issued {
        let Made {
            names: alternative,
            usage,
            days,
        } = made;
        let names = alternative.map_or_else(String::new, |names| format!(" -addext subjectAltName={names}"));
        let arguments = format!(
            "req -x509 -CA ca.pem -CAkey ca.key {NEW_KEY} -keyout {name}.key -out {name}.pem -subj /CN={name} -days {days} \
             -addext basicConstraints=critical,CA:FALSE -addext extendedKeyUsage={usage}{names}"
        );
        openssl(self.folder(), &arguments);
        let at = |suffix: &str| self.folder().join(format!("{name}.{suffix}"));
        Issued {
            certificate: at("pem"),
            key: at("key"),
        }
    }

    /// A list of what it has revoked, which wants to be followed after 30 days.
    pub(crate) fn revoke(&self, revoked: &[&Issued]) -> PathBuf {
        fs::write(self.folder().join("ca.conf"), REVOKING).unwrap();
        fs::write(self.folder().join("number"), "01\n").unwrap();
        let line = |issued: &&Issued| {
            let serial = super::certificate::Facts::read(&issued.der()).unwrap().serial;
            format!("R\t361231235959Z\t200101000000Z\t{serial}\tunknown\t/CN=x\n")
        };
        let index: String = revoked.iter().map(line).collect();
        fs::write(self.folder().join("index"), index).unwrap();
        openssl(
            self.folder(),
            "ca -config ca.conf -gencrl -cert ca.pem -keyfile ca.key -out crl.pem",
        );
        self.folder().join("crl.pem")
    }
}

/// Files of a server, whose contents are copied from elsewhere.
pub(crate) struct Served {
    folder: TempDir,
}

impl Served {
    pub(crate) fn new(pair: &Issued) -> Self {
        let own = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        own.put(pair);
        own
    }

    /// Puts a pair in the place of the last one.
    pub(crate) fn put(&self, pair: &Issued) {
        self.copy(&pair.certificate, "tls.crt", 0o644);
        self.copy(&pair.key, "tls.key", 0o600);
    }

    /// Puts a file in the place of the last one of that name.
    pub(crate) fn copy(&self, from: &Path, name: &str, mode: u32) {
        let aside = self.folder.path().join("aside");
        fs::copy(from, &aside).unwrap();
        fs::set_permissions(&aside, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(aside, self.folder.path().join(name)).unwrap();
    }

    /// The files; of clients' authorities and lists those that have been copied.
    pub(crate) fn files(&self) -> ServerFiles {
        let file = |setting, name: &str| {
            let path = self.folder.path().join(name);
            if path.exists() {
                NamedFile::new(setting, &path)
            } else {
                NamedFile::default()
            }
        };
        ServerFiles {
            certificate: file("tls.certificate_file", "tls.crt"),
            key: file("tls.key_file", "tls.key"),
            client_ca: file("tls.client_ca_file", "ca.crt"),
            client_crl: file("tls.client_crl_file", "crl.pem"),
        }
    }
}
