//! What was shipped to a stream, read back in its order.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_nats::jetstream::{
    self,
    message::StreamMessage,
    stream::{RawMessageErrorKind, Stream},
};
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::TryStreamExt as _;

use super::{
    super::{
        super::{UpstreamError, archive::SignedText},
        Names, NatsSettings, connect, unavailable,
    },
    headers::{REPLICA, Run, SEQUENCE, SIGNATURE, number, text},
};

/// Bytes of a group's header, of which bytes 4 to 8 are the length of what follows it.
const HEADER: usize = 68;

/// Reads what was shipped to a stream.
#[derive(Debug, Clone)]
pub struct ArchiveReader {
    settings: NatsSettings,
    names: Names,
    /// Of each replica the record that comes next, and from which message of the stream on it is to be looked for.
    places: Arc<Mutex<BTreeMap<String, (u64, u64)>>>,
}

impl ArchiveReader {
    /// Reads from those streams; connects for each question.
    pub fn new(settings: NatsSettings) -> Result<Self, UpstreamError> {
        settings.check()?;
        Ok(Self {
            names: settings.names()?,
            settings,
            places: Arc::default(),
        })
    }

    /// The replicas whose logs are in it, in order of their names.
    pub async fn replicas(&self) -> Result<Vec<String>, UpstreamError> {
        let stream = self.stream(&self.names.audit_stream()).await?;
        let info = stream.info_with_subjects(self.names.audit("*")).await;
        let info = info.map_err(|error| unavailable("audit: subjects", error))?;
        let subjects: Vec<(String, usize)> = info
            .try_collect()
            .await
            .map_err(|error| unavailable("audit: subjects", error))?;
        let mut replicas = Vec::with_capacity(subjects.len());
        for (subject, _) in subjects {
            let last = stream.get_last_raw_message_by_subject(&subject).await;
            let last = last.map_err(|error| unavailable("audit: last message", error))?;
            replicas.push(text(&last.headers, REPLICA)?.to_owned());
        }
        replicas.sort_unstable();
        Ok(replicas)
    }

    /// The frames of a replica's groups, from the one with that record on.
    pub async fn groups(&self, replica: &str, from: u64, bytes: usize) -> Result<Vec<Bytes>, UpstreamError> {
        let stream = self.stream(&self.names.audit_stream()).await?;
        let subject = self.names.audit(replica);
        // The first time everything before it is passed over.
        let place = self.places().get(replica).copied();
        let mut at = place.filter(|(next, _)| *next == from).map_or(1, |(_, at)| at);
        let (mut frames, mut read) = (Vec::new(), 0);
        let mut next_sequence = from;
        let mut gathered = BytesMut::new();
        while read < bytes || !gathered.is_empty() {
            let Some(message) = next(&stream, &subject, at).await? else {
                break;
            };
            at = message.sequence + 1;
            let run = Run::read(&message.headers, replica)?;
            if run.after.next_sequence <= from {
                continue;
            }
            if run.offset != gathered.len() {
                return Err(UpstreamError::Corrupt(format!(
                    "nats: audit: message {} does not follow on the one before it",
                    message.sequence
                )));
            }
            gathered.extend_from_slice(&message.payload);
            read += message.payload.len();
            if run.left_at(message.payload.len()) > 0 {
                continue;
            }
            split(gathered.split().freeze(), &mut frames);
            next_sequence = run.after.next_sequence;
        }
        if gathered.is_empty() {
            self.places().insert(replica.to_owned(), (next_sequence, at));
        }
        Ok(frames)
    }

    /// The head of a replica's log, as it was signed last.
    pub async fn head(&self, replica: &str) -> Result<Option<SignedText>, UpstreamError> {
        let stream = self.stream(&self.names.audit_head_stream()).await?;
        let found = next(&stream, &self.names.audit_head(replica), 1).await?;
        found.map(|message| signed_text(&message)).transpose()
    }

    /// The seals of a replica's segments, in their order.
    pub async fn seals(&self, replica: &str) -> Result<Vec<SignedText>, UpstreamError> {
        let stream = self.stream(&self.names.audit_stream()).await?;
        let subject = self.names.audit_seal(replica);
        let (mut seals, mut at) = (Vec::new(), 1);
        while let Some(message) = next(&stream, &subject, at).await? {
            seals.push(signed_text(&message)?);
            at = message.sequence + 1;
        }
        Ok(seals)
    }

    async fn stream(&self, name: &str) -> Result<Stream, UpstreamError> {
        let mut context = jetstream::new(connect(&self.settings).await?);
        context.set_timeout(self.settings.timeout);
        let stream = context.get_stream(name).await;
        stream.map_err(|error| unavailable("audit", error))
    }

    fn places(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (u64, u64)>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next message of a subject, from a sequence of the stream on.
async fn next(stream: &Stream, subject: &str, at: u64) -> Result<Option<StreamMessage>, UpstreamError> {
    match stream
        .raw_message_builder()
        .sequence(at)
        .next_by_subject(subject)
        .send()
        .await
    {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(unavailable("audit: message", error)),
    }
}

fn signed_text(message: &StreamMessage) -> Result<SignedText, UpstreamError> {
    Ok(SignedText {
        sequence: number(&message.headers, SEQUENCE)?,
        text: String::from_utf8_lossy(&message.payload).into_owned(),
        signature: hex::decode(text(&message.headers, SIGNATURE)?).unwrap_or_default(),
    })
}

/// The frames of a run, each by itself; what is no whole frame is given as it is, for whoever reads it to tell.
fn split(mut run: Bytes, frames: &mut Vec<Bytes>) {
    while run.has_remaining() {
        let length = run.get(4..8).and_then(|bytes| bytes.try_into().ok());
        let length = length.map_or(usize::MAX, |bytes| u32::from_le_bytes(bytes) as usize);
        let whole = length.saturating_add(HEADER).min(run.len());
        frames.push(run.split_to(whole));
    }
}
