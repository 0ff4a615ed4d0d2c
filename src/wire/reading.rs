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
        let ((number, wire_type), rest) = key(bytes)?;
        bytes = rest;
        let value = match wire_type {
            WireType::Varint => {
                let (number, rest) = varint(bytes)?;
                bytes = rest;
                Value::Varint(number)
            }
            WireType::SixtyFourBit => {
                let (value, rest) = bytes.split_first_chunk().ok_or(Undecodable)?;
                bytes = rest;
                Value::Fixed(u64::from_le_bytes(*value))
            }
            WireType::LengthDelimited => {
                let (length, rest) = varint(bytes)?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let (value, rest) = rest.split_at_checked(length).ok_or(Undecodable)?;
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

/// What stands at the beginning of some bytes, and the bytes behind it.
type Read<'a, T> = Result<(T, &'a [u8]), Undecodable>;

/// A field's number and type. Those of fewer than 16 take a byte.
#[inline]
fn key(bytes: &[u8]) -> Read<'_, (u32, WireType)> {
    match bytes {
        [key @ 8..0x80, rest @ ..] => {
            let wire_type = WireType::try_from(u64::from(key & 7)).map_err(|_| Undecodable)?;
            Ok((((key >> 3).into(), wire_type), rest))
        }
        _ => long_key(bytes),
    }
}

#[cold]
fn long_key(mut bytes: &[u8]) -> Read<'_, (u32, WireType)> {
    let key = decode_key(&mut bytes).map_err(|_| Undecodable)?;
    Ok((key, bytes))
}

/// Most numbers and lengths are of one byte, or of two.
#[inline]
fn varint(bytes: &[u8]) -> Read<'_, u64> {
    match bytes {
        [first @ ..0x80, rest @ ..] => Ok(((*first).into(), rest)),
        [first, second @ ..0x80, rest @ ..] => {
            let number = u64::from(*first & 0x7f) | u64::from(*second) << 7;
            Ok((number, rest))
        }
        _ => long_varint(bytes),
    }
}

#[cold]
fn long_varint(mut bytes: &[u8]) -> Read<'_, u64> {
    let number = decode_varint(&mut bytes).map_err(|_| Undecodable)?;
    Ok((number, bytes))
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
