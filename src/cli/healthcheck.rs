//! `greenlane healthcheck`
//!
//! Asks `/readyz` or `/livez` over a socket: a container from scratch has no shell and no other client.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

use super::{Context, output};
use crate::{
    app::{settings::Span, tls},
    trust::client::unverified,
};

/// More is not read of an answer: a probe's is a line.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// Ask a running server whether it is well; exit code 0 if it is, 1 if not or if it does not answer
#[derive(Debug, clap::Args)]
pub(super) struct Healthcheck {
    /// Whether decisions can be had: registry loaded, not EXPIRED, not draining [default]
    #[arg(long, conflicts_with = "live")]
    ready: bool,

    /// Whether the process answers at all
    #[arg(long)]
    live: bool,

    /// The HTTP address to ask, with https:// before it where TLS is spoken [default: `server.http_addr`, on its own machine
    /// where that is every address, and TLS where [tls] is set]
    ///
    /// The certificate of an address that is named is verified (--tls-ca, --tls-name). Its own is not: it bears the name by which
    /// others call, and nothing is told to whoever answers in its place.
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,

    /// How long the answer may take
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    timeout: Span,
}

impl Healthcheck {
    /// Runs the command.
    pub(super) fn run(&self, context: &Context) -> anyhow::Result<ExitCode> {
        let target = Target::new(self.address.as_deref(), context)?;
        let (path, well) = if self.live {
            ("/livez", "live")
        } else {
            ("/readyz", "ready")
        };
        let asked = ask(&target, path, self.timeout.get()).with_context(|| format!("{target}{path}"));
        let (is_well, told) = match asked {
            Ok((200, _)) => (true, well.to_owned()),
            Ok((code, answer)) => (false, format!("{code} {answer}")),
            Err(problem) => (false, format!("{problem:#}")),
        };
        match context.output {
            output::Format::Table if is_well => output::line(&told)?,
            output::Format::Table => bail!("{told}"),
            output::Format::Json => output::json(&serde_json::json!({well: is_well, "answer": told}))?,
        }
        Ok(if is_well {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// An address to connect to: a server that listens on every address is asked on the machine's own.
fn reachable(address: SocketAddr) -> SocketAddr {
    if !address.ip().is_unspecified() {
        return address;
    }
    let own: IpAddr = if address.is_ipv4() {
        Ipv4Addr::LOCALHOST.into()
    } else {
        Ipv6Addr::LOCALHOST.into()
    };
    SocketAddr::new(own, address.port())
}

/// Who is asked.
struct Target {
    address: String,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.address)
    }
}

impl Target {
    fn new(named: Option<&str>, context: &Context) -> anyhow::Result<Self> {
        let settings = context.settings();
        let (is_tls, address) = match named.map(|named| named.split_once("://").unwrap_or(("", named))) {
            Some(("https", address)) => (true, address.to_owned()),
            Some(("http", address)) => (false, address.to_owned()),
            Some(("", address)) => (settings.tls.is_set(), address.to_owned()),
            Some((scheme, _)) => bail!("--address: {scheme}:// is neither http:// nor https://"),
            None => (
                settings.tls.is_set(),
                reachable(settings.server.http_addr).to_string(),
            ),
        };
        if !is_tls {
            return Ok(Self { address, tls: None });
        }
        let config = match named {
            Some(_) => tls::client_files(&settings.client).http()?,
            None => unverified()?,
        };
        let name = match &*settings.client.tls_name {
            "" => host(&address),
            name => name,
        };
        let name = ServerName::try_from(name.to_owned())
            .with_context(|| format!("{name:?} is no name of a server"))?;
        Ok(Self {
            address,
            tls: Some((Arc::new(config), name)),
        })
    }
}

/// The host of an address, without the brackets of IPv6.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

/// What can be read and written.
trait Duplex: Read + Write {}

impl<S: Read + Write> Duplex for S {}

/// Gives the status code and the text of the answer.
fn ask(target: &Target, path: &str, timeout: Duration) -> anyhow::Result<(u16, String)> {
    let end = Instant::now() + timeout;
    let left = || {
        let left = end.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "no answer within {}", Span::new(timeout));
        Ok(left)
    };
    let address = &target.address;
    let mut refused = anyhow::anyhow!("the name has no address");
    for resolved in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&resolved, left()?) {
            Err(error) => refused = error.into(),
            Ok(socket) => {
                socket.set_write_timeout(Some(left()?))?;
                socket.set_read_timeout(Some(left()?))?;
                let own = socket.try_clone()?;
                let mut stream: Box<dyn Duplex> = match &target.tls {
                    None => Box::new(own),
                    Some((config, name)) => {
                        let session = ClientConnection::new(Arc::clone(config), name.clone())?;
                        Box::new(StreamOwned::new(session, own))
                    }
                };
                let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
                match stream.write_all(request.as_bytes()) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        bail!("no answer within {}", Span::new(timeout))
                    }
                    written => written?,
                }
                return read(stream, &socket, left);
            }
        }
    }
    Err(refused)
}

/// Reads to the end of the answer, as long as there is time `left`.
fn read(
    stream: Box<dyn Duplex>,
    socket: &TcpStream,
    left: impl Fn() -> anyhow::Result<Duration>,
) -> anyhow::Result<(u16, String)> {
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    let mut stream = stream.take(LONGEST_ANSWER);
    loop {
        socket.set_read_timeout(Some(left()?))?;
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&part[..read]),
            // The time is up, which `left` tells.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error.into()),
        }
    }
    parse(&answer).context("what answers does not speak HTTP")
}

fn parse(answer: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let code = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    Some((code.parse().ok()?, body.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_asked_on_loopback_and_any_other_as_it_is() {
        for (configured, asked) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("127.0.0.1:9", "127.0.0.1:9"),
            ("10.1.2.3:8080", "10.1.2.3:8080"),
        ] {
            let configured = configured.parse().unwrap();
            assert_eq!(reachable(configured).to_string(), asked);
        }
    }

    #[test]
    fn a_certificate_is_held_against_the_host_of_an_address() {
        for (address, name) in [
            ("replica.example:8080", "replica.example"),
            ("[::1]:8080", "::1"),
            ("10.0.0.1:8080", "10.0.0.1"),
            ("replica", "replica"),
        ] {
            assert_eq!(host(address), name);
            assert!(ServerName::try_from(name).is_ok());
        }
    }

    #[test]
    fn an_answer_is_its_code_and_its_text_and_other_bytes_are_none() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 9\r\n\r\nnot ready";
        assert_eq!(parse(answer), Some((503, "not ready".to_owned())));
        for other in [
            &b""[..],
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(parse(other), None);
        }
    }
}
