//! Canonical proto3 JSON of the contract's messages, by their descriptors.

mod batch;
mod read;

use std::sync::LazyLock;

use bytes::Bytes;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::error::Category;
use thiserror::Error;

use super::{pb, violations::Violations};

/// Why a text is no message, or a message has no text.
#[derive(Debug, Error)]
pub enum JsonError {
    /// It is no JSON of that message: unknown fields are refused too.
    #[error("{0}")]
    Form(#[from] serde_json::Error),
    /// The contract has no such message.
    #[error("the contract has no message {0}")]
    Unknown(String),
    /// The two forms of the message disagree.
    #[error("{0}")]
    Wire(#[from] prost::DecodeError),
    /// Members do not fit the message.
    #[error("{}", .0.message())]
    Invalid(Violations),
}

/// The contract's descriptors; `None` only if the build embedded something else.
static CONTRACT: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(pb::DESCRIPTORS).ok());

pub(super) fn descriptor(message: &str) -> Result<MessageDescriptor, JsonError> {
    let found = CONTRACT
        .as_ref()
        .and_then(|pool| pool.get_message_by_name(&format!("greenlane.v1.{message}")));
    found.ok_or_else(|| JsonError::Unknown(message.to_owned()))
}

/// Reads a message, such as `DecideRequest`, from a JSON value.
pub fn from_value<T: Message + Default>(message: &str, value: serde_json::Value) -> Result<T, JsonError> {
    let dynamic = DynamicMessage::deserialize(descriptor(message)?, value)?;
    Ok(T::decode(dynamic.encode_to_vec().as_slice())?)
}

/// Reads a message, such as `DecideRequest`, from a text, and gives it encoded. [`JsonError::Invalid`] tells every problem.
pub fn read(message: &str, text: &[u8]) -> Result<Bytes, JsonError> {
    let descriptor = descriptor(message)?;
    let mut json = serde_json::Deserializer::from_slice(text);
    let read = read::whole(&descriptor, &mut json).map_err(|error| no_json(&error))?;
    json.end().map_err(|error| no_json(&error))?;
    let message = read.map_err(JsonError::Invalid)?;
    Ok(message.encode_to_vec().into())
}

/// As [`read`] for each item of a `BatchDecideRequest`, of which a bad one does not fail the others. Items beyond as many
/// as one may have are not read, but there.
pub fn read_batch(text: &[u8]) -> Result<Vec<Result<Bytes, Violations>>, JsonError> {
    let batch: batch::Batch = serde_json::from_slice(text).map_err(|error| match error.classify() {
        Category::Data if text.trim_ascii_start().first() == Some(&b'{') => {
            JsonError::Invalid(Violations::of("requests", "must be a list"))
        }
        Category::Data => JsonError::Invalid(Violations::of("request", "must be an object")),
        Category::Io | Category::Syntax | Category::Eof => no_json(&error),
    })?;
    if batch.violations.is_empty() {
        Ok(batch.items)
    } else {
        Err(JsonError::Invalid(batch.violations))
    }
}

fn no_json(error: &serde_json::Error) -> JsonError {
    JsonError::Invalid(Violations::of("request", format!("is no valid JSON: {error}")))
}

/// Writes a message as a JSON value: fields at their default are left out.
pub fn to_value(message: &str, value: &impl Message) -> Result<serde_json::Value, JsonError> {
    let dynamic = DynamicMessage::decode(descriptor(message)?, value.encode_to_vec().as_slice())?;
    Ok(dynamic.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new())?)
}

/// Writes a message as a JSON value with every field that is not optional, also where it has its default: for readers to
/// whom a field that is missing would look like consent.
pub fn to_whole_value(message: &str, value: &impl Message) -> Result<serde_json::Value, JsonError> {
    let dynamic = DynamicMessage::decode(descriptor(message)?, value.encode_to_vec().as_slice())?;
    let options = SerializeOptions::new().skip_default_fields(false);
    Ok(dynamic.serialize_with_options(serde_json::value::Serializer, &options)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_goes_both_ways_and_unknown_fields_are_refused() {
        let text = r#"{"declarationNumber":"222520261000000001","direction":"DIRECTION_IMPORT",
            "parties":[{"role":"PARTY_ROLE_CONSIGNEE","customsCode":"1101919107"}],"customsOffice":"2225",
            "acceptedAt":"2026-11-23T00:00:00Z"}"#;
        let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
        let request: pb::DecideRequest = from_value("DecideRequest", value.clone()).expect("a request");
        assert_eq!(request.customs_office, "2225");
        assert_eq!(to_value("DecideRequest", &request).expect("JSON"), value);
        let unknown = serde_json::json!({"customs": "2225"});
        assert!(from_value::<pb::DecideRequest>("DecideRequest", unknown).is_err());
        assert!(from_value::<pb::DecideRequest>("NoSuchMessage", value).is_err());
    }
}
