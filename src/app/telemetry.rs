//! Logs: a line for each event in the life of the process, on standard error.

use anyhow::Context as _;
use tracing_subscriber::{EnvFilter, fmt};

use super::settings::{LogFormat, LogSettings};

/// Reads a filter such as "info" or "greenlane=debug".
///
/// What the TLS library warns of is what strangers send: it is logged only by who names it.
pub fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    let filter = EnvFilter::try_new(level).with_context(|| format!("log.level {level:?}"))?;
    if level.contains("rustls") {
        return Ok(filter);
    }
    Ok(filter.add_directive("rustls=error".parse()?))
}

/// Starts logging. Once a process.
pub fn start(settings: &LogSettings) -> anyhow::Result<()> {
    let filter = filter(&settings.level)?;
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder = fmt()
        .with_env_filter(filter)
        .with_ansi(colour)
        .with_writer(std::io::stderr);
    let started = match settings.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging: {error}"))
}
