//! The last things that an operator will ask about: fresh snapshots, and what was refused.

use std::{collections::VecDeque, time::SystemTime};

/// How many are remembered.
const REMEMBERED: usize = 50;

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A fresh snapshot was taken.
    Resync,
    /// Something was refused, and the last good data stayed in force.
    Refusal,
}

impl EventKind {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resync => "resync",
            Self::Refusal => "refusal",
        }
    }
}

/// Something that happened, once or several times on end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What kind of thing.
    pub kind: EventKind,
    /// Why, in the word that its metric has too.
    pub cause: &'static str,
    /// For people: counts and sequences, nothing of single rows.
    pub text: String,
    /// When it happened last.
    pub at: SystemTime,
    /// How often on end; the text is that of the last time.
    pub times: u64,
}

/// The last events, the latest first; a bounded number of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Events(VecDeque<Event>);

impl Events {
    /// Remembers one. What is refused again and again shall not push everything else out: it stays one event.
    pub(super) fn add(&mut self, kind: EventKind, cause: &'static str, text: String, at: SystemTime) {
        let again = self
            .0
            .front()
            .filter(|last| (last.kind, last.cause) == (kind, cause));
        let times = again.map_or(1, |last| last.times.saturating_add(1));
        if times > 1 {
            self.0.pop_front();
        }
        self.0.truncate(REMEMBERED - 1);
        let event = Event {
            kind,
            cause,
            text,
            at,
            times,
        };
        self.0.push_front(event);
    }

    /// Every event that is remembered.
    pub(super) fn all(&self) -> Vec<Event> {
        self.0.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_last_fifty_are_remembered_the_latest_first_and_repetitions_are_one() {
        let mut events = Events::default();
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        for second in 0..200 {
            let cause = ["gap", "fork"][usize::from(second % 2 == 0)];
            events.add(EventKind::Resync, cause, second.to_string(), at(second));
        }
        for second in 200..203 {
            events.add(EventKind::Refusal, "drift", second.to_string(), at(second));
        }
        let all = events.all();
        assert_eq!(all.len(), 50);
        let drift = Event {
            kind: EventKind::Refusal,
            cause: "drift",
            text: "202".to_owned(),
            at: at(202),
            times: 3,
        };
        assert_eq!(all[0], drift);
        assert_eq!((all[1].text.as_str(), all[1].times), ("199", 1));
    }
}
