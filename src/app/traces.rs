//! Traces: a span a call, sent as OTLP over gRPC to the collector that the standard `OTEL_*` variables name. Without one,
//! nothing is built and no call looks at it.

use std::{
    env,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::SpanExporter as Otlp;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use tracing::{info, warn};

/// How long a stop may wait until the last spans are sent.
pub const FLUSH: Duration = Duration::from_secs(2);

/// Where spans go, if the environment names a collector. Needs a runtime, on which they are sent.
pub fn from_environment() -> Option<SdkTracerProvider> {
    let is_disabled = set(&["OTEL_SDK_DISABLED"]).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let endpoint = set(&[
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ])?;
    let exporter = set(&["OTEL_TRACES_EXPORTER"]).unwrap_or_else(|| "otlp".to_owned());
    if is_disabled || exporter == "none" {
        return None;
    }
    let protocol = set(&[
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
    ]);
    let protocol = protocol.unwrap_or_else(|| "grpc".to_owned());
    if exporter != "otlp" || protocol != "grpc" {
        warn!(
            exporter,
            protocol, "no traces: they are sent as otlp over grpc only"
        );
        return None;
    }
    match Otlp::builder().with_tonic().build() {
        Ok(exporter) => {
            info!(endpoint, "traces are sent");
            let exporter = Telling {
                exporter,
                failing: AtomicBool::new(false),
            };
            let provider = SdkTracerProvider::builder()
                .with_batch_exporter(exporter)
                .with_resource(resource());
            Some(provider.build())
        }
        Err(problem) => {
            warn!(endpoint, %problem, "no traces: the collector's address is no good");
            None
        }
    }
}

/// Sends what is left, for no longer than [`FLUSH`].
pub async fn flush(provider: SdkTracerProvider) {
    // It blocks, while this runtime sends.
    let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH)).await;
    if !matches!(flushed, Ok(Ok(()))) {
        warn!("the last traces could not be sent");
    }
}

/// The first of these variables that is set to something.
fn set(names: &[&str]) -> Option<String> {
    names
        .iter()
        .filter_map(|name| env::var(name).ok())
        .find(|value| !value.is_empty())
}

/// What `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say of this process; its own name where they say none.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let builder = Resource::builder().with_attribute(version);
    let given = Resource::builder()
        .build()
        .get(&Key::from_static_str("service.name"));
    let is_given = given.is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    if is_given {
        builder.build()
    } else {
        builder.with_service_name("greenlane").build()
    }
}

/// Says once that a collector does not answer, and once that it does again.
#[derive(Debug)]
struct Telling {
    exporter: Otlp,
    failing: AtomicBool,
}

impl SpanExporter for Telling {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.exporter.export(batch).await;
        let failed_before = self.failing.swap(sent.is_err(), Ordering::Relaxed);
        match &sent {
            Err(problem) if !failed_before => {
                warn!(%problem, "traces cannot be sent, and are lost meanwhile");
            }
            Ok(()) if failed_before => info!("traces are sent again"),
            _ => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
