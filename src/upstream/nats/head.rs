//! Questions to relays over core NATS, and their answers: JSON, so that an operator can ask too. Nothing of it is kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::Asked;

/// Where the store stood when the relay looked last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The store's identity.
    pub epoch: String,
    /// The last sequence of its log.
    pub sequence: u64,
    /// How long before the answer the relay asked the store, in nanoseconds: the longer of its two clocks' opinions.
    pub age_ns: u64,
    /// The digest of all rows at that sequence, 64 hex digits.
    pub digest: String,
    /// The stream's identity.
    pub stream: u64,
    /// The stream's sequence that leads up to the head.
    pub stream_sequence: u64,
    /// Which relay answers.
    pub relay: String,
}

impl Head {
    /// When the store was asked, as it looks from where the relay was asked: the relay's answer cannot be older than the
    /// question, so this is never later than it was. `None` before the clocks began.
    pub fn confirmed(&self, asked: Asked) -> Option<Asked> {
        let age = Duration::from_nanos(self.age_ns);
        Some(Asked {
            monotonic: asked.monotonic.checked_sub(age)?,
            wall: asked.wall.checked_sub(age)?,
        })
    }
}

/// A replica asks whether it may fetch a snapshot, or tells that it goes on, or that it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermitRequest {
    /// Which replica, at which try.
    pub replica: String,
    /// The fetch has ended.
    #[serde(default)]
    pub ended: bool,
}

/// What a relay says to that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permit {
    /// Go, or ask again later.
    pub granted: bool,
    /// Which relay: it is told of the end.
    pub relay: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_as_old_as_the_relay_says_counted_from_the_question() {
        let head = Head {
            epoch: "e".to_owned(),
            sequence: 7,
            age_ns: 2_000_000_000,
            digest: String::new(),
            stream: u64::MAX,
            stream_sequence: 3,
            relay: "r".to_owned(),
        };
        let asked = Asked::now();
        let confirmed = head.confirmed(asked).unwrap();
        assert_eq!(asked.monotonic - confirmed.monotonic, Duration::from_secs(2));
        assert_eq!(
            asked.wall.duration_since(confirmed.wall).unwrap(),
            Duration::from_secs(2)
        );
        let ancient = Head {
            age_ns: u64::MAX,
            ..head.clone()
        };
        let years = Duration::from_hours(500 * 365 * 24);
        assert!(
            ancient
                .confirmed(asked)
                .is_none_or(|confirmed| asked.monotonic - confirmed.monotonic > years)
        );
        let text = serde_json::to_string(&head).unwrap();
        assert_eq!(serde_json::from_str::<Head>(&text).unwrap(), head);
    }
}
