//! What TLS is served with, made of one reading of the files and proven before it is used.

use std::{sync::Arc, time::Duration};

use ring::digest::{Context, SHA256};
use rustls::{
    Error, InconsistentKeys, RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, UnixTime},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use zeroize::Zeroizing;

use super::{
    certificate::{Facts, NotGood, next_update},
    files::{Kept, NamedFile, TrustError},
};

/// The files that a server's TLS is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerFiles {
    /// Its certificate and those between it and an authority.
    pub certificate: NamedFile,
    /// The private key of its certificate.
    pub key: NamedFile,
    /// The authorities of clients' certificates; none is asked for without.
    pub client_ca: NamedFile,
    /// What those authorities have revoked; nothing without.
    pub client_crl: NamedFile,
}

/// Whether a client must show a certificate, where there are authorities for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantedOfClients {
    /// One that is trusted, or none.
    MayShow,
    /// One that is trusted.
    MustShow,
}

/// What the files held at one time.
#[derive(PartialEq, Eq)]
pub(super) struct Contents {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Vec<u8>,
    client_crl: Vec<u8>,
}

/// A SHA-256.
pub(super) type Digest = [u8; 32];

/// What TLS is served with.
pub(super) struct Material {
    /// Of the files that it is made of.
    pub(super) digest: Digest,
    /// Of what clients are trusted by.
    clients_digest: Digest,
    /// How many times what clients are trusted by has changed.
    pub(super) generation: u64,
    pub(super) grpc: Arc<ServerConfig>,
    pub(super) http: Arc<ServerConfig>,
    /// Who judges clients' certificates, where they are asked for.
    clients: Option<Arc<dyn ClientCertVerifier>>,
    /// Of the certificate that is served.
    pub(super) served: Facts,
    /// When the first of the authorities expires, since the Unix epoch.
    pub(super) client_ca_ends: Option<Duration>,
    /// When the first of the revocation lists is to be followed by another, since the Unix epoch.
    pub(super) client_crl_ends: Option<Duration>,
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Nothing that knows the key.
        f.debug_struct("Material")
            .field("generation", &self.generation)
            .field("served", &self.served)
            .finish_non_exhaustive()
    }
}

/// The cryptography that is used, whatever else is compiled in.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl ServerFiles {
    /// Reads all of them until two readings agree: an orchestrator swaps them all at once, and that may be meanwhile.
    pub(super) fn read(&self) -> Result<Contents, TrustError> {
        let mut contents = self.read_once()?;
        for _ in 0..3 {
            let again = self.read_once()?;
            if again == contents {
                break;
            }
            contents = again;
        }
        Ok(contents)
    }

    fn read_once(&self) -> Result<Contents, TrustError> {
        Ok(Contents {
            certificate: self.certificate.read(Kept::Unaltered)?,
            key: Zeroizing::new(self.key.read(Kept::Secret)?),
            client_ca: self.client_ca.read(Kept::Unaltered)?,
            client_crl: self.client_crl.read(Kept::Unaltered)?,
        })
    }
}

impl Contents {
    pub(super) fn digest(&self) -> Digest {
        digest(&[&self.certificate, &self.key, &self.client_ca, &self.client_crl])
    }
}

fn digest(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut digest = Digest::default();
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

impl Material {
    /// Makes it of what the files held, where all of that can be served at the time `now` since the Unix epoch.
    pub(super) fn new(
        files: &ServerFiles,
        wanted: WantedOfClients,
        contents: &Contents,
        now: Duration,
    ) -> Result<Self, TrustError> {
        let (pair, served) = pair(files, contents, now)?;
        let clients = Clients::new(files, contents, now)?;
        let unusable = |error: Error| files.certificate.problem(error);
        let config =
            |wanted, protocol| config(&pair, clients.verifier(files, wanted)?, protocol).map_err(unusable);
        Ok(Self {
            digest: contents.digest(),
            clients_digest: digest(&[&contents.client_ca, &contents.client_crl]),
            generation: 0,
            grpc: config(wanted, b"h2")?,
            // Probes and scrapers may have none.
            http: config(WantedOfClients::MayShow, b"http/1.1")?,
            clients: clients.verifier(files, wanted)?,
            served,
            client_ca_ends: clients.ends,
            client_crl_ends: clients.lists_end,
        })
    }

    /// As it is to follow on what has been in force.
    pub(super) fn following(self, former: &Self) -> Self {
        let changed = self.clients_digest != former.clients_digest;
        Self {
            generation: former.generation + u64::from(changed),
            ..self
        }
    }

    /// Whether a client's certificates, its own first, are trusted at that time since the Unix epoch.
    pub(super) fn vouches_for(&self, chain: &[CertificateDer<'static>], now: Duration) -> bool {
        let (Some(verifier), Some((own, between))) = (&self.clients, chain.split_first()) else {
            return false;
        };
        let now = UnixTime::since_unix_epoch(now);
        verifier.verify_client_cert(own, between, now).is_ok()
    }
}

/// The certificate with its key, and what the certificate says of itself.
fn pair(
    files: &ServerFiles,
    contents: &Contents,
    now: Duration,
) -> Result<(Arc<CertifiedKey>, Facts), TrustError> {
    let chain = files.certificate.certificates(&contents.certificate)?;
    let key = files.key.private_key(&contents.key)?;
    // There is one at least.
    let served = chain.first().map(|own| Facts::read(own)).transpose();
    let served = served.map_err(|malformed| files.certificate.problem(malformed))?;
    let served = served.ok_or_else(|| files.certificate.problem("holds no certificate"))?;
    if let Some(not_good) = served.not_good_at(now) {
        return Err(files.certificate.problem(not_good));
    }
    let pair = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
        if error == Error::InconsistentKeys(InconsistentKeys::KeyMismatch) {
            let mismatch = "is not the key of the first certificate in tls.certificate_file";
            files.key.problem(mismatch)
        } else if matches!(error, Error::InvalidCertificate(_)) {
            files.certificate.problem(error)
        } else {
            files.key.problem(error)
        }
    })?;
    Ok((Arc::new(pair), served))
}

/// What clients are trusted by.
struct Clients<'a> {
    roots: Arc<RootCertStore>,
    /// When the first of them ends.
    ends: Option<Duration>,
    crl: &'a [u8],
    lists_end: Option<Duration>,
}

impl<'a> Clients<'a> {
    fn new(files: &ServerFiles, contents: &'a Contents, now: Duration) -> Result<Self, TrustError> {
        let mut clients = Self {
            roots: Arc::new(RootCertStore::empty()),
            ends: None,
            crl: &contents.client_crl,
            lists_end: None,
        };
        if !files.client_ca.is_set() {
            return Ok(clients);
        }
        let mut roots = RootCertStore::empty();
        for authority in files.client_ca.certificates(&contents.client_ca)? {
            let facts = Facts::read(&authority).map_err(|malformed| files.client_ca.problem(malformed))?;
            // The library does not look at an authority's own end. One may be left from before a rotation.
            if let Some(NotGood::After(_)) = facts.not_good_at(now) {
                continue;
            }
            roots
                .add(authority)
                .map_err(|error| files.client_ca.problem(error))?;
            clients.ends = Some(earlier(clients.ends, facts.not_after));
        }
        if roots.is_empty() {
            return Err(files
                .client_ca
                .problem("holds no certificate that has not expired"));
        }
        clients.roots = Arc::new(roots);
        if files.client_crl.is_set() {
            for list in files.client_crl.revocation_lists(clients.crl)? {
                let end = next_update(&list).map_err(|malformed| files.client_crl.problem(malformed))?;
                clients.lists_end = end
                    .map(|end| earlier(clients.lists_end, end))
                    .or(clients.lists_end);
            }
        }
        Ok(clients)
    }

    /// Who judges clients' certificates, where they are asked for.
    fn verifier(
        &self,
        files: &ServerFiles,
        wanted: WantedOfClients,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TrustError> {
        if self.roots.is_empty() {
            return Ok(None);
        }
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), provider());
        if files.client_crl.is_set() {
            // Whose state no list tells is not trusted. A list that should have been followed by another goes on counting.
            builder = builder.with_crls(files.client_crl.revocation_lists(self.crl)?);
        }
        if wanted == WantedOfClients::MayShow {
            builder = builder.allow_unauthenticated();
        }
        builder
            .build()
            .map(Some)
            .map_err(|error| files.client_crl.problem(error))
    }
}

fn earlier(one: Option<Duration>, other: Duration) -> Duration {
    one.map_or(other, |one| one.min(other))
}

fn config(
    pair: &Arc<CertifiedKey>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    protocol: &[u8],
) -> Result<Arc<ServerConfig>, Error> {
    let clients = clients.unwrap_or_else(WebPkiClientVerifier::no_client_auth);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(pair))));
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
#[path = "material/tests.rs"]
mod tests;
