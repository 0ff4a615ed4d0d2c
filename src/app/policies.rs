//! Policy files: read from the directory, and put in force again whenever they change.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::watch;
use tracing::{error, info};

use crate::{
    audit::{archive::activation, log::AuditLog},
    domain::Date,
    facilitation::Facilitation,
    policy::{PolicyBook, book::BookError},
};

/// Reads every `*.toml` file of a directory, by name; without one there are none.
pub fn read_files(directory: Option<&Path>) -> io::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let Some(directory) = directory else {
        return Ok(files);
    };
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml")
            && let Some(name) = path.file_name().and_then(|name| name.to_str())
        {
            let text = std::fs::read_to_string(&path)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
            files.insert(name.to_owned(), text);
        }
    }
    Ok(files)
}

/// Why a directory of policies cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PoliciesError {
    /// It cannot be read.
    #[error("policy.directory {directory}: {error}")]
    Read {
        /// Which.
        directory: String,
        /// Why.
        error: io::Error,
    },
    /// What is in it cannot be used.
    #[error("{0}")]
    Book(#[from] BookError),
}

/// Reads the embedded policies, replaced and added to by those of a directory; gives the directory's files too.
pub fn read_book_and_files(
    directory: Option<&Path>,
) -> Result<(PolicyBook, BTreeMap<String, String>), PoliciesError> {
    let read = |error| PoliciesError::Read {
        directory: directory
            .map(|path| path.display().to_string())
            .unwrap_or_default(),
        error,
    };
    let files = read_files(directory).map_err(read)?;
    Ok((PolicyBook::read(&files)?, files))
}

/// Reads the embedded policies, replaced and added to by those of a directory.
pub fn read_book(directory: Option<&Path>) -> Result<PolicyBook, PoliciesError> {
    read_book_and_files(directory).map(|(book, _)| book)
}

/// The digests of the policy in force today and of the parameters, for what is kept of a replica's state.
pub fn digest_in_force(book: &PolicyBook) -> String {
    let policy = book
        .on(Date::of(Timestamp::now()))
        .map(|policy| policy.digest.as_str());
    format!("{} {}", policy.unwrap_or_default(), book.parameters.digest)
}

/// Watches a directory and puts its policies in force whole, or keeps the last good ones and says why.
#[derive(Debug)]
pub struct Reloader {
    directory: PathBuf,
    interval: Duration,
    facilitation: Arc<Facilitation>,
    in_force: BTreeMap<String, String>,
    /// Told of what comes in force, before it decides anything.
    log: Option<Arc<AuditLog>>,
    last_error: Mutex<String>,
}

impl Reloader {
    /// A watch over a directory whose files, as they were read for the policies in force, are `in_force`.
    pub fn new(
        directory: PathBuf,
        interval: Duration,
        facilitation: Arc<Facilitation>,
        in_force: BTreeMap<String, String>,
        log: Option<Arc<AuditLog>>,
    ) -> Self {
        Self {
            directory,
            interval,
            facilitation,
            in_force,
            log,
            last_error: Mutex::default(),
        }
    }

    /// Why the files as they are now are not in force; empty when they are.
    pub fn last_error(&self) -> String {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Looks at the files until `stop` turns true.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut seen = Some(self.in_force.clone());
        while !*stop.borrow() {
            tokio::select! {
                () = tokio::time::sleep(self.interval) => {}
                _ = stop.changed() => return,
            }
            // Whole contents are compared: a few small files, and a change within one tick of the clock shows too.
            let files = read_files(Some(&self.directory)).ok();
            if files != seen && self.reload(files.as_ref()) {
                seen = files;
            }
        }
    }

    /// Puts files in force; false when they are to be tried again as they are.
    fn reload(&self, files: Option<&BTreeMap<String, String>>) -> bool {
        let book = match files {
            Some(files) => PolicyBook::read(files).map_err(|error| error.to_string()),
            None => Err(format!("{} cannot be read", self.directory.display())),
        };
        let problem = match book {
            Ok(book)
                if self
                    .log
                    .as_ref()
                    .is_some_and(|log| log.activate(activation(&book)).is_err()) =>
            {
                let problem = "the audit log cannot tell of them";
                if self.last_error() != problem {
                    error!(problem, "policies not in force yet");
                }
                let mut last_error = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
                problem.clone_into(&mut last_error);
                return false;
            }
            Ok(book) => {
                info!(parameters = %book.parameters.digest, policies = book.policies().len(), "policies in force");
                self.facilitation.replace_policies(book);
                String::new()
            }
            Err(problem) => {
                error!(problem, "policies refused; the last good ones stay in force");
                problem
            }
        };
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = problem;
        true
    }
}
