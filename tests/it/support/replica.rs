//! The use case without a server: a registry in memory and the embedded policies.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use greenlane::{
    domain::{
        CreditTier, Date,
        enterprise::{CreditRecord, Enterprise},
    },
    facilitation::{DrawKeys, Facilitation, Moment},
    policy::PolicyBook,
    registry::{Change, FreshnessClock, FreshnessLimits, Generation, Keyed, Registry},
};

/// A replica's use case with a clock that was confirmed just now.
pub(crate) struct Replica {
    pub(crate) facilitation: Facilitation,
    pub(crate) clock: FreshnessClock,
}

impl Replica {
    /// One that holds those rows.
    pub(crate) fn new(secret: &str, rows: &[Change]) -> Self {
        let generation = Generation::new("0123456789abcdef0123456789abcdef", rows.len());
        generation.load(rows);
        generation.finish_load(u64::try_from(rows.len()).unwrap(), None);
        let registry = Registry::default();
        assert!(registry.replace(Arc::new(generation)).is_none());
        let freshness = FreshnessLimits {
            relief_max_age: Duration::from_mins(5),
            decision_max_age: Duration::from_hours(24),
        };
        let clock = FreshnessClock::default();
        clock.confirm(Instant::now(), SystemTime::now());
        Self {
            facilitation: Facilitation::new(
                Arc::new(registry),
                PolicyBook::embedded().unwrap(),
                freshness,
                DrawKeys::from_hex(secret).unwrap(),
            ),
            clock,
        }
    }

    /// An instant, at which the data is fresh: the machine's clocks with another time of day.
    pub(crate) fn moment(at: &str) -> Moment {
        Moment {
            timestamp: at.parse().unwrap(),
            ..Moment::now()
        }
    }
}

/// An enterprise's row: of its tier since 2010.
pub(crate) fn enterprise(customs_code: &str, credit_tier: CreditTier) -> Change {
    Change {
        key: customs_code.to_owned(),
        row: Keyed::Enterprise(Enterprise {
            customs_code: customs_code.parse().unwrap(),
            social_credit_code: None,
            name: format!("Enterprise {customs_code}"),
            credit: CreditRecord {
                credit_tier,
                tier_effective_from: "2010-01-01".parse::<Date>().unwrap(),
                tier_valid_until: None,
                suspended: false,
            },
        }),
        unreadable: None,
    }
}
