//! The upstream thread: the follower, and what goes on beside it.

use std::{sync::Arc, thread, time::Duration};

use tokio::sync::{mpsc, watch};

use super::settings::Settings;
use crate::{
    metrics::Metrics,
    registry::Registry,
    upstream::{
        follower::{Follower, FollowerSettings},
        guard::DriftLimits,
        source::{Source, SourceSettings},
        status::FeedStatus,
    },
};

/// Requests for a fresh snapshot that wait; more say nothing new.
const RESYNCS: usize = 1;

/// Everything that keeps the registry fed, ready to run.
#[derive(Debug)]
pub(super) struct Feed {
    follower: Follower,
}

/// How the store of these settings is reached.
pub(super) fn source_settings(settings: &Settings) -> SourceSettings {
    SourceSettings {
        url: settings.upstream_url(),
        poll_interval: settings.upstream.poll_interval.get(),
        heartbeat_interval: settings.upstream.heartbeat_interval.get(),
        timeout: settings.upstream.timeout.get(),
    }
}

impl Feed {
    /// A feed from that source.
    pub(super) fn new(
        settings: &Settings,
        source: Source,
        registry: Arc<Registry>,
        status: Arc<FeedStatus>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let follower_settings = FollowerSettings {
            min_enterprises: settings.upstream.min_enterprises,
            change_log_retention: settings.upstream.change_log_retention.get(),
            drift: DriftLimits {
                max_ppm: settings.upstream.max_drift_ppm,
                max_rows: settings.upstream.max_drift_rows,
            },
            accept_drift: false,
            stale_age: settings.freshness.relief_max_age.get() + Duration::from_nanos(1),
        };
        Self {
            follower: Follower::new(source, registry, status, metrics, follower_settings, None),
        }
    }

    /// Runs the follower on a thread of its own, because it blocks on files, until `stop` turns true.
    pub(super) fn run(
        self,
        stop: watch::Receiver<bool>,
    ) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + Send + use<>> {
        let (ended, wait) = tokio::sync::oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (_resync, resyncs) = mpsc::channel(RESYNCS);
        let thread = thread::Builder::new()
            .name("upstream".to_owned())
            .spawn(move || {
                runtime.block_on(self.follower.run(resyncs, stop));
                // Nobody waits any more only when the process ends.
                let _waiting = ended.send(());
            })?;
        Ok(async move {
            let finished = wait.await;
            finished.map_err(|_| anyhow::anyhow!("the upstream thread panicked"))?;
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("the upstream thread panicked"))
        })
    }
}
