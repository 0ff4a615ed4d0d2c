//! The upstream thread: the follower, and what goes on beside it.

use std::{sync::Arc, thread, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};
use tracing::warn;

use super::settings::Settings;
use crate::{
    metrics::Metrics,
    registry::Registry,
    upstream::{
        ResyncCause,
        comparison::Comparison,
        follower::{Follower, FollowerSettings},
        guard::DriftLimits,
        postgres::TlsFiles,
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
    resyncs: mpsc::Receiver<ResyncCause>,
    comparison: Option<Comparison>,
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
        let (resync, resyncs) = mpsc::channel(RESYNCS);
        let comparison = source.rows().map(|rows| Comparison {
            rows,
            registry: Arc::clone(&registry),
            status: Arc::clone(&status),
            metrics: Arc::clone(&metrics),
            interval: settings.upstream.compare_interval.get(),
            resyncs: resync,
        });
        Self {
            follower: Follower::new(source, registry, status, metrics, follower_settings, None),
            resyncs,
            comparison,
        }
    }

    /// Runs the follower on a thread of its own, because it blocks on files, and the comparison on another, until `stop`
    /// turns true.
    pub(super) fn run(
        self,
        stop: watch::Receiver<bool>,
    ) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + Send + use<>> {
        let Self {
            follower,
            resyncs,
            comparison,
        } = self;
        let follower = on_own_thread("upstream", follower.run(resyncs, stop.clone()))?;
        let comparison = comparison
            .map(|comparison| on_own_thread("comparison", compare(comparison, stop)))
            .transpose()?;
        Ok(async move {
            let Some(comparison) = comparison else {
                return follower.await;
            };
            tokio::try_join!(follower, comparison).map(drop)
        })
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

/// Runs a future on a thread of its own; what is given back completes when it has ended.
fn on_own_thread<W: Future<Output = ()> + Send + 'static>(
    name: &'static str,
    work: W,
) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + Send + use<W>> {
    let (ended, wait) = tokio::sync::oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        runtime.block_on(work);
        // What still reads a store on another thread is nobody's business any more.
        runtime.shutdown_background();
        // Nobody waits any more only when the process ends.
        let _waiting = ended.send(());
    })?;
    Ok(async move {
        let panicked = || anyhow::anyhow!("the {name} thread panicked");
        wait.await.map_err(|_| panicked())?;
        thread.join().map_err(|_| panicked())
    })
}
