//! Key-value buckets: made where they are missing, by whoever needs one first.

use async_nats::jetstream::{
    self,
    kv::Store,
    stream::{Config, DiscardPolicy},
};

use super::{
    super::UpstreamError,
    Names, NatsSettings, connect,
    stream::{ensure, kept},
    unavailable,
};

/// Values of one key that a bucket keeps: the most that there may be.
const MOST_VALUES: i64 = 64;

/// The bucket of draw commitments. Former values stay, so that nobody can alter a commitment unseen.
pub(super) async fn draw(settings: &NatsSettings, names: &Names) -> Result<Store, UpstreamError> {
    let config = Config {
        max_messages_per_subject: MOST_VALUES,
        deny_delete: true,
        ..bucket(&names.draw_bucket(), "commitments to the keys of the draw")
    };
    open(settings, &names.draw_bucket(), config).await
}

/// The bucket of shipments.
pub(super) async fn shipments(settings: &NatsSettings, names: &Names) -> Result<Store, UpstreamError> {
    let config = Config {
        max_messages_per_subject: 1,
        ..bucket(&names.shipment_bucket(), "shipments")
    };
    open(settings, &names.shipment_bucket(), config).await
}

/// The stream that `JetStream` keeps a bucket in.
fn bucket(name: &str, what: &str) -> Config {
    Config {
        name: format!("KV_{name}"),
        subjects: vec![format!("$KV.{name}.>")],
        description: Some(format!("Greenlane: {what}")),
        discard: DiscardPolicy::New,
        allow_rollup: true,
        ..kept()
    }
}

/// Connects, and makes the bucket if it is not there.
async fn open(settings: &NatsSettings, name: &str, config: Config) -> Result<Store, UpstreamError> {
    let client = connect(settings).await?;
    let clustered = client.server_info().cluster.is_some();
    let mut context = jetstream::new(client);
    context.set_timeout(settings.timeout);
    if let Ok(open) = context.get_key_value(name).await {
        return Ok(open);
    }
    ensure(&context, config, clustered, settings.timeout).await?;
    let made = context.get_key_value(name).await;
    made.map_err(|error| unavailable(name, error))
}
