//! Protobuf fields, written one after the other into a buffer: what prost's generated code writes, without its messages.
//!
//! Fields without explicit presence are left out at their default. A nested message is written behind the room that its
//! length is expected to take, and moved where it takes another: cheaper than to compute every length first.

use std::time::Duration;

use jiff::Timestamp;
use prost::encoding::{WireType, encode_varint, encoded_len_varint};

use super::convert;

/// Writes the fields of one message, in the order of the calls: ascending by number, as prost does.
#[derive(Debug)]
pub(super) struct Fields<'b>(pub(super) &'b mut Vec<u8>);

impl Fields<'_> {
    fn key(&mut self, number: u32, wire_type: WireType) {
        self.varint(u64::from(number << 3 | wire_type as u32));
    }

    /// Keys, lengths and most numbers are of one byte: shorter than prost's, which is made for ten.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            let [low, ..] = value.to_le_bytes();
            self.0.push(low | 0x80);
            value >>= 7;
        }
        let [last, ..] = value.to_le_bytes();
        self.0.push(last);
    }

    /// A varint field; signed numbers go through `u64` as they are.
    pub(super) fn number(&mut self, number: u32, value: impl Into<u64>) {
        let value = value.into();
        if value != 0 {
            self.present_number(number, value);
        }
    }

    /// A varint field that tells a zero from nothing.
    pub(super) fn present_number(&mut self, number: u32, value: impl Into<u64>) {
        self.key(number, WireType::Varint);
        self.varint(value.into());
    }

    /// A `fixed64` field.
    pub(super) fn fixed(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.key(number, WireType::SixtyFourBit);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// A string field.
    pub(super) fn text(&mut self, number: u32, text: &str) {
        if !text.is_empty() {
            self.embedded(number, text.as_bytes());
        }
    }

    /// A string field that tells an empty one from nothing, as the members of a oneof do; or a message already encoded.
    pub(super) fn embedded(&mut self, number: u32, bytes: &[u8]) {
        self.key(number, WireType::LengthDelimited);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A packed field of numbers that are each below 128: all enums of ours are.
    pub(super) fn packed(&mut self, number: u32, values: impl Iterator<Item = u8>) {
        let mut values = values.peekable();
        if values.peek().is_some() {
            self.message(number, |fields| fields.0.extend(values));
        }
    }

    /// A nested message of fewer than 128 bytes most of the time.
    pub(super) fn message(&mut self, number: u32, body: impl FnOnce(&mut Fields<'_>)) {
        self.sized_message(number, 1, body);
    }

    /// A nested message whose length is expected to take that many bytes.
    pub(super) fn sized_message(&mut self, number: u32, expected: usize, body: impl FnOnce(&mut Fields<'_>)) {
        const ROOM: [u8; 10] = [0; 10];
        self.key(number, WireType::LengthDelimited);
        let at = self.0.len();
        self.0.extend_from_slice(&ROOM[..expected]);
        let begin = self.0.len();
        body(&mut Fields(self.0));
        let length = self.0.len() - begin;
        let taken = encoded_len_varint(length as u64);
        if let (1, &mut [ref mut place]) = (taken, &mut self.0[at..begin]) {
            // The usual case: a byte was expected, and does.
            *place = u8::try_from(length).unwrap_or_default();
            return;
        }
        if taken > expected {
            self.0.extend_from_slice(&ROOM[expected..taken]);
            self.0.copy_within(begin..begin + length, at + taken);
        } else if taken < expected {
            self.0.copy_within(begin..begin + length, at + taken);
            self.0.truncate(at + taken + length);
        }
        encode_varint(length as u64, &mut &mut self.0[at..at + taken]);
    }

    /// A `google.protobuf.Timestamp`.
    pub(super) fn instant(&mut self, number: u32, at: Timestamp) {
        let prost_types::Timestamp { seconds, nanos } = convert::instant(at);
        self.seconds_and_nanos(number, seconds, nanos);
    }

    /// A `google.protobuf.Duration`, at most the longest that there is.
    pub(super) fn duration(&mut self, number: u32, duration: Duration) {
        let prost_types::Duration { seconds, nanos } = convert::duration(duration);
        self.seconds_and_nanos(number, seconds, nanos);
    }

    fn seconds_and_nanos(&mut self, number: u32, seconds: i64, nanos: i32) {
        self.message(number, |fields| {
            fields.number(1, seconds.cast_unsigned());
            fields.number(2, i64::from(nanos).cast_unsigned());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lengths around which a varint takes another byte, behind every room.
    #[test]
    fn a_message_has_its_length_before_it_whatever_was_expected() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 100_000] {
            for expected in 1..4 {
                let mut bytes = vec![7];
                Fields(&mut bytes).sized_message(2, expected, |fields| {
                    fields.0.extend((0..length).map(|at| b"0123456789"[at % 10]));
                });
                let body: Vec<u8> = (0..length).map(|at| b"0123456789"[at % 10]).collect();
                let mut plain = vec![7];
                prost::encoding::bytes::encode(2, &body, &mut plain);
                assert!(bytes == plain, "{length} bytes behind room for {expected}");
            }
        }
    }
}
