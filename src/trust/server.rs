//! The TLS of a server: what is in force, and how it follows its files.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tracing::{error, info};

use super::{
    certificate::{instant, now},
    files::TrustError,
    handshake::{Acceptor, Protocol},
    material::{Material, ServerFiles, WantedOfClients},
};
use crate::metrics::{Metrics, TlsReading};

/// Between two looks at the files there is at least so much.
const LEAST_INTERVAL: Duration = Duration::from_millis(10);

/// The TLS of a server.
#[derive(Debug)]
pub struct ServerTrust {
    files: ServerFiles,
    wanted: WantedOfClients,
    handshake_timeout: Duration,
    interval: Duration,
    in_force: ArcSwap<Material>,
    /// Of what is in force; told when clients are trusted by something else.
    generation: watch::Sender<u64>,
    /// Why the files as they are now are not in force; empty when they are.
    problem: Mutex<String>,
    metrics: Arc<Metrics>,
}

impl ServerTrust {
    /// Takes the files as they are. `handshake_timeout` bounds a handshake; files are looked at again every `interval` by
    /// [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// The first file that cannot be used.
    pub fn load(
        files: ServerFiles,
        wanted: WantedOfClients,
        handshake_timeout: Duration,
        interval: Duration,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, TrustError> {
        let material = Material::new(&files, wanted, &files.read()?, now())?;
        told(&material);
        Ok(Arc::new(Self {
            files,
            wanted,
            handshake_timeout,
            interval: interval.max(LEAST_INTERVAL),
            generation: watch::Sender::new(material.generation),
            in_force: ArcSwap::from_pointee(material),
            problem: Mutex::default(),
            metrics,
        }))
    }

    /// What makes connections of sockets that speak gRPC: HTTP/2 over TLS.
    pub fn grpc(self: &Arc<Self>) -> Acceptor {
        Acceptor::new(Arc::clone(self), Protocol::Grpc)
    }

    /// What makes connections of sockets that speak HTTP/1.1 over TLS. Clients are never bound to show a certificate.
    pub fn http(self: &Arc<Self>) -> Acceptor {
        Acceptor::new(Arc::clone(self), Protocol::Http)
    }

    /// Looks at the files until `stop` turns true.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            tokio::select! {
                () = tokio::time::sleep(self.interval) => {}
                _ = stop.changed() => return,
            }
            let own = Arc::clone(&self);
            // They may lie on another machine. A look that panicked leaves what is in force.
            drop(tokio::task::spawn_blocking(move || own.look()).await);
        }
    }

    /// Takes the files if they have changed and can be used.
    pub(super) fn look(&self) {
        let former = self.in_force.load();
        let looked = self.files.read().and_then(|contents| {
            if contents.digest() == former.digest {
                return Ok(None);
            }
            Material::new(&self.files, self.wanted, &contents, now()).map(Some)
        });
        match looked {
            Ok(material) => {
                if let Some(material) = material {
                    let material = material.following(&former);
                    let generation = material.generation;
                    told(&material);
                    self.in_force.store(Arc::new(material));
                    self.metrics.tls.taken();
                    // Who hears of it finds it in force.
                    self.generation
                        .send_if_modified(|known| std::mem::replace(known, generation) != generation);
                }
                self.note(String::new());
            }
            Err(problem) => self.note(problem.to_string()),
        }
    }

    fn note(&self, problem: String) {
        let mut known = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == problem {
            return;
        }
        if problem.is_empty() {
            info!("TLS files are in force again as they are");
        } else {
            error!(problem, "TLS files refused; the last good ones stay in force");
            self.metrics.tls.refused();
        }
        *known = problem;
    }

    /// Tells the metrics how it stands at this instant.
    pub fn read(&self) {
        let in_force = self.in_force.load();
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now().as_secs_f64();
        let left = |end: Duration| end.as_secs_f64() - now;
        self.metrics.tls.read(&TlsReading {
            certificate: left(in_force.served.not_after),
            client_ca: in_force.client_ca_ends.map(left),
            client_crl: in_force.client_crl_ends.map(left),
            is_refused: !problem.is_empty(),
        });
    }

    pub(super) fn in_force(&self) -> Arc<Material> {
        self.in_force.load_full()
    }

    pub(super) fn handshake_timeout(&self) -> Duration {
        self.handshake_timeout
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Tells of each change of what clients are trusted by.
    pub(super) fn generations(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Over how long it is spread that connections ask again after such a change.
    pub(super) fn spread(&self) -> Duration {
        self.interval
    }

    /// Whether a client's certificates, its own first, are trusted now.
    pub(super) fn vouches_for(&self, chain: &[CertificateDer<'static>]) -> bool {
        self.in_force.load().vouches_for(chain, now())
    }
}

fn told(material: &Material) {
    let Material { served, .. } = material;
    info!(
        serial = served.serial,
        expires = instant(served.not_after),
        "TLS certificate in force"
    );
}

#[cfg(test)]
#[path = "server/tests.rs"]
mod tests;
