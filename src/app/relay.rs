//! Wiring of `greenlane relay`: a follower with its own registry, and a publisher behind it. It decides nothing and serves
//! nobody.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, atomic::AtomicUsize},
};

use anyhow::{Context as _, ensure};
use tokio::sync::watch;
use tracing::info;

use super::{
    callers::{self, KnownCallers},
    feed::{self, Feed},
    freshness_limits,
    parts::Parts,
    secret,
    settings::{DrainSettings, Settings, StoreUrl},
    tls,
};
use crate::{
    metrics::Metrics,
    registry::Registry,
    service::health,
    trust::ServerTrust,
    upstream::{
        nats::NatsSettings,
        relay::{Publisher, RelaySettings},
        source::Source,
        status::FeedStatus,
    },
    web::{self, RelaySite},
};

/// A relay, ready to run.
#[derive(Debug)]
pub struct Relay {
    feed: Feed,
    from: StoreUrl,
    to: StoreUrl,
    bounds: DrainSettings,
    http: Option<TcpListener>,
    site: RelaySite,
    callers: Option<callers::Reloader>,
}

impl Relay {
    /// A relay from the store of these settings to NATS; connects to neither yet. The first state of the store may be taken
    /// whatever the drift. Probes and metrics are served at `http`, if anywhere.
    pub fn build(
        settings: &Settings,
        to: &StoreUrl,
        http: Option<SocketAddr>,
        accept_drift: bool,
    ) -> anyhow::Result<Self> {
        let from = feed::source_settings(settings);
        let source = Source::open(&from)?;
        ensure!(
            source.kind() != "nats",
            "--from must be a store: NATS is what a relay feeds"
        );
        secret::check_store_secrets(settings)?;
        let nats = NatsSettings {
            // That is of the store that is read.
            password_file: None,
            ..from.nats(to.expose())
        };
        nats.check()?;
        let folder = &settings.server.data_dir;
        std::fs::create_dir_all(folder).with_context(|| format!("server.data_dir {}", folder.display()))?;
        let publisher = Publisher::new(RelaySettings {
            to: nats,
            from,
            folder: folder.clone(),
            snapshot_interval: settings.upstream.snapshot_interval.get(),
        });
        let (registry, metrics) = (Arc::new(Registry::default()), Arc::new(Metrics::default()));
        let status = Arc::new(FeedStatus::new(source.kind()));
        // Where nothing is listened to, a relay needs no certificate.
        let tls = http
            .map(|_| tls::server(settings, &metrics))
            .transpose()?
            .flatten();
        let callers = KnownCallers::open(&settings.auth, &metrics)?;
        let site = RelaySite {
            tls,
            authentication: callers.authentication,
            open_metrics: callers.open_metrics,
            speaking: publisher.speaking(),
            reading: {
                let (registry, status, limits) = (
                    Arc::clone(&registry),
                    Arc::clone(&status),
                    freshness_limits(settings),
                );
                Arc::new(move || health::reading(&registry, &status, limits))
            },
            metrics: Arc::clone(&metrics),
        };
        let mut feed =
            Feed::new(settings, source, registry, status, metrics, String::new).publishing(publisher);
        feed = feed.accepting_drift(accept_drift);
        Ok(Self {
            feed,
            from: settings.upstream.url.clone(),
            to: to.clone(),
            bounds: settings.drain.clone(),
            http: http.map(web::server::bind).transpose()?,
            site,
            callers: callers.reloader,
        })
    }

    /// Publishes until `stop` completes.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self {
            feed,
            from,
            to,
            bounds,
            http,
            site,
            callers,
        } = self;
        let (stopping, last) = (watch::Sender::new(false), watch::Sender::new(false));
        let mut parts = Parts::new(stopping.subscribe());
        for (name, part) in feed.run(parts.stop(), last.subscribe())? {
            parts.add(name, part);
        }
        if let Some(http) = http {
            info!(http = %http.local_addr()?, "listening");
            let (listener, stop) = (tokio::net::TcpListener::from_std(http)?, parts.stop());
            let acceptor = site.tls.as_ref().map(ServerTrust::http);
            if let Some(tls) = &site.tls {
                parts.add_endless("tls", Arc::clone(tls).run(parts.stop()));
            }
            if let Some(callers) = callers {
                parts.add_endless("callers", callers.run(parts.stop()));
            }
            let http = web::server::run(listener, site, acceptor, stop, bounds.deadline.get());
            parts.add_calls("http", &Arc::new(AtomicUsize::new(0)), http);
        }
        info!(%from, %to, "relaying");
        tokio::select! {
            () = stop => {}
            () = parts.first_end() => {}
        }
        stopping.send_replace(true);
        parts
            .ended(|name| name != feed::SNAPSHOT, bounds.flush.get())
            .await;
        last.send_replace(true);
        parts.ended(|_| true, bounds.snapshot.get()).await;
        parts.outcome()?;
        info!("stopped");
        Ok(())
    }
}
