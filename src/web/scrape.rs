//! `GET /metrics`: every metric, in the format that is asked for.

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{
    Web,
    response::{Answer, body, text},
};
use crate::{
    domain::Date,
    facilitation::Moment,
    metrics::{self, Metrics},
    policy::draw::Epoch,
};

/// Every metric, with what is read only when it is asked for.
pub(super) fn scrape(web: &Web, headers: &HeaderMap) -> Answer {
    web.metrics.read_registry(&web.health.reading());
    web.metrics.read_policy(web.health.policy());
    let month = Epoch::of(Date::of(Moment::now().timestamp));
    web.metrics.read_rates(&web.rates.reading(month));
    if let Some(tls) = &web.tls {
        tls.read();
    }
    written(&web.metrics, headers)
}

/// Metrics as they are, in the format that is asked for.
pub(super) fn written(metrics: &Metrics, headers: &HeaderMap) -> Answer {
    let written = if asks_for_openmetrics(headers) {
        metrics.openmetrics().map(|text| (metrics::OPENMETRICS, text))
    } else {
        metrics
            .prometheus_text()
            .map(|text| (metrics::PROMETHEUS_TEXT, text))
    };
    let Ok((media_type, metrics)) = written else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written");
    };
    let mut answer = body(StatusCode::OK, media_type, metrics.into());
    let headers = answer.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    answer
}

/// Whether `OpenMetrics` is wanted at least as much as plain text is.
fn asks_for_openmetrics(headers: &HeaderMap) -> bool {
    let (mut openmetrics, mut plain) = (0.0, 0.0);
    let accepted = headers.get_all(header::ACCEPT).iter();
    for range in accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
    {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
        let parameter = |name: &str| {
            let found = parameters.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.trim_matches('"'))
        };
        let quality: f32 = parameter("q").map_or(1.0, |q| q.parse().unwrap_or(0.0));
        match (&*media_type, parameter("version")) {
            ("application/openmetrics-text", None | Some("1.0.0")) => openmetrics = quality.max(openmetrics),
            ("text/plain", _) => plain = quality.max(plain),
            _ => {}
        }
    }
    openmetrics > 0.0 && openmetrics >= plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(accept: &'static str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        asks_for_openmetrics(&headers)
    }

    #[test]
    fn openmetrics_is_given_to_who_asks_for_its_first_version() {
        // What Prometheus 2 and 3 send.
        assert!(asked(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
        ));
        assert!(asked(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
        ));
        assert!(asked("application/openmetrics-text"));
        for otherwise in [
            "*/*",
            "text/plain",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;version=1.0.0;q=0.1,text/plain;version=0.0.4",
            "application/openmetrics-text;q=0",
        ] {
            assert!(!asked(otherwise), "{otherwise}");
        }
        assert!(!asks_for_openmetrics(&HeaderMap::new()));
    }
}
