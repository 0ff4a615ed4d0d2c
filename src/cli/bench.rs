//! `greenlane bench`: an open-loop load generator.
//!
//! ```text
//! plan (rate, shape, connections) -> load: calls at their instants, on threads of their own -> sample: latencies, codes
//!                                     |                                                         `-> report: table, JSON; plot: SVG
//!                                     `-> line: a call and its answer -> transport: HTTP/2
//! ```
//!
//! Calls leave when the plan says so, whether or not earlier ones were answered, and each is timed from the instant at which it
//! should have left. So a server that stalls is charged for every call that it kept waiting, and not for the one that it was
//! busy with (coordinated omission).

mod declarations;
mod line;
mod load;
mod plot;
mod report;
mod sample;
mod transport;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use http::Uri;

use self::{
    declarations::Declarations,
    load::{Arrivals, Plan, Shape},
    report::Run,
};
use super::{Context, client, output};
use crate::app::settings::Span;

/// Load a running server at a constant rate and measure its answers
///
/// Calls leave at a constant rate, whatever becomes of those before, and are timed from the instant at which they should have
/// left. EVERY DECISION IS LOGGED, AND COUNTS IN THE REALIZED RATES, as one that was asked for in earnest: use a server that is
/// there for it.
#[derive(Debug, clap::Args)]
pub(super) struct Bench {
    /// Decisions a second, over all connections
    #[arg(long, value_name = "N", default_value_t = 1000.0)]
    rate: f64,

    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "30s")]
    duration: Span,

    /// How long to load the server before that
    #[arg(long, value_name = "TIME", default_value = "3s")]
    warm_up: Span,

    /// How decisions are asked for
    #[arg(long, value_enum, default_value_t)]
    shape: Shape,

    /// Decisions in a batch
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1000))]
    batch: u32,

    /// Connections
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,

    /// Threads that load the server; each keeps a core busy
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,

    /// Bound on one call, which the server is told of
    #[arg(long, value_name = "TIME", default_value = "5s")]
    timeout: Span,

    /// Measure what the server can do first, by calls that follow on one another, and load it then at each of these percentages
    /// of it, such as 10,50,90,110
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', conflicts_with = "rate")]
    curve: Vec<u16>,

    /// Declarations to ask about, as `decide` takes them; each is given a fresh number
    #[arg(long, value_name = "FILE")]
    declarations: Option<PathBuf>,

    /// Enterprises of the declarations that are made up: the first customs code and how many follow on it
    #[arg(
        long,
        value_name = "CODE:COUNT",
        default_value = "1000000000:1000000",
        conflicts_with = "declarations"
    )]
    enterprises: declarations::Codes,

    /// Write a picture of the latencies
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,

    /// Load a server that is not on this machine
    #[arg(long)]
    remote: bool,
}

impl Bench {
    /// Runs the command; a call that was not answered gives exit code 1.
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let (address, _) = client::address(context.settings())?;
        ensure!(
            self.remote || is_here(&address),
            "{address} is not on this machine, and what is asked there counts as decisions: add --remote if that is meant"
        );
        ensure!(self.rate.is_finite() && self.rate > 0.0, "--rate must be above 0");
        let declarations = Arc::new(match &self.declarations {
            Some(file) => Declarations::read(file)?,
            None => Declarations::made_up(&self.enterprises),
        });
        let plan = |arrivals, duration: Duration| Plan {
            arrivals,
            warm_up: self.warm_up.get(),
            duration,
            shape: self.shape,
            batch: self.batch as usize,
            connections: usize::from(self.connections),
            threads: usize::from(self.threads),
            timeout: self.timeout.get(),
        };
        let duration = self.duration.get();
        let mut runs = Vec::new();
        if self.curve.is_empty() {
            let plan = plan(Arrivals::Rate(self.rate), duration);
            runs.push(measured(context, &plan, &declarations, None)?);
        } else {
            let full = plan(Arrivals::OnAnswer { each: ON_ANSWER }, CAPACITY.min(duration));
            let full = measured(context, &full, &declarations, None)?;
            let capacity = full.decisions_per_second();
            ensure!(
                capacity > 0.0,
                "the server decided nothing: {}",
                full.sample.errors()
            );
            for percent in &self.curve {
                let rate = capacity * f64::from(*percent) / 100.0;
                let plan = plan(Arrivals::Rate(rate), duration);
                runs.push(measured(context, &plan, &declarations, Some(*percent))?);
            }
        }
        report::print(context.output, &runs)?;
        if let Some(file) = &self.plot {
            written(file, &plot::svg(&runs)?)?;
        }
        Ok(if runs.iter().all(Run::is_good) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// Whether an address is on this machine.
fn is_here(address: &str) -> bool {
    let Ok(address) = address.parse::<Uri>() else {
        return false;
    };
    let host = address.host().unwrap_or_default();
    let ip = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// Calls at once on a connection while it is measured what the server can do.
const ON_ANSWER: usize = 16;
/// How long that is measured at most.
const CAPACITY: Duration = Duration::from_secs(10);

/// Carries a plan out, under a progress bar.
fn measured(
    context: &Context,
    plan: &Plan,
    declarations: &Arc<Declarations>,
    percent: Option<u16>,
) -> anyhow::Result<Run> {
    let bar = output::over(plan.whole());
    let sample = load::run(context, plan, declarations, &bar)?;
    bar.finish_and_clear();
    Ok(Run {
        plan: plan.clone(),
        percent,
        sample,
    })
}

fn written(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_here_only_where_it_is_loopback() {
        for here in [
            "http://127.0.0.1:1",
            "https://localhost:50051",
            "http://[::1]:1",
            "https://127.8.8.8:1",
        ] {
            assert!(is_here(here), "{here}");
        }
        for elsewhere in [
            "http://192.0.2.1:1",
            "https://localhost.example:1",
            "http://[::]:1",
            "http://0.0.0.0:1",
            "",
            "%",
        ] {
            assert!(!is_here(elsewhere), "{elsewhere}");
        }
    }
}
