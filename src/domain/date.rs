//! Calendar dates in China time (UTC+8), the grain in which the law counts.

use std::{fmt, str::FromStr};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// UTC+8 without daylight saving, in seconds.
const CHINA_OFFSET: i64 = 8 * 3600;
const SECONDS_A_DAY: i64 = 86_400;

/// A calendar date in UTC+8 between 0001-01-01 and 9999-12-31, as days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(i32);

/// A text that is no date of the form YYYY-MM-DD.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a date of the form YYYY-MM-DD")]
pub struct BadDate(pub String);

impl Date {
    /// 0001-01-01.
    pub const MIN: Self = Self(-719_162);
    /// 9999-12-31.
    pub const MAX: Self = Self(2_932_896);

    /// The date in UTC+8 at that instant.
    pub fn of(instant: Timestamp) -> Self {
        let days = (instant.as_second() + CHINA_OFFSET).div_euclid(SECONDS_A_DAY);
        // Every instant that jiff can hold is within the years -9999 to 9999, far inside an i32 of days.
        Self(i32::try_from(days).unwrap_or(i32::MAX)).clamp(Self::MIN, Self::MAX)
    }

    /// The instant at which the date begins: midnight in UTC+8.
    pub fn midnight(self) -> Timestamp {
        let seconds = i64::from(self.0) * SECONDS_A_DAY - CHINA_OFFSET;
        Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
    }

    /// The date with that number of days since 1970-01-01, if it is in range.
    pub fn from_days(days: i32) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&days).then_some(Self(days))
    }

    /// Days since 1970-01-01.
    pub const fn days(self) -> i32 {
        self.0
    }

    /// The date as a number YYYYMMDD.
    pub fn number(self) -> u32 {
        let (year, month, day) = self.civil();
        year.unsigned_abs() * 10_000 + month * 100 + day
    }

    /// The date of a number YYYYMMDD, if there is one.
    pub fn from_number(number: u32) -> Option<Self> {
        let part = |value: u32| i32::try_from(value).ok();
        let (year, month, day) = (number / 10_000, number / 100 % 100, number % 100);
        Self::checked(part(year)?, part(month)?, part(day)?)
    }

    /// The date that many days later (earlier where negative), within the range.
    #[must_use]
    pub fn plus_days(self, days: i32) -> Self {
        Self(self.0.saturating_add(days)).clamp(Self::MIN, Self::MAX)
    }

    /// Year, month (1 to 12) and day (1 to 31).
    ///
    /// The proleptic Gregorian calendar by Hinnant's `civil_from_days`.
    pub fn civil(self) -> (i32, u32, u32) {
        let shifted = self.0 + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        let year = year_of_era + era * 400 + i32::from(month <= 2);
        (year, month.unsigned_abs(), day.unsigned_abs())
    }

    /// The date of a year from 1 to 9999, a month and a day, if there is one.
    fn checked(year: i32, month: i32, day: i32) -> Option<Self> {
        if !(1..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        let date = Self::from_civil(year, month, day);
        // A day that the month does not have would come back as another one.
        (date.civil() == (year, month.unsigned_abs(), day.unsigned_abs())).then_some(date)
    }

    fn from_civil(year: i32, month: i32, day: i32) -> Self {
        let year = year - i32::from(month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month_from_march = if month > 2 { month - 3 } else { month + 9 };
        let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Self(era * 146_097 + day_of_era - 719_468)
    }
}

impl FromStr for Date {
    type Err = BadDate;

    fn from_str(text: &str) -> Result<Self, BadDate> {
        let bad = || BadDate(text.to_owned());
        let bytes: &[u8; 10] = text.as_bytes().try_into().map_err(|_| bad())?;
        let number = |range: std::ops::Range<usize>| {
            bytes[range].iter().try_fold(0i32, |sum, byte| {
                byte.is_ascii_digit().then(|| sum * 10 + i32::from(byte - b'0'))
            })
        };
        let (Some(year), b'-', Some(month), b'-', Some(day)) =
            (number(0..4), bytes[4], number(5..7), bytes[7], number(8..10))
        else {
            return Err(bad());
        };
        Self::checked(year, month, day).ok_or_else(bad)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// The instant that much later, at most the last one there is.
pub fn later(instant: Timestamp, by: SignedDuration) -> Timestamp {
    instant.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_the_calendar_agrees_with_jiff() {
        let mut civil = jiff::civil::date(1, 1, 1);
        for days in Date::MIN.days()..=Date::MAX.days() {
            let date = Date::from_days(days).expect("in range");
            assert_eq!(
                date.civil(),
                (
                    i32::from(civil.year()),
                    civil.month().unsigned_abs().into(),
                    civil.day().unsigned_abs().into()
                )
            );
            if days % 97 == 0 {
                assert_eq!(civil.to_string().parse(), Ok(date));
                assert_eq!(date.to_string(), civil.to_string());
                assert_eq!(
                    date.number().to_string(),
                    civil.to_string().replace('-', "").trim_start_matches('0')
                );
                assert_eq!(Date::from_number(date.number()), Some(date));
            }
            if days < Date::MAX.days() {
                civil = civil.tomorrow().expect("in range");
            }
        }
    }

    #[test]
    fn a_day_begins_at_sixteen_hours_utc_of_the_day_before() {
        let date: Date = "2021-11-01".parse().expect("a date");
        let midnight: Timestamp = "2021-10-31T16:00:00Z".parse().expect("an instant");
        assert_eq!(date.midnight(), midnight);
        assert_eq!(Date::of(midnight), date);
        assert_eq!(
            Date::of(midnight - SignedDuration::from_nanos(1)).to_string(),
            "2021-10-31"
        );
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "2021-1-01",
            "2021-02-30",
            "2021-13-01",
            "0000-01-01",
            "2021-11-01T",
            "20211101",
            "+021-11-01",
            "2021-00-10",
        ] {
            assert!(text.parse::<Date>().is_err(), "{text}");
        }
        for number in [0, 1, 20_261_301, 20_260_230, 20_260_100, 100_000_101, u32::MAX] {
            assert_eq!(Date::from_number(number), None, "{number}");
        }
    }
}
