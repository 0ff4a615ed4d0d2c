//! A server in a thread of its own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Once,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use greenlane::{
    app::{
        App, Stopped, once,
        settings::{Settings, Span, StoreUrl},
    },
    wire::pb::{
        self, audit_service_client::AuditServiceClient,
        facilitation_service_client::FacilitationServiceClient,
        priority_service_client::PriorityServiceClient, registry_service_client::RegistryServiceClient,
    },
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::health_client::HealthClient;

use super::{SOON, eventually, store};

/// The master secret of every test server: replicas must agree.
pub(crate) const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// Panics in the server's own threads: tonic and tokio would swallow them.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// A running server; stops when it goes, and fails the test if it did not stop in order.
pub(crate) struct TestApp {
    grpc: SocketAddr,
    http: SocketAddr,
    store: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<anyhow::Result<Stopped>>>,
    panics: usize,
    _folder: TempDir,
}

impl TestApp {
    /// A server over a new, empty store.
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    /// A server with other settings than the usual ones.
    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::with_secret(SECRET, change)
    }

    /// A server with another master secret than the others have.
    pub(crate) fn with_secret(secret: &'static str, change: impl FnOnce(&mut Settings)) -> Self {
        count_panics();
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), change);
        let store = settings.upstream_url();
        // Of another kind of store there is no file to open.
        let store = PathBuf::from(store.strip_prefix("sqlite://").unwrap_or_default());
        let (stop, stopped) = oneshot::channel::<()>();
        let (bound, addresses) = mpsc::channel();
        let thread = thread::Builder::new().name("test-app".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let app = App::build(&settings, secret, false).await?;
                bound.send((app.grpc_address()?, app.http_address()?))?;
                Box::pin(app.run_until(once(async { drop(stopped.await) }))).await
            })
        });
        let thread = thread.unwrap();
        let Ok((grpc, http)) = addresses.recv() else {
            panic!("the server did not start: {:?}", thread.join());
        };
        Self {
            grpc,
            http,
            store,
            stop: Some(stop),
            thread: Some(thread),
            panics: PANICS.load(Ordering::SeqCst),
            _folder: folder,
        }
    }

    /// Another server over the same store.
    pub(crate) fn replica(&self) -> Self {
        let url = format!("sqlite://{}", self.store.display());
        Self::with(|settings| settings.upstream.url = StoreUrl::new(url))
    }

    /// A server over a store with one enterprise of each tier, ready to decide.
    pub(crate) async fn ready() -> Self {
        Self::ready_with(|_| {}).await
    }

    /// The same with other settings.
    pub(crate) async fn ready_with(change: impl FnOnce(&mut Settings)) -> Self {
        let app = Self::with(change);
        store::enterprise_of_each_tier(&app.sql());
        app.until_caught_up().await;
        app
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.grpc
    }

    pub(crate) fn http_address(&self) -> SocketAddr {
        self.http
    }

    pub(crate) fn store(&self) -> &Path {
        &self.store
    }

    /// A connection of another program to the store.
    pub(crate) fn sql(&self) -> rusqlite::Connection {
        store::connect(&self.store)
    }

    /// The store's head: what a request names in `min_registry_version` to be decided on all that was written.
    pub(crate) fn head(&self) -> pb::RegistryVersion {
        store::head(&self.sql())
    }

    /// Waits until the server stands where the store does, and is ready.
    pub(crate) async fn until_caught_up(&self) -> pb::GetRegistryStatusResponse {
        let mut registry = self.registry();
        eventually("the registry has caught up with the store", SOON, async || {
            let head = self.head();
            let status = registry
                .get_registry_status(pb::GetRegistryStatusRequest {})
                .await;
            let status = status.unwrap().into_inner();
            let ready = status.state == i32::from(pb::RegistryState::Live);
            (ready && status.registry_version == Some(head)).then_some(status)
        })
        .await
    }

    /// What `/metrics` tells.
    pub(crate) async fn metrics(&self) -> String {
        let (head, body) = self.http_get("/metrics").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        body
    }

    /// The head and the body of what a path answers over HTTP.
    pub(crate) async fn http_get(&self, path: &str) -> (String, String) {
        let mut socket = TcpStream::connect(self.http).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: replica\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    fn channel(&self) -> Channel {
        Endpoint::try_from(format!("http://{}", self.grpc))
            .unwrap()
            .connect_lazy()
    }

    pub(crate) fn facilitation(&self) -> FacilitationServiceClient<Channel> {
        FacilitationServiceClient::new(self.channel())
    }

    pub(crate) fn audit(&self) -> AuditServiceClient<Channel> {
        AuditServiceClient::new(self.channel())
    }

    pub(crate) fn priority(&self) -> PriorityServiceClient<Channel> {
        PriorityServiceClient::new(self.channel())
    }

    pub(crate) fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel())
    }

    pub(crate) fn registry(&self) -> RegistryServiceClient<Channel> {
        RegistryServiceClient::new(self.channel())
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(thread::JoinHandle::join);
        if thread::panicking() {
            return;
        }
        match ended {
            Some(Ok(Ok(_))) | None => {}
            Some(Ok(Err(error))) => panic!("the server failed: {error:#}"),
            Some(Err(_)) => panic!("the server's main thread panicked"),
        }
        let panics = PANICS.load(Ordering::SeqCst) - self.panics;
        assert_eq!(panics, 0, "threads of the server panicked");
    }
}

fn settings(folder: &Path, change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::default();
    settings.server.grpc_addr = "127.0.0.1:0".parse().unwrap();
    settings.server.http_addr = "127.0.0.1:0".parse().unwrap();
    settings.server.data_dir = folder.to_owned();
    settings.server.workers = 2;
    settings.upstream.poll_interval = Span::new(Duration::from_millis(2));
    settings.policy.reload_interval = Span::new(Duration::from_millis(10));
    settings.drain.propagation = Span::new(Duration::ZERO);
    // A client that its test no longer runs cannot answer a GOAWAY.
    settings.drain.deadline = Span::new(Duration::from_millis(50));
    // What is not optimised is overloaded soon.
    settings.limits.max_queue_delay = Span::new(Duration::ZERO);
    change(&mut settings);
    settings
}

fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let thread = thread::current();
            let name = thread.name().unwrap_or_default();
            if name.starts_with("grpc-") || name == "upstream" || name == "test-app" {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            usual(info);
        }));
    });
}
