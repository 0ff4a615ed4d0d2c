//! A place in the order of changes of a database, and what follows on it.

use super::StoredShipment;

/// The most shipments that are read at once.
pub(crate) const PAGE: usize = 2_000;

/// Statements that databases have in common.
pub(crate) mod sql {
    /// Of a number of recent shipments: the store's identity, and the sequence before the first of them.
    pub(crate) const BEGIN: &str = "
        SELECT epoch, coalesce((SELECT sequence FROM shipment ORDER BY sequence DESC LIMIT 1 OFFSET $1), 0)
          FROM shipment_meta";
    /// Of a sequence and a number: the store's identity, the last sequence that it gave, and so many shipments from that
    /// sequence on. One row without a shipment where there are none. Of the one row of `shipment_meta` planners have to be told.
    pub(crate) const FOLLOW: &str = "
        SELECT epoch, last, sequence, declaration_number, container_numbers, revision, decided_at, entry
          FROM (SELECT epoch, sequence AS last FROM shipment_meta LIMIT 1) AS meta
          LEFT JOIN (SELECT * FROM shipment WHERE sequence >= $1 ORDER BY sequence LIMIT $2) AS page ON true
         ORDER BY sequence";
}

/// A place in the order of changes: everything up to it has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The store's identity.
    epoch: String,
    /// The sequence of the last change that was read.
    pub(crate) sequence: u64,
    /// That change, if it was seen: the shipment and its revision.
    last: Option<(String, u64)>,
}

/// Changes from a place's own one on, if that still stands.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// The store's identity.
    pub(crate) epoch: String,
    /// The last sequence that the store gave.
    pub(crate) last: u64,
    /// Sequences and shipments, in order.
    pub(crate) shipments: Vec<(u64, StoredShipment)>,
}

impl Place {
    /// Before everything after that sequence.
    pub(crate) fn new(epoch: String, sequence: u64) -> Self {
        Self {
            epoch,
            sequence,
            last: None,
        }
    }

    /// Goes on over a page, and gives what is new; `None` where the store is not the one that was followed, or went back.
    pub(crate) fn follow(&mut self, page: Page) -> Option<Vec<StoredShipment>> {
        if page.epoch != self.epoch || page.last < self.sequence {
            return None;
        }
        let mut shipments = page.shipments.into_iter().peekable();
        // A restored backup brings its old epoch back, and may have grown since: what stands at our own place tells.
        // Nothing stands there any more when that shipment has been changed again.
        if let Some((_, there)) = shipments.next_if(|(sequence, _)| *sequence == self.sequence) {
            let there = Some((there.declaration_number, there.revision));
            if self.last.is_some() && self.last != there {
                return None;
            }
            self.last = there;
        }
        let mut found = Vec::with_capacity(shipments.len());
        for (sequence, shipment) in shipments {
            self.sequence = sequence;
            found.push(shipment);
        }
        if let Some(last) = found.last() {
            self.last = Some((last.declaration_number.clone(), last.revision));
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jiff::Timestamp;

    use super::*;

    fn page(last: u64, shipments: &[(u64, &str, u64)]) -> Page {
        let shipment = |(sequence, declaration_number, revision): &(u64, &str, u64)| {
            let shipment = StoredShipment {
                declaration_number: (*declaration_number).to_owned(),
                container_numbers: Vec::new(),
                revision: *revision,
                decided_at: Timestamp::UNIX_EPOCH,
                entry: Bytes::new(),
            };
            (*sequence, shipment)
        };
        Page {
            epoch: "e".to_owned(),
            last,
            shipments: shipments.iter().map(shipment).collect(),
        }
    }

    fn names(found: Option<Vec<StoredShipment>>) -> Option<Vec<String>> {
        found.map(|found| found.into_iter().map(|found| found.declaration_number).collect())
    }

    fn at_seven() -> Place {
        let mut place = Place::new("e".to_owned(), 5);
        let found = names(place.follow(page(8, &[(5, "z", 9), (6, "a", 1), (7, "b", 1)])));
        let expected = Some(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!((found, place.sequence), (expected, 7));
        place
    }

    #[test]
    fn what_was_read_is_not_read_again() {
        let mut place = at_seven();
        let found = names(place.follow(page(9, &[(7, "b", 1), (9, "a", 2)])));
        assert_eq!(found, Some(vec!["a".to_owned()]));
        assert_eq!(names(place.follow(page(9, &[(9, "a", 2)]))), Some(vec![]));
        // It has been changed again, or deleted.
        let found = names(place.follow(page(10, &[(10, "a", 3)])));
        assert_eq!(found, Some(vec!["a".to_owned()]));
        assert_eq!(names(place.follow(page(10, &[]))), Some(vec![]));
    }

    #[test]
    fn a_store_that_went_back_is_told() {
        let another = Page {
            epoch: "another".to_owned(),
            ..page(9, &[(7, "b", 1)])
        };
        for gone_back in [
            another,
            page(6, &[]),
            page(9, &[(7, "c", 1), (8, "d", 1)]),
            page(9, &[(7, "b", 2)]),
        ] {
            assert_eq!(at_seven().follow(gone_back), None);
        }
    }
}
