//! Whether a violation names a field of the contract.

use std::sync::LazyLock;

use greenlane::wire::{pb, violations::Violations};
use prost_reflect::{DescriptorPool, Kind, MessageDescriptor};

static CONTRACT: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(pb::DESCRIPTORS).expect("the contract's descriptors"));

/// A message of the contract.
pub(crate) fn message(name: &str) -> MessageDescriptor {
    let name = format!("greenlane.v1.{name}");
    CONTRACT
        .get_message_by_name(&name)
        .unwrap_or_else(|| panic!("no message {name}"))
}

/// Panics unless there is a violation and each names a field within the message, or `request` for the whole of it.
pub(crate) fn names_fields(name: &str, violations: &Violations) {
    assert!(!violations.is_empty(), "refused, and nothing told");
    assert!(!violations.message().is_empty());
    let message = message(name);
    for (path, rule) in &violations.0 {
        assert!(!rule.is_empty(), "{path}: without a rule");
        // A member that no field goes by is called as its writer called it.
        let is_field =
            path == "request" || names_field(&message, path) || rule == "is no field of this message";
        assert!(is_field, "{path:?} is no field of {name} ({rule})");
    }
}

/// Whether a path such as `parties[1].customs_code` leads somewhere. The name of a oneof stands for whichever is set.
fn names_field(message: &MessageDescriptor, path: &str) -> bool {
    let (step, rest) = path.split_once('.').unwrap_or((path, ""));
    let (name, index) = step.split_once('[').unwrap_or((step, ""));
    if message.oneofs().any(|oneof| oneof.name() == name) {
        return index.is_empty() && rest.is_empty();
    }
    let Some(field) = message.get_field_by_name(name) else {
        return false;
    };
    let is_index = index
        .strip_suffix(']')
        .is_some_and(|number| number.parse::<u32>().is_ok());
    let fits = index.is_empty() || (is_index && field.is_list());
    let kind = field.kind();
    let leads_on = || matches!(&kind, Kind::Message(inner) if names_field(inner, rest));
    fits && (rest.is_empty() || leads_on())
}
