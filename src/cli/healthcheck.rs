//! `greenlane healthcheck`
//!
//! Asks `/readyz` or `/livez` over a plain socket: a container from scratch has no shell and no other client.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use super::{Context, output};
use crate::app::settings::Span;

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

    /// The HTTP address to ask [default: `server.http_addr`; its own machine where that is every address]
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,

    /// How long the answer may take
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    timeout: Span,
}

impl Healthcheck {
    /// Runs the command.
    pub(super) fn run(&self, context: &Context) -> anyhow::Result<ExitCode> {
        let address = self.address.clone().unwrap_or_else(|| {
            let configured = context.settings().server.http_addr;
            reachable(configured).to_string()
        });
        let (path, well) = if self.live {
            ("/livez", "live")
        } else {
            ("/readyz", "ready")
        };
        let asked =
            ask(&address, path, self.timeout.get()).with_context(|| format!("http://{address}{path}"));
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

/// Gives the status code and the text of the answer.
fn ask(address: &str, path: &str, timeout: Duration) -> anyhow::Result<(u16, String)> {
    let end = Instant::now() + timeout;
    let left = || {
        let left = end.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "no answer within {}", Span::new(timeout));
        Ok(left)
    };
    let mut refused = anyhow::anyhow!("the name has no address");
    for resolved in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&resolved, left()?) {
            Err(error) => refused = error.into(),
            Ok(mut socket) => {
                socket.set_write_timeout(Some(left()?))?;
                let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
                socket.write_all(request.as_bytes())?;
                return read(socket, left);
            }
        }
    }
    Err(refused)
}

/// Reads to the end of the answer, as long as there is time `left`.
fn read(socket: TcpStream, left: impl Fn() -> anyhow::Result<Duration>) -> anyhow::Result<(u16, String)> {
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    let mut socket = socket.take(LONGEST_ANSWER);
    loop {
        socket.get_ref().set_read_timeout(Some(left()?))?;
        match socket.read(&mut part) {
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
