//! Shipment keys as people write them.

use super::pb::{ShipmentKey, shipment_key::Key};

/// The key that a text names: container numbers begin with a letter, declaration numbers with a digit. Whether it is
/// well formed is not looked at; an empty text names nothing.
pub fn written(text: &str) -> ShipmentKey {
    let key = match text.bytes().next() {
        None => None,
        Some(first) if first.is_ascii_alphabetic() => Some(Key::ContainerNumber(text.to_owned())),
        Some(_) => Some(Key::DeclarationNumber(text.to_owned())),
    };
    ShipmentKey { key }
}
