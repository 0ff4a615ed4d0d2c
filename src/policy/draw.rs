//! The random draw: a keyed function of the declaration that anybody can recompute once the key is revealed.
//!
//! `u = HMAC-SHA-256(epoch key, "greenlane-draw-v1" 0x1F kind 0x1F subject)`, its first 8 bytes big-endian;
//! the epoch key is `HKDF-SHA-256(master secret, no salt, info = epoch name)`, 32 bytes; the epoch is the month of the
//! acceptance date in UTC+8. A retry, another replica, a query a year later: the same draw.

use std::{fmt, str::FromStr};

use arrayvec::ArrayString;
use jiff::Timestamp;
use ring::{
    digest::{SHA256, digest},
    hkdf, hmac,
};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::domain::{Date, Ppm, declaration::Declaration};

/// Fewest bytes of a master secret.
pub const MIN_SECRET_BYTES: usize = 32;
/// Bytes of an epoch's key.
pub const KEY_BYTES: usize = 32;

/// The secret from which every epoch's key is derived. Never shown.
pub struct MasterSecret(hkdf::Prk);

impl fmt::Debug for MasterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterSecret(..)")
    }
}

impl MasterSecret {
    /// Takes the secret's bytes; `None` when there are fewer than [`MIN_SECRET_BYTES`].
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= MIN_SECRET_BYTES)
            .then(|| Self(hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(bytes)))
    }

    /// The key of an epoch.
    pub fn epoch_key(&self, epoch: Epoch) -> EpochKey {
        let name = epoch.name();
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        // HKDF-SHA-256 refuses only outputs over 255 x 32 bytes, and this one is 32.
        let filled = self
            .0
            .expand(&[name.as_bytes()], KeyLength)
            .and_then(|okm| okm.fill(&mut key[..]));
        debug_assert!(filled.is_ok());
        EpochKey::new(*key)
    }
}

struct KeyLength;

impl hkdf::KeyType for KeyLength {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

/// A month of acceptance dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    year: u16,
    month: u8,
}

impl Epoch {
    /// The epoch of an acceptance date.
    pub fn of(day: Date) -> Self {
        let (year, month, _) = day.civil();
        // A date's year is 1 to 9999 and its month 1 to 12.
        Self {
            year: u16::try_from(year).unwrap_or_default(),
            month: u8::try_from(month).unwrap_or_default(),
        }
    }

    /// Such as 202611.
    pub fn number(self) -> u32 {
        u32::from(self.year) * 100 + u32::from(self.month)
    }

    /// Such as "2026-11".
    pub fn name(self) -> ArrayString<7> {
        let digit = |value: u16| b'0' + u8::try_from(value % 10).unwrap_or_default();
        let (year, month) = (self.year, u16::from(self.month));
        let name = [
            digit(year / 1000),
            digit(year / 100),
            digit(year / 10),
            digit(year),
            b'-',
            digit(month / 10),
            digit(month),
        ];
        // Digits are text.
        ArrayString::from_byte_string(&name).unwrap_or_default()
    }

    /// The month after it; the last one that there is follows on itself.
    #[must_use]
    pub fn next(self) -> Self {
        match self {
            Self { year: 9999.., .. } => self,
            Self { year, month: 12.. } => Self {
                year: year + 1,
                month: 1,
            },
            Self { year, month } => Self {
                year,
                month: month + 1,
            },
        }
    }

    /// When it begins: midnight in UTC+8 of the month's first day.
    pub fn begins(self) -> Timestamp {
        let first = format!("{}-01", self.name()).parse::<Date>();
        first.unwrap_or(Date::MIN).midnight()
    }

    /// When it ends: when the next one begins.
    pub fn ends(self) -> Timestamp {
        self.next().begins()
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// A text that is no month of the form YYYY-MM.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a month of the form YYYY-MM")]
pub struct BadEpoch(pub String);

impl FromStr for Epoch {
    type Err = BadEpoch;

    fn from_str(text: &str) -> Result<Self, BadEpoch> {
        let first = format!("{text}-01").parse::<Date>();
        first.map(Self::of).map_err(|_| BadEpoch(text.to_owned()))
    }
}

/// The key of one epoch, ready to draw with. `Debug` shows its commitment only.
#[derive(Clone)]
pub struct EpochKey {
    /// SHA-256 of the key, lower-case hex: what is published before the epoch begins.
    pub commitment: String,
    key: Zeroizing<[u8; KEY_BYTES]>,
    mac: hmac::Key,
}

impl fmt::Debug for EpochKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpochKey")
            .field("commitment", &self.commitment)
            .finish_non_exhaustive()
    }
}

impl EpochKey {
    /// That key.
    pub fn new(key: [u8; KEY_BYTES]) -> Self {
        Self {
            commitment: hex::encode(digest(&SHA256, &key)),
            mac: hmac::Key::new(hmac::HMAC_SHA256, &key),
            key: Zeroizing::new(key),
        }
    }

    /// A key that was revealed: 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut key = [0; KEY_BYTES];
        hex::decode_to_slice(text, &mut key).ok()?;
        Some(Self::new(key))
    }

    /// Gives the key away, as 64 hexadecimal digits: for the one place that reveals it after its time.
    pub fn reveal(&self) -> String {
        hex::encode(*self.key)
    }
}

/// What is drawn: the transport document if one was sent, else the declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    kind: SubjectKind,
    value: ArrayString<64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SubjectKind {
    TransportDocument,
    Declaration,
}

impl SubjectKind {
    const fn name(self) -> &'static str {
        match self {
            Self::TransportDocument => "transport-document",
            Self::Declaration => "declaration",
        }
    }
}

impl Subject {
    /// The subject of a declaration.
    pub fn of(declaration: &Declaration) -> Self {
        if let Some(mut number) = declaration.transport_document {
            number.make_ascii_uppercase();
            Self {
                kind: SubjectKind::TransportDocument,
                value: number,
            }
        } else {
            let mut value = ArrayString::new();
            value.push_str(declaration.number.as_str());
            Self {
                kind: SubjectKind::Declaration,
                value,
            }
        }
    }

    /// The subject of a request's numbers, where they are as short as validation lets them be; no document is an empty
    /// one.
    pub fn of_numbers(declaration: &str, transport_document: &str) -> Option<Self> {
        if transport_document.is_empty() {
            Self::new("declaration", declaration)
        } else {
            Self::new("transport-document", &transport_document.to_ascii_uppercase())
        }
    }

    /// The subject of that kind and number, if there is such a kind and the number is short enough.
    pub fn new(kind: &str, value: &str) -> Option<Self> {
        let kinds = [SubjectKind::TransportDocument, SubjectKind::Declaration];
        let kind = kinds.into_iter().find(|known| known.name() == kind)?;
        let value = ArrayString::from(value).ok()?;
        Some(Self { kind, value })
    }

    /// The word for the subject's kind in the draw's message.
    pub const fn kind(&self) -> &'static str {
        self.kind.name()
    }

    /// The number drawn on.
    pub fn value(&self) -> &str {
        &self.value
    }
}

/// The outcome of a draw: uniform over 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw(pub u64);

/// A draw with what it was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drawn {
    /// Whose key made it.
    pub epoch: Epoch,
    /// What was drawn on.
    pub subject: Subject,
    /// What came of it.
    pub draw: Draw,
}

impl EpochKey {
    /// Draws for a subject.
    pub fn draw(&self, subject: &Subject) -> Draw {
        let mut context = hmac::Context::with_key(&self.mac);
        for part in [
            b"greenlane-draw-v1",
            &b"\x1f"[..],
            subject.kind().as_bytes(),
            b"\x1f",
            subject.value().as_bytes(),
        ] {
            context.update(part);
        }
        let tag = context.sign();
        let mut first = [0; 8];
        // An HMAC-SHA-256 tag has 32 bytes.
        first.copy_from_slice(&tag.as_ref()[..8]);
        Draw(u64::from_be_bytes(first))
    }
}

impl Draw {
    /// The draw as parts per million, rounded down: selected when it is below the rate.
    pub fn ppm(self) -> Ppm {
        // A 64-bit value times 1000000, shifted by 64 bits, is below 1000000.
        Ppm(u32::try_from((u128::from(self.0) * 1_000_000) >> 64).unwrap_or(u32::MAX))
    }

    /// Whether a shipment with that rate is selected.
    pub fn selects(self, rate: Ppm) -> bool {
        self.ppm() < rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_draw_can_be_recomputed_with_openssl() {
        // Printed by openssl 3: `openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt hexkey:00..00 -kdfopt
        // info:2026-11 HKDF` gives the key; `openssl dgst -sha256` of its bytes the commitment; and `printf
        // 'greenlane-draw-v1\x1fdeclaration\x1f222520261000000001' | openssl dgst -sha256 -mac HMAC -macopt
        // hexkey:$KEY` the draw in its first 16 digits.
        let secret = MasterSecret::new(&[0; 32]).expect("long enough");
        let key = secret.epoch_key(Epoch::of("2026-11-23".parse().expect("a date")));
        let mut value = ArrayString::new();
        value.push_str("222520261000000001");
        let draw = key.draw(&Subject {
            kind: SubjectKind::Declaration,
            value,
        });
        assert_eq!(key.commitment.len(), 64);
        assert_eq!((key.commitment.as_str(), draw.0), (KNOWN.0, KNOWN.1));
    }

    const KNOWN: (&str, u64) = (
        "ac3df1845cf3ad1960b56e210727e55cdd0dee9bccfa7746d5c61ef08e381bf0",
        0xb213_4756_d341_0277,
    );

    #[test]
    fn an_epoch_is_the_month_of_the_acceptance_date() {
        assert_eq!(
            Epoch::of("2026-01-31".parse().expect("a date")).name().as_str(),
            "2026-01"
        );
        assert_eq!(
            Epoch::of("2026-12-01".parse().expect("a date")).name().as_str(),
            "2026-12"
        );
    }

    #[test]
    fn an_epoch_begins_at_midnight_in_china_and_ends_where_the_next_one_begins() {
        let epoch: Epoch = "2026-12".parse().expect("a month");
        assert_eq!(epoch.begins().to_string(), "2026-11-30T16:00:00Z");
        assert_eq!(epoch.ends().to_string(), "2026-12-31T16:00:00Z");
        assert_eq!(epoch.next().to_string(), "2027-01");
        assert_eq!(epoch.next().next().to_string(), "2027-02");
        for wrong in [
            "",
            "2026",
            "2026-13",
            "2026-00",
            "2026-1",
            "0000-01",
            "2026-12-01",
        ] {
            assert!(wrong.parse::<Epoch>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_is_given_away_by_reveal_alone() {
        let key = EpochKey::new([0xab; 32]);
        assert_eq!(key.reveal(), "ab".repeat(32));
        assert!(!format!("{key:?}").contains("abab"));
        let again = EpochKey::from_hex(&key.reveal()).expect("a key");
        assert_eq!(again.commitment, key.commitment);
        assert!(EpochKey::from_hex("ab").is_none() && EpochKey::from_hex(&"x".repeat(64)).is_none());
    }

    #[test]
    fn raising_the_rate_never_unselects() {
        for draw in [Draw(0), Draw(1 << 40), Draw(u64::MAX / 3), Draw(u64::MAX)] {
            let mut selected = false;
            for rate in (0..=1_000_000).step_by(997).chain([1_000_000]) {
                assert!(draw.selects(Ppm(rate)) >= selected);
                selected = draw.selects(Ppm(rate));
            }
            assert!(selected, "always is always");
            assert!(!draw.selects(Ppm(0)), "never is never");
        }
    }

    #[test]
    fn a_short_secret_is_refused() {
        assert!(MasterSecret::new(&[7; 31]).is_none());
    }
}
