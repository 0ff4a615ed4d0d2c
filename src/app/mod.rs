//! Wiring: the only place that constructs the parts, and that supervises them.
//!
//! ```text
//! main thread: signals, acceptor, HTTP, health, policy and TLS reload     grpc-N threads: connections and decisions
//! json thread: decisions and simulations that come as JSON
//! upstream thread: the registry's only writer
//! ```

pub mod audit;
pub mod callers;
mod drain;
pub mod draws;
pub mod feed;
mod parts;
pub mod policies;
pub mod relay;
pub mod secret;
pub mod server;
mod services;
pub mod settings;
mod shipments;
mod shipping;
mod signals;
pub mod telemetry;
pub mod tls;
pub mod traces;
pub mod version;

pub use drain::Stopped;
pub use feed::source_settings;
use parts::on_own_thread;
pub use signals::{StopSignals, once, stop_signal};

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicUsize},
};

use anyhow::Context as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tonic_health::{pb::health_server::HealthServer, server::HealthReporter};
use tracing::info;

use self::{
    audit::Proof,
    callers::KnownCallers,
    drain::{Drain, Stops},
    draws::Committer,
    feed::Feed,
    parts::{NotFlushed, Parts},
    policies::Reloader,
    server::Server,
    services::Services,
    settings::{DrainSettings, Settings},
    shipments::Terminals,
    shipping::Shipping,
};
use crate::{
    audit::{
        log::{AuditLog, Lane},
        rates::RateTable,
    },
    facilitation::{DrawKeys, Facilitation},
    metrics::Metrics,
    registry::{FreshnessLimits, Registry},
    service::{
        admission::{Accounts, Quota},
        audit::AuditRpc,
        facilitation::{AcceptanceWindow, FacilitationRpc},
        health::{Health, HealthRpc},
        priority::PriorityRpc,
        registry::RegistryRpc,
    },
    trust::ServerTrust,
    upstream::{source::Source, status::FeedStatus},
    web::{self, Gateway, Web, console::Console},
};

/// The service, bound and ready to run.
#[derive(Debug)]
pub struct App {
    server: Server,
    tls: Option<Arc<ServerTrust>>,
    proof: Proof,
    shipping: Shipping,
    terminals: Terminals,
    committer: Committer,
    http: std::net::TcpListener,
    gateway: Gateway,
    json: web::Worker,
    console: Arc<Console>,
    feed: Feed,
    metrics: Arc<Metrics>,
    rates: Arc<RateTable>,
    health: Arc<Health>,
    reporter: HealthReporter,
    reloader: Option<Arc<Reloader>>,
    callers: KnownCallers,
    stops: Stops,
    bounds: DrainSettings,
    traces: Option<SdkTracerProvider>,
}

impl App {
    /// Builds every part and binds both addresses; serves nothing yet. With `accept_drift` the first catch-up with the store
    /// is taken whatever the drift.
    pub async fn build(settings: &Settings, master_secret: &str, accept_drift: bool) -> anyhow::Result<Self> {
        secret::check_store_secrets(settings)?;
        let source = Source::open(&feed::source_settings(settings))?;
        // Creates an embedded store, or brings its schema up to date, before anybody reads it.
        source.prepare().context("the registry store")?;
        let (kind, history) = (source.kind(), source.history());
        let (book, files) = policies::read_book_and_files(settings.policy.directory())?;
        let freshness = freshness_limits(settings);
        let registry = Arc::new(Registry::default());
        let metrics = Arc::new(Metrics::default());
        let tls = tls::server(settings, &metrics)?;
        let status = Arc::new(FeedStatus::new(kind));
        let draws = DrawKeys::from_hex(master_secret).context("draw.master_secret")?;
        let facilitation = Arc::new(Facilitation::new(Arc::clone(&registry), book, freshness, draws));
        let reporter = HealthReporter::new();

        let stops = Stops::default();
        let mut proof = Proof::open(settings, &facilitation.policies()).context("the audit log")?;
        let traces = traces::from_environment();
        let window = acceptance_window(settings);
        let replica = replica_name(settings, &proof);
        let committer = Committer::new(settings, replica.clone(), &proof, &facilitation, &metrics, window)?;
        let rates = Arc::new(RateTable::default());
        if proof.log.is_some() {
            audit::take_up(settings, &facilitation, &rates);
        }
        let shipping = Shipping::new(settings, &proof, &metrics)?;
        let terminals = Terminals::new(settings, &facilitation, &status, &metrics, &proof)?;
        let shipments = Arc::clone(&terminals.shipments);
        let health = Health::new(Arc::clone(&facilitation), Arc::clone(&status), shipments);
        let health = Arc::new(health);
        // The library starts with SERVING; we do not until there is data.
        health.report(&reporter, false).await;
        let callers = KnownCallers::open(&settings.auth, &metrics)?;
        let services = Services {
            facilitation: FacilitationRpc {
                lane: Lane::new(None),
                rates: Arc::clone(&rates),
                metrics: Arc::clone(&metrics),
                shipments: Arc::clone(&terminals.shipments),
                facilitation: Arc::clone(&facilitation),
                feed: Arc::clone(&status),
                window,
                history,
            },
            registry: RegistryRpc {
                facilitation: Arc::clone(&facilitation),
                registry: Arc::clone(&registry),
                feed: Arc::clone(&status),
            },
            audit: AuditRpc {
                log: proof.log.clone(),
                directory: proof.log.as_ref().map(|_| audit::directory(settings)),
                commitments: committer.commitments.clone(),
                decisions: shipping.decisions.clone(),
                shipments: Arc::clone(&terminals.shipments),
                facilitation: Arc::clone(&facilitation),
                rates: Arc::clone(&rates),
            },
            priority: PriorityRpc {
                shipments: Arc::clone(&terminals.shipments),
            },
            health: HealthServer::new(HealthRpc::new(&reporter)),
            authentication: Arc::clone(&callers.authentication),
            accounts: Arc::new(Accounts::new(Quota {
                rate: settings.limits.max_caller_rate,
                calls: settings.limits.max_caller_calls,
            })),
            traces: traces.clone(),
            max_message_bytes: settings.limits.max_message_bytes,
        };
        let console = Arc::new(services.console(&health, replica));
        let (gateway, json) = services.gateway(&mut proof, &health);
        let server = services.bind(settings, tls.as_ref(), &mut proof, &stops.calls.subscribe())?;
        let reloader = reloader(settings, &facilitation, files, proof.log.clone());
        let feed = feed::follow(settings, source, registry, status, &metrics, &facilitation)
            .telling_changes(terminals.listener())
            .telling_orders(proof.log.clone().map(audit::logged_orders))
            .accepting_drift(accept_drift);
        Ok(Self {
            server,
            tls,
            proof,
            shipping,
            terminals,
            committer,
            http: web::server::bind(settings.server.http_addr)?,
            gateway,
            json,
            console,
            feed,
            metrics,
            rates,
            health,
            reporter,
            reloader,
            callers,
            stops,
            bounds: settings.drain.clone(),
            traces,
        })
    }

    /// The gRPC address that is bound.
    pub fn grpc_address(&self) -> io::Result<SocketAddr> {
        self.server.local_address()
    }

    /// The HTTP address that is bound.
    pub fn http_address(&self) -> io::Result<SocketAddr> {
        self.http.local_addr()
    }

    /// Serves until `stop` completes or a part ends, then drains. Where `stop` completes once more meanwhile, callers are not
    /// waited for. An error tells of a part that failed.
    pub async fn run_until(self, mut stop: impl AsyncFnMut()) -> anyhow::Result<Stopped> {
        let Self {
            server,
            tls,
            proof,
            shipping,
            terminals,
            mut committer,
            http,
            gateway,
            json,
            console,
            feed,
            metrics,
            rates,
            health,
            reporter,
            reloader,
            callers,
            stops,
            bounds,
            traces,
        } = self;
        info!(grpc = %server.local_address()?, http = %http.local_addr()?, tls = tls.is_some(), "listening");
        let mut parts = Parts::new(stops.rest.subscribe());
        let (listener, stop_http) = (tokio::net::TcpListener::from_std(http)?, stops.calls.subscribe());
        let (cut, deadline) = (Arc::new(AtomicUsize::new(0)), bounds.deadline.get());
        let web = Web {
            health: Arc::clone(&health),
            metrics: Arc::clone(&metrics),
            rates,
            gateway: Arc::new(gateway),
            console: Arc::clone(&console),
            authentication: callers.authentication,
            open_metrics: callers.open_metrics,
            tls: tls.clone(),
        };
        let acceptor = tls.as_ref().map(ServerTrust::http);
        let http = web::server::run(listener, web, acceptor, stop_http, deadline);
        parts.add_calls("http", &cut, http);
        let history = Arc::clone(&console.history).run(metrics, parts.stop());
        parts.add_endless("history", history);
        parts.add_endless("health", {
            let (health, stop) = (Arc::clone(&health), parts.stop());
            async move { health.run(reporter, stop).await }
        });
        if let Some(tls) = tls {
            parts.add_endless("tls", tls.run(parts.stop()));
        }
        if let Some(reloader) = reloader {
            parts.add_endless("policies", reloader.run(parts.stop()));
        }
        if let Some(reloader) = callers.reloader {
            parts.add_endless("callers", reloader.run(parts.stop()));
        }
        if let Some(shipper) = shipping.shipper {
            let flush = stops.flush.subscribe();
            let shipping = |_| async { shipper.run(flush).await.map_err(NotFlushed::of) };
            parts.add_thread("shipping", shipping)?;
        }
        let flush = stops.flush.subscribe();
        parts.add_thread("audit", |_| proof.run(shipping.shipped_to, flush))?;
        let Terminals {
            shipments,
            keeper,
            saving,
        } = terminals;
        parts.add_thread("shipments", |stop| async {
            keeper.run(stop).await;
            Ok(())
        })?;
        let flush = stops.flush.subscribe();
        let saving = |_| async { Box::pin(saving.run(flush)).await.map_err(NotFlushed::of) };
        parts.add_thread("saving", saving)?;
        for (name, part) in feed.run(parts.stop(), stops.snapshot.subscribe())? {
            parts.add(name, part);
        }
        // The registry loads meanwhile.
        committer.first().await;
        let stop_draws = parts.stop();
        parts.add_endless("draws", async move { committer.run(stop_draws).await });
        let (drain, drain_json) = (stops.calls.subscribe(), stops.calls.subscribe());
        parts.add(
            "json",
            on_own_thread("json", move || json.run(drain_json, deadline))?,
        );
        parts.add_calls("grpc", &cut, server.run(drain));

        let asked = tokio::select! {
            () = stop() => true,
            () = parts.first_end() => false,
        };
        let drain = Drain {
            bounds,
            stops,
            health,
            shipments,
            cut,
            traces,
        };
        drain.run(parts, asked, stop()).await
    }
}

fn freshness_limits(settings: &Settings) -> FreshnessLimits {
    FreshnessLimits {
        relief_max_age: settings.freshness.relief_max_age.get(),
        decision_max_age: settings.freshness.decision_max_age.get(),
    }
}

fn acceptance_window(settings: &Settings) -> AcceptanceWindow {
    AcceptanceWindow {
        ahead: settings.server.acceptance_max_ahead.get(),
        behind: settings.server.acceptance_max_behind.get(),
    }
}

/// What this replica is called.
fn replica_name(settings: &Settings, proof: &Proof) -> String {
    let logged = proof.log.as_ref().map(|log| log.replica().to_owned());
    logged.unwrap_or_else(|| audit::name_without_log(settings))
}

/// Who reads changed policy files, where there is a directory of them.
fn reloader(
    settings: &Settings,
    facilitation: &Arc<Facilitation>,
    files: BTreeMap<String, String>,
    log: Option<Arc<AuditLog>>,
) -> Option<Arc<Reloader>> {
    let directory = settings.policy.directory()?.to_owned();
    let interval = settings.policy.reload_interval.get();
    let reloader = Reloader::new(directory, interval, Arc::clone(facilitation), files, log);
    Some(Arc::new(reloader))
}
