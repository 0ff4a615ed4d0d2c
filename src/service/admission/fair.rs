//! A queue in which callers take turns: whoever has a thousand calls in it delays another's by one.

use std::collections::VecDeque;

use foldhash::HashMap;

/// Items by their owner, each owner's in their order.
#[derive(Debug)]
pub(super) struct Fair<T> {
    lines: HashMap<usize, VecDeque<T>>,
    /// Owners with items, the next one first.
    ring: VecDeque<usize>,
    len: usize,
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
    pub(super) fn push(&mut self, owner: usize, item: T) {
        let line = self.lines.entry(owner).or_default();
        if line.is_empty() {
            self.ring.push_back(owner);
        }
        line.push_back(item);
        self.len += 1;
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let owner = self.ring.pop_front()?;
        let line = self.lines.get_mut(&owner)?;
        let item = line.pop_front();
        if line.is_empty() {
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

    /// Whether an owner has less than its share of so much room, itself counted.
    pub(super) fn is_below_share(&self, owner: usize, room: usize) -> bool {
        let own = self.lines.get(&owner).map_or(0, VecDeque::len);
        let owners = self.lines.len() + usize::from(own == 0);
        own < (room / owners).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_take_turns_and_keep_their_order() {
        let mut queue = Fair::default();
        for item in 0..3 {
            queue.push(1, (1, item));
        }
        queue.push(2, (2, 0));
        queue.push(3, (3, 0));
        queue.push(3, (3, 1));
        let all: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(all, [(1, 0), (2, 0), (3, 0), (1, 1), (3, 1), (1, 2)]);
        assert_eq!((queue.len(), queue.lines.len(), queue.ring.len()), (0, 0, 0));
    }

    #[test]
    fn who_has_much_leaves_a_share_to_others() {
        let mut queue = Fair::default();
        for item in 0..100 {
            assert_eq!(queue.is_below_share(1, 50), item < 50);
            queue.push(1, item);
        }
        assert!(queue.is_below_share(2, 50));
        (0..25).for_each(|item| queue.push(2, item));
        assert!(!queue.is_below_share(2, 50) && queue.is_below_share(3, 50));
        assert!(queue.is_below_share(3, 0), "one is always below");
    }
}
