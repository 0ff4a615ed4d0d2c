//! What a caller has left of its quota, wherever its calls come in.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use foldhash::HashMap;

use super::bucket::{Bucket, nanos};
use crate::service::status::Refusal;

/// Refusals a second that a caller is given at once; of more, each has its connection read later.
const REFUSALS: u32 = 1_000;
/// As many as come within this time are given before that begins.
const REFUSALS_AT_ONCE: Duration = Duration::from_millis(100);
/// Accounts that are kept without a look at which of them nobody needs.
const MANY: usize = 1024;

/// What a caller may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Decisions a second, a second's worth at once; 0: any.
    pub rate: u32,
    /// Calls open at once; 0: any.
    pub calls: u32,
}

/// One caller's, or one address's.
#[derive(Debug)]
pub struct Account {
    decisions: Bucket,
    refusals: Bucket,
    /// Most calls at once; 0: any.
    calls: u32,
    open: AtomicU32,
}

/// A call that counts as one of its caller's until it is dropped.
#[derive(Debug)]
pub struct Charged(Option<Arc<Account>>);

impl Drop for Charged {
    fn drop(&mut self) {
        if let Some(account) = &self.0 {
            account.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Account {
    /// With nothing taken yet.
    pub fn new(quota: Quota) -> Self {
        Self {
            decisions: Bucket::new(quota.rate, Duration::from_secs(1)),
            refusals: Bucket::new(REFUSALS, REFUSALS_AT_ONCE),
            calls: quota.calls,
            open: AtomicU32::new(0),
        }
    }

    /// Another call begins.
    pub(super) fn begin(self: &Arc<Self>, now: Instant) -> Result<Charged, Refusal> {
        // Where there is no quota, nothing is touched that other threads touch.
        let mut charged = Charged(None);
        if self.calls > 0 {
            let before = self.open.fetch_add(1, Ordering::Relaxed);
            charged = Charged(Some(Arc::clone(self)));
            if before >= self.calls {
                return Err(Refusal::CallerCalls);
            }
        }
        self.decisions.take(1, nanos(now)).map_err(Refusal::CallerRate)?;
        Ok(charged)
    }

    /// Whether its decisions are counted.
    pub const fn is_metered(&self) -> bool {
        self.decisions.is_limit()
    }

    /// So many decisions more are asked for by a call that has begun; what is over the quota is a debt.
    pub fn owe(&self, decisions: usize) {
        self.decisions.owe(decisions as u64, nanos(Instant::now()));
    }

    /// Takes a decision more for a message of a stream, or tells how long until it may be taken.
    pub fn take_or_wait(&self) -> Option<Duration> {
        self.decisions.take(1, nanos(Instant::now())).err()
    }

    /// A call of it was refused: how long its connection is not to be read.
    pub(super) fn refused(&self, now: Instant) -> Duration {
        self.refusals.owe(1, nanos(now))
    }

    fn is_idle(&self, now: u64) -> bool {
        self.open.load(Ordering::Relaxed) == 0 && self.decisions.is_full(now) && self.refusals.is_full(now)
    }
}

/// Whom a connection or a call is counted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Holder {
    Address(IpAddr),
    Caller(Arc<str>),
}

/// The accounts of everybody who is connected, or was lately.
#[derive(Debug)]
pub struct Accounts {
    quota: Quota,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    accounts: HashMap<Holder, Arc<Account>>,
    /// At how many there is a look at which of them nobody needs.
    look_at: usize,
}

impl Accounts {
    /// None yet; each caller will have that quota.
    pub fn new(quota: Quota) -> Self {
        Self {
            quota,
            known: Mutex::new(Known {
                accounts: HashMap::default(),
                look_at: MANY,
            }),
        }
    }

    /// Of whoever calls from there.
    pub fn of_address(&self, address: IpAddr) -> Arc<Account> {
        self.of(Holder::Address(source(address)))
    }

    /// Of the caller of that name, wherever it calls from.
    pub fn of_caller(&self, name: &Arc<str>) -> Arc<Account> {
        self.of(Holder::Caller(Arc::clone(name)))
    }

    fn of(&self, holder: Holder) -> Arc<Account> {
        // Whoever panicked has at worst left an account out.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.accounts.len() >= known.look_at {
            let now = nanos(Instant::now());
            known
                .accounts
                .retain(|_, account| Arc::strong_count(account) > 1 || !account.is_idle(now));
            known.look_at = (known.accounts.len() * 2).max(MANY);
        }
        let account = known.accounts.entry(holder);
        Arc::clone(account.or_insert_with(|| Arc::new(Account::new(self.quota))))
    }
}

/// What counts as one address: of IPv6, a /64, which is the least that one host is given.
pub fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_of_one_host_is_one_source() {
        assert_eq!(
            source(address("2001:db8::1")),
            source(address("2001:db8::ffff:1"))
        );
        assert_ne!(source(address("2001:db8::1")), source(address("2001:db8:0:1::1")));
        assert_eq!(source(address("::ffff:192.0.2.1")), address("192.0.2.1"));
        assert_ne!(source(address("192.0.2.1")), source(address("192.0.2.2")));
    }

    #[test]
    fn calls_at_once_are_bounded_for_one_caller_over_all_its_connections() {
        let accounts = Accounts::new(Quota { rate: 0, calls: 2 });
        let now = Instant::now();
        let (one, same) = (
            accounts.of_address(address("192.0.2.1")),
            accounts.of_address(address("192.0.2.1")),
        );
        let first = one.begin(now).unwrap();
        let _second = same.begin(now).unwrap();
        assert_eq!(one.begin(now).unwrap_err(), Refusal::CallerCalls);
        assert!(accounts.of_address(address("192.0.2.2")).begin(now).is_ok());
        drop(first);
        assert!(same.begin(now).is_ok(), "what was refused does not count");
    }

    #[test]
    fn a_rate_is_kept_and_refusals_beyond_measure_are_slowed_down() {
        let account = Arc::new(Account::new(Quota { rate: 10, calls: 0 }));
        let now = Instant::now();
        let begun = (0..100).filter(|_| account.begin(now).is_ok()).count();
        assert_eq!(begun, 10);
        assert!(matches!(account.begin(now), Err(Refusal::CallerRate(wait)) if wait > Duration::ZERO));
        let slowed: Vec<_> = (0..1_100).map(|_| account.refused(now)).collect();
        assert_eq!(slowed[99], Duration::ZERO);
        assert_eq!(slowed[1_099], Duration::from_secs(1));
    }

    #[test]
    fn accounts_that_nobody_needs_are_forgotten() {
        let accounts = Accounts::new(Quota::default());
        let held = accounts.of_address(address("10.255.0.1"));
        for last in 0..100_000_u32 {
            accounts.of_address(IpAddr::V4((0x0a00_0000 + last).into()));
        }
        assert!(accounts.known.lock().unwrap().accounts.len() <= MANY);
        assert!(Arc::ptr_eq(&held, &accounts.of_address(address("10.255.0.1"))));
    }
}
