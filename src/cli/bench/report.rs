//! Runs, as people and as programs read them.

use std::time::Duration;

use serde_json::json;

use super::{
    load::{Arrivals, Plan, Shape},
    sample::{PERCENTILES, Sample},
};
use crate::cli::output;

/// A plan and what was measured.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) plan: Plan,
    /// Of what the server can do, where that was measured.
    pub(super) percent: Option<u16>,
    pub(super) sample: Sample,
}

impl Run {
    /// Whether everything that left was answered well.
    pub(super) fn is_good(&self) -> bool {
        self.sample.failures.is_empty() && self.sample.decisions > 0
    }

    /// Decisions that were given a second.
    pub(super) fn decisions_per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let decisions = self.sample.decisions as f64;
        decisions / self.sample.took.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Decisions that were to be asked for a second.
    pub(super) fn rate(&self) -> f64 {
        match self.plan.arrivals {
            Arrivals::Rate(rate) => rate,
            Arrivals::OnAnswer { .. } => self.decisions_per_second(),
        }
    }

    /// A percentile of the latency, in nanoseconds.
    pub(super) fn percentile(&self, percentile: f64) -> u64 {
        self.sample.latency.value_at_percentile(percentile)
    }

    /// Whether the load was kept up: its calls left in time, beside what they took.
    pub(super) fn was_kept_up(&self) -> bool {
        let lateness = self.sample.lateness.value_at_percentile(99.0);
        lateness <= (self.percentile(99.0) / 10).max(LATE)
    }
}

/// Later than this, in nanoseconds, a call did not leave in time.
const LATE: u64 = 50_000;

/// Prints runs.
pub(super) fn print(format: output::Format, runs: &[Run]) -> anyhow::Result<()> {
    match format {
        output::Format::Json => output::json(&runs.iter().map(value).collect::<Vec<_>>()),
        output::Format::Table => {
            let mut headings = vec!["load", "asked/s", "decided/s"];
            headings.extend(PERCENTILES.map(|(name, _)| name));
            headings.push("errors");
            output::table(&headings, runs.iter().map(row))?;
            if let Some(late) = runs.iter().find(|run| !run.was_kept_up()) {
                let lateness = Duration::from_nanos(late.sample.lateness.value_at_percentile(99.0));
                output::line(&format!(
                    "the load was not kept up: 1 % of the calls left {lateness:?} late or more; give it another core (--threads), or \
                     a lower rate"
                ))?;
            }
            Ok(())
        }
    }
}

fn row(run: &Run) -> Vec<String> {
    let load = run
        .percent
        .map_or_else(String::new, |percent| format!("{percent} %"));
    let mut cells = vec![
        load,
        format!("{:.0}", run.rate()),
        format!("{:.0}", run.decisions_per_second()),
    ];
    cells.extend(PERCENTILES.map(|(_, percentile)| shown(run.percentile(percentile))));
    cells.push(run.sample.errors());
    cells
}

/// A time in the unit that fits it.
pub(super) fn shown(nanoseconds: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let microseconds = nanoseconds as f64 / 1e3;
    if microseconds < 1e3 {
        format!("{microseconds:.0} us")
    } else if microseconds < 1e6 {
        format!("{:.2} ms", microseconds / 1e3)
    } else {
        format!("{:.2} s", microseconds / 1e6)
    }
}

fn value(run: &Run) -> serde_json::Value {
    let Plan {
        arrivals,
        warm_up,
        duration,
        shape,
        batch,
        connections,
        threads,
        timeout,
    } = &run.plan;
    let latency: serde_json::Map<_, _> = PERCENTILES
        .iter()
        .map(|(name, percentile)| ((*name).to_owned(), json!(run.percentile(*percentile))))
        .collect();
    json!({
        "shape": match shape { Shape::Unary => "unary", Shape::Batch => "batch", Shape::Stream => "stream" },
        "arrivals": match arrivals { Arrivals::Rate(_) => "constant rate", Arrivals::OnAnswer { .. } => "on answer" },
        "percent_of_capacity": run.percent,
        "asked_per_second": run.rate(),
        "decided_per_second": run.decisions_per_second(),
        "decisions": run.sample.decisions,
        "calls": run.sample.latency.len(),
        "latency_ns": latency,
        "lateness_ns": {
            "p50": run.sample.lateness.value_at_percentile(50.0),
            "p99": run.sample.lateness.value_at_percentile(99.0),
            "max": run.sample.lateness.max(),
        },
        "was_kept_up": run.was_kept_up(),
        "failures": run.sample.failures,
        "failed": run.sample.failed_in_all(),
        "batch": if *shape == Shape::Batch { Some(batch) } else { None },
        "connections": connections,
        "threads": threads,
        "warm_up_s": warm_up.as_secs_f64(),
        "duration_s": duration.as_secs_f64(),
        "timeout_s": timeout.as_secs_f64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_the_unit_that_fits() {
        assert_eq!(shown(84_400), "84 us");
        assert_eq!(shown(1_234_567), "1.23 ms");
        assert_eq!(shown(2_500_000_000), "2.50 s");
    }
}
