//! Keys of shipments, from the wire to the domain.

use crate::{
    domain::identifier::BadIdentifier,
    shipments::Key,
    wire::{
        pb::{self, shipment_key},
        violations::Violations,
    },
};

/// Most keys in a watch.
const MAX_WATCHED: usize = 10_000;

/// Reads a key; `path` is where it stands in the request.
pub(super) fn parse(sent: Option<&pb::ShipmentKey>, path: impl Fn() -> String) -> Result<Key, Violations> {
    let Some(sent) = sent.and_then(|sent| sent.key.as_ref()) else {
        return Err(Violations::of(path(), "is required"));
    };
    let (field, text) = match sent {
        shipment_key::Key::DeclarationNumber(text) => ("declaration_number", text),
        shipment_key::Key::ContainerNumber(text) => ("container_number", text),
    };
    let broken = |rule: &str| Violations::of(format!("{}.{field}", path()), rule);
    if text.is_empty() {
        return Err(broken("is required"));
    }
    let key = match sent {
        shipment_key::Key::DeclarationNumber(text) => text.parse().map(Key::Declaration),
        shipment_key::Key::ContainerNumber(text) => text.parse().map(Key::Container),
    };
    key.map_err(|BadIdentifier(rule)| broken(rule))
}

/// The keys of a watch, or everything that is wrong with them.
pub(super) fn watched(sent: &[pb::ShipmentKey]) -> Result<Vec<Key>, Violations> {
    if sent.is_empty() || sent.len() > MAX_WATCHED {
        return Err(Violations::of("keys", "must be 1 to 10000"));
    }
    let mut violations = Violations::default();
    let mut keys = Vec::with_capacity(sent.len());
    for (index, sent) in sent.iter().enumerate() {
        match parse(Some(sent), || format!("keys[{index}]")) {
            Ok(key) => keys.push(key),
            Err(Violations(broken)) => violations.0.extend(broken),
        }
    }
    if violations.is_empty() {
        Ok(keys)
    } else {
        Err(violations)
    }
}
