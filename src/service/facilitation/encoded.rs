//! A decision as bytes, with room before it for the rest of its answer: neither is moved, and nothing is put together anew.

use bytes::{Buf as _, Bytes};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

/// Of gRPC's frame: whether the message is compressed, and its length.
const FRAME_HEAD: usize = 5;
/// The number of `DecideResponse.decision`.
const DECISION: u32 = 1;
/// What comes before a decision in a framed `DecideResponse`, at most: the frame's head, a key of one byte, and the length.
const HEADROOM: usize = FRAME_HEAD + 1 + 10;

/// An encoded `Decision`, behind room for what comes before it.
#[derive(Debug)]
pub(super) struct Encoded(
    /// To be appended to.
    pub(super) Vec<u8>,
);

impl Encoded {
    /// Nothing yet, with room for a decision of so many bytes, headroom included.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        let mut buffer = Vec::with_capacity(bytes);
        buffer.resize(HEADROOM, 0);
        Self(buffer)
    }

    /// The decision so far.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0[HEADROOM..]
    }

    /// Begins anew.
    pub(super) fn clear(&mut self) {
        self.0.truncate(HEADROOM);
    }

    /// The decision.
    pub(super) fn decision(self) -> Bytes {
        let mut bytes = Bytes::from(self.0);
        bytes.advance(HEADROOM);
        bytes
    }

    /// A `DecideResponse` with the decision, as gRPC frames it.
    pub(super) fn framed(mut self) -> Bytes {
        let length = (self.0.len() - HEADROOM) as u64;
        let begin = HEADROOM - FRAME_HEAD - 1 - encoded_len_varint(length);
        let message = self.0.len() - begin - FRAME_HEAD;
        let mut head = &mut self.0[begin..HEADROOM];
        // A message longer than its frame can tell is nothing that a decision comes to.
        bytes::BufMut::put_u8(&mut head, 0);
        bytes::BufMut::put_u32(&mut head, u32::try_from(message).unwrap_or(u32::MAX));
        encode_key(DECISION, WireType::LengthDelimited, &mut head);
        encode_varint(length, &mut head);
        let mut bytes = Bytes::from(self.0);
        bytes.advance(begin);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::wire::raw::DecideResponse;

    #[test]
    fn what_is_written_around_a_decision_is_what_its_message_encodes_to() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 70_000] {
            let mut encoded = Encoded::with_capacity(64);
            encoded.0.extend(std::iter::repeat_n(1, 5));
            encoded.clear();
            encoded.0.extend(std::iter::repeat_n(7, length));
            assert!(encoded.bytes().iter().all(|byte| *byte == 7));
            let framed = encoded.framed();
            let (head, message) = framed.split_at(FRAME_HEAD);
            assert_eq!(head[0], 0);
            assert_eq!(head[1..], u32::try_from(message.len()).unwrap().to_be_bytes());
            let decision = DecideResponse::decode(message).unwrap().decision;
            assert!(decision.len() == length && decision.iter().all(|byte| *byte == 7));
        }
    }
}
