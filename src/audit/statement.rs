//! The form of what is signed: a text of a title and named lines, so that people can read it and openssl can check it.
//!
//! ```text
//! greenlane-audit-seal-v1
//! replica: NAME
//! segment: 00000000000000000001
//! ```

use std::fmt::{Display, Write as _};

use thiserror::Error;

use super::{frame::Hash, signing};

/// Why a statement does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StatementFault {
    /// Its text is not in the form of such a statement.
    #[error("its text is not in its form")]
    Malformed,
    /// It names a key that is not trusted.
    #[error("it names another public key")]
    OtherKey,
    /// The signature is missing, or over something else, or by another key.
    #[error("its signature is not one of the public key over it")]
    Signature,
}

/// Checks that a text, which says it is signed by `named`, is signed by that key, and that it is among those that are trusted.
pub(super) fn check(
    text: &[u8],
    signature: &[u8],
    named: &Hash,
    trusted: &[Hash],
) -> Result<(), StatementFault> {
    if !trusted.contains(named) {
        return Err(StatementFault::OtherKey);
    }
    if !signing::verify(named, text, signature) {
        return Err(StatementFault::Signature);
    }
    Ok(())
}

/// A statement as it is written: the title, then `name: value` lines in order.
pub(super) fn write(title: &str, fields: &[(&str, &dyn Display)]) -> String {
    let mut text = format!("{title}\n");
    for (name, value) in fields {
        // A text takes everything.
        let _written = writeln!(text, "{name}: {value}");
    }
    text
}

/// Reads a statement line by line.
#[derive(Debug)]
pub(super) struct Lines<'a>(std::str::Split<'a, char>);

impl<'a> Lines<'a> {
    /// Begins to read; `None` where the title is another.
    pub(super) fn of(text: &'a str, title: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        (lines.next() == Some(title)).then_some(Self(lines))
    }

    /// The value of the next line, which has that name.
    pub(super) fn value(&mut self, name: &str) -> Option<&'a str> {
        self.0.next()?.strip_prefix(name)?.strip_prefix(": ")
    }

    /// The next line's value as a hash.
    pub(super) fn hash(&mut self, name: &str) -> Option<Hash> {
        let mut hash = Hash::default();
        hex::decode_to_slice(self.value(name)?, &mut hash).ok()?;
        Some(hash)
    }

    /// The next line's value as what it can be read as.
    pub(super) fn parsed<T: std::str::FromStr>(&mut self, name: &str) -> Option<T> {
        self.value(name)?.parse().ok()
    }
}
