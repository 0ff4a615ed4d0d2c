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

/// A value that cannot be read: the bytes end within it, or are those of no value of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

/// A value, if there is one.
pub(super) type Taken<T> = Result<T, Unreadable>;

/// Takes values one after the other.
#[derive(Debug)]
pub(super) struct Take<'a>(pub(super) &'a [u8]);

impl<'a> Take<'a> {
    pub(super) fn bytes<const N: usize>(&mut self) -> Taken<&'a [u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Unreadable)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn byte(&mut self) -> Taken<u8> {
        self.bytes().map(|[byte]| *byte)
    }

    pub(super) fn boolean(&mut self) -> Taken<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Unreadable),
        }
    }

    pub(super) fn number(&mut self) -> Taken<u64> {
        self.bytes().map(|bytes| u64::from_le_bytes(*bytes))
    }

    pub(super) fn signed(&mut self) -> Taken<i64> {
        self.bytes().map(|bytes| i64::from_le_bytes(*bytes))
    }

    pub(super) fn text(&mut self) -> Taken<&'a str> {
        let length = usize::try_from(self.number()?).map_err(|_| Unreadable)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Unreadable)?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| Unreadable)
    }

    /// A text that must be one of a kind.
    pub(super) fn parsed<T: std::str::FromStr>(&mut self) -> Taken<T> {
        self.text()?.parse().map_err(|_| Unreadable)
    }

    pub(super) fn owned(&mut self) -> Taken<String> {
        self.text().map(str::to_owned)
    }

    pub(super) fn date(&mut self) -> Taken<Date> {
        let days = i32::try_from(self.signed()?).map_err(|_| Unreadable)?;
        Date::from_days(days).ok_or(Unreadable)
    }

    pub(super) fn instant(&mut self) -> Taken<Timestamp> {
        let second = self.signed()?;
        let nanosecond = i32::try_from(self.signed()?).map_err(|_| Unreadable)?;
        Timestamp::new(second, nanosecond).map_err(|_| Unreadable)
    }

    pub(super) fn wall(&mut self) -> Taken<SystemTime> {
        let before = self.boolean()?;
        let seconds = self.number()?;
        let nanoseconds = u32::try_from(self.number()?).map_err(|_| Unreadable)?;
        if nanoseconds >= 1_000_000_000 {
            return Err(Unreadable);
        }
        let distance = Duration::new(seconds, nanoseconds);
        let at = if before {
            UNIX_EPOCH.checked_sub(distance)
        } else {
            UNIX_EPOCH.checked_add(distance)
        };
        at.ok_or(Unreadable)
    }

    pub(super) fn optional<T>(&mut self, take: impl FnOnce(&mut Self) -> Taken<T>) -> Taken<Option<T>> {
        self.boolean()?.then(|| take(self)).transpose()
    }

    /// As many values as are said; room is made as they come, not as many as are said.
    pub(super) fn each<T, V: FromIterator<T>>(
        &mut self,
        mut take: impl FnMut(&mut Self) -> Taken<T>,
    ) -> Taken<V> {
        let count = self.number()?;
        (0..count).map(|_| take(self)).collect()
    }

    /// The value, if nothing is left over.
    pub(super) fn end<T>(self, value: T) -> Taken<T> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(Unreadable)
        }
    }
}
