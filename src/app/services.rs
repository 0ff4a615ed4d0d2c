//! The services of one process, and what each serving thread gets of them.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    thread,
};

use jiff::Timestamp;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::sync::watch;
use tonic_health::pb::health_server::HealthServer;

use super::{
    audit::Proof,
    server::{ConnectionLimits, Server, WorkerService},
    settings::Settings,
    version,
};
use crate::{
    access::Peer,
    service::{
        admission::{Accounts, Conduct, Gatekeeper, Holding},
        audit::AuditRpc,
        authentication::{Authentication, Credentials},
        calls::Counting,
        dispatch::Dispatch,
        ending::Ending,
        facilitation::FacilitationRpc,
        health::{self, HealthRpc},
        intake::Intakes,
        priority::PriorityRpc,
        registry::RegistryRpc,
        served::{
            audit_service_server::AuditServiceServer, priority_service_server::PriorityServiceServer,
            registry_service_server::RegistryServiceServer,
        },
        spans::Spans,
        unary::Unary,
    },
    trust::ServerTrust,
    web::{
        Callers, Gateway, Worker,
        console::{Console, history::History},
    },
    wire::pb,
};

/// Every service, ready to be given to the serving threads.
pub(super) struct Services {
    /// Decisions; each thread gets a lane of its own into the log.
    pub(super) facilitation: FacilitationRpc,
    /// The registry.
    pub(super) registry: RegistryRpc,
    /// Proof.
    pub(super) audit: AuditRpc,
    /// What terminals may know.
    pub(super) priority: PriorityRpc,
    /// `grpc.health.v1.Health`
    pub(super) health: HealthServer<HealthRpc>,
    /// Finds out who calls.
    pub(super) authentication: Arc<Authentication>,
    /// What callers have left of their quotas.
    pub(super) accounts: Arc<Accounts>,
    /// Where spans of calls go, if anywhere.
    pub(super) traces: Option<SdkTracerProvider>,
    /// Largest message taken, in bytes.
    pub(super) max_message_bytes: usize,
}

impl Services {
    /// The JSON gateway, and what answers its calls.
    pub(super) fn gateway(&self, proof: &mut Proof, health: &Arc<health::Health>) -> (Gateway, Worker) {
        let (lane, beside) = proof.lane();
        let facilitation = FacilitationRpc {
            lane,
            ..self.facilitation.clone()
        };
        Gateway::new(
            facilitation,
            Box::pin(beside.run()),
            self.registry.clone(),
            self.priority.clone(),
            Arc::clone(health),
            Callers {
                authentication: Arc::clone(&self.authentication),
                accounts: Arc::clone(&self.accounts),
            },
            self.max_message_bytes,
        )
    }

    /// The console, which shows what the services know.
    pub(super) fn console(&self, health: &Arc<health::Health>, replica: String) -> Console {
        Console {
            registry: self.registry.clone(),
            health: Arc::clone(health),
            metrics: Arc::clone(&self.facilitation.metrics),
            rates: Arc::clone(&self.facilitation.rates),
            log: self.audit.log.clone(),
            history: Arc::new(History::default()),
            replica,
            started_at: Timestamp::now().as_millisecond(),
            version: version::text(),
        }
    }

    /// Binds the gRPC address and starts the serving threads; nothing is accepted yet.
    pub(super) fn bind(
        self,
        settings: &Settings,
        tls: Option<&Arc<ServerTrust>>,
        proof: &mut Proof,
        drain: &watch::Receiver<bool>,
    ) -> anyhow::Result<Server> {
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let spans = self.traces.as_ref().map(Spans::new);
        let sample = settings.log.request_sample;
        let counting = Counting::new(&self.facilitation.metrics, spans, sample)?;
        let (reflection, reflection_v1alpha) = (reflection().build_v1()?, reflection().build_v1alpha()?);
        let workers = match settings.server.workers {
            0 => thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        let (limits, metrics) = (&settings.limits, Arc::clone(&self.facilitation.metrics));
        let intakes = Intakes {
            timeout: limits.stall_timeout.get(),
            max_held: limits.max_unfinished_bytes.max(limits.max_message_bytes),
            held: Arc::default(),
            metrics: Arc::clone(&metrics),
        };
        let max_load = limits.max_concurrent_calls.div_ceil(workers);
        let max_delay = limits.max_queue_delay.get();
        let worker = || {
            let (lane, beside) = proof.lane();
            let load = Arc::new(AtomicUsize::new(0));
            let gatekeeper = Gatekeeper::new(Arc::clone(&load), max_load, max_delay, Arc::clone(&metrics));
            let gatekeeper = Arc::new(gatekeeper);
            let (accounts, intakes) = (Arc::clone(&self.accounts), Arc::new(intakes.clone()));
            let facilitation = FacilitationRpc {
                lane,
                ..self.facilitation.clone()
            };
            // Of its own: nobody else's processor touches how often it is held.
            let counting = Arc::new(counting.clone());
            let facilitation = Unary::new(facilitation, self.max_message_bytes, Arc::clone(&gatekeeper));
            let facilitation = Arc::new(facilitation);
            let registry = RegistryServiceServer::new(self.registry.clone());
            let audit = AuditServiceServer::new(self.audit.clone());
            let priority = PriorityServiceServer::new(self.priority.clone())
                .max_decoding_message_size(self.max_message_bytes);
            let (feed, shipments) = (
                Arc::clone(&self.facilitation.feed),
                Arc::clone(&self.priority.shipments),
            );
            let (health, reflection, reflection_v1alpha) = (
                self.health.clone(),
                reflection.clone(),
                reflection_v1alpha.clone(),
            );
            let authentication = Arc::clone(&self.authentication);
            let keeps = Arc::clone(&gatekeeper);
            let service = move |ending: Ending, peer: Peer, conduct: Arc<Conduct>| Dispatch {
                counting: Arc::clone(&counting),
                feed: Arc::clone(&feed),
                facilitation: Arc::clone(&facilitation),
                registry: registry.clone(),
                audit: audit.clone(),
                shipments: Arc::clone(&shipments),
                priority: priority.clone(),
                health: health.clone(),
                reflection: reflection.clone(),
                reflection_v1alpha: reflection_v1alpha.clone(),
                ending,
                holding: Holding::new(Arc::clone(&accounts), peer.address.ip()),
                credentials: Credentials::new(Arc::clone(&authentication), peer),
                gatekeeper: Arc::clone(&keeps),
                conduct,
                intakes: Arc::clone(&intakes),
            };
            let rests = Arc::clone(&gatekeeper);
            WorkerService {
                service: Arc::new(service),
                load,
                rest: Box::new(move || rests.rest()),
                beside: Box::pin(async move {
                    tokio::select! {
                        () = beside.run() => {}
                        () = gatekeeper.run() => {}
                    }
                }),
            }
        };
        let server = Server::bind(
            settings.server.grpc_addr,
            workers,
            ConnectionLimits::from(settings),
            tls.map(ServerTrust::grpc).as_ref(),
            Arc::clone(&metrics),
            worker,
            drain,
        )?;
        Ok(server)
    }
}
