//! The frames of HTTP/2 as they go by (RFC 9113, 4.1): which of them carry nothing of a call, and how many those may be.

use std::time::{Duration, Instant};

/// What a client says first (RFC 9113, 3.4).
const PREFACE: usize = 24;
const HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

/// Bytes of calls and answers for which another control frame may come.
const BYTES: u64 = 64;
/// Seconds in which as many come again as may come at once.
const SECONDS: u64 = 10;

/// Where a connection is in its frames, and what its peer has left.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes of the preface that are still to come.
    preface: usize,
    head: [u8; HEAD],
    of_head: usize,
    /// Bytes of the frame that are still to come.
    rest: usize,
    /// They are of a call.
    of_call: bool,
    /// In bytes.
    left: u64,
    most: u64,
    /// When what comes with time was added last.
    added: Instant,
}

impl Frames {
    /// Of a new connection, whose peer may send so many control frames at once.
    pub(super) fn new(control_frames: u32, now: Instant) -> Self {
        let most = u64::from(control_frames) * BYTES;
        Self {
            preface: PREFACE,
            head: [0; HEAD],
            of_head: 0,
            rest: 0,
            of_call: false,
            left: most,
            most,
            added: now,
        }
    }

    /// Whether all of the preface has come.
    pub(super) const fn has_preface(&self) -> bool {
        self.preface == 0
    }

    /// So many bytes were written.
    pub(super) fn write(&mut self, bytes: usize) {
        self.left = (self.left + bytes as u64).min(self.most);
    }

    /// Goes on over bytes that came. False when there were more control frames than may be.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> bool {
        let preface = bytes.len().min(self.preface);
        self.preface -= preface;
        bytes = &bytes[preface..];
        while !bytes.is_empty() {
            if self.rest > 0 {
                let part = bytes.len().min(self.rest);
                self.rest -= part;
                if self.of_call {
                    self.write(part);
                }
                bytes = &bytes[part..];
                continue;
            }
            let part = bytes.len().min(HEAD - self.of_head);
            self.head[self.of_head..self.of_head + part].copy_from_slice(&bytes[..part]);
            self.of_head += part;
            bytes = &bytes[part..];
            if self.of_head == HEAD {
                self.of_head = 0;
                let [high, middle, low, kind, ..] = self.head;
                self.rest = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                // One of data that carries none is as idle as a ping, unless it ends the request.
                let ends = self.head[4] & 1 == 1;
                self.of_call = match kind {
                    DATA => self.rest > 0 || ends,
                    HEADERS | CONTINUATION => true,
                    _ => false,
                };
                if !self.of_call && !self.allow(Instant::now) {
                    return false;
                }
            }
        }
        true
    }

    fn allow(&mut self, now: impl Fn() -> Instant) -> bool {
        if self.left < BYTES {
            let now = now();
            let since = now
                .saturating_duration_since(self.added)
                .min(Duration::from_secs(SECONDS));
            let come = self.most * u64::try_from(since.as_millis()).unwrap_or(0) / (SECONDS * 1000);
            // Less than a frame is not added, so that its time is not lost.
            if come >= BYTES {
                self.left = (self.left + come).min(self.most);
                self.added = now;
            }
        }
        let allowed = self.left >= BYTES;
        self.left -= if allowed { BYTES } else { 0 };
        allowed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.resize(HEAD + payload, 0xee);
        frame
    }

    fn greeted(control_frames: u32) -> Frames {
        let mut frames = Frames::new(control_frames, Instant::now());
        assert!(!frames.has_preface() && frames.read(&[b'P'; PREFACE]) && frames.has_preface());
        frames
    }

    #[test]
    fn a_flood_is_cut_wherever_its_bytes_are_cut() {
        let flood = frame(PING, 0, 8).repeat(101);
        for chunk in [1, 7, 16, 17, 18, 1_000_000] {
            let mut frames = greeted(100);
            let passed = flood.chunks(chunk).take_while(|chunk| frames.read(chunk)).count();
            let all = flood.len().div_ceil(chunk);
            // Its last frame is known by its head.
            assert!(
                passed < all && passed * chunk >= 99 * 17 || all == 1,
                "{chunk}: {passed}"
            );
        }
        assert!(greeted(101).read(&flood));
    }

    #[test]
    fn calls_and_answers_earn_control_frames() {
        let mut frames = greeted(10);
        for _ in 0..1000 {
            assert!(frames.read(&frame(HEADERS, 4, 50)));
            assert!(frames.read(&frame(DATA, 1, 14)));
            assert!(frames.read(&frame(PING, 0, 8)));
        }
        assert!(!frames.read(&frame(PING, 0, 8).repeat(12)));
        frames.write(10 * 64);
        assert!(frames.read(&frame(PING, 0, 8).repeat(10)));
    }

    #[test]
    fn data_that_is_empty_is_control_and_time_brings_more() {
        let mut frames = greeted(10);
        assert!(frames.read(&frame(DATA, 1, 0).repeat(100)));
        assert!(!frames.read(&frame(DATA, 0, 0).repeat(11)));
        let begun = frames.added;
        assert!(!frames.allow(|| begun + Duration::from_millis(900)));
        assert!(frames.allow(|| begun + Duration::from_millis(1_100)));
        assert!(!frames.allow(|| begun + Duration::from_secs(2)));
        let rested = begun + Duration::from_mins(1);
        assert_eq!((0..20).filter(|_| frames.allow(|| rested)).count(), 10);
    }

    proptest! {
        /// Whatever comes, and it makes no sense.
        #[test]
        fn where_bytes_are_cut_changes_nothing(
            mut bytes in prop::collection::vec(prop_oneof![4 => Just(0), 1 => any::<u8>()], 0..2_000),
            cuts in prop::collection::vec(1_usize..40, 1..20),
        ) {
            let (mut whole, mut cut) = (greeted(10), greeted(10));
            let passed = whole.read(&bytes);
            let mut all_passed = true;
            for cuts in cuts.iter().cycle() {
                if bytes.is_empty() || !all_passed {
                    break;
                }
                let rest = bytes.split_off((*cuts).min(bytes.len()));
                all_passed = cut.read(&bytes);
                bytes = rest;
            }
            prop_assert_eq!(passed, all_passed);
            if passed {
                prop_assert_eq!((whole.rest, whole.of_head, whole.left), (cut.rest, cut.of_head, cut.left));
            }
        }
    }
}
