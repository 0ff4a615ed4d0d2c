//! A batch, item by item: one that does not fit is told alone.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use prost::Message as _;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{descriptor, read};
use crate::wire::violations::Violations;

/// Items that are read: one more than may be decided, so that a longer batch is seen to be one.
const MAX_ITEMS: usize = 1_001;

/// A `BatchDecideRequest`.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Encoded requests, or why there is none.
    pub(super) items: Vec<Result<Bytes, Violations>>,
    /// What is wrong with the batch itself.
    pub(super) violations: Violations,
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Batch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Batch, A::Error> {
        let (mut batch, mut given) = (Batch::default(), false);
        while let Some(name) = members.next_key::<Cow<'_, str>>()? {
            if name != "requests" {
                members.next_value::<IgnoredAny>()?;
                read::note(&mut batch.violations, read::echo(&name), read::NO_FIELD);
            } else if std::mem::replace(&mut given, true) {
                members.next_value::<IgnoredAny>()?;
                read::note(&mut batch.violations, "requests", read::TWICE);
            } else if let Some(Items(items)) = members.next_value()? {
                batch.items = items;
            }
        }
        Ok(batch)
    }
}

struct Items(Vec<Result<Bytes, Violations>>);

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_seq(Elements).map(Self)
    }
}

struct Elements;

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<Result<Bytes, Violations>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while items.len() < MAX_ITEMS {
            match elements.next_element::<Item>()? {
                Some(Item(item)) => items.push(item),
                None => return Ok(items),
            }
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(items)
    }
}

struct Item(Result<Bytes, Violations>);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let descriptor = descriptor("DecideRequest").map_err(D::Error::custom)?;
        let read = read::whole(&descriptor, json)?;
        Ok(Self(read.map(|message| message.encode_to_vec().into())))
    }
}
