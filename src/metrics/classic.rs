//! Prometheus' own text format, of what the client library writes as `OpenMetrics`.

/// The media type of what `Metrics::prometheus_text` gives.
pub const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The same in Prometheus' text format 0.0.4, where a family is called what its samples are called, a set of facts is a
/// gauge, and nothing marks the end.
pub(super) fn classic(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut help = None;
    for line in openmetrics.lines() {
        if let Some(told) = line.strip_prefix("# HELP ") {
            // The type, which tells what the family is called, comes after it.
            help = told.split_once(' ');
        } else if let Some((family, kind)) =
            line.strip_prefix("# TYPE ").and_then(|told| told.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                _ => ("", kind),
            };
            if let Some((_, told)) = help.take().filter(|(own, _)| *own == family) {
                text.extend(["# HELP ", family, suffix, " ", told, "\n"]);
            }
            text.extend(["# TYPE ", family, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            text.extend([line, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_called_what_their_samples_are_called() {
        let openmetrics = "# HELP calls Calls that ended.\n# TYPE calls counter\ncalls_total{code=\"OK\"} 3\n\
            # HELP policy The policy in force.\n# TYPE policy info\npolicy_info{id=\"x\"} 1\n\
            # HELP took_seconds How long.\n# TYPE took_seconds histogram\n# UNIT took_seconds seconds\n\
            took_seconds_sum 0.5\ntook_seconds_count 1\ntook_seconds_bucket{le=\"+Inf\"} 1\n# EOF\n";
        let expected = "# HELP calls_total Calls that ended.\n# TYPE calls_total counter\ncalls_total{code=\"OK\"} 3\n\
            # HELP policy_info The policy in force.\n# TYPE policy_info gauge\npolicy_info{id=\"x\"} 1\n\
            # HELP took_seconds How long.\n# TYPE took_seconds histogram\n\
            took_seconds_sum 0.5\ntook_seconds_count 1\ntook_seconds_bucket{le=\"+Inf\"} 1\n";
        assert_eq!(classic(openmetrics), expected);
    }
}
