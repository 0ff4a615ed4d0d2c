//! What a message with groups says of itself in its headers.

use async_nats::HeaderMap;

use super::super::super::{
    UpstreamError,
    archive::{Progress, hash},
};

/// The replica's name.
pub(super) const REPLICA: &str = "Greenlane-Replica";
/// Of a seal the first sequence of its segment, of a head the sequence of the last record.
pub(super) const SEQUENCE: &str = "Greenlane-Sequence";
/// The signature over the payload, in hex.
pub(super) const SIGNATURE: &str = "Greenlane-Signature";

const FIRST: &str = "Greenlane-First-Sequence";
const NEXT: &str = "Greenlane-Next-Sequence";
const CHAIN_BEFORE: &str = "Greenlane-Chain-Before";
const CHAIN: &str = "Greenlane-Chain";
const OFFSET: &str = "Greenlane-Offset";
const LENGTH: &str = "Greenlane-Length";

/// Whole groups, or some bytes of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) replica: String,
    /// Sequence of the first record.
    pub(super) first_sequence: u64,
    /// How far the stream has come before it.
    pub(super) before: Progress,
    /// How far it has come when the run is whole.
    pub(super) after: Progress,
    /// Where the payload begins in the frames.
    pub(super) offset: usize,
    /// Bytes of the frames.
    pub(super) length: usize,
}

impl Run {
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(REPLICA, self.replica.as_str());
        headers.insert(FIRST, self.first_sequence.to_string());
        headers.insert(NEXT, self.after.next_sequence.to_string());
        headers.insert(CHAIN_BEFORE, hex::encode(self.before.chain));
        headers.insert(CHAIN, hex::encode(self.after.chain));
        headers.insert(OFFSET, self.offset.to_string());
        headers.insert(LENGTH, self.length.to_string());
        headers
    }

    /// Reads the headers of a message about that replica.
    pub(super) fn read(headers: &HeaderMap, replica: &str) -> Result<Self, UpstreamError> {
        let named = text(headers, REPLICA)?;
        if named != replica {
            return Err(UpstreamError::Corrupt(format!(
                "nats: audit: the log of {replica} and that of {named} have one subject"
            )));
        }
        let first_sequence = number(headers, FIRST)?;
        let size = |name| number(headers, name).map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        Ok(Self {
            replica: named.to_owned(),
            first_sequence,
            before: Progress {
                next_sequence: first_sequence,
                chain: chain(headers, CHAIN_BEFORE)?,
            },
            after: Progress {
                next_sequence: number(headers, NEXT)?,
                chain: chain(headers, CHAIN)?,
            },
            offset: size(OFFSET)?,
            length: size(LENGTH)?,
        })
    }

    /// The id by which the server knows a message that it has taken already.
    pub(super) fn id(&self) -> String {
        let Self {
            replica,
            first_sequence,
            offset,
            ..
        } = self;
        match offset {
            0 => format!("{replica}-{first_sequence}"),
            offset => format!("{replica}-{first_sequence}-{offset}"),
        }
    }

    /// Bytes of the frame that are there after a payload of that length, where more of it must follow; else 0.
    pub(super) fn left_at(&self, payload: usize) -> usize {
        let end = self.offset.saturating_add(payload);
        if end < self.length { end } else { 0 }
    }

    /// How far the stream has come after a payload of that length.
    pub(super) fn progress(&self, payload: usize) -> Progress {
        match self.left_at(payload) {
            0 => self.after,
            _ => self.before,
        }
    }
}

/// A header that is a number.
pub(super) fn number(headers: &HeaderMap, name: &str) -> Result<u64, UpstreamError> {
    text(headers, name)?
        .parse()
        .map_err(|_| UpstreamError::Corrupt(format!("nats: audit: the header {name} is no number")))
}

/// A header.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, UpstreamError> {
    let found = headers.get(name).map(async_nats::HeaderValue::as_str);
    found.ok_or_else(|| UpstreamError::Corrupt(format!("nats: audit: a message without the header {name}")))
}

fn chain(headers: &HeaderMap, name: &str) -> Result<[u8; 32], UpstreamError> {
    hash(&hex::decode(text(headers, name)?).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_as_they_were_written_and_another_replica_is_told() {
        let run = Run {
            replica: "a.b-1".to_owned(),
            first_sequence: 7,
            before: Progress {
                next_sequence: 7,
                chain: [1; 32],
            },
            after: Progress {
                next_sequence: 9,
                chain: [2; 32],
            },
            offset: 10,
            length: 30,
        };
        assert_eq!(Run::read(&run.headers(), "a.b-1").unwrap(), run);
        assert!(Run::read(&run.headers(), "a_b-1").is_err());
        assert_eq!(run.id(), "a.b-1-7-10");
        assert_eq!((run.left_at(19), run.progress(19)), (29, run.before));
        assert_eq!((run.left_at(20), run.progress(20)), (0, run.after));
    }
}
