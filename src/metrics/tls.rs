//! What is told of TLS: how long its certificates are good for, its handshakes, and whether it follows its files.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::registered;

type Seconds = Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FileLabel {
    file: &'static str,
}

/// How a handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsHandshake {
    /// The connection is served.
    Done,
    /// It took longer than `limits.handshake_timeout`.
    Timeout,
    /// What came is no TLS.
    NotTls,
    /// The client and we have no version, cipher or protocol in common.
    Incompatible,
    /// The client shows no certificate, and must.
    NoCertificate,
    /// The client's certificate is not trusted.
    BadCertificate,
    /// The client does not take what we show.
    Rejected,
    /// The client went away.
    Left,
    /// The client breaks the protocol's rules.
    Misbehaved,
}

impl TlsHandshake {
    const ALL: [Self; 9] = [
        Self::Done,
        Self::Timeout,
        Self::NotTls,
        Self::Incompatible,
        Self::NoCertificate,
        Self::BadCertificate,
        Self::Rejected,
        Self::Left,
        Self::Misbehaved,
    ];

    /// As it is told.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Timeout => "timeout",
            Self::NotTls => "not_tls",
            Self::Incompatible => "incompatible",
            Self::NoCertificate => "no_certificate",
            Self::BadCertificate => "bad_certificate",
            Self::Rejected => "rejected",
            Self::Left => "left",
            Self::Misbehaved => "misbehaved",
        }
    }
}

/// TLS at one instant; seconds are negative once the time has passed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TlsReading {
    /// Seconds until the certificate that is served expires.
    pub certificate: f64,
    /// Seconds until the first of the authorities that clients are trusted by expires.
    pub client_ca: Option<f64>,
    /// Seconds until the first of the revocation lists wants to be followed by another.
    pub client_crl: Option<f64>,
    /// The files as they are now are not in force.
    pub is_refused: bool,
}

/// The metrics of TLS.
#[derive(Debug)]
pub struct Tls {
    certificate: Seconds,
    clients: Family<FileLabel, Seconds>,
    /// By their outcome.
    handshakes: [Counter; TlsHandshake::ALL.len()],
    taken: Counter,
    refused: Counter,
    is_refused: Gauge,
}

impl Tls {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let certificate = registered(
            registry,
            "greenlane_tls_certificate_expiry_seconds",
            "Seconds until the certificate that is served expires, below 0 once it has; +Inf where TLS is not served",
        );
        let clients = registered(
            registry,
            "greenlane_tls_client_trust_expiry_seconds",
            "Seconds until the first authority of client certificates expires, or the first revocation list is overdue; +Inf without",
        );
        let handshakes: Family<OutcomeLabel, Counter> = registered(
            registry,
            "greenlane_tls_handshakes",
            "TLS handshakes, by how they ended",
        );
        let reloads: Family<OutcomeLabel, Counter> = registered(
            registry,
            "greenlane_tls_reloads",
            "Changed TLS files that were taken, and that were refused",
        );
        let own = Self {
            certificate,
            clients,
            handshakes: TlsHandshake::ALL.map(|outcome| {
                let outcome = outcome.as_str();
                handshakes.get_or_create_owned(&OutcomeLabel { outcome })
            }),
            taken: reloads.get_or_create_owned(&OutcomeLabel { outcome: "taken" }),
            refused: reloads.get_or_create_owned(&OutcomeLabel { outcome: "refused" }),
            is_refused: registered(
                registry,
                "greenlane_tls_files_refused",
                "1 while the TLS files as they are now are not in force, because they cannot be used",
            ),
        };
        own.read(&TlsReading {
            certificate: f64::INFINITY,
            client_ca: None,
            client_crl: None,
            is_refused: false,
        });
        own
    }

    /// A handshake ended so.
    pub fn shaken(&self, outcome: TlsHandshake) {
        self.handshakes[outcome as usize].inc();
    }

    /// Changed files came in force.
    pub fn taken(&self) {
        self.taken.inc();
    }

    /// Files were refused.
    pub fn refused(&self) {
        self.refused.inc();
    }

    /// Takes how TLS stands at this instant.
    pub fn read(&self, reading: &TlsReading) {
        let TlsReading {
            certificate,
            client_ca,
            client_crl,
            is_refused,
        } = *reading;
        self.certificate.set(certificate);
        for (file, left) in [("client_ca", client_ca), ("client_crl", client_crl)] {
            let label = FileLabel { file };
            self.clients
                .get_or_create(&label)
                .set(left.unwrap_or(f64::INFINITY));
        }
        self.is_refused.set(i64::from(is_refused));
    }
}
