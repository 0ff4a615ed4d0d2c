//! What can be wrong with a configuration, in the words an operator reads.

use std::fmt;
use std::path::PathBuf;

use super::Source;

/// Every problem of a configuration; printed one a line.
#[derive(Debug, thiserror::Error)]
pub struct SettingsError {
    /// The problems: those of the file, of the environment, of the flags, then of the whole.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong with a configuration. None of them repeats a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file is not there, or may not be read.
    #[error("cannot read file {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why it could not be read.
        #[source]
        error: std::io::Error,
    },
    /// The file is not TOML.
    #[error("file {}, line {line}, column {column}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line of the mistake, from 1.
        line: usize,
        /// Column of the mistake in characters, from 1.
        column: usize,
        /// What the parser says, without the line itself: it may hold a secret.
        message: String,
    },
    /// There is no such section.
    #[error("unknown section {name:?} ({origin}){}", hint(suggestion.as_deref()))]
    UnknownSection {
        /// The section as it was written.
        name: String,
        /// Where it stands.
        origin: Source,
        /// The nearest section, if one is near.
        suggestion: Option<String>,
    },
    /// There is no such key.
    #[error("unknown key {name:?} ({origin}){}", hint(suggestion.as_deref()))]
    UnknownKey {
        /// The key, dotted.
        name: String,
        /// Where it stands.
        origin: Source,
        /// The nearest key, if one is near, in the form of its layer (a variable's name, a dotted key).
        suggestion: Option<String>,
    },
    /// A section was given a value of its own.
    #[error("{name:?} is a section, not a key ({origin}): write [{name}]")]
    NotASection {
        /// The section.
        name: String,
        /// Where it stands.
        origin: Source,
    },
    /// The value of a key cannot be read.
    #[error("{given}: {expected}")]
    WrongValue {
        /// The key with its value and where that stands.
        given: Given,
        /// What a right value looks like.
        expected: String,
    },
    /// Values that can be read, but are not served.
    #[error("{}: {reason}", Joined(given))]
    Refused {
        /// The keys concerned.
        given: Vec<Given>,
        /// Why, and what to do.
        reason: String,
    },
}

/// A key with its value and where the value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The key, dotted.
    pub key: String,
    /// The value, fit for printing; `None` when it may hold a secret.
    pub value: Option<String>,
    /// Where it stands; `None` when [`Settings::validate`](super::Settings::validate) was asked alone.
    pub origin: Option<Source>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is refused:")?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        if let Some(origin) = &self.origin {
            write!(f, " ({origin})")?;
        }
        Ok(())
    }
}

struct Joined<'a>(&'a [Given]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the configuration");
        }
        for (position, given) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(f, "{separator}{given}")?;
        }
        Ok(())
    }
}

fn hint(suggestion: Option<&str>) -> String {
    suggestion
        .map(|nearest| format!("; did you mean {nearest:?}?"))
        .unwrap_or_default()
}

/// Finds the known name nearest to an unknown one, if it is near enough to be what was meant.
///
/// Up to two fifths of the last part may differ; the right key in a wrong section counts as one slip.
pub(super) fn nearest(unknown: &str, known: impl IntoIterator<Item = &'static str>) -> Option<&'static str> {
    let allowance = (last_part(unknown).chars().count() * 2 / 5).max(1);
    known
        .into_iter()
        .map(|name| (distance(unknown, name), name))
        .filter(|(distance, _)| *distance <= allowance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

fn distance(unknown: &str, name: &str) -> usize {
    let whole = strsim::damerau_levenshtein(unknown, name);
    let elsewhere = strsim::damerau_levenshtein(last_part(unknown), last_part(name)) + 1;
    whole.min(elsewhere)
}

fn last_part(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = [
        "server.grpc_addr",
        "server.http_addr",
        "upstream.url",
        "drain.deadline",
    ];

    #[test]
    fn slip_of_the_pen_finds_its_key() {
        assert_eq!(nearest("server.gprc_addr", KEYS), Some("server.grpc_addr"));
        assert_eq!(nearest("server.http_address", KEYS), Some("server.http_addr"));
        assert_eq!(nearest("srever.grpc_addr", KEYS), Some("server.grpc_addr"));
    }

    #[test]
    fn key_in_a_wrong_section_or_in_none_finds_its_own() {
        assert_eq!(nearest("server.url", KEYS), Some("upstream.url"));
        assert_eq!(nearest("deadline", KEYS), Some("drain.deadline"));
    }

    #[test]
    fn name_that_resembles_nothing_finds_nothing() {
        assert_eq!(nearest("server.colour", KEYS), None);
        assert_eq!(nearest("drain.timeout", KEYS), None);
        assert_eq!(nearest("", KEYS), None);
    }
}
