//! Audit logs in `JetStream`: one subject a replica, whole groups in order.
//!
//! ```text
//! stream <prefix>_audit       <prefix>.audit.<replica>       runs of whole groups, as they lie in segments
//!                             <prefix>.audit_seal.<replica>  the text of a seal, its signature in a header
//! stream <prefix>_audit_head  <prefix>.audit_head.<replica>  the last signed head alone
//!                             <prefix>.audit_key.<replica>   the public key that signs, in PEM
//! ```
//!
//! A message holds as many whole groups as fit into one; a group that fits into none is spread over several, each of which
//! says from which byte on. Only the last message of a subject may be followed, which is what makes shipping idempotent,
//! however long ago ids were forgotten; and it tells where to go on.

mod headers;
mod read;

pub use self::read::ArchiveReader;

use async_nats::jetstream::{
    self,
    context::PublishErrorKind,
    message::{PublishMessage, StreamMessage},
    stream::{Config, LastRawMessageErrorKind},
};
use bytes::{Bytes, BytesMut};

use self::headers::{Run, SEQUENCE, SIGNATURE, number};
use super::{
    super::{
        UpstreamError,
        archive::{HeadTaken, Progress, ShippedGroup, SignedText},
    },
    Names, NatsSettings, connect,
    stream::{ensure, kept, largest_message},
    unavailable,
};

/// Ships to a stream.
#[derive(Debug)]
pub struct Archive {
    settings: NatsSettings,
    names: Names,
    context: Option<jetstream::Context>,
    /// The last message of the replica's subject: its sequence in the stream, and how much of a group it left out.
    last: Option<Last>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Last {
    stream_sequence: u64,
    /// Bytes of the next group's frame that are in the stream already.
    offset: usize,
}

impl Archive {
    /// An archive in those streams, which are made if they are missing; connects at the first use.
    pub fn new(settings: NatsSettings) -> Result<Self, UpstreamError> {
        settings.check()?;
        Ok(Self {
            names: settings.names()?,
            settings,
            context: None,
            last: None,
        })
    }

    /// How far it has come with a replica's log.
    pub async fn progress(&mut self, replica: &str) -> Result<Progress, UpstreamError> {
        self.last = None;
        // Begins anew: the streams may have to be made again.
        self.context = None;
        let stream = self.names.audit_stream();
        let found = self.last_message(&stream, &self.names.audit(replica)).await?;
        let (last, progress) = match found {
            None => (Last::default(), Progress::default()),
            Some(message) => {
                let run = Run::read(&message.headers, replica)?;
                let last = Last {
                    stream_sequence: message.sequence,
                    offset: run.left_at(message.payload.len()),
                };
                (last, run.progress(message.payload.len()))
            }
        };
        self.last = Some(last);
        Ok(progress)
    }

    /// Takes over groups that follow on `from`, as far as nothing goes wrong.
    pub async fn ship(
        &mut self,
        replica: &str,
        from: &Progress,
        groups: &[ShippedGroup],
    ) -> Result<Progress, UpstreamError> {
        let Some(mut last) = self.last.take() else {
            return Err(unavailable("audit", "where the stream ends is not known"));
        };
        let context = self.context().await?;
        let most = largest_message(&context);
        let subject = self.names.audit(replica);
        let mut before = *from;
        let mut rest = groups;
        while let Some((first, behind)) = rest.split_first() {
            let mut run = Run {
                replica: replica.to_owned(),
                first_sequence: first.first_sequence,
                before,
                after: first.progress(),
                offset: last.offset,
                length: first.frame.len(),
            };
            rest = behind;
            let payload = if first.frame.len() > most || last.offset > 0 {
                let end = (last.offset + most).min(first.frame.len());
                if end < first.frame.len() {
                    rest = &groups[groups.len() - behind.len() - 1..];
                }
                first.frame.slice(last.offset.min(end)..end)
            } else {
                let mut payload = BytesMut::from(&first.frame[..]);
                while let Some((next, behind)) = rest.split_first()
                    && payload.len() + next.frame.len() <= most
                {
                    payload.extend_from_slice(&next.frame);
                    (run.after, run.length, rest) = (next.progress(), payload.len(), behind);
                }
                payload.freeze()
            };
            let length = payload.len();
            let message = PublishMessage::build()
                .headers(run.headers())
                .payload(payload)
                .message_id(run.id());
            let sequence = self
                .append(
                    &context,
                    &subject,
                    message,
                    &self.names.audit_stream(),
                    last.stream_sequence,
                )
                .await?;
            last = Last {
                stream_sequence: sequence,
                offset: run.left_at(length),
            };
            before = run.progress(length);
        }
        self.last = Some(last);
        Ok(before)
    }

    /// The first sequence of the last segment of which it has the seal; 0 for none.
    pub async fn last_seal(&mut self, replica: &str) -> Result<u64, UpstreamError> {
        let stream = self.names.audit_stream();
        let last = self
            .last_message(&stream, &self.names.audit_seal(replica))
            .await?;
        last.map_or(Ok(0), |last| number(&last.headers, SEQUENCE))
    }

    /// Takes a seal; one that it has stays.
    pub async fn put_seal(&mut self, replica: &str, seal: &SignedText) -> Result<(), UpstreamError> {
        let stream = self.names.audit_stream();
        let subject = self.names.audit_seal(replica);
        let last = self.last_message(&stream, &subject).await?;
        if let Some(last) = &last
            && number(&last.headers, SEQUENCE)? >= seal.sequence
        {
            return Ok(());
        }
        let after = last.map_or(0, |last| last.sequence);
        self.put_signed(&stream, &subject, replica, seal, after).await
    }

    /// Takes the public key, in PEM, with which a replica signs; one that it has stays.
    pub async fn put_key(&mut self, replica: &str, pem: &str) -> Result<(), UpstreamError> {
        let stream = self.names.audit_head_stream();
        let subject = self.names.audit_key(replica);
        let last = self.last_message(&stream, &subject).await?;
        if last.as_ref().is_some_and(|last| last.payload == pem.as_bytes()) {
            return Ok(());
        }
        let message = PublishMessage::build()
            .header(headers::REPLICA, replica)
            .payload(Bytes::copy_from_slice(pem.as_bytes()));
        let after = last.map_or(0, |last| last.sequence);
        let context = self.context().await?;
        self.append(&context, &subject, message, &stream, after)
            .await
            .map(drop)
    }

    /// Takes a head, unless it has one of a later record.
    pub async fn put_head(&mut self, replica: &str, head: &SignedText) -> Result<HeadTaken, UpstreamError> {
        let stream = self.names.audit_head_stream();
        let subject = self.names.audit_head(replica);
        let last = self.last_message(&stream, &subject).await?;
        if let Some(last) = &last {
            let stored = number(&last.headers, SEQUENCE)?;
            if stored > head.sequence {
                return Ok(HeadTaken::Behind { stored });
            }
        }
        let after = last.map_or(0, |last| last.sequence);
        self.put_signed(&stream, &subject, replica, head, after).await?;
        Ok(HeadTaken::Taken)
    }

    async fn put_signed(
        &mut self,
        stream: &str,
        subject: &str,
        replica: &str,
        signed: &SignedText,
        after: u64,
    ) -> Result<(), UpstreamError> {
        let message = PublishMessage::build()
            .header(headers::REPLICA, replica)
            .header(SEQUENCE, signed.sequence.to_string())
            .header(SIGNATURE, hex::encode(&signed.signature))
            .payload(Bytes::copy_from_slice(signed.text.as_bytes()));
        let context = self.context().await?;
        self.append(&context, subject, message, stream, after)
            .await
            .map(drop)
    }

    /// Appends a message if the subject still ends at `after` (0 for an empty one). Gives its sequence in the stream.
    async fn append(
        &self,
        context: &jetstream::Context,
        subject: &str,
        message: PublishMessage,
        stream: &str,
        after: u64,
    ) -> Result<u64, UpstreamError> {
        let message = message
            .expected_stream(stream)
            .expected_last_subject_sequence(after);
        let sent = context.send_publish(subject.to_owned(), message).await;
        let sent = sent.map_err(|error| unavailable("audit: publish", error))?;
        match sent.await {
            Ok(ack) if ack.duplicate => Err(elsewhere()),
            Ok(ack) => Ok(ack.sequence),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Err(elsewhere()),
            Err(error) => Err(unavailable("audit: publish", error)),
        }
    }

    async fn last_message(
        &mut self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<StreamMessage>, UpstreamError> {
        let context = self.context().await?;
        let read = async {
            let stream = context.get_stream_no_info(stream).await;
            let stream = stream.map_err(|error| unavailable("audit", error))?;
            match stream.get_last_raw_message_by_subject(subject).await {
                Ok(message) => Ok(Some(message)),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(unavailable("audit: last message", error)),
            }
        };
        let bound = self.settings.timeout;
        let read = tokio::time::timeout(bound, read).await;
        read.map_err(|_| UpstreamError::timed_out("nats: audit: last message", bound))?
    }

    /// The context; connects, and makes the streams, at the first use.
    async fn context(&mut self) -> Result<jetstream::Context, UpstreamError> {
        if let Some(context) = &self.context {
            return Ok(context.clone());
        }
        let timeout = self.settings.timeout;
        let client = connect(&self.settings).await?;
        let clustered = client.server_info().cluster.is_some();
        let mut context = jetstream::new(client);
        context.set_timeout(timeout);
        let logs = Config {
            name: self.names.audit_stream(),
            subjects: vec![self.names.audit("*"), self.names.audit_seal("*")],
            description: Some("Greenlane: audit logs and their seals".to_owned()),
            ..kept()
        };
        let heads = Config {
            name: self.names.audit_head_stream(),
            subjects: vec![self.names.audit_head("*"), self.names.audit_key("*")],
            description: Some("Greenlane: signed heads of audit logs, and public keys".to_owned()),
            max_messages_per_subject: 1,
            ..kept()
        };
        for config in [logs, heads] {
            ensure(&context, config, clustered, timeout).await?;
        }
        self.context = Some(context.clone());
        Ok(context)
    }
}

fn elsewhere() -> UpstreamError {
    unavailable(
        "audit",
        "the stream has come to another place in this log meanwhile",
    )
}
