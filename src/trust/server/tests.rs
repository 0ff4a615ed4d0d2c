//! Handshakes in memory, and what becomes of them when files change.

use std::{net::SocketAddr, time::Instant};

use rustls::{
    ClientConfig, HandshakeKind, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    join,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;
use crate::trust::{
    Established,
    certificate::Facts,
    material::provider,
    testing::{Authority, Issued, Made, Served},
};

const SOON: Duration = Duration::from_secs(20);
const PEER: &str = "192.0.2.1:4711";

struct Scene {
    authority: Authority,
    served: Served,
    trust: Arc<ServerTrust>,
}

fn server(authority: &Authority, name: &str) -> Issued {
    let made = Made {
        names: Some("DNS:replica.example"),
        usage: "serverAuth",
        ..Made::default()
    };
    authority.issue(name, &made)
}

fn client(authority: &Authority, name: &str, names: Option<&'static str>) -> Issued {
    let made = Made {
        names,
        ..Made::default()
    };
    authority.issue(name, &made)
}

impl Scene {
    fn new(wanted: WantedOfClients) -> Self {
        let authority = Authority::new("one");
        let served = Served::new(&server(&authority, "server"));
        served.copy(&authority.certificate(), "ca.crt", 0o644);
        served.copy(&authority.revoke(&[]), "crl.pem", 0o644);
        let (second, metrics) = (Duration::from_secs(1), Arc::default());
        let trust = ServerTrust::load(served.files(), wanted, second, second / 50, metrics).unwrap();
        Self {
            authority,
            served,
            trust,
        }
    }

    /// A client's configuration, which keeps its sessions.
    fn configuration(&self, own: Option<&Issued>, protocols: &[&[u8]]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(self.authority.certificate()).unwrap())
            .unwrap();
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match own {
            Some(own) => {
                let key = PrivateKeyDer::from_pem_file(&own.key).unwrap();
                builder.with_client_auth_cert(vec![own.der()], key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }

    /// Both ends of a handshake.
    async fn shake(
        &self,
        acceptor: &Acceptor,
        config: &Arc<ClientConfig>,
    ) -> (Option<Established<DuplexStream>>, Option<TlsStream<DuplexStream>>) {
        let (own, theirs) = duplex(1 << 16);
        let name = ServerName::try_from("replica.example").unwrap();
        let connect = TlsConnector::from(Arc::clone(config)).connect(name, theirs);
        let (established, connected) = join!(acceptor.accept(own, peer()), connect);
        (established, connected.ok())
    }

    fn counted(&self, outcome: &str) -> String {
        let text = self.trust.metrics.openmetrics().unwrap();
        let name = format!("greenlane_tls_handshakes_total{{outcome=\"{outcome}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap().to_owned()
    }
}

fn peer() -> SocketAddr {
    PEER.parse().unwrap()
}

#[tokio::test]
async fn a_client_is_known_by_the_uris_of_its_certificate_and_without_one_it_is_turned_away() {
    let scene = Scene::new(WantedOfClients::MustShow);
    let (grpc, http) = (scene.trust.grpc(), scene.trust.http());
    let own = client(
        &scene.authority,
        "client",
        Some("URI:spiffe://customs.example/terminal/1,DNS:x"),
    );
    let (established, connected) = scene
        .shake(&grpc, &scene.configuration(Some(&own), &[b"h2"]))
        .await;
    let (mut established, mut connected) = (established.unwrap(), connected.unwrap());
    let certificate = established.certificate.as_ref().unwrap();
    assert_eq!(certificate.uris, ["spiffe://customs.example/terminal/1"]);
    assert_eq!(connected.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    connected.write_all(b"question").await.unwrap();
    connected.flush().await.unwrap();
    let mut said = [0; 8];
    established.stream.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"question");

    let nobody = scene.configuration(None, &[b"h2"]);
    assert!(scene.shake(&grpc, &nobody).await.0.is_none());
    assert_eq!(
        (&*scene.counted("done"), &*scene.counted("no_certificate")),
        ("1", "1")
    );
    // A probe has none, and need not say what it speaks.
    let (established, _) = scene.shake(&http, &scene.configuration(None, &[])).await;
    assert!(established.unwrap().certificate.is_none());
    let other = Authority::new("one");
    let stranger = client(&other, "stranger", None);
    for acceptor in [&grpc, &http] {
        let config = scene.configuration(Some(&stranger), &[]);
        assert!(scene.shake(acceptor, &config).await.0.is_none());
    }
    assert_eq!(scene.counted("bad_certificate"), "2");
}

#[tokio::test]
async fn grpc_is_spoken_to_who_asks_for_h2_alone() {
    let scene = Scene::new(WantedOfClients::MayShow);
    let grpc = scene.trust.grpc();
    for protocols in [&[][..], &[&b"http/1.1"[..]]] {
        let config = scene.configuration(None, protocols);
        assert!(scene.shake(&grpc, &config).await.0.is_none());
    }
    assert_eq!(scene.counted("incompatible"), "2");
    let config = scene.configuration(None, &[b"h2"]);
    assert!(scene.shake(&scene.trust.http(), &config).await.0.is_none());
}

#[tokio::test]
async fn a_handshake_that_stalls_other_bytes_and_an_end_are_told_apart() {
    let scene = Scene::new(WantedOfClients::MayShow);
    let grpc = scene.trust.grpc();
    let begun = Instant::now();
    let (own, _silent) = duplex(1024);
    assert!(grpc.accept(own, peer()).await.is_none());
    assert!(begun.elapsed() >= scene.trust.handshake_timeout());
    let (own, mut theirs) = duplex(1024);
    theirs
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    assert!(grpc.accept(own, peer()).await.is_none());
    let (own, theirs) = duplex(1024);
    drop(theirs);
    assert!(grpc.accept(own, peer()).await.is_none());
    for outcome in ["timeout", "not_tls", "left"] {
        assert_eq!(scene.counted(outcome), "1", "{outcome}");
    }
}

#[tokio::test]
async fn a_new_pair_is_shown_to_who_comes_and_a_bad_one_to_nobody() {
    let scene = Scene::new(WantedOfClients::MayShow);
    let (grpc, config) = (scene.trust.grpc(), scene.configuration(None, &[b"h2"]));
    let shown = async || {
        let (_established, connected) = scene.shake(&grpc, &config).await;
        let connected = connected.unwrap();
        let chain = connected.get_ref().1.peer_certificates().unwrap();
        Facts::read(&chain[0]).unwrap().serial
    };
    let serial = |issued: &Issued| Facts::read(&issued.der()).unwrap().serial;
    let reading = |name: &str| {
        scene.trust.read();
        let text = scene.trust.metrics.openmetrics().unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap().to_owned()
    };
    let first = shown().await;
    let second = server(&scene.authority, "second");
    scene.served.put(&second);
    scene.trust.look();
    assert_eq!(shown().await, serial(&second));
    assert_ne!(first, serial(&second));

    scene
        .served
        .copy(&server(&scene.authority, "third").key, "tls.key", 0o600);
    for _ in 0..3 {
        scene.trust.look();
        assert_eq!(shown().await, serial(&second));
    }
    assert_eq!(reading("greenlane_tls_files_refused"), "1");
    assert_eq!(
        reading("greenlane_tls_reloads_total{outcome=\"refused\"}"),
        "1",
        "told once"
    );
    let ends = Facts::read(&second.der()).unwrap().not_after;
    let left: f64 = reading("greenlane_tls_certificate_expiry_seconds")
        .parse()
        .unwrap();
    let expected = ends.as_secs_f64() - now().as_secs_f64();
    assert!((left - expected).abs() < 5.0, "{left}");

    scene.served.put(&second);
    scene.trust.look();
    assert_eq!(
        reading("greenlane_tls_files_refused"),
        "0",
        "what is in force is there again"
    );
    assert_eq!(reading("greenlane_tls_reloads_total{outcome=\"taken\"}"), "1");
}

#[tokio::test]
async fn who_is_trusted_no_longer_hears_of_it_and_resumes_nothing() {
    let scene = Scene::new(WantedOfClients::MustShow);
    let grpc = scene.trust.grpc();
    let (good, bad) = (
        client(&scene.authority, "good", None),
        client(&scene.authority, "bad", None),
    );
    let (good_config, bad_config) = (
        scene.configuration(Some(&good), &[b"h2"]),
        scene.configuration(Some(&bad), &[b"h2"]),
    );
    let (first, mut theirs) = scene.shake(&grpc, &bad_config).await;
    let mut first = first.unwrap();
    // Tickets come with what is said first.
    first.stream.write_all(b"hello").await.unwrap();
    first.stream.flush().await.unwrap();
    let mut said = [0; 5];
    theirs.as_mut().unwrap().read_exact(&mut said).await.unwrap();
    let (resumed, _theirs) = scene.shake(&grpc, &bad_config).await;
    let resumed = resumed.unwrap();
    assert_eq!(
        resumed.stream.get_ref().1.handshake_kind(),
        Some(HandshakeKind::Resumed)
    );
    let (other, _theirs) = scene.shake(&grpc, &good_config).await;
    let other = other.unwrap();
    let mut kept = Box::pin(other.standing.lost());
    let mut lost = Box::pin(async { join!(first.standing.lost(), resumed.standing.lost()) });
    let wait = Duration::from_millis(100);
    assert!(timeout(wait, &mut lost).await.is_err());

    scene
        .served
        .copy(&scene.authority.revoke(&[&bad]), "crl.pem", 0o644);
    scene.trust.look();
    timeout(SOON, lost).await.expect("revoked");
    assert!(
        scene.shake(&grpc, &bad_config).await.0.is_none(),
        "no session outlives it"
    );
    let (again, _theirs) = scene.shake(&grpc, &good_config).await;
    assert_eq!(
        again.unwrap().stream.get_ref().1.handshake_kind(),
        Some(HandshakeKind::Full)
    );
    assert!(timeout(wait, &mut kept).await.is_err(), "another one is kept");

    scene
        .served
        .copy(&Authority::new("two").certificate(), "ca.crt", 0o644);
    scene.trust.look();
    timeout(SOON, &mut kept).await.expect("its authority is gone");
}
