//! Durations as operators write them: "5m", "250ms", "7d", "0".

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A duration that is read from and printed as text such as "5m".
///
/// There is no lower bound. The upper one, 36500 days, lets a span be added to any clock reading
/// without overflow.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(Duration);

/// Says why a text is not a [`Span`].
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SpanError {
    /// The text is not a duration.
    #[error("{0}")]
    Unreadable(#[from] humantime::DurationError),
    /// The duration is above the upper bound.
    #[error("longer than 36500d")]
    TooLong,
}

const LONGEST: Duration = Duration::from_hours(36_500 * 24);

/// Each unit in nanoseconds, and how many of it a span must reach to be printed in it: one day stays
/// "24h", as the documentation writes it.
const UNITS: [(u128, u128, &str); 7] = [
    (86_400_000_000_000, 2, "d"),
    (3_600_000_000_000, 1, "h"),
    (60_000_000_000, 1, "m"),
    (1_000_000_000, 1, "s"),
    (1_000_000, 1, "ms"),
    (1_000, 1, "us"),
    (1, 1, "ns"),
];

// === impl Span ===

impl Span {
    /// Wraps a duration.
    #[must_use]
    pub const fn new(duration: Duration) -> Self {
        Self(duration)
    }

    /// Gives the duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let duration = humantime::parse_duration(text)?;
        if duration > LONGEST {
            Err(SpanError::TooLong)
        } else {
            Ok(Self(duration))
        }
    }
}

/// Prints a whole number of the largest unit that fits: "5m", "90s", "24h", "7d".
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        for (unit, least, name) in UNITS {
            if nanos.is_multiple_of(unit) && nanos / unit >= least {
                return write!(f, "{}{name}", nanos / unit);
            }
        }
        f.write_str("0s")
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(SpanVisitor)
    }
}

struct SpanVisitor;

impl Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"5m\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
        text.parse()
            .map_err(|error| E::custom(format_args!("{text:?} is not a duration such as \"5m\": {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> Span {
        text.parse().unwrap()
    }

    #[test]
    fn durations_are_read_in_every_unit_down_to_zero() {
        assert_eq!(span("5m").get(), Duration::from_mins(5));
        assert_eq!(span("250ms").get(), Duration::from_millis(250));
        assert_eq!(span("24h").get(), Duration::from_hours(24));
        assert_eq!(span("7d").get(), Duration::from_hours(7 * 24));
        assert_eq!(span("1h 30m").get(), Duration::from_mins(90));
        assert_eq!(span("1ns").get(), Duration::from_nanos(1));
        assert_eq!(span("0s").get(), Duration::ZERO);
        assert_eq!(span("0").get(), Duration::ZERO);
    }

    #[test]
    fn text_that_is_no_duration_is_refused() {
        for text in [
            "",
            "5",
            "m",
            "-5m",
            "five minutes",
            "5m?",
            "0x5s",
            "99999999999999999999d",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn duration_beyond_a_century_is_refused() {
        assert_eq!("36500d".parse(), Ok(Span::new(LONGEST)));
        assert_eq!("36501d".parse::<Span>(), Err(SpanError::TooLong));
    }

    #[test]
    fn printed_duration_is_the_documented_text_and_reads_back() {
        for text in [
            "5m",
            "250ms",
            "24h",
            "7d",
            "0s",
            "90s",
            "90m",
            "36h",
            "1us",
            "1000001ns",
        ] {
            assert_eq!(span(text).to_string(), text);
        }
    }
}
