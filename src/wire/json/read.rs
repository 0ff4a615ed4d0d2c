//! Reads messages from JSON by their descriptors: every problem at once, each at the field's path in the contract.
//!
//! prost-reflect's own reader ends at the first problem without saying where it is, lets the last of two members of one
//! name win, and takes a time without an offset for one in UTC.

use std::{borrow::Cow, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use jiff::civil;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::wire::violations::Violations;

/// Problems of a message that are told; further ones are passed over.
const MAX_VIOLATIONS: usize = 100;
/// Elements of a list that are read: the contract takes no more anywhere, and a client shall not fill the memory.
const MAX_ELEMENTS: usize = 1_000;
/// Characters of a caller's own words that are said back.
const MAX_ECHO: usize = 64;

/// What is wrong with a member that no field goes by.
pub(super) const NO_FIELD: &str = "is no field of this message";
/// What is wrong with a second member of one field.
pub(super) const TWICE: &str = "is given twice";

/// A message, or what is wrong with it. An error is that the text is no JSON.
pub(super) fn whole<'de, D: Deserializer<'de>>(
    descriptor: &MessageDescriptor,
    json: D,
) -> Result<Result<DynamicMessage, Violations>, D::Error> {
    let (kind, mut violations) = (Kind::Message(descriptor.clone()), Violations::default());
    let place = Place {
        // Not null, which a field may be.
        expected: Expected::Element(&kind),
        path: Path::Root,
        violations: &mut violations,
    };
    Ok(match place.deserialize(json)? {
        Some(Value::Message(message)) if violations.is_empty() => Ok(message),
        _ => Err(violations),
    })
}

/// Where in a message, in the contract's names.
#[derive(Clone, Copy)]
enum Path<'p> {
    Root,
    Field(&'p Path<'p>, &'p str),
    Element(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => f.write_str("request"),
            Path::Field(Path::Root, name) => f.write_str(name),
            Path::Field(parent, name) => write!(f, "{parent}.{name}"),
            Path::Element(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// What a place takes.
#[derive(Clone, Copy)]
enum Expected<'p> {
    /// A value; null is none.
    One(&'p Kind),
    /// A value of a list, where null is no value.
    Element(&'p Kind),
    /// A list; null is an empty one.
    List(&'p Kind),
}

/// A place at which a value is read. What does not fit is noted and passed over; only what is no JSON ends the reading.
struct Place<'p, 'v> {
    expected: Expected<'p>,
    path: Path<'p>,
    violations: &'v mut Violations,
}

impl<'p> Place<'p, '_> {
    fn kind(&self) -> Option<&'p Kind> {
        match self.expected {
            Expected::One(kind) | Expected::Element(kind) => Some(kind),
            Expected::List(_) => None,
        }
    }

    fn refuse(self, rule: impl Into<String>) -> Option<Value> {
        note(self.violations, self.path, rule);
        None
    }

    /// Says what the place takes.
    fn misfit(self) -> Option<Value> {
        let rule = match self.kind() {
            None => "must be a list",
            Some(Kind::Bool) => "must be true or false",
            Some(Kind::String) => "must be a text",
            Some(Kind::Bytes) => "must be base64",
            Some(Kind::Enum(_)) => "must be the name or the number of a value of the enum",
            Some(Kind::Message(message)) if is_timestamp(message) => TIMESTAMP_RULE,
            Some(Kind::Message(_)) => "must be an object",
            Some(Kind::Double | Kind::Float) => "must be a number",
            Some(
                Kind::Int32
                | Kind::Sint32
                | Kind::Sfixed32
                | Kind::Int64
                | Kind::Sint64
                | Kind::Sfixed64
                | Kind::Uint32
                | Kind::Fixed32
                | Kind::Uint64
                | Kind::Fixed64,
            ) => "must be an integer",
        };
        self.refuse(rule)
    }

    fn integer(self, number: i128) -> Option<Value> {
        let value = match self.kind() {
            Some(Kind::Int32 | Kind::Sint32 | Kind::Sfixed32) => number.try_into().map(Value::I32),
            Some(Kind::Int64 | Kind::Sint64 | Kind::Sfixed64) => number.try_into().map(Value::I64),
            Some(Kind::Uint32 | Kind::Fixed32) => number.try_into().map(Value::U32),
            Some(Kind::Uint64 | Kind::Fixed64) => number.try_into().map(Value::U64),
            Some(Kind::Enum(_)) => number.try_into().map(Value::EnumNumber),
            Some(Kind::Double | Kind::Float | Kind::Bool | Kind::String | Kind::Bytes | Kind::Message(_))
            | None => return self.misfit(),
        };
        match value {
            Ok(value) => Some(value),
            Err(_) => self.refuse("is out of the range of the field"),
        }
    }
}

/// Notes a problem, unless there are many.
pub(super) fn note(violations: &mut Violations, path: impl fmt::Display, rule: impl Into<String>) {
    if violations.0.len() < MAX_VIOLATIONS {
        violations.add(path.to_string(), rule);
    }
}

/// The caller's own words, cut.
pub(super) fn echo(words: &str) -> Cow<'_, str> {
    match words.char_indices().nth(MAX_ECHO) {
        None => words.into(),
        Some((end, _)) => format!("{}...", &words[..end]).into(),
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_, '_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_, '_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        match self.expected {
            Expected::Element(_) => Ok(self.misfit()),
            Expected::One(_) | Expected::List(_) => Ok(None),
        }
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        match self.kind() {
            Some(Kind::Bool) => Ok(Some(Value::Bool(value))),
            _ => Ok(self.misfit()),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(self.integer(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(self.integer(value.into()))
    }

    /// Also a number without a fraction, such as `1.0` or `1e3`.
    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        match format!("{value:.0}").parse() {
            Ok(number) if value.fract() == 0.0 => Ok(self.integer(number)),
            _ => Ok(self.misfit()),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        match self.kind() {
            Some(Kind::String) => Ok(Some(Value::String(text.to_owned()))),
            Some(Kind::Enum(terms)) => match terms.get_value_by_name(text) {
                Some(term) => Ok(Some(Value::EnumNumber(term.number()))),
                None => Ok(self.refuse(format!("{:?} is no value of this enum", echo(text)))),
            },
            Some(Kind::Message(message)) if is_timestamp(message) => match timestamp(message, text) {
                Some(instant) => Ok(Some(Value::Message(instant))),
                None => Ok(self.misfit()),
            },
            Some(Kind::Bytes) => match STANDARD_NO_PAD.decode(url_unsafe(text)) {
                Ok(bytes) => Ok(Some(Value::Bytes(bytes.into()))),
                Err(_) => Ok(self.misfit()),
            },
            Some(Kind::Double | Kind::Float | Kind::Bool | Kind::Message(_)) | None => Ok(self.misfit()),
            // 64 bits do not fit into the numbers of many readers of JSON: such integers are written as texts.
            Some(_) => match text.parse() {
                Ok(number) => Ok(self.integer(number)),
                Err(_) => Ok(self.misfit()),
            },
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let Expected::List(kind) = self.expected else {
            while elements.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(self.misfit());
        };
        let mut list = Vec::new();
        for index in 0..MAX_ELEMENTS {
            let place = Place {
                expected: Expected::Element(kind),
                path: Path::Element(&self.path, index),
                violations: self.violations,
            };
            match elements.next_element_seed(place)? {
                Some(element) => list.extend(element),
                None => return Ok(Some(Value::List(list))),
            }
        }
        if elements.next_element::<IgnoredAny>()?.is_some() {
            while elements.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(self.refuse(format!("must be at most {MAX_ELEMENTS}")));
        }
        Ok(Some(Value::List(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let descriptor = match self.kind() {
            Some(Kind::Message(descriptor)) if !is_timestamp(descriptor) => descriptor,
            _ => {
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(self.misfit());
            }
        };
        let mut message = DynamicMessage::new(descriptor.clone());
        let mut seen = Vec::new();
        while let Some(name) = members.next_key::<Cow<'_, str>>()? {
            let Some(field) = field(descriptor, &name) else {
                let name = echo(&name);
                note(self.violations, Path::Field(&self.path, &name), NO_FIELD);
                members.next_value::<IgnoredAny>()?;
                continue;
            };
            let (kind, path) = (field.kind(), Path::Field(&self.path, field.name()));
            if seen.contains(&field.number()) {
                note(self.violations, path, TWICE);
            } else {
                seen.push(field.number());
            }
            let place = Place {
                expected: if field.is_list() {
                    Expected::List(&kind)
                } else {
                    Expected::One(&kind)
                },
                path,
                violations: self.violations,
            };
            if let Some(value) = members.next_value_seed(place)? {
                set(&mut message, &field, value, &self.path, self.violations)?;
            }
        }
        Ok(Some(Value::Message(message)))
    }
}

/// The field that a member names, in lowerCamelCase or as the contract does.
fn field(descriptor: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    descriptor
        .get_field_by_json_name(name)
        .or_else(|| descriptor.get_field_by_name(name))
}

fn set<E: Error>(
    message: &mut DynamicMessage,
    field: &FieldDescriptor,
    value: Value,
    path: &Path<'_>,
    violations: &mut Violations,
) -> Result<(), E> {
    if let Some(oneof) = field.containing_oneof()
        && oneof
            .fields()
            .any(|other| other.number() != field.number() && message.has_field(&other))
    {
        let names: Vec<_> = oneof.fields().map(|field| field.name().to_owned()).collect();
        let rule = format!("must be only one of {}", names.join(", "));
        note(violations, Path::Field(path, oneof.name()), rule);
    }
    message.try_set_field(field, value).map_err(E::custom)
}

const TIMESTAMP_RULE: &str =
    "must be an RFC 3339 time with its offset, such as 2026-04-01T08:00:00+08:00, in the years 1 to 9999";

fn is_timestamp(message: &MessageDescriptor) -> bool {
    message.full_name() == "google.protobuf.Timestamp"
}

/// Not by jiff's instants, which end a day before the year 9999 does.
fn timestamp(descriptor: &MessageDescriptor, text: &str) -> Option<DynamicMessage> {
    const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
    let (local, offset) = if let Some(local) = text.strip_suffix('Z') {
        (local, 0)
    } else {
        let (local, offset) = text.split_at_checked(text.len().checked_sub("+08:00".len())?)?;
        (local, offset_seconds(offset)?)
    };
    if !is_date_time(local) {
        return None;
    }
    let local: civil::DateTime = local.parse().ok()?;
    let since = local.duration_since(civil::date(1970, 1, 1).at(0, 0, 0, 0));
    let (mut seconds, mut nanos) = (since.as_secs(), since.subsec_nanos());
    if nanos < 0 {
        (seconds, nanos) = (seconds - 1, nanos + 1_000_000_000);
    }
    let seconds = seconds - offset;
    if !YEARS.contains(&seconds) {
        return None;
    }
    let mut instant = DynamicMessage::new(descriptor.clone());
    instant
        .try_set_field_by_name("seconds", Value::I64(seconds))
        .ok()?;
    instant.try_set_field_by_name("nanos", Value::I32(nanos)).ok()?;
    Some(instant)
}

/// Whether a text has the form of RFC 3339, of which jiff takes more.
fn is_date_time(text: &str) -> bool {
    const FORM: &[u8] = b"0000-00-00T00:00:00";
    let Some((whole, fraction)) = text.split_at_checked(FORM.len()) else {
        return false;
    };
    let fits = |(byte, form): (u8, &u8)| {
        if *form == b'0' {
            byte.is_ascii_digit()
        } else {
            byte == *form
        }
    };
    let is_fraction = |text: &str| {
        let digits = text.strip_prefix('.').unwrap_or_default();
        (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    whole.bytes().zip(FORM).all(fits) && (fraction.is_empty() || is_fraction(fraction))
}

/// `+08:00` or `-08:00`
fn offset_seconds(text: &str) -> Option<i64> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let number = |digits: &str| {
        let digits_only = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<i64>().ok().filter(|_| digits_only)
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

/// Base64 of either alphabet, padded or not, as the usual one without padding.
fn url_unsafe(text: &str) -> String {
    text.trim_end_matches('=').replace('-', "+").replace('_', "/")
}
