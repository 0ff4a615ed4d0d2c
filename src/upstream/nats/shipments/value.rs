//! A shipment as the value of its key.
//!
//! ```text
//! 1 byte   the form: 1
//! 8 bytes  revision, little-endian
//! 8 bytes  decided_at, nanoseconds since 1970, little-endian
//! 1 byte   how many containers, and of each 1 byte: how long its number is, and the number
//! rest     entry
//! ```

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::super::super::shipments::{StoredShipment, instant, nanoseconds};

/// The form of this release.
const FORM: u8 = 1;

/// Writes the value; `None` where there are more containers, or longer numbers, than may be.
pub fn encode(shipment: &StoredShipment) -> Option<Bytes> {
    let containers = &shipment.container_numbers;
    let mut value = BytesMut::with_capacity(18 + 12 * containers.len() + shipment.entry.len());
    value.put_u8(FORM);
    value.put_u64_le(shipment.revision);
    value.put_i64_le(nanoseconds(shipment.decided_at));
    value.put_u8(u8::try_from(containers.len()).ok()?);
    for container in containers {
        value.put_u8(u8::try_from(container.len()).ok()?);
        value.put_slice(container.as_bytes());
    }
    value.put_slice(&shipment.entry);
    Some(value.freeze())
}

/// Reads the value; `None` where it is not one of ours.
pub fn decode(declaration_number: &str, mut value: Bytes) -> Option<StoredShipment> {
    if value.try_get_u8().ok()? != FORM {
        return None;
    }
    let revision = value.try_get_u64_le().ok()?;
    let decided_at = instant(value.try_get_i64_le().ok()?);
    let containers = value.try_get_u8().ok()?;
    let mut container_numbers = Vec::with_capacity(containers.into());
    for _ in 0..containers {
        let length = value.try_get_u8().ok()?;
        if value.remaining() < length.into() {
            return None;
        }
        let number = value.split_to(length.into());
        container_numbers.push(std::str::from_utf8(&number).ok()?.to_owned());
    }
    Some(StoredShipment {
        declaration_number: declaration_number.to_owned(),
        container_numbers,
        revision,
        decided_at,
        entry: value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_as_it_was_and_nothing_else_is_one() {
        let shipment = StoredShipment {
            declaration_number: "31012026I000000001".to_owned(),
            container_numbers: vec!["MSKU1234565".to_owned(), "CSQU3054383".to_owned()],
            revision: u64::MAX,
            decided_at: "2026-11-24T01:02:03.123456789Z".parse().unwrap(),
            entry: Bytes::from_static(b"entry"),
        };
        let value = encode(&shipment).unwrap();
        assert_eq!(value.len(), 18 + 2 * 12 + 5);
        assert_eq!(
            decode(&shipment.declaration_number, value.clone()),
            Some(shipment)
        );
        for length in 0..18 + 2 * 12 {
            assert_eq!(decode("x", value.slice(..length)), None, "{length}");
        }
        assert_eq!(decode("x", Bytes::from_static(&[2; 40])), None);
    }
}
