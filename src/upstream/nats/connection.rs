//! The connection: addresses and credentials from the settings, and reconnects that do not come all at once.

use std::{path::PathBuf, time::Duration};

use async_nats::{Auth, AuthError, Client, ConnectOptions, Event, ServerAddr};
use rand::RngExt as _;
use tracing::{debug, warn};

use super::{
    super::{UpstreamError, password},
    Names, credentials, unavailable,
};

/// How NATS is reached.
#[derive(Clone)]
pub struct NatsSettings {
    /// `nats://host:port,host:port` or `tls://`; the first may have `user:password@` before it.
    pub url: String,
    /// The beginning of the names of stream, bucket and subjects.
    pub prefix: String,
    /// Bound on one answer; a connection that is silent for as long is given up.
    pub timeout: Duration,
    /// Between two questions for the head.
    pub heartbeat_interval: Duration,
    /// Password of the user that the address names, in place of one there; read for every connection.
    pub password_file: Option<PathBuf>,
    /// A `.creds` file, if there is one, in place of a user; read for every connection.
    pub credentials_file: Option<PathBuf>,
    /// Trusted authorities, in PEM; the system's without.
    pub tls_ca_file: Option<PathBuf>,
    /// The client's certificate and key, in PEM.
    pub tls_client: Option<(PathBuf, PathBuf)>,
}

impl std::fmt::Debug for NatsSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the address: it may hold a password.
        f.debug_struct("NatsSettings")
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Longest wait between two tries to reconnect.
const MAX_RECONNECT_WAIT: Duration = Duration::from_secs(2);
/// The most pings that go unanswered before a connection is given up, and one.
const PINGS: u32 = 4;

impl NatsSettings {
    /// The names that these settings ask for.
    pub fn names(&self) -> Result<Names, UpstreamError> {
        Names::new(&self.prefix)
    }

    /// Whether address and names can be what they are: connects to nothing.
    pub fn check(&self) -> Result<(), UpstreamError> {
        self.names()?;
        self.servers().map(drop)
    }

    /// The servers, with the user that the address names.
    fn servers(&self) -> Result<Servers, UpstreamError> {
        // Never the address itself: it may hold a password.
        let wrong = |part: &str| UpstreamError::Unsupported(format!("upstream.url: {part}"));
        let (scheme, rest) = self
            .url
            .split_once("://")
            .ok_or_else(|| wrong("must be nats://host:port"))?;
        let (user, hosts) = match rest.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, rest),
        };
        let user = match user {
            None => None,
            Some(user) => {
                let (name, password) = match (user.split_once(':'), &self.password_file) {
                    (Some((name, password)), _) => (name, password),
                    (None, Some(_)) => (user, ""),
                    (None, None) => return Err(wrong("a user without a password")),
                };
                Some((unescape(name), unescape(password)))
            }
        };
        let mut addresses = Vec::new();
        for host in hosts.trim_end_matches('/').split(',') {
            let host = host.rsplit_once("://").map_or(host, |(_, host)| host);
            if host.is_empty() {
                return Err(wrong("a server must be host or host:port"));
            }
            let address = format!("{scheme}://{host}");
            let address: ServerAddr = address
                .parse()
                .map_err(|_| wrong("a server must be host or host:port"))?;
            addresses.push(address);
        }
        Ok(Servers {
            addresses,
            user,
            tls: scheme == "tls",
        })
    }
}

struct Servers {
    addresses: Vec<ServerAddr>,
    user: Option<(String, String)>,
    tls: bool,
}

/// Connects; afterwards the connection restores itself for as long as the client lives.
pub async fn connect(settings: &NatsSettings) -> Result<Client, UpstreamError> {
    let servers = settings.servers()?;
    // One server that does not answer must leave time for the others.
    let each =
        u32::try_from(servers.addresses.len()).map_or(settings.timeout, |count| settings.timeout / count);
    let (user, password_file) = (&servers.user, &settings.password_file);
    // Files at once too, so that one that cannot be used is told of as what it is.
    let options = match (&settings.credentials_file, user, password_file) {
        (Some(file), ..) => {
            credentials::answer(file, &[]).await?;
            with_credentials_file(file.clone())
        }
        (None, Some((name, _)), Some(file)) => {
            password::read(file).await?;
            with_password_file(name.clone(), file.clone())
        }
        (None, Some((name, password)), None) => {
            ConnectOptions::new().user_and_password(name.clone(), password.clone())
        }
        (None, None, _) => ConnectOptions::new(),
    };
    let mut options = options
        .name("greenlane")
        .connection_timeout(each)
        .request_timeout(Some(settings.timeout))
        .ping_interval((settings.timeout / PINGS).max(Duration::from_millis(50)))
        .max_reconnects(None)
        .reconnect_delay_callback(reconnect_wait)
        .event_callback(|event| async move { note(&event) })
        .require_tls(servers.tls);
    if let Some(file) = &settings.tls_ca_file {
        options = options.add_root_certificates(file.clone());
    }
    if let Some((certificate, key)) = &settings.tls_client {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    let connected = tokio::time::timeout(settings.timeout, options.connect(servers.addresses)).await;
    connected
        .map_err(|_| UpstreamError::timed_out("nats: connect", settings.timeout))?
        .map_err(|error| unavailable("connect", error))
}

/// Options that read the password anew for every connection, also for one that restores itself.
fn with_password_file(name: String, file: PathBuf) -> ConnectOptions {
    ConnectOptions::with_auth_callback(move |_nonce| {
        let (name, file) = (name.clone(), file.clone());
        async move {
            let password = password::read(&file).await.map_err(AuthError::new)?;
            let mut auth = Auth::new();
            auth.username = Some(name);
            auth.password = Some(password.as_str().to_owned());
            Ok(auth)
        }
    })
}

/// Options that read the credentials anew for every connection, also for one that restores itself.
fn with_credentials_file(file: PathBuf) -> ConnectOptions {
    ConnectOptions::with_auth_callback(move |nonce| {
        let file = file.clone();
        async move { credentials::answer(&file, &nonce).await.map_err(AuthError::new) }
    })
}

/// Doubles from 25 ms, half of it by chance, so that a fleet does not come back all at once.
fn reconnect_wait(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.clamp(1, 8)).unwrap_or(8);
    let ceiling = Duration::from_millis(25)
        .saturating_mul(1 << doublings)
        .min(MAX_RECONNECT_WAIT);
    ceiling.mul_f64(rand::rng().random_range(0.5..=1.0))
}

fn note(event: &Event) {
    match event {
        Event::Connected => debug!("connected to NATS"),
        Event::Disconnected => warn!("disconnected from NATS"),
        // What was dropped is missed by its sequence, and fetched again.
        Event::SlowConsumer(subscription) => {
            warn!(subscription, "NATS messages dropped: too slow to take them");
        }
        Event::LameDuckMode
        | Event::Draining
        | Event::Closed
        | Event::ServerError(_)
        | Event::ClientError(_) => debug!(%event, "NATS"),
    }
}

/// Takes `%XX` for the byte that it stands for.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = after.first_chunk::<2>().filter(|_| byte == b'%');
        let escaped = escaped.and_then(|digits| hex::decode(digits).ok());
        rest = if let Some(escaped) = escaped {
            bytes.extend_from_slice(&escaped);
            &after[2..]
        } else {
            bytes.push(byte);
            after
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> NatsSettings {
        NatsSettings {
            url: url.to_owned(),
            prefix: "greenlane".to_owned(),
            timeout: Duration::from_secs(5),
            heartbeat_interval: Duration::from_secs(1),
            password_file: None,
            credentials_file: None,
            tls_ca_file: None,
            tls_client: None,
        }
    }

    #[test]
    fn an_address_may_name_several_servers_and_a_user() {
        let servers = settings("nats://us%40er:p%3Aw@a:4222,b,nats://[::1]:4224/")
            .servers()
            .unwrap();
        let addresses: Vec<_> = servers
            .addresses
            .iter()
            .map(|a| (a.host().to_owned(), a.port()))
            .collect();
        assert_eq!(
            addresses,
            [
                ("a".to_owned(), 4222),
                ("b".to_owned(), 4222),
                ("::1".to_owned(), 4224)
            ]
        );
        assert_eq!(servers.user, Some(("us@er".to_owned(), "p:w".to_owned())));
        assert!(!servers.tls);
        assert!(settings("tls://a").servers().unwrap().tls);
    }

    #[test]
    fn an_address_that_cannot_be_read_is_refused_without_repeating_it() {
        for wrong in ["nats://", "nats://user@a", "http://a", "nats://a:b:c", "a"] {
            let refused = settings(wrong).servers().err().map(|error| error.to_string());
            assert!(
                refused.is_some_and(|refused| !refused.contains("user@")),
                "{wrong}"
            );
        }
    }

    #[test]
    fn waits_before_reconnecting_grow_and_differ() {
        assert!(reconnect_wait(1) <= Duration::from_millis(50));
        assert!((0..20).all(|_| reconnect_wait(50) >= MAX_RECONNECT_WAIT / 2));
        assert!((0..20).any(|_| reconnect_wait(9) != reconnect_wait(9)));
    }
}
