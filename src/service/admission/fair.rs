//! A queue in which callers take turns: whoever has a thousand calls in it delays another's by one.

use std::{collections::VecDeque, time::Instant};

use foldhash::HashMap;

/// Items by their owner, each owner's in their order.
#[derive(Debug)]
pub(super) struct Fair<T> {
    lines: HashMap<usize, Line<T>>,
    /// Owners with items, the next one first.
    ring: VecDeque<usize>,
    len: usize,
}

/// What one owner has in the queue.
#[derive(Debug)]
struct Line<T> {
    items: VecDeque<T>,
    /// Since when there is something in it.
    since: Instant,
}

impl<T> Default for Fair<T> {
    fn default() -> Self {
        Self {
            lines: HashMap::default(),
            ring: VecDeque::new(),
            len: 0,
        }
    }
}

impl<T> Fair<T> {
    pub(super) fn push(&mut self, owner: usize, item: T, now: Instant) {
        let line = self.lines.entry(owner).or_insert_with(|| {
            self.ring.push_back(owner);
            Line {
                items: VecDeque::new(),
                since: now,
            }
        });
        line.items.push_back(item);
        self.len += 1;
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let owner = self.ring.pop_front()?;
        let line = self.lines.get_mut(&owner)?;
        let item = line.items.pop_front();
        if line.items.is_empty() {
            // What is left of a line is as large as it ever was.
            self.lines.remove(&owner);
        } else {
            self.ring.push_back(owner);
        }
        self.len -= usize::from(item.is_some());
        item
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Whether an owner has less than its share, itself counted, of the room that there is for who has waited since then.
    pub(super) fn is_below_share(&self, owner: usize, room: impl Fn(Instant) -> usize) -> bool {
        let Some(Line { items, since }) = self.lines.get(&owner) else {
            // One is always below.
            return true;
        };
        items.len() < (room(*since) / self.lines.len()).max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn owners_take_turns_and_keep_their_order() {
        let (mut queue, now) = (Fair::default(), Instant::now());
        for item in 0..3 {
            queue.push(1, (1, item), now);
        }
        queue.push(2, (2, 0), now);
        queue.push(3, (3, 0), now);
        queue.push(3, (3, 1), now);
        let all: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(all, [(1, 0), (2, 0), (3, 0), (1, 1), (3, 1), (1, 2)]);
        assert_eq!((queue.len(), queue.lines.len(), queue.ring.len()), (0, 0, 0));
    }

    #[test]
    fn who_has_much_leaves_a_share_to_others() {
        let (mut queue, begun) = (Fair::default(), Instant::now());
        let later = begun + Duration::from_secs(1);
        let fifty = |_: Instant| 50;
        for item in 0..100 {
            assert_eq!(queue.is_below_share(1, fifty), item < 50);
            queue.push(1, item, begun);
        }
        assert!(queue.is_below_share(2, fifty));
        (0..25).for_each(|item| queue.push(2, item, later));
        assert!(!queue.is_below_share(2, fifty) && queue.is_below_share(3, fifty));
        assert!(queue.is_below_share(3, |_| 0), "one is always below");
        let young = |since: Instant| if since == later { 100 } else { 50 };
        assert!(queue.is_below_share(2, young) && !queue.is_below_share(1, young));
    }
}
