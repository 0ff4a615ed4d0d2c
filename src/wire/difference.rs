//! Where two messages of the same kind differ, field by field, by their descriptor.

use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};

use super::json::{JsonError, descriptor};

/// The paths of the fields in which two encoded messages differ, such as `inspection.rate_ppm`, `parties[1].standing`;
/// an element that only one list has is named as such, as is a field whose number the contract does not have (`#19`).
pub fn differing_fields(message: &str, one: &[u8], other: &[u8]) -> Result<Vec<String>, JsonError> {
    let descriptor = descriptor(message)?;
    let one = DynamicMessage::decode(descriptor.clone(), one)?;
    let other = DynamicMessage::decode(descriptor, other)?;
    let mut paths = Vec::new();
    messages("", &one, &other, &mut paths);
    Ok(paths)
}

fn messages(prefix: &str, one: &DynamicMessage, other: &DynamicMessage, paths: &mut Vec<String>) {
    for field in one.descriptor().fields() {
        let path = format!("{prefix}{}", field.name());
        if one.has_field(&field) && other.has_field(&field) {
            values(&path, &one.get_field(&field), &other.get_field(&field), paths);
        } else if one.has_field(&field) || other.has_field(&field) {
            let list = |message: &DynamicMessage| {
                let value = message.get_field(&field);
                value.as_list().map_or(0, <[Value]>::len)
            };
            match list(one).max(list(other)) {
                0 => paths.push(path),
                elements => paths.extend((0..elements).map(|at| format!("{path}[{at}]"))),
            }
        }
    }
    let unknown = |message: &DynamicMessage| {
        let numbers = message.unknown_fields().map(prost_reflect::UnknownField::number);
        numbers.collect::<std::collections::BTreeSet<_>>()
    };
    let numbers = unknown(one)
        .symmetric_difference(&unknown(other))
        .copied()
        .collect::<Vec<_>>();
    paths.extend(numbers.into_iter().map(|number| format!("{prefix}#{number}")));
}

fn values(path: &str, one: &Value, other: &Value, paths: &mut Vec<String>) {
    match (one, other) {
        (Value::Message(one), Value::Message(other)) => messages(&format!("{path}."), one, other, paths),
        (Value::List(one), Value::List(other)) => {
            for at in 0..one.len().max(other.len()) {
                let element = format!("{path}[{at}]");
                match (one.get(at), other.get(at)) {
                    (Some(one), Some(other)) => values(&element, one, other, paths),
                    _ => paths.push(element),
                }
            }
        }
        (one, other) if one == other => {}
        _ => paths.push(path.to_owned()),
    }
}
