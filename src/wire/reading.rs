//! Protobuf fields, read where they lie in an encoded message, one after the other: for those who need few of them, and of many
//! messages.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use thiserror::Error;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number, a flag or an enum.
    Varint(u64),
    /// Eight bytes.
    Fixed(u64),
    /// A text, a message, or packed numbers.
    Bytes(&'a [u8]),
    /// Four bytes or a group, which no message of ours has.
    Other,
}

/// The bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a field is cut, or is none")]
pub struct Undecodable;

/// Shows the fields of a message by their numbers, as often as they stand in it.
pub fn each_field<'a, E: From<Undecodable>>(
    mut bytes: &'a [u8],
    mut show: impl FnMut(u32, Value<'a>) -> Result<(), E>,
) -> Result<(), E> {
    while !bytes.is_empty() {
        let (number, wire_type) = key(&mut bytes)?;
        let value = match wire_type {
            WireType::Varint => Value::Varint(varint(&mut bytes)?),
            WireType::SixtyFourBit => {
                let (value, rest) = bytes.split_first_chunk().ok_or(Undecodable)?;
                bytes = rest;
                Value::Fixed(u64::from_le_bytes(*value))
            }
            WireType::LengthDelimited => {
                let length = usize::try_from(varint(&mut bytes)?).unwrap_or(usize::MAX);
                let (value, rest) = bytes.split_at_checked(length).ok_or(Undecodable)?;
                bytes = rest;
                Value::Bytes(value)
            }
            WireType::StartGroup | WireType::EndGroup | WireType::ThirtyTwoBit => {
                skip_field(wire_type, number, &mut bytes, DecodeContext::default())
                    .map_err(|_| Undecodable)?;
                Value::Other
            }
        };
        show(number, value)?;
    }
    Ok(())
}

/// A field's number and type. Those of fewer than 16 take a byte.
fn key(bytes: &mut &[u8]) -> Result<(u32, WireType), Undecodable> {
    match **bytes {
        [key @ 8..0x80, ref rest @ ..] => {
            *bytes = rest;
            let wire_type = WireType::try_from(u64::from(key & 7)).map_err(|_| Undecodable)?;
            Ok(((key >> 3).into(), wire_type))
        }
        _ => decode_key(bytes).map_err(|_| Undecodable),
    }
}

/// Most numbers and lengths are of one byte.
fn varint(bytes: &mut &[u8]) -> Result<u64, Undecodable> {
    match **bytes {
        [first, ref rest @ ..] if first < 0x80 => {
            *bytes = rest;
            Ok(first.into())
        }
        _ => decode_varint(bytes).map_err(|_| Undecodable),
    }
}

impl<'a> Value<'a> {
    /// Its bytes, where it has any.
    pub fn bytes(self) -> Result<&'a [u8], Undecodable> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Varint(_) | Self::Fixed(_) | Self::Other => Err(Undecodable),
        }
    }

    /// Its number, where it is a varint.
    pub fn varint(self) -> Result<u64, Undecodable> {
        match self {
            Self::Varint(number) => Ok(number),
            Self::Bytes(_) | Self::Fixed(_) | Self::Other => Err(Undecodable),
        }
    }

    /// Its number, where it is of eight bytes.
    pub fn fixed(self) -> Result<u64, Undecodable> {
        match self {
            Self::Fixed(number) => Ok(number),
            Self::Bytes(_) | Self::Varint(_) | Self::Other => Err(Undecodable),
        }
    }

    /// Its number, where it is one of 32 bits: of more, the lowest count, as everywhere in Protobuf.
    pub fn number(self) -> Result<u32, Undecodable> {
        let [a, b, c, d, ..] = self.varint()?.to_le_bytes();
        Ok(u32::from_le_bytes([a, b, c, d]))
    }

    /// The same of an enum, or of what may be below 0.
    pub fn signed(self) -> Result<i32, Undecodable> {
        Ok(self.number()?.cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::wire::pb;

    fn fields(bytes: &[u8]) -> Option<Vec<(u32, Value<'_>)>> {
        let mut fields = Vec::new();
        let put = |number, value| {
            fields.push((number, value));
            Ok::<_, Undecodable>(())
        };
        each_field(bytes, put).ok().map(|()| fields)
    }

    #[test]
    fn the_fields_of_a_message_come_with_their_values() {
        let draw = pb::DrawFacts {
            epoch: "2026-11".to_owned(),
            value: u64::MAX,
            ..pb::DrawFacts::default()
        };
        let facts = pb::DecisionFacts {
            draw: Some(draw.clone()),
            ..pb::DecisionFacts::default()
        };
        let (facts, draw) = (facts.encode_to_vec(), draw.encode_to_vec());
        assert_eq!(fields(&facts).unwrap(), [(5, Value::Bytes(&draw))]);
        let in_draw = [(1, Value::Bytes(b"2026-11")), (4, Value::Fixed(u64::MAX))];
        assert_eq!(fields(&draw).unwrap(), in_draw);
        let negative = prost_types::Timestamp {
            seconds: -1,
            nanos: 0,
        }
        .encode_to_vec();
        let Some([(1, seconds)]) = fields(&negative).as_deref().map(|f| [f[0]]) else {
            panic!("one field");
        };
        assert_eq!((seconds.varint(), seconds.signed()), (Ok(u64::MAX), Ok(-1)));
        assert_eq!(seconds.bytes(), Err(Undecodable));
    }

    proptest! {
        /// An empty message passes every field over.
        #[test]
        fn what_is_a_message_to_prost_is_one_here(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(fields(&bytes).is_some(), <() as prost::Message>::decode(&bytes[..]).is_ok());
        }
    }
}
