//! What callers are known by: the callers file and the key set, read at start, and put in force again whenever they change.
//!
//! ```text
//! callers file --looked at every second--\
//! key file ------looked at every second---+--> Trusted --> Authentication
//! key address ---fetched now and then----/      (whole or not at all)
//! ```
//! The authorities by which that address is trusted are read again for each fetch.
//!
//! What cannot be read or taken stays out, and the last good one in force: an issuer that is away for an hour stops nobody. A key
//! that the issuer has taken out of its set is believed no longer from the next fetch on.

mod address;
mod fetch;
mod file;

pub use address::KeyAddress;

use std::{pin::Pin, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tracing::{error, info, warn};

use self::{fetch::Fetcher, file::WatchedFile};
use super::settings::AuthSettings;
use crate::{
    access::{Callers, KeySet, TokenRules},
    metrics::{AuthSource, Metrics},
    service::authentication::{Authentication, Trusted},
    trust::{NamedFile, client::ClientFiles},
};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The least time between two fetches, whatever tokens name: whoever makes keys up cannot have the issuer asked for each.
const LEAST_BETWEEN: Duration = Duration::from_secs(5);

/// A fetch under way.
type Fetching = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send>>;

/// Keeps what is trusted up to date.
pub struct Reloader {
    authentication: Arc<Authentication>,
    metrics: Arc<Metrics>,
    rules: TokenRules,
    callers: Arc<Callers>,
    callers_file: WatchedFile,
    keys: Arc<KeySet>,
    source: KeySource,
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").finish_non_exhaustive()
    }
}

/// Where keys come from.
enum KeySource {
    None,
    File(WatchedFile),
    Address(Box<Fetched>),
}

/// Keys that are fetched.
struct Fetched {
    fetcher: Fetcher,
    interval: Duration,
    under_way: Option<Fetching>,
    /// When the last one began.
    begun: Instant,
    /// When to fetch again.
    next: Instant,
    /// What the keys in force were read from.
    bytes: Vec<u8>,
    is_failing: bool,
}

/// Who is known, and what keeps that up to date.
#[derive(Debug)]
pub struct KnownCallers {
    /// Finds out who calls.
    pub authentication: Arc<Authentication>,
    /// Where there is something to look at.
    pub reloader: Option<Reloader>,
    /// Whether the metrics are for anybody.
    pub open_metrics: bool,
}

impl KnownCallers {
    /// Reads what callers are known by; where there is no callers file, nobody is asked. What is wrong with a file stops the
    /// start; an address that does not answer yet does not, and until it does no token is believed.
    pub fn open(settings: &AuthSettings, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let open_metrics = settings.open_metrics;
        let Some(path) = settings.callers_file() else {
            return Ok(Self {
                authentication: Authentication::off(Arc::clone(metrics)),
                reloader: None,
                open_metrics,
            });
        };
        let mut callers_file = WatchedFile::new(path);
        let callers = read_callers(&mut callers_file).map_err(named("auth.callers_file", path))?;
        let (keys, source) = KeySource::open(settings)?;
        let rules = TokenRules {
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            clock_skew: settings.clock_skew.get().as_secs(),
        };
        let (callers, keys) = (Arc::new(callers), Arc::new(keys));
        let trusted = Trusted::new(Arc::clone(&callers), Arc::clone(&keys), rules.clone());
        let authentication = Authentication::new(trusted, Arc::clone(metrics));
        let reloader = Reloader {
            authentication: Arc::clone(&authentication),
            metrics: Arc::clone(metrics),
            rules,
            callers,
            callers_file,
            keys,
            source,
        };
        Ok(Self {
            authentication,
            reloader: Some(reloader),
            open_metrics,
        })
    }
}

fn named(setting: &'static str, path: &std::path::Path) -> impl FnOnce(String) -> anyhow::Error {
    let path = path.display().to_string();
    move |problem| anyhow::anyhow!("{setting} {path}: {problem}")
}

fn read_callers(file: &mut WatchedFile) -> Result<Callers, String> {
    let bytes = file.read()?;
    let text = String::from_utf8(bytes).map_err(|_| "it is no UTF-8".to_owned())?;
    Callers::read(&text).map_err(|error| error.to_string())
}

fn read_keys(file: &mut WatchedFile) -> Result<KeySet, String> {
    read_key_set(&file.read()?)
}

fn read_key_set(bytes: &[u8]) -> Result<KeySet, String> {
    let keys = KeySet::read(bytes).map_err(|error| error.to_string())?;
    if !keys.passed_over.is_empty() {
        let passed_over = keys.passed_over.join("; ");
        warn!(passed_over, "some keys of the key set are not used");
    }
    Ok(keys)
}

impl Reloader {
    /// Looks at the files and the address until `stop` turns true.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let authentication = Arc::clone(&self.authentication);
        while !*stop.borrow() {
            let changed = tokio::select! {
                () = sleep(LOOK) => self.look_at_files(),
                () = authentication.key_wanted() => {
                    self.source.wanted();
                    false
                }
                fetched = self.source.fetched() => self.take_fetched(fetched),
                _ = stop.changed() => return,
            };
            if changed {
                let (callers, keys) = (Arc::clone(&self.callers), Arc::clone(&self.keys));
                authentication.replace(Trusted::new(callers, keys, self.rules.clone()));
            }
        }
    }

    /// Whether something came in force.
    fn look_at_files(&mut self) -> bool {
        let mut changed = false;
        if self.callers_file.has_changed() {
            let read = read_callers(&mut self.callers_file);
            self.metrics
                .auth
                .source_failing(AuthSource::Callers, read.is_err());
            match read {
                Ok(callers) => {
                    info!("callers in force");
                    self.callers = Arc::new(callers);
                    changed = true;
                }
                Err(problem) => error!(problem, "callers refused; the last good ones stay in force"),
            }
        }
        if let KeySource::File(file) = &mut self.source
            && file.has_changed()
        {
            let read = read_keys(file);
            self.metrics.auth.source_failing(AuthSource::Keys, read.is_err());
            match read {
                Ok(keys) => {
                    info!(keys = keys.len(), "keys in force");
                    self.keys = Arc::new(keys);
                    changed = true;
                }
                Err(problem) => error!(problem, "keys refused; the last good ones stay in force"),
            }
        }
        changed
    }

    /// Whether something came in force.
    fn take_fetched(&mut self, fetched: Result<Vec<u8>, String>) -> bool {
        let KeySource::Address(source) = &mut self.source else {
            return false;
        };
        let read = match fetched {
            Ok(bytes) if bytes == source.bytes => Ok(None),
            Ok(bytes) => read_key_set(&bytes).map(|keys| Some((bytes, keys))),
            Err(problem) => Err(problem),
        };
        self.metrics.auth.source_failing(AuthSource::Keys, read.is_err());
        let failed_before = std::mem::replace(&mut source.is_failing, read.is_err());
        match read {
            Ok(None) => false,
            Ok(Some((bytes, keys))) => {
                info!(keys = keys.len(), "keys in force");
                source.bytes = bytes;
                self.keys = Arc::new(keys);
                true
            }
            Err(problem) => {
                // Once: an issuer that is away may be so for long.
                if !failed_before {
                    error!(
                        problem,
                        "keys could not be fetched; the last good ones stay in force"
                    );
                }
                source.next = source.next.min(Instant::now() + LEAST_BETWEEN);
                false
            }
        }
    }
}

impl KeySource {
    /// Where keys come from, and those of a file.
    fn open(settings: &AuthSettings) -> anyhow::Result<(KeySet, Self)> {
        if let Some(path) = settings.jwks_file() {
            let mut file = WatchedFile::new(path);
            let keys = read_keys(&mut file).map_err(named("auth.jwks_file", path))?;
            return Ok((keys, Self::File(file)));
        }
        if settings.jwks_url.is_empty() {
            return Ok((KeySet::default(), Self::None));
        }
        let address: KeyAddress = settings.jwks_url.parse().context("auth.jwks_url")?;
        let files = ClientFiles {
            ca: NamedFile::new("auth.jwks_ca_file", &settings.jwks_ca_file),
            ..ClientFiles::default()
        };
        let fetcher = Fetcher::new(address, files)?;
        let source = Fetched::new(fetcher, settings.refresh_interval.get());
        Ok((KeySet::default(), Self::Address(Box::new(source))))
    }

    /// A token was of a key that is not held.
    fn wanted(&mut self) {
        if let Self::Address(source) = self {
            source.next = source.next.min(source.begun + LEAST_BETWEEN);
        }
    }

    /// Completes with what was fetched, when it is time and that has come. May be dropped meanwhile, and goes on when asked again.
    async fn fetched(&mut self) -> Result<Vec<u8>, String> {
        let Self::Address(source) = self else {
            return std::future::pending().await;
        };
        let fetching = match &mut source.under_way {
            Some(fetching) => fetching,
            none => {
                sleep_until(source.next).await;
                source.begun = Instant::now();
                source.next = source.begun + source.interval;
                none.insert(Box::pin(source.fetcher.clone().fetch()))
            }
        };
        let fetched = fetching.await;
        source.under_way = None;
        fetched
    }
}

impl Fetched {
    /// Due at once.
    fn new(fetcher: Fetcher, interval: Duration) -> Self {
        let now = Instant::now();
        Self {
            fetcher,
            interval: interval.max(LEAST_BETWEEN),
            under_way: None,
            begun: now,
            next: now,
            bytes: Vec::new(),
            is_failing: false,
        }
    }
}
