//! The threads that keep the registry fed: the follower, the comparison, the snapshot file.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rand::RngExt as _;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};
use tracing::{error, info, warn};

use super::{
    parts::{NotFlushed, on_own_thread},
    policies,
    settings::Settings,
};
use crate::{
    background,
    facilitation::Facilitation,
    metrics::Metrics,
    registry::{Position, Registry},
    upstream::{
        comparison::Comparison,
        file::{About, FileError, SnapshotFile},
        follower::{ChangeListener, FileStart, Follower, FollowerSettings, OrderListener},
        guard::DriftLimits,
        postgres::TlsFiles,
        relay::Publisher,
        source::{Source, SourceSettings},
        status::{EventKind, FeedStatus},
    },
};

/// How far the feed gives way where calls want the same processor: a fresh snapshot takes all that there is for a second, and
/// what changes still comes in force with a quarter of a processor.
const BEHIND: i32 = 5;
/// The same of what can wait.
const FAR_BEHIND: i32 = 10;

/// How long the writing of the file lets calls go first before it takes its share of the processor.
const PATIENCE: Duration = Duration::from_secs(30);

/// The snapshot file's name in the data directory.
pub const SNAPSHOT_FILE: &str = "registry.snapshot";
/// The part that writes it.
pub(super) const SNAPSHOT: &str = "snapshot-file";
/// Requests for a fresh snapshot that wait; more say nothing new.
const RESYNCS: usize = 1;

/// A part of the feed that runs.
pub(super) type Running = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// Everything that keeps the registry fed, ready to run.
#[derive(Debug)]
pub(super) struct Feed {
    source: Source,
    publisher: Option<Publisher>,
    orders: Option<OrderListener>,
    changes: Option<ChangeListener>,
    settings: FollowerSettings,
    compare_interval: Duration,
    snapshot_interval: Duration,
    keeper: Keeper,
}

/// How the store of these settings is reached.
pub fn source_settings(settings: &Settings) -> SourceSettings {
    SourceSettings {
        url: settings.upstream_url(),
        poll_interval: settings.upstream.poll_interval.get(),
        heartbeat_interval: settings.upstream.heartbeat_interval.get(),
        timeout: settings.upstream.timeout.get(),
        tls: TlsFiles {
            ca: settings.upstream.tls_ca_file.clone(),
            certificate: settings.upstream.tls_certificate_file.clone(),
            key: settings.upstream.tls_key_file.clone(),
        },
        password_file: settings.upstream.password_file.clone(),
        credentials_file: settings.upstream.credentials_file.clone(),
        nats_prefix: settings.upstream.nats_prefix.clone(),
    }
}

/// A feed from that source, by whose snapshot files the policies in force are known.
pub(super) fn follow(
    settings: &Settings,
    source: Source,
    registry: Arc<Registry>,
    status: Arc<FeedStatus>,
    metrics: &Arc<Metrics>,
    facilitation: &Arc<Facilitation>,
) -> Feed {
    let facilitation = Arc::clone(facilitation);
    let policy_digest = move || policies::digest_in_force(&facilitation.policies());
    Feed::new(
        settings,
        source,
        registry,
        status,
        Arc::clone(metrics),
        policy_digest,
    )
}

impl Feed {
    /// A feed from that source. `policy_digest` is written into snapshot files.
    pub(super) fn new(
        settings: &Settings,
        source: Source,
        registry: Arc<Registry>,
        status: Arc<FeedStatus>,
        metrics: Arc<Metrics>,
        policy_digest: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        let upstream = &settings.upstream;
        Self {
            source,
            publisher: None,
            orders: None,
            changes: None,
            settings: FollowerSettings {
                min_enterprises: upstream.min_enterprises,
                change_log_retention: upstream.change_log_retention.get(),
                drift: DriftLimits {
                    max_ppm: upstream.max_drift_ppm,
                    max_rows: upstream.max_drift_rows,
                },
                accept_drift: false,
                stale_age: settings.freshness.relief_max_age.get() + Duration::from_nanos(1),
            },
            compare_interval: upstream.compare_interval.get(),
            snapshot_interval: upstream.snapshot_interval.get(),
            keeper: Keeper {
                file: SnapshotFile::new(settings.server.data_dir.join(SNAPSHOT_FILE)),
                registry,
                status,
                metrics,
                policy_digest: PolicyDigest(Arc::new(policy_digest)),
                kept: None,
            },
        }
    }

    /// Takes the first catch-up with the store whatever the drift.
    pub(super) fn accepting_drift(mut self, accept: bool) -> Self {
        self.settings.accept_drift = accept;
        self
    }

    /// Tells of changes of control orders.
    pub(super) fn telling_orders(mut self, listener: Option<OrderListener>) -> Self {
        self.orders = listener;
        self
    }

    /// Tells of everything that comes in force.
    pub(super) fn telling_changes(mut self, listener: ChangeListener) -> Self {
        self.changes = Some(listener);
        self
    }

    /// Publishes whatever is applied, before it is.
    pub(super) fn publishing(mut self, publisher: Publisher) -> Self {
        self.publisher = Some(publisher);
        self
    }

    /// Runs each part on a thread of its own, because it blocks on files, until `stop` turns true; the last snapshot file
    /// is written when `last` does. Gives the parts by name.
    pub(super) fn run(
        self,
        stop: watch::Receiver<bool>,
        last: watch::Receiver<bool>,
    ) -> anyhow::Result<Vec<(&'static str, Running)>> {
        let Self {
            source,
            publisher,
            orders,
            changes,
            settings,
            compare_interval,
            snapshot_interval,
            keeper,
        } = self;
        let (resync, resyncs) = mpsc::channel(RESYNCS);
        let comparison = source.rows().map(|rows| Comparison {
            rows,
            registry: Arc::clone(&keeper.registry),
            status: Arc::clone(&keeper.status),
            metrics: Arc::clone(&keeper.metrics),
            interval: compare_interval,
            resyncs: resync,
        });
        let mut parts: Vec<(&'static str, Running)> = Vec::new();
        if let Some(comparison) = comparison {
            let stop = stop.clone();
            let comparing = on_own_thread("comparison", move || {
                background::be_nice(FAR_BEHIND);
                compare(comparison, stop)
            })?;
            parts.push(("comparison", Box::pin(comparing)));
        }
        let keeping = {
            let keeper = keeper.clone();
            on_own_thread(SNAPSHOT, move || {
                background::be_nice(FAR_BEHIND);
                keeper.run(snapshot_interval, last)
            })?
        };
        let keeping = async move { keeping.await?.map_err(NotFlushed::of) };
        parts.push((SNAPSHOT, Box::pin(keeping)));
        let follower = on_own_thread("upstream", move || async move {
            background::be_nice(BEHIND);
            // Reading ten million enterprises takes seconds: here nobody waits for it but the data itself.
            let file = keeper.load();
            let Keeper {
                registry,
                status,
                metrics,
                ..
            } = keeper;
            let mut follower = Follower::new(source, registry, status, metrics, settings, file);
            if let Some(publisher) = publisher {
                follower = follower.publishing(publisher);
            }
            if let Some(listener) = orders {
                follower = follower.telling_orders(listener);
            }
            if let Some(listener) = changes {
                follower = follower.telling_changes(listener);
            }
            follower.run(resyncs, stop).await;
        })?;
        parts.push(("upstream", Box::pin(follower)));
        Ok(parts)
    }
}

/// Tells what is in force as policies.
#[derive(Clone)]
struct PolicyDigest(Arc<dyn Fn() -> String + Send + Sync>);

impl std::fmt::Debug for PolicyDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&(self.0)())
    }
}

/// Keeps the snapshot file.
#[derive(Debug, Clone)]
struct Keeper {
    file: SnapshotFile,
    registry: Arc<Registry>,
    status: Arc<FeedStatus>,
    metrics: Arc<Metrics>,
    policy_digest: PolicyDigest,
    /// What the file holds: where it stands and when that was confirmed.
    kept: Option<(Position, SystemTime)>,
}

impl Keeper {
    /// Reads the file of an earlier life; one that cannot be used is refused, and as good as none.
    fn load(&self) -> Option<FileStart> {
        let begun = std::time::Instant::now();
        match self.file.read() {
            Ok(loaded) => {
                info!(
                    enterprises = loaded.info.enterprises(),
                    sequence = loaded.info.place.position.sequence,
                    seconds = begun.elapsed().as_secs_f64(),
                    "snapshot file read"
                );
                Some(FileStart {
                    generation: loaded.generation,
                    confirmed_at: loaded.info.confirmed_at,
                })
            }
            Err(FileError::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(problem) => {
                let cause = match &problem {
                    FileError::NotOurs | FileError::Version { .. } => "foreign",
                    FileError::Torn { .. }
                    | FileError::Checksum { .. }
                    | FileError::Hash { .. }
                    | FileError::Inconsistent { .. }
                    | FileError::Io { .. } => "torn",
                };
                error!(%problem, file = %self.file.path().display(), "REFUSED: the snapshot file cannot be used");
                self.metrics.refused(cause);
                self.status
                    .happened(EventKind::Refusal, cause, problem.to_string());
                None
            }
        }
    }

    /// Writes the file when data first comes in force, whenever the interval has passed, and once `last` is true.
    async fn run(mut self, interval: Duration, mut last: watch::Receiver<bool>) -> Result<(), FileError> {
        let mut positions = self.status.positions();
        tokio::select! {
            _ = positions.wait_for(Option::is_some) => {}
            _ = last.wait_for(|last| *last) => {}
        }
        while !*last.borrow() {
            // One that cannot be written now is told of, and written later.
            let _not_written = self.keep();
            // A fleet that was started at once does not write at once.
            let wait = interval.mul_f64(rand::rng().random_range(0.9..=1.0));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                changed = last.changed() => if changed.is_err() { return Ok(()) },
            }
        }
        self.keep()
    }

    /// Writes the file if it would say anything new.
    fn keep(&mut self) -> Result<(), FileError> {
        background::begin(PATIENCE);
        let Some(generation) = self.registry.current().filter(|_| self.status.is_ready()) else {
            return Ok(());
        };
        // Before the image is made: what it is of can only be newer.
        let Some(confirmed_at) = self.status.clock.confirmed_at() else {
            return Ok(());
        };
        if self.kept == Some((generation.position(), confirmed_at)) {
            return Ok(());
        }
        let told = self.status.told();
        if told.source == "file" {
            return Ok(());
        }
        let about = About {
            store: told.source,
            policy_digest: &(self.policy_digest.0)(),
            confirmed_at,
        };
        match self.file.write(&generation, &about) {
            Ok(written) => {
                info!(
                    enterprises = written.info.enterprises(),
                    sequence = written.info.place.position.sequence,
                    bytes = written.info.bytes,
                    seconds = written.took.as_secs_f64(),
                    "snapshot file written"
                );
                self.kept = Some((written.info.place.position, confirmed_at));
                Ok(())
            }
            Err(problem) => {
                warn!(%problem, "snapshot file not written; the former one stays");
                self.metrics.failed("snapshot_file");
                Err(problem)
            }
        }
    }
}

/// Compares on SIGUSR1 too.
async fn compare(comparison: Comparison, stop: watch::Receiver<bool>) {
    let (ask, asked) = mpsc::channel(1);
    let asking = async {
        match signal(SignalKind::user_defined1()) {
            Ok(mut signals) => {
                while signals.recv().await.is_some() {
                    // One request that waits is as good as two.
                    let _already_asked = ask.try_send(());
                }
            }
            Err(problem) => warn!(%problem, "SIGUSR1 cannot be received"),
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = comparison.run(asked, stop) => {}
        () = asking => {}
    }
}
