//! Lays the layers over one another: defaults, file, environment, flags.
//!
//! Each value is read on its own, so that a wrong one can be named with its key and its layer, and the
//! others are still looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::catalogue::Entry;
use super::error::nearest;
use super::{Given, Loaded, Problem, Settings, SettingsError, Source};

/// The configuration file that is read when none is named, if it is there.
pub const DEFAULT_FILE: &str = "./greenlane.toml";

const PREFIX: &str = "GREENLANE_";

/// Reads the configuration: defaults, then the file, then the environment, then flags; the last word
/// stands.
///
/// `config` is the file named by `--config`; without it [`DEFAULT_FILE`] is read if it exists.
/// `environment` is the process environment: of it, names like `GREENLANE_SERVER__GRPC_ADDR` are keys,
/// all others (also `GREENLANE_BIN`, without the double underscore) are left alone. `std::env::vars`
/// panics when any variable is not Unicode: pass `std::env::vars_os` through `to_string_lossy`.
/// `flags` are pairs of a key and a value, such as `("server.grpc_addr", "127.0.0.1:0")`.
///
/// # Errors
///
/// Every problem of every layer, and what [`Settings::validate`] refuses of the rest.
pub fn load(
    config: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, SettingsError> {
    lay(read_file(config, Path::new(DEFAULT_FILE)), environment, flags)
}

/// Lays the layers in their order.
fn lay(
    file: Result<Option<(PathBuf, String)>, Problem>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, SettingsError> {
    let mut layers = Layers::new();
    match file {
        Ok(Some((path, text))) => layers.lay_file(&path, &text),
        Ok(None) => {}
        Err(problem) => layers.problems.push(problem),
    }
    layers.lay_environment(environment);
    layers.lay_flags(flags);
    layers.finish()
}

/// Reads the file that was named, or the default one if it is there.
fn read_file(named: Option<&Path>, default: &Path) -> Result<Option<(PathBuf, String)>, Problem> {
    let path = named.unwrap_or(default).to_owned();
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(error) if named.is_none() && error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Problem::Unreadable { path, error }),
    }
}

/// What has been laid so far. No `Debug`: it holds values as they were written, secrets too.
struct Layers {
    /// Every key with its default.
    known: Vec<Entry>,
    /// The values that were accepted, by section and key.
    values: Table,
    sources: BTreeMap<String, Source>,
    /// Keys of which some layer gave a wrong value: their checks would blame the value below it.
    wrong: BTreeSet<String>,
    problems: Vec<Problem>,
}

// === impl Layers ===

impl Layers {
    fn new() -> Self {
        let known = Settings::default().entries();
        let sources = known
            .iter()
            .map(|entry| (entry.key.to_owned(), Source::Default))
            .collect();
        Self {
            known,
            values: Table::new(),
            sources,
            wrong: BTreeSet::new(),
            problems: Vec::new(),
        }
    }

    fn lay_file(&mut self, path: &Path, text: &str) {
        let table = match text.parse::<Table>() {
            Ok(table) => table,
            Err(error) => return self.problems.push(syntax(path, text, &error)),
        };
        let origin = Source::File(path.to_owned());
        for (name, value) in table {
            let is_section = self.known.iter().any(|entry| entry.section() == name);
            match (is_section, value) {
                (true, Value::Table(keys)) => {
                    for (key, value) in keys {
                        self.lay_value(&format!("{name}.{key}"), &origin, |_| value);
                    }
                }
                (true, _) => self.problems.push(Problem::NotASection {
                    name,
                    origin: origin.clone(),
                }),
                (false, Value::Table(_)) => {
                    let suggestion = nearest(&name, self.known.iter().map(Entry::section)).map(str::to_owned);
                    self.problems.push(Problem::UnknownSection {
                        name,
                        origin: origin.clone(),
                        suggestion,
                    });
                }
                (false, _) => self.unknown_key(&name, &origin),
            }
        }
    }

    fn lay_environment(&mut self, environment: impl IntoIterator<Item = (String, String)>) {
        // The environment has no order of its own: sorted, the problems are the same at every start.
        let variables: BTreeMap<_, _> = environment.into_iter().collect();
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix(PREFIX) else {
                continue;
            };
            if !rest.starts_with('_') && !rest.contains("__") {
                continue;
            }
            let origin = Source::Environment(name.clone());
            let key = rest.to_lowercase().replace("__", ".");
            if variable(&key) == name {
                self.lay_value(&key, &origin, |entry| entry.form.read(text));
            } else {
                self.unknown_key(&key, &origin);
            }
        }
    }

    fn lay_flags(&mut self, flags: impl IntoIterator<Item = (String, String)>) {
        for (key, text) in flags {
            self.lay_value(&key, &Source::Flag, |entry| entry.form.read(text));
        }
    }

    /// Takes a value if its key is known and the value can be read; notes a problem if not.
    fn lay_value(&mut self, key: &str, origin: &Source, value: impl FnOnce(&Entry) -> Value) {
        let Some(entry) = self.known.iter().find(|entry| entry.key == key) else {
            return self.unknown_key(key, origin);
        };
        let value = value(entry);
        let Some((section, name)) = key.split_once('.') else {
            return;
        };

        // Read alone, over the defaults: what fails then is this value.
        let alone = Table::from_iter([(name.to_owned(), value.clone())]);
        let alone = Table::from_iter([(section.to_owned(), Value::Table(alone))]);
        if alone.try_into::<Settings>().is_err() {
            let shown = entry.form.may_be_shown().then(|| printable(&value));
            let given = Given {
                key: key.to_owned(),
                value: shown,
                origin: Some(origin.clone()),
            };
            self.problems.push(Problem::WrongValue {
                given,
                expected: entry.expected(),
            });
            self.wrong.insert(key.to_owned());
            return;
        }

        let section = self
            .values
            .entry(section)
            .or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(section) = section {
            section.insert(name.to_owned(), value);
        }
        self.sources.insert(key.to_owned(), origin.clone());
    }

    fn unknown_key(&mut self, key: &str, origin: &Source) {
        let nearest = nearest(key, self.known.iter().map(|entry| entry.key));
        let suggestion = match origin {
            Source::Environment(_) => nearest.map(variable),
            Source::Default | Source::File(_) | Source::Flag => nearest.map(str::to_owned),
        };
        self.problems.push(Problem::UnknownKey {
            name: key.to_owned(),
            origin: origin.clone(),
            suggestion,
        });
    }

    fn finish(self) -> Result<Loaded, SettingsError> {
        let Self {
            known: _,
            values,
            sources,
            wrong,
            mut problems,
        } = self;
        let Ok(settings) = values.try_into::<Settings>() else {
            // Each value was read alone before, so that all can be read together. The parser's words are
            // left out: they may repeat a value.
            let reason = "the values cannot be read together".to_owned();
            problems.push(Problem::Refused {
                given: Vec::new(),
                reason,
            });
            return Err(SettingsError { problems });
        };
        for refusal in settings.refusals() {
            if !refusal.keys.iter().any(|key| wrong.contains(*key)) {
                problems.push(refusal.into_problem(&settings, Some(&sources)));
            }
        }
        if problems.is_empty() {
            Ok(Loaded { settings, sources })
        } else {
            Err(SettingsError { problems })
        }
    }
}

/// Gives the environment variable of a key.
fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// Writes a value on one line.
fn printable(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Array(_)
        | Value::Table(_) => value.to_string().replace('\n', " "),
    }
}

/// Tells where the mistake is; the parser's own picture of the line is left out, it may hold a secret.
fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> Problem {
    let before = error
        .span()
        .and_then(|span| text.get(..span.start))
        .unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Problem::Syntax {
        path: path.to_owned(),
        line,
        column,
        message: error.message().replace('\n', ", "),
    }
}

#[cfg(test)]
mod tests;
