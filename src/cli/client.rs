//! A client of a running server: the one that the configuration names, over TLS where it says so.

use std::{error::Error as _, fs, path::Path, time::Duration};

use anyhow::{Context as _, anyhow, ensure};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, ClientTlsConfig, Identity},
};
use tonic_types::StatusExt as _;

use super::Context;
use crate::app::{
    settings::{ClientSettings, Settings},
    tls,
};

pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Batches of full requests are larger than the library's 4 MiB.
pub(super) const MAX_MESSAGE: usize = 64 << 20;

/// Runs a command that talks to the server.
pub(super) fn block_on<T>(run: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run)
}

/// A connection whose calls say who they are from.
pub(super) type Authorized = InterceptedService<Channel, Bearer>;

/// Puts the token, if there is one, to every call.
#[derive(Debug, Clone)]
pub(super) struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    /// The token of a file, which may end with a line's end; none where the path is empty.
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        if file.as_os_str().is_empty() {
            return Ok(Self(None));
        }
        let named = || format!("client.token_file {}", file.display());
        let token = fs::read_to_string(file).with_context(named)?;
        // What is wrong is not shown: it may be most of a token.
        let mut value = MetadataValue::try_from(format!("Bearer {}", token.trim()))
            .map_err(|_| anyhow!("it holds no token"))
            .with_context(named)?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// Connects to `client.address`, or else to `server.grpc_addr`.
pub(super) async fn connect(context: &Context) -> anyhow::Result<Authorized> {
    let settings = context.settings();
    let (address, setting) = address(settings)?;
    let mut endpoint = Channel::from_shared(address.clone())
        .with_context(|| format!("{setting} {address:?}"))?
        .connect_timeout(CONNECT_TIMEOUT);
    if address.starts_with("https://") {
        endpoint = endpoint.tls_config(tls_config(&settings.client)?)?;
    }
    let token = Bearer::read(&settings.client.token_file)?;
    let channel = endpoint
        .connect()
        .await
        .with_context(|| format!("no server answers at {address} ({setting})"))?;
    Ok(InterceptedService::new(channel, token))
}

/// The server's address with its scheme, and the setting that it comes from.
pub(super) fn address(settings: &Settings) -> anyhow::Result<(String, &'static str)> {
    let given = &settings.client.address;
    if given.is_empty() {
        let scheme = if settings.tls.is_set() { "https" } else { "http" };
        let address = format!("{scheme}://{}", settings.server.grpc_addr);
        return Ok((address, "server.grpc_addr"));
    }
    ensure!(
        given.starts_with("https://") || given.starts_with("http://"),
        "client.address {given:?}: must be https://host:port, or http://host:port for plaintext"
    );
    Ok((given.clone(), "client.address"))
}

fn tls_config(client: &ClientSettings) -> anyhow::Result<ClientTlsConfig> {
    let files = tls::client_files(client);
    let mut config = ClientTlsConfig::new()
        .trust_anchors(files.roots()?.roots)
        .timeout(CONNECT_TIMEOUT);
    if let Some(pair) = files.pair()? {
        config = config.identity(Identity::from_pem(&pair.certificate, &pair.key));
    }
    if !client.tls_name.is_empty() {
        config = config.domain_name(&client.tls_name);
    }
    Ok(config)
}

/// What the transport says at the bottom of it, where the status was not sent by the server.
fn root_cause(status: &Status) -> Option<&(dyn std::error::Error + 'static)> {
    let mut cause = status.source()?;
    while let Some(below) = cause.source() {
        cause = below;
    }
    Some(cause)
}

/// A refusal in words: the code, the message, and each field that breaks a rule.
pub(super) fn refusal(status: &Status) -> anyhow::Error {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    if let Some(lost) = root_cause(status) {
        // With TLS 1.3 a client hears only then that its certificate is not taken.
        let hint = "a server that asks for certificates ends it so: --tls-cert";
        text = format!("{text} (the connection was lost: {lost}; {hint})");
    }
    if let Some(bad_request) = status.get_details_bad_request() {
        for violation in bad_request.field_violations {
            text.push_str("\n  ");
            text.push_str(&violation.field);
            text.push_str(": ");
            text.push_str(&violation.description);
        }
    }
    anyhow!(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_reached_where_it_is_said_or_where_it_listens_itself() {
        let mut settings = Settings::default();
        let asked = |settings: &Settings| address(settings).unwrap();
        let own = ("http://127.0.0.1:50051".to_owned(), "server.grpc_addr");
        assert_eq!(asked(&settings), own);
        settings.tls.certificate_file = "tls.crt".into();
        assert_eq!(asked(&settings).0, "https://127.0.0.1:50051");
        settings.client.address = "https://replica.example:443".to_owned();
        let named = ("https://replica.example:443".to_owned(), "client.address");
        assert_eq!(asked(&settings), named);
        for wrong in ["replica.example:443", "HTTPS://a:1", "tls://a:1"] {
            settings.client.address = wrong.to_owned();
            let told = address(&settings).unwrap_err().to_string();
            assert!(told.contains("client.address") && told.contains(wrong), "{told}");
        }
    }
}
