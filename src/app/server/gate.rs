//! Which connections are taken: so many at once and so many a second, in all and from one address.

use std::{
    collections::hash_map::Entry,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use foldhash::HashMap;

use super::ConnectionLimits;
use crate::{
    metrics::{Metrics, Shed},
    service::admission::{Bucket, nanos, source},
};

/// What comes within that time may come at once.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Counts connections.
#[derive(Debug)]
pub(super) struct Gate {
    limits: ConnectionLimits,
    new: Bucket,
    taken: Mutex<Taken>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Taken {
    open: usize,
    addresses: HashMap<IpAddr, Address>,
    /// At how many addresses those without a connection are looked over.
    look_at: usize,
}

#[derive(Debug)]
struct Address {
    open: usize,
    new: Bucket,
}

/// A connection that counts as open until it is dropped.
#[derive(Debug)]
pub(super) struct Open {
    gate: Arc<Gate>,
    address: IpAddr,
}

impl Gate {
    pub(super) fn new(limits: ConnectionLimits, metrics: Arc<Metrics>) -> Self {
        Self {
            new: Bucket::new(limits.new_connections, AT_ONCE),
            limits,
            taken: Mutex::default(),
            metrics,
        }
    }

    /// Takes a connection from that address, or says why not.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, now: Instant) -> Result<Open, Shed> {
        let (address, now) = (source(address), nanos(now));
        let limits = &self.limits;
        let mut taken = self.taken();
        if taken.open >= limits.connections {
            return Err(Shed::Connections);
        }
        taken.forget(now);
        let from = taken.addresses.entry(address).or_insert_with(|| Address {
            open: 0,
            new: Bucket::new(limits.new_connections_per_address, AT_ONCE),
        });
        if limits.connections_per_address > 0 && from.open >= limits.connections_per_address {
            return Err(Shed::ConnectionsOfAddress);
        }
        // Of its own first: what an address has too much of is not taken from the others.
        from.new.take(1, now).map_err(|_| Shed::ConnectionRate)?;
        self.new.take(1, now).map_err(|_| Shed::ConnectionRate)?;
        from.open += 1;
        taken.open += 1;
        self.metrics.connections.opened();
        Ok(Open {
            gate: Arc::clone(self),
            address,
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Nothing panics while it is held.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Forgets addresses once there are many that nothing is known of.
    fn forget(&mut self, now: u64) {
        const MANY: usize = 1024;
        if self.addresses.len() >= self.look_at.max(MANY) {
            self.addresses
                .retain(|_, address| address.open > 0 || !address.new.is_full(now));
            self.look_at = self.addresses.len() * 2;
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut taken = self.gate.taken();
        taken.open -= 1;
        self.gate.metrics.connections.closed();
        if let Entry::Occupied(mut from) = taken.addresses.entry(self.address) {
            from.get_mut().open -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::settings::Settings;

    fn gate(change: impl FnOnce(&mut ConnectionLimits)) -> Arc<Gate> {
        let mut limits = ConnectionLimits::from(&Settings::default());
        change(&mut limits);
        Arc::new(Gate::new(limits, Arc::default()))
    }

    fn address(number: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + number).into())
    }

    #[test]
    fn one_address_leaves_room_for_others() {
        let gate = gate(|limits| (limits.connections, limits.connections_per_address) = (5, 3));
        let now = Instant::now();
        let own: Vec<_> = (0..3).map(|_| gate.enter(address(1), now).unwrap()).collect();
        assert_eq!(
            gate.enter(address(1), now).unwrap_err(),
            Shed::ConnectionsOfAddress
        );
        let _others = [2, 3].map(|number| gate.enter(address(number), now).unwrap());
        assert_eq!(gate.enter(address(4), now).unwrap_err(), Shed::Connections);
        drop(own);
        assert!(gate.enter(address(1), now).is_ok());
    }

    #[test]
    fn connections_that_come_too_fast_are_refused_their_address_first() {
        let gate = gate(|limits| (limits.new_connections, limits.new_connections_per_address) = (100, 10));
        let now = Instant::now();
        let come = |number, times| {
            let taken = (0..times).filter(|_| gate.enter(address(number), now).is_ok());
            taken.count()
        };
        assert_eq!(come(1, 100), 20);
        assert_eq!((2..=20).map(|number| come(number, 100)).sum::<usize>(), 180);
        let later = now + Duration::from_secs(1);
        assert!(gate.enter(address(1), later).is_ok());
    }

    #[test]
    fn what_is_0_is_no_limit_and_addresses_are_forgotten() {
        let gate = gate(|limits| {
            (limits.new_connections, limits.new_connections_per_address) = (0, 0);
            limits.connections_per_address = 0;
        });
        let now = Instant::now();
        let held: Vec<_> = (0..9_000).map(|_| gate.enter(address(0), now).unwrap()).collect();
        (0..100_000).for_each(|number| drop(gate.enter(address(number), now).unwrap()));
        assert!(gate.taken().addresses.len() <= 1024);
        let taken = gate.taken();
        assert_eq!((taken.open, taken.addresses[&address(0)].open), (9_000, 9_000));
        drop(taken);
        drop(held);
    }
}
