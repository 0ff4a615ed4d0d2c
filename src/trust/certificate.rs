//! What counts of a certificate (X.509, RFC 5280) beside whether it is trusted: whose it is, and until when it is good.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use x509_cert::{
    Certificate,
    crl::CertificateList,
    der::Decode as _,
    ext::pkix::{SubjectAltName, name::GeneralName},
    time::Time,
};

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its serial number in hex, as `openssl x509 -serial` writes it.
    pub serial: String,
    /// Since the Unix epoch: from then on it is good.
    pub not_before: Duration,
    /// Since the Unix epoch: until then it is good.
    pub not_after: Duration,
    /// Its subject alternative names of the kind URI, as they stand there (RFC 5280, 4.2.1.6).
    pub uris: Vec<String>,
}

/// The bytes are no certificate, or no revocation list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is malformed")]
pub struct Malformed;

impl Facts {
    /// Reads a certificate in DER. Verifies nothing.
    pub fn read(der: &[u8]) -> Result<Self, Malformed> {
        let certificate = Certificate::from_der(der).map_err(|_| Malformed)?;
        let certificate = &certificate.tbs_certificate;
        let names = certificate.get::<SubjectAltName>().map_err(|_| Malformed)?;
        let uris = names.into_iter().flat_map(|(_, SubjectAltName(names))| names);
        Ok(Self {
            serial: hex::encode_upper(certificate.serial_number.as_bytes()),
            not_before: certificate.validity.not_before.to_unix_duration(),
            not_after: certificate.validity.not_after.to_unix_duration(),
            uris: uris.filter_map(uri).collect(),
        })
    }

    /// Why it is not good at that time since the Unix epoch, if it is not.
    pub fn not_good_at(&self, now: Duration) -> Option<NotGood> {
        if now < self.not_before {
            Some(NotGood::Before(self.not_before))
        } else if has_ended(self.not_after, now) {
            Some(NotGood::After(self.not_after))
        } else {
            None
        }
    }
}

/// Whether a certificate is good no longer that ends then, both since the Unix epoch. Its last second is still good.
pub(super) fn has_ended(end: Duration, now: Duration) -> bool {
    now.as_secs() > end.as_secs()
}

fn uri(name: GeneralName) -> Option<String> {
    let GeneralName::UniformResourceIdentifier(uri) = name else {
        return None;
    };
    Some(uri.to_string())
}

/// Why a certificate is not good at some time; times since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotGood {
    /// Only from then on.
    Before(Duration),
    /// It has expired then.
    After(Duration),
}

impl fmt::Display for NotGood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before(at) => write!(f, "is not good before {}", instant(*at)),
            Self::After(at) => write!(f, "has expired at {}", instant(*at)),
        }
    }
}

/// Reads when a revocation list in DER is to be followed by the next, since the Unix epoch; `None` where it does not say.
pub fn next_update(der: &[u8]) -> Result<Option<Duration>, Malformed> {
    let list = CertificateList::from_der(der).map_err(|_| Malformed)?;
    Ok(list
        .tbs_cert_list
        .next_update
        .map(|at: Time| at.to_unix_duration()))
}

/// The present by the wall clock, since the Unix epoch.
pub fn now() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // A clock before 1970 makes every certificate not good yet.
    now.unwrap_or_default()
}

/// A time since the Unix epoch as people write it.
pub(super) fn instant(at: Duration) -> String {
    let at = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(at).map_or_else(|_| "the end of time".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::testing::{Authority, Made, openssl, seconds_of_openssl};

    #[test]
    fn facts_are_those_that_openssl_reads() {
        let authority = Authority::new("test");
        let names = "URI:spiffe://customs.example/terminal/yantian,DNS:a.example,IP:192.0.2.1,URI:urn:two,email:a@b.example";
        let made = Made {
            names: Some(names),
            ..Made::default()
        };
        let leaf = authority.issue("leaf", &made);
        let facts = Facts::read(&leaf.der()).unwrap();
        assert_eq!(
            facts.uris,
            ["spiffe://customs.example/terminal/yantian", "urn:two"]
        );
        let folder = authority.folder();
        let serial = openssl(folder, "x509 -in leaf.pem -noout -serial");
        assert_eq!(serial.trim(), format!("serial={}", facts.serial));
        let end = openssl(folder, "x509 -in leaf.pem -noout -enddate");
        assert_eq!(seconds_of_openssl(&end, "notAfter="), facts.not_after.as_secs());
        let begin = openssl(folder, "x509 -in leaf.pem -noout -startdate");
        assert_eq!(
            seconds_of_openssl(&begin, "notBefore="),
            facts.not_before.as_secs()
        );

        let second = Duration::from_secs(1);
        assert_eq!(facts.not_good_at(facts.not_before), None);
        assert_eq!(facts.not_good_at(facts.not_after + second / 2), None);
        let early = facts.not_good_at(facts.not_before.saturating_sub(second));
        assert_eq!(early, Some(NotGood::Before(facts.not_before)));
        let late = facts.not_good_at(facts.not_after + second);
        assert_eq!(late, Some(NotGood::After(facts.not_after)));
    }

    #[test]
    fn a_certificate_without_names_has_none_and_other_bytes_are_malformed() {
        let authority = Authority::new("test");
        let leaf = authority.issue("leaf", &Made::default()).der();
        assert_eq!(Facts::read(&leaf).unwrap().uris, Vec::<String>::new());
        for cut in 0..leaf.len() {
            assert_eq!(Facts::read(&leaf[..cut]), Err(Malformed));
        }
        assert_eq!(next_update(&leaf), Err(Malformed));
    }
}
