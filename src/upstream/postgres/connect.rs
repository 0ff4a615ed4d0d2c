//! Connections: the address as operators write it, and what bounds every wait on it.

use std::{str::FromStr, time::Duration};

use tokio::task::JoinSet;
use tokio_postgres::{Client, Config, Connection, Socket, config::SslMode, tls::MakeTlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    super::{UpstreamError, password},
    Settings, schema,
    tls::{self, Verification},
    within,
};

/// A parsed `upstream.url`.
#[derive(Debug, Clone)]
pub(super) struct Address {
    config: Config,
    verification: Verification,
}

/// The stream under TLS.
type TlsStream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// A connection, and the task that drives it; both end together.
pub(super) struct Session {
    pub(super) client: Client,
    _connection: JoinSet<()>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Address {
    /// Reads the address. `sslmode` is disable, prefer (default), require, verify-ca or verify-full; whatever uses TLS
    /// verifies the server, and only verify-ca lets another host name pass.
    pub(super) fn read(settings: &Settings) -> Result<Self, UpstreamError> {
        let refused =
            |problem: &dyn std::fmt::Display| UpstreamError::Unsupported(format!("upstream.url: {problem}"));
        let (url, mode) = without_sslmode(&settings.url);
        let (mode, verification) = match mode.as_deref().unwrap_or("prefer") {
            "disable" => (SslMode::Disable, Verification::IssuerAndHost),
            "prefer" => (SslMode::Prefer, Verification::IssuerAndHost),
            "require" | "verify-full" => (SslMode::Require, Verification::IssuerAndHost),
            // Anybody can have a certificate of some public issuer.
            "verify-ca" if settings.tls.ca.as_os_str().is_empty() => {
                return Err(refused(&"sslmode=verify-ca needs upstream.tls_ca_file"));
            }
            "verify-ca" => (SslMode::Require, Verification::Issuer),
            other => {
                return Err(refused(&format!(
                    "sslmode {other:?} is none of disable, prefer, require, verify-ca, verify-full"
                )));
            }
        };
        let mut config = Config::from_str(&url).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            refused(&cause.unwrap_or_else(|| error.to_string()))
        })?;
        let asked = settings.timeout;
        config.ssl_mode(mode);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(asked);
        }
        // A peer that vanished without a FIN: the system gives the connection up, also when nobody waits on it.
        config.keepalives(true);
        config.keepalives_idle(asked.max(Duration::from_secs(1)));
        config.keepalives_interval(Duration::from_secs(1).max(asked / 4));
        config.keepalives_retries(3);
        config.tcp_user_timeout(asked);
        if config.get_application_name().is_none() {
            config.application_name("greenlane");
        }
        Ok(Self { config, verification })
    }

    /// Connects, and gives the connection to drive.
    pub(super) async fn connect(
        &self,
        settings: &Settings,
    ) -> Result<(Client, Connection<Socket, TlsStream>), UpstreamError> {
        let tls = if self.config.get_ssl_mode() == SslMode::Disable {
            rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
                .with_safe_default_protocol_versions()
                .map_err(|error| UpstreamError::Unavailable(error.to_string()))?
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth()
        } else {
            tls::client_config(&settings.tls, self.verification)?
        };
        let mut config = self.config.clone();
        if let Some(file) = &settings.password_file {
            config.password(password::read(file).await?.as_bytes());
        }
        let connecting = config.connect(MakeRustlsConnect::new(tls));
        within(settings.timeout, "connecting", connecting).await
    }

    /// Connects to a store of ours, and lets a task drive the connection.
    pub(super) async fn session(&self, settings: &Settings) -> Result<Session, UpstreamError> {
        let session = self.any_session(settings).await?;
        schema::require_current(&session.client, settings.timeout).await?;
        Ok(session)
    }

    /// That session, where it is still open, or else a new one.
    pub(super) async fn reuse(
        &self,
        settings: &Settings,
        kept: Option<Session>,
    ) -> Result<Session, UpstreamError> {
        match kept {
            Some(session) if session.is_open() => Ok(session),
            _ => self.session(settings).await,
        }
    }

    /// Connects to a database that may not hold a store yet.
    pub(super) async fn any_session(&self, settings: &Settings) -> Result<Session, UpstreamError> {
        let (client, connection) = self.connect(settings).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // Whoever waits on the client is told of the error too.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the database ended");
            }
        });
        Ok(Session {
            client,
            _connection: tasks,
        })
    }
}

impl Session {
    fn is_open(&self) -> bool {
        !self.client.is_closed()
    }
}

/// Bound on one batch, where the usual one is shorter: it is more work than a look, and may wait for the batches of others.
const BATCH: Duration = Duration::from_secs(30);

/// A session that is kept from one batch to the next; connects at the first use.
#[derive(Debug)]
pub(super) struct Kept {
    settings: Settings,
    address: Address,
    session: Option<Session>,
}

impl Kept {
    /// A session with that database.
    pub(super) fn new(settings: Settings) -> Result<Self, UpstreamError> {
        Ok(Self {
            address: Address::read(&settings)?,
            settings,
            session: None,
        })
    }

    /// Whether the next use goes on with the session of the last.
    pub(super) fn is_open(&self) -> bool {
        self.session.as_ref().is_some_and(Session::is_open)
    }

    /// Does something on the session, which lives on only if that goes well and in time. `what` is for who is told that it did
    /// not.
    pub(super) async fn with<T>(
        &mut self,
        what: &str,
        work: impl AsyncFnOnce(&Client) -> Result<T, UpstreamError>,
    ) -> Result<T, UpstreamError> {
        let session = self.address.reuse(&self.settings, self.session.take()).await?;
        let bound = self.settings.timeout.max(BATCH);
        let done = within(bound, what, work(&session.client)).await?;
        self.session = Some(session);
        Ok(done)
    }
}

/// The address without its `sslmode`, of which `tokio-postgres` knows only three, and that mode.
fn without_sslmode(url: &str) -> (String, Option<String>) {
    let Some((base, query)) = url.split_once('?') else {
        return (url.to_owned(), None);
    };
    let mut mode = None;
    let mut rest = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", value)) => mode = Some(value.to_owned()),
            _ => rest.push(pair),
        }
    }
    let url = if rest.is_empty() {
        base.to_owned()
    } else {
        format!("{base}?{}", rest.join("&"))
    };
    (url, mode)
}

#[cfg(test)]
mod tests {
    use super::{super::TlsFiles, *};

    fn read(url: &str, ca: &str) -> Result<Address, UpstreamError> {
        Address::read(&Settings {
            url: url.to_owned(),
            poll_interval: Duration::from_millis(20),
            heartbeat_interval: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
            tls: TlsFiles {
                ca: ca.into(),
                ..TlsFiles::default()
            },
            password_file: None,
        })
    }

    #[test]
    fn every_sslmode_that_uses_tls_verifies() {
        let cases = [
            ("", SslMode::Prefer, Verification::IssuerAndHost),
            ("?sslmode=disable", SslMode::Disable, Verification::IssuerAndHost),
            ("?sslmode=prefer", SslMode::Prefer, Verification::IssuerAndHost),
            ("?sslmode=require", SslMode::Require, Verification::IssuerAndHost),
            ("?sslmode=verify-ca", SslMode::Require, Verification::Issuer),
            (
                "?connect_timeout=3&sslmode=verify-full",
                SslMode::Require,
                Verification::IssuerAndHost,
            ),
        ];
        for (query, mode, verification) in cases {
            let address = read(&format!("postgres://u:p@h:5432/d{query}"), "ca.pem").expect(query);
            assert_eq!(address.config.get_ssl_mode(), mode, "{query}");
            assert_eq!(address.verification, verification, "{query}");
            assert_eq!(address.config.get_dbname(), Some("d"), "{query}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_read_says_why_and_keeps_the_password() {
        for (url, problem) in [
            ("postgres://u:secret@h/d?sslmode=allow", "sslmode \"allow\""),
            ("postgres://u:secret@h/d?sslmode=verify-ca", "tls_ca_file"),
            ("postgres://u:secret@h:port/d", "port"),
            ("postgres://u:secret@h/d?sslcert=x", "sslcert"),
        ] {
            let error = read(url, "").expect_err(url).to_string();
            assert!(error.contains(problem) && !error.contains("secret"), "{error}");
        }
    }
}
