//! What a caller has left of its quota, wherever its calls come in.

use std::{
    cell::RefCell,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use foldhash::HashMap;

use super::bucket::{Bucket, nanos};
use crate::{
    access::{self, Caller},
    service::status::Refusal,
};

/// Refusals for overload a second that a caller is given at once; of more, each has its connection read later.
const REFUSALS: u32 = 10_000;
/// As many as come within this time are given before that begins.
const REFUSALS_AT_ONCE: Duration = Duration::from_millis(100);
/// Accounts that are kept without a look at which of them nobody needs.
const MANY: usize = 1024;

/// What everybody may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Decisions a second, a second's worth at once; 0: any.
    pub rate: u32,
    /// Calls open at once; 0: any.
    pub calls: u32,
}

impl Quota {
    /// With what is said of one caller.
    fn but(self, of: access::Quota) -> Self {
        Self {
            rate: of.rate.unwrap_or(self.rate),
            calls: of.calls.unwrap_or(self.calls),
        }
    }
}

/// One caller's, or one address's.
#[derive(Debug)]
pub struct Account {
    decisions: Bucket,
    refusals: Bucket,
    quota: Quota,
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
            quota,
            open: AtomicU32::new(0),
        }
    }

    /// Another call begins.
    pub fn begin(self: &Arc<Self>, now: Instant) -> Result<Charged, Refusal> {
        // Where there is no quota, nothing is touched that other threads touch.
        let mut charged = Charged(None);
        if self.quota.calls > 0 {
            let before = self.open.fetch_add(1, Ordering::Relaxed);
            charged = Charged(Some(Arc::clone(self)));
            if before >= self.quota.calls {
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

    /// A call of it was refused, which weighs so much: how long its connection is not to be read.
    pub(super) fn refused(&self, weight: u64, now: Instant) -> Duration {
        self.refusals.owe(weight, nanos(now))
    }

    fn is_idle(&self, now: u64) -> bool {
        self.open.load(Ordering::Relaxed) == 0 && self.decisions.is_full(now) && self.refusals.is_full(now)
    }
}

/// Whom a connection or a call is counted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Holder {
    /// Where nobody is known by name.
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

    /// Of a caller, if one is known, or else of whoever calls from there.
    pub fn of_peer(&self, caller: Option<&Caller>, address: IpAddr) -> Arc<Account> {
        caller.map_or_else(|| self.of_address(address), |caller| self.of_caller(caller))
    }

    /// Of whoever calls from there.
    pub fn of_address(&self, address: IpAddr) -> Arc<Account> {
        self.of(Holder::Address(source(address)), self.quota)
    }

    /// Of that caller, wherever it calls from; a new one where it may take something else now.
    pub fn of_caller(&self, caller: &Caller) -> Arc<Account> {
        self.of(
            Holder::Caller(Arc::clone(&caller.name)),
            self.quota.but(caller.quota),
        )
    }

    fn of(&self, holder: Holder, quota: Quota) -> Arc<Account> {
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
        let account = account.or_insert_with(|| Arc::new(Account::new(quota)));
        if account.quota != quota {
            *account = Arc::new(Account::new(quota));
        }
        Arc::clone(account)
    }
}

/// Whom the calls of one connection are counted for: its callers where they are known, else the address it comes from.
#[derive(Debug, Clone)]
pub struct Holding {
    accounts: Arc<Accounts>,
    of_address: Arc<Account>,
    /// Whoever called last.
    of_caller: RefCell<Option<(Arc<Caller>, Arc<Account>)>>,
}

impl Holding {
    /// That of a connection from there.
    pub fn new(accounts: Arc<Accounts>, address: IpAddr) -> Self {
        Self {
            of_address: accounts.of_address(address),
            accounts,
            of_caller: RefCell::new(None),
        }
    }

    /// That of whoever calls from where the connection comes from.
    pub const fn of_address(&self) -> &Arc<Account> {
        &self.of_address
    }

    /// That of a caller, if one is known.
    pub fn of(&self, caller: Option<&Arc<Caller>>) -> Arc<Account> {
        let Some(caller) = caller else {
            return Arc::clone(&self.of_address);
        };
        let mut last = self.of_caller.borrow_mut();
        match &*last {
            Some((known, account)) if Arc::ptr_eq(known, caller) => Arc::clone(account),
            Some(_) | None => {
                let account = self.accounts.of_caller(caller);
                *last = Some((Arc::clone(caller), Arc::clone(&account)));
                account
            }
        }
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
    fn what_is_said_of_a_caller_stands_above_what_everybody_may() {
        let accounts = Accounts::new(Quota { rate: 0, calls: 1 });
        let caller = |rate, calls| Caller {
            name: Arc::from("window"),
            roles: access::Roles::NONE,
            quota: access::Quota { rate, calls },
        };
        let begun = |account: &Arc<Account>| {
            let begun: Vec<_> = (0..10)
                .map_while(|_| account.begin(Instant::now()).ok())
                .collect();
            begun.len()
        };
        let first = accounts.of_caller(&caller(None, None));
        assert!(Arc::ptr_eq(&first, &accounts.of_caller(&caller(None, None))));
        assert_eq!(begun(&first), 1);
        assert_eq!(begun(&accounts.of_caller(&caller(None, Some(3)))), 3);
        assert_eq!(begun(&accounts.of_caller(&caller(Some(2), Some(0)))), 2);
        assert_eq!(begun(&accounts.of_address(address("192.0.2.1"))), 1);
    }

    #[test]
    fn a_rate_is_kept_and_refusals_beyond_measure_are_slowed_down() {
        let account = Arc::new(Account::new(Quota { rate: 10, calls: 0 }));
        let now = Instant::now();
        let begun = (0..100).filter(|_| account.begin(now).is_ok()).count();
        assert_eq!(begun, 10);
        assert!(matches!(account.begin(now), Err(Refusal::CallerRate(wait)) if wait > Duration::ZERO));
        let slowed: Vec<_> = (0..1_100).map(|_| account.refused(10, now)).collect();
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
