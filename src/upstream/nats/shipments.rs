//! Shipments in a key-value bucket, whose server compares: a value is set only where the one before it is the one that was
//! read.
//!
//! ```text
//! <declaration>                        the shipment
//! container.<number>.<declaration>     nothing: where to look for the shipments of a container; it may have left since
//! progress.<replica>                   how far the replica's audit log is in here
//! ```

mod feed;
pub mod value;

pub use self::feed::ShipmentFeed;

use std::{fmt::Write as _, time::Duration};

use async_nats::jetstream::{
    kv::{Store, UpdateErrorKind},
    message::StreamMessage,
    stream::{DirectGetErrorKind, LastRawMessageErrorKind},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};
use jiff::Timestamp;

use super::{
    super::{
        UpstreamError,
        shipments::{Put, StoredShipment, nanoseconds},
    },
    Names, NatsSettings, bucket, unavailable,
};

/// Questions that are on their way at once.
const AT_ONCE: usize = 256;
/// Bound on one batch, where the usual one is shorter.
const BATCH: Duration = Duration::from_secs(30);
/// Messages that are deleted at once.
const TRIM_STEP: u64 = 5_000;

/// Where shipments are, beneath the bucket's own prefix.
const SHIPMENTS: &str = "*";
/// Where it is noted which shipments have a container.
const CONTAINERS: &str = "container.";
const PROGRESS: &str = "progress.";

/// Reads and writes the bucket.
#[derive(Debug)]
pub struct Shipments {
    settings: NatsSettings,
    names: Names,
    bucket: Option<Store>,
}

impl Shipments {
    /// The bucket of that store, which is made if it is not there; connects at the first use.
    pub fn new(settings: NatsSettings) -> Result<Self, UpstreamError> {
        Ok(Self {
            names: settings.names()?,
            settings,
            bucket: None,
        })
    }

    /// Takes each put whose base fits; gives what stands where one does not.
    pub async fn put(&mut self, puts: &[Put]) -> Result<Vec<StoredShipment>, UpstreamError> {
        self.on_bucket(async |bucket| {
            let stand: Vec<_> = at_once(puts.iter().map(|new| put(bucket, new))).await?;
            Ok(stand.into_iter().flatten().collect())
        })
        .await
    }

    /// The shipments of these declarations.
    pub async fn declarations(&mut self, numbers: &[&str]) -> Result<Vec<StoredShipment>, UpstreamError> {
        self.on_bucket(async |bucket| declarations(bucket, numbers).await)
            .await
    }

    /// Every shipment that has one of these containers.
    pub async fn containers(&mut self, numbers: &[&str]) -> Result<Vec<StoredShipment>, UpstreamError> {
        self.on_bucket(async |bucket| {
            let noted = at_once(numbers.iter().map(|number| noted(bucket, number))).await?;
            let mut noted: Vec<String> = noted.into_iter().flatten().collect();
            noted.sort_unstable();
            noted.dedup();
            let noted: Vec<&str> = noted.iter().map(String::as_str).collect();
            let mut found = declarations(bucket, &noted).await?;
            found.retain(|shipment| {
                let mut containers = shipment.container_numbers.iter();
                containers.any(|container| numbers.contains(&container.as_str()))
            });
            Ok(found)
        })
        .await
    }

    /// How far a replica's audit log is in the store, as it said last.
    pub async fn progress(&mut self, replica: &str) -> Result<Option<u64>, UpstreamError> {
        let key = progress_key(replica);
        self.on_bucket(async |bucket| {
            let found = last(bucket, &key).await?;
            let found = found.filter(|found| !found.payload.is_empty());
            found.map(|found| number(&key, &found.payload)).transpose()
        })
        .await
    }

    /// Says how far a replica's audit log is in the store.
    pub async fn put_progress(&mut self, replica: &str, sequence: u64) -> Result<(), UpstreamError> {
        let key = progress_key(replica);
        self.on_bucket(async |bucket| {
            let put = bucket.put(&key, sequence.to_string().into()).await;
            put.map(drop)
                .map_err(|error| unavailable("progress of shipments", error))
        })
        .await
    }

    /// Deletes shipments that were put before, some at a time; gives how many.
    pub async fn trim(&mut self, before: Timestamp) -> Result<u64, UpstreamError> {
        let mut trimmed = 0;
        loop {
            match self.on_bucket(async |bucket| trim(bucket, before).await).await? {
                Some(step) => trimmed += step,
                None => return Ok(trimmed),
            }
        }
    }

    /// Does something with the bucket, which is opened anew unless that goes well and in time.
    async fn on_bucket<T>(
        &mut self,
        work: impl AsyncFnOnce(&Store) -> Result<T, UpstreamError>,
    ) -> Result<T, UpstreamError> {
        let bucket = match self.bucket.take() {
            Some(bucket) => bucket,
            None => bucket::shipments(&self.settings, &self.names).await?,
        };
        let bound = self.settings.timeout.max(BATCH);
        let done = tokio::time::timeout(bound, work(&bucket)).await;
        let done = done.map_err(|_| UpstreamError::timed_out("nats: the store of shipments", bound))??;
        self.bucket = Some(bucket);
        Ok(done)
    }
}

/// The answers to questions of which some are on their way at once, in no order.
async fn at_once<T>(
    questions: impl Iterator<Item = impl Future<Output = Result<T, UpstreamError>>>,
) -> Result<Vec<T>, UpstreamError> {
    let questions: Vec<_> = questions.collect();
    stream::iter(questions)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Takes a put, or gives what stands.
async fn put(bucket: &Store, put: &Put) -> Result<Option<StoredShipment>, UpstreamError> {
    let new = &put.shipment;
    let key = &new.declaration_number;
    let value = value::encode(new).ok_or_else(|| unavailable(key, "more containers than may be"))?;
    // Most are new: of one that is not, the server says so.
    let mut stands = match put.base {
        0 => None,
        _ => last(bucket, key).await?,
    };
    let mut are_noted = false;
    loop {
        let after = stands.as_ref().map_or(0, |message| message.sequence);
        let former = stands.and_then(|message| value::decode(key, message.payload));
        if let Some(stands) = former.as_ref().filter(|former| former.revision != put.base) {
            return Ok(Some(stands.clone()));
        }
        // Anew with each decision, though not with each change: so they last as long as the shipment.
        let decided = |former: &StoredShipment| (former.decided_at, former.container_numbers.clone());
        let as_before = former.as_ref().map(decided) == Some(decided(new));
        if !as_before && !std::mem::replace(&mut are_noted, true) {
            // Before the shipment: that it has a container shall not be known later than that it is there.
            try_join_all(
                new.container_numbers
                    .iter()
                    .map(|number| note(bucket, number, key)),
            )
            .await?;
        }
        match bucket.update(key, value.clone(), after).await {
            Ok(_) => return Ok(None),
            // Somebody else was first: see with what.
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
                stands = last(bucket, key).await?;
            }
            Err(error) => return Err(unavailable("shipment", error)),
        }
    }
}

/// Notes that a declaration has a container.
async fn note(bucket: &Store, container: &str, declaration: &str) -> Result<(), UpstreamError> {
    let key = format!("{CONTAINERS}{container}.{declaration}");
    let put = bucket.put(key, Bytes::new()).await;
    put.map(drop)
        .map_err(|error| unavailable("container of a shipment", error))
}

/// The declarations that had a container.
async fn noted(bucket: &Store, container: &str) -> Result<Vec<String>, UpstreamError> {
    let beneath = format!("{CONTAINERS}{container}.*");
    let (mut declarations, mut at) = (Vec::new(), 1);
    while let Some(message) = next(bucket, &beneath, at).await? {
        let declaration = message.subject.as_str().rsplit('.').next();
        declarations.extend(declaration.map(ToOwned::to_owned));
        at = message.sequence + 1;
    }
    Ok(declarations)
}

async fn declarations(bucket: &Store, numbers: &[&str]) -> Result<Vec<StoredShipment>, UpstreamError> {
    let found = at_once(numbers.iter().map(|number| declaration(bucket, number))).await?;
    Ok(found.into_iter().flatten().collect())
}

/// A shipment, as any server of a cluster has it: the one that answers may be a moment behind.
async fn declaration(bucket: &Store, number: &str) -> Result<Option<StoredShipment>, UpstreamError> {
    let found = bucket.entry(number).await;
    let found = found.map_err(|error| unavailable("shipment", error))?;
    Ok(found.and_then(|entry| value::decode(number, entry.value)))
}

/// The value of a key, as the bucket's leader has it; of one that was deleted the mark that says so, which is empty.
async fn last(bucket: &Store, key: &str) -> Result<Option<StreamMessage>, UpstreamError> {
    let subject = format!("{}{key}", bucket.prefix);
    match bucket.stream.get_last_raw_message_by_subject(&subject).await {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(unavailable("shipment", error)),
    }
}

/// The next message beneath the bucket's prefix, from a sequence of its stream on.
async fn next(bucket: &Store, beneath: &str, at: u64) -> Result<Option<StreamMessage>, UpstreamError> {
    let subject = format!("{}{beneath}", bucket.prefix);
    match bucket.stream.direct_get_next_for_subject(subject, Some(at)).await {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
        Err(error) => Err(unavailable("shipments", error)),
    }
}

/// Deletes the oldest messages about shipments, unless the first of them is not old; gives how many shipments went.
async fn trim(bucket: &Store, before: Timestamp) -> Result<Option<u64>, UpstreamError> {
    let is_old = |message: &StreamMessage| message.time.unix_timestamp_nanos() < nanoseconds(before).into();
    let Some(first) = next(bucket, SHIPMENTS, 1).await?.filter(is_old) else {
        return Ok(None);
    };
    // Times rise with sequences: between one that is old and one that is not, or is not there, their border is looked for.
    let (mut old, mut young) = (first.sequence, first.sequence + TRIM_STEP);
    while young - old > 1 {
        let middle = old.midpoint(young);
        match next(bucket, SHIPMENTS, middle).await? {
            Some(message) if message.sequence < young && is_old(&message) => old = message.sequence,
            _ => young = middle,
        }
    }
    let mut trimmed = 0;
    // A container is noted before its shipment, and so is not younger.
    for beneath in [&format!("{CONTAINERS}>"), SHIPMENTS] {
        let subject = format!("{}{beneath}", bucket.prefix);
        let purged = bucket.stream.purge().filter(subject).sequence(young).await;
        let purged = purged.map_err(|error| unavailable("trimming shipments", error))?;
        trimmed = purged.purged;
    }
    Ok(Some(trimmed))
}

/// The key of a replica's progress: what a key may not hold is written as `=` and two hexadecimal digits a byte.
fn progress_key(replica: &str) -> String {
    let mut key = PROGRESS.to_owned();
    for byte in replica.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            key.push(byte.into());
        } else {
            let written = write!(key, "={byte:02x}");
            debug_assert!(written.is_ok(), "a String takes everything");
        }
    }
    key
}

fn number(key: &str, value: &[u8]) -> Result<u64, UpstreamError> {
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| UpstreamError::Corrupt(format!("nats: {key}: is no sequence")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_replicas_have_one_key() {
        assert_eq!(progress_key("kh-1_a"), "progress.kh-1_a");
        assert_eq!(progress_key("kh.1=ü"), "progress.kh=2e1=3d=c3=bc");
        assert_ne!(progress_key("a.b"), progress_key("a=2eb"));
    }
}
