//! The master secrets of the draw: one, or several that take over from one another with an epoch.
//!
//! ```text
//! 8c3f...                 # the first one: for every epoch before the next line's
//! 2027-02 51d0...         # from February 2027 on
//! ```
//!
//! A secret that is replaced stays in the file for as long as draws of its epochs are made, revealed or checked.

use thiserror::Error;
use zeroize::Zeroizing;

use crate::policy::draw::{Epoch, EpochKey, MIN_SECRET_BYTES, MasterSecret};

/// Why a text holds no master secrets. Never says what stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SecretError {
    /// No line has a secret.
    #[error("there is no master secret")]
    Missing,
    /// Not hexadecimal.
    #[error("line {line}: a master secret must be hexadecimal digits")]
    NotHex {
        /// Counted from 1.
        line: usize,
    },
    /// Too short.
    #[error("line {line}: a master secret must have at least {MIN_SECRET_BYTES} bytes, {} hexadecimal digits", 2 * MIN_SECRET_BYTES)]
    TooShort {
        /// Counted from 1.
        line: usize,
    },
    /// A later secret without the month that it begins with, or the first one with one.
    #[error(
        "line {line}: the first master secret stands alone, each later one behind the month that it begins with, such as 2027-02"
    )]
    Epoch {
        /// Counted from 1.
        line: usize,
    },
    /// A month that is not after the one before.
    #[error("line {line}: the months must ascend")]
    Order {
        /// Counted from 1.
        line: usize,
    },
}

/// Master secrets by the epoch that each begins with.
#[derive(Debug)]
pub(super) struct MasterSecrets {
    first: MasterSecret,
    /// Ascending.
    later: Vec<(Epoch, MasterSecret)>,
}

impl MasterSecrets {
    /// Reads them line by line; what stands behind `#` and empty lines do not count.
    pub(super) fn read(text: &str) -> Result<Self, SecretError> {
        let mut found: Option<Self> = None;
        for (line, text) in (1..).zip(text.lines()) {
            let mut words = text.split('#').next().unwrap_or_default().split_whitespace();
            let Some(word) = words.next() else { continue };
            let epoch = words.next().map(|secret| (word.parse::<Epoch>(), secret));
            let next_word = words.next();
            match (&mut found, epoch) {
                (_, _) if next_word.is_some() => return Err(SecretError::NotHex { line }),
                (None, None) => {
                    let first = secret(word, line)?;
                    found = Some(Self {
                        first,
                        later: Vec::new(),
                    });
                }
                (Some(found), Some((Ok(epoch), text))) => {
                    if found.later.last().is_some_and(|(before, _)| *before >= epoch) {
                        return Err(SecretError::Order { line });
                    }
                    found.later.push((epoch, secret(text, line)?));
                }
                (None, Some(_)) | (Some(_), None | Some((Err(_), _))) => {
                    return Err(SecretError::Epoch { line });
                }
            }
        }
        found.ok_or(SecretError::Missing)
    }

    /// The key of an epoch.
    pub(super) fn key(&self, epoch: Epoch) -> EpochKey {
        let later = self.later.iter().rev().find(|(from, _)| *from <= epoch);
        later.map_or(&self.first, |(_, secret)| secret).epoch_key(epoch)
    }
}

fn secret(text: &str, line: usize) -> Result<MasterSecret, SecretError> {
    let bytes = hex::decode(text).map(Zeroizing::new);
    let bytes = bytes.map_err(|_| SecretError::NotHex { line })?;
    MasterSecret::new(&bytes).ok_or(SecretError::TooShort { line })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(text: &str) -> Epoch {
        text.parse().unwrap()
    }

    fn revealed(secrets: &MasterSecrets, month: &str) -> String {
        secrets.key(epoch(month)).reveal()
    }

    #[test]
    fn each_secret_is_in_force_from_its_month_to_the_next_ones() {
        let (old, new, newest) = ("07".repeat(32), "ab".repeat(32), "c1".repeat(40));
        let alone = |text: &str, month| revealed(&MasterSecrets::read(text).unwrap(), month);
        let text = format!("# of the draw\n{old} # the first\n\n2027-02 {new}\n  2027-04\t{newest}  \n");
        let secrets = MasterSecrets::read(&text).unwrap();
        for (month, secret) in [
            ("2014-12", &old),
            ("2027-01", &old),
            ("2027-02", &new),
            ("2027-03", &new),
            ("2027-04", &newest),
            ("2031-12", &newest),
        ] {
            assert_eq!(revealed(&secrets, month), alone(secret, month), "{month}");
        }
        assert_ne!(alone(&old, "2027-02"), alone(&new, "2027-02"));
    }

    #[test]
    fn what_is_wrong_is_named_by_its_line_and_never_shown() {
        let secret = "5e".repeat(32);
        for (text, error) in [
            (String::new(), SecretError::Missing),
            ("# nothing\n".to_owned(), SecretError::Missing),
            (format!("{secret}x"), SecretError::NotHex { line: 1 }),
            ("5e".repeat(31), SecretError::TooShort { line: 1 }),
            (format!("\n2027-02 {secret}"), SecretError::Epoch { line: 2 }),
            (format!("{secret}\n{secret}"), SecretError::Epoch { line: 2 }),
            (
                format!("{secret}\n2027-13 {secret}"),
                SecretError::Epoch { line: 2 },
            ),
            (
                format!("{secret}\n2027-02 {secret}\n2027-02 {secret}"),
                SecretError::Order { line: 3 },
            ),
            (
                format!("{secret}\n2027-02 {secret} {secret}"),
                SecretError::NotHex { line: 2 },
            ),
            (
                format!("{secret}\n2027-02 5e5e"),
                SecretError::TooShort { line: 2 },
            ),
        ] {
            let found = MasterSecrets::read(&text).unwrap_err();
            assert_eq!(found, error, "{text}");
            assert!(!found.to_string().contains("5e5e"), "{found}");
        }
    }
}
