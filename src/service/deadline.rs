//! The caller's deadline, from the `grpc-timeout` header.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::{Instant, sleep_until};

use super::status::Refusal;
use crate::wire::violations::Violations;

/// When the caller stops waiting.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(pub Instant);

/// A `grpc-timeout` that has not the form of the gRPC specification: 1 to 8 digits and a unit of `HMSmun`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadTimeout;

impl From<BadTimeout> for Refusal {
    fn from(BadTimeout: BadTimeout) -> Self {
        let rule = "must be 1 to 8 digits and one of H M S m u n";
        Self::Invalid(Violations::of("grpc-timeout", rule))
    }
}

/// What the work gives, unless the deadline passes first.
pub async fn within<T>(
    deadline: Option<Deadline>,
    work: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    match deadline {
        None => work.await,
        // The timer is looked at only after the work.
        Some(Deadline(at)) if at <= Instant::now() => Err(Refusal::DeadlineExceeded),
        Some(Deadline(at)) => tokio::time::timeout_at(at, work)
            .await
            .unwrap_or(Err(Refusal::DeadlineExceeded)),
    }
}

impl Deadline {
    /// Reads the header, counted from when the call began; `None` where none is sent.
    pub fn from_headers(headers: &HeaderMap, begun: Instant) -> Result<Option<Self>, BadTimeout> {
        let Some(value) = headers.get("grpc-timeout") else {
            return Ok(None);
        };
        let text = value.to_str().map_err(|_| BadTimeout)?;
        let timeout = parse(text).ok_or(BadTimeout)?;
        // A deadline too far away to be told is none.
        Ok(begun.checked_add(timeout).map(Self))
    }
}

/// Completes when the caller stops waiting.
pub async fn passed(deadline: Option<Deadline>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.0).await,
        None => std::future::pending().await,
    }
}

fn parse(text: &str) -> Option<Duration> {
    let unit_at = text.len().checked_sub(1)?;
    let (digits, unit) = (text.get(..unit_at)?, text.get(unit_at..)?);
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3_600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_specification_says() {
        assert_eq!(parse("1H"), Some(Duration::from_hours(1)));
        assert_eq!(parse("99999999n"), Some(Duration::from_nanos(99_999_999)));
        assert_eq!(parse("0m"), Some(Duration::ZERO));
        for bad in ["", "m", "5", "123456789m", "-1m", "1x", "1é", " 1m"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
