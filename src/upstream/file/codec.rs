//! Values as bytes: numbers little-endian, texts with their lengths, what may be missing behind a 0 or 1.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use crate::domain::Date;

/// Puts values one after the other.
#[derive(Debug, Default)]
pub(super) struct Put(pub(super) Vec<u8>);

impl Put {
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(super) fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    pub(super) fn signed(&mut self, number: i64) {
        self.bytes(&number.to_le_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes(text.as_bytes());
    }

    pub(super) fn date(&mut self, date: Date) {
        self.signed(date.days().into());
    }

    pub(super) fn instant(&mut self, at: Timestamp) {
        self.signed(at.as_second());
        self.signed(at.subsec_nanosecond().into());
    }

    pub(super) fn wall(&mut self, at: SystemTime) {
        let before = at < UNIX_EPOCH;
        let distance = if before {
            UNIX_EPOCH.duration_since(at)
        } else {
            at.duration_since(UNIX_EPOCH)
        }
        .unwrap_or_default();
        self.byte(before.into());
        self.number(distance.as_secs());
        self.number(distance.subsec_nanos().into());
    }

    /// What may be missing.
    pub(super) fn optional<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.byte(value.is_some().into());
        if let Some(value) = value {
            put(self, value);
        }
    }

    /// As many values as there are.
    pub(super) fn each<T>(&mut self, values: &[T], mut put: impl FnMut(&mut Self, &T)) {
        self.number(values.len() as u64);
        for value in values {
            put(self, value);
        }
    }
}

/// Takes values one after the other; `None` as soon as one is none.
#[derive(Debug)]
pub(super) struct Take<'a>(pub(super) &'a [u8]);

impl<'a> Take<'a> {
    pub(super) fn bytes<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.bytes().map(|[byte]| *byte)
    }

    pub(super) fn boolean(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        self.bytes().map(|bytes| u64::from_le_bytes(*bytes))
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        self.bytes().map(|bytes| i64::from_le_bytes(*bytes))
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    /// A text that must be one of a kind.
    pub(super) fn parsed<T: std::str::FromStr>(&mut self) -> Option<T> {
        self.text()?.parse().ok()
    }

    pub(super) fn owned(&mut self) -> Option<String> {
        self.text().map(str::to_owned)
    }

    pub(super) fn date(&mut self) -> Option<Date> {
        i32::try_from(self.signed()?).ok().and_then(Date::from_days)
    }

    pub(super) fn instant(&mut self) -> Option<Timestamp> {
        let (second, nanosecond) = (self.signed()?, i32::try_from(self.signed()?).ok()?);
        Timestamp::new(second, nanosecond).ok()
    }

    pub(super) fn wall(&mut self) -> Option<SystemTime> {
        let before = self.boolean()?;
        let (seconds, nanoseconds) = (self.number()?, u32::try_from(self.number()?).ok()?);
        if nanoseconds >= 1_000_000_000 {
            return None;
        }
        let distance = Duration::new(seconds, nanoseconds);
        if before {
            UNIX_EPOCH.checked_sub(distance)
        } else {
            UNIX_EPOCH.checked_add(distance)
        }
    }

    pub(super) fn optional<T>(&mut self, take: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        Some(if self.boolean()? { Some(take(self)?) } else { None })
    }

    /// As many values as are said; room is made as they come, not as many as are said.
    pub(super) fn each<T, V: FromIterator<T>>(
        &mut self,
        mut take: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<V> {
        let count = self.number()?;
        (0..count).map(|_| take(self)).collect()
    }

    /// The value, if nothing is left over.
    pub(super) fn end<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}
