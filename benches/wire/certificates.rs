//! An authority, a server and a client of it, made by `openssl`.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// Where they lie.
pub(crate) struct Certificates(PathBuf);

impl Certificates {
    pub(crate) fn new(folder: &Path) -> Self {
        let own = Self(folder.to_owned());
        let key = [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ];
        let files = |name| {
            [
                "-keyout".into(),
                own.path(name, "key"),
                "-out".into(),
                own.path(name, "crt"),
            ]
        };
        let authority = [
            "-subj",
            "/CN=authority",
            "-addext",
            "keyUsage=critical,keyCertSign",
        ];
        openssl(&key, &authority, &files("authority"));
        let by = [
            "-CA".into(),
            own.path("authority", "crt"),
            "-CAkey".into(),
            own.path("authority", "key"),
        ];
        for (name, alternative) in [
            ("server", "subjectAltName=DNS:localhost"),
            ("client", "subjectAltName=URI:spiffe://customs/clearance"),
        ] {
            let subject = format!("/CN={name}");
            let leaf = [
                "-subj",
                &subject,
                "-addext",
                alternative,
                "-addext",
                "basicConstraints=critical,CA:FALSE",
            ];
            openssl(&key, &leaf, &[files(name), by.clone()].concat());
        }
        own
    }

    fn path(&self, name: &str, kind: &str) -> String {
        self.0.join(format!("{name}.{kind}")).display().to_string()
    }

    /// What the server is given.
    pub(crate) fn settings(&self) -> Vec<String> {
        vec![
            format!("tls.certificate_file={}", self.path("server", "crt")),
            format!("tls.key_file={}", self.path("server", "key")),
            format!("tls.client_ca_file={}", self.path("authority", "crt")),
        ]
    }

    /// A client that shows its certificate.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        let certificate =
            |name| CertificateDer::from_pem_file(self.path(name, "crt")).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(certificate("authority")).expect("an authority");
        let key = PrivateKeyDer::from_pem_file(self.path("client", "key")).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate("client")], key)
            .expect("a pair");
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }
}

fn openssl(key: &[&str], of: &[&str], files: &[String]) {
    let made = Command::new("openssl")
        .args(["req", "-x509"])
        .args(key)
        .args(of)
        .args(files)
        .stderr(Stdio::null())
        .status();
    assert!(made.expect("openssl").success(), "{of:?}");
}
