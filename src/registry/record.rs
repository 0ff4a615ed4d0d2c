//! One enterprise, but for its customs code.

use super::key::SocialCreditKey;
use crate::domain::{CreditTier, Date, enterprise::CreditRecord};

/// An enterprise's row, packed: social credit code, credit, and where its name stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) social_credit: SocialCreditKey,
    credit: u64,
    pub(super) name: u32,
}

// Dates need 22 bits counted from 0001-01-01; the last value of 22 bits stands for "no end".
const DATE_BITS: u32 = 22;
const NO_END: u64 = (1 << DATE_BITS) - 1;
const UNTIL: u32 = DATE_BITS;
const TIER: u32 = 2 * DATE_BITS;
const SUSPENDED: u32 = TIER + 3;
const SCHEDULED: u32 = SUSPENDED + 1;
const QUARANTINED: u32 = SCHEDULED + 1;

impl Record {
    /// Bits of the credit.
    pub(super) const CREDIT_BITS: u32 = QUARANTINED + 1;

    pub(super) fn new(social_credit: SocialCreditKey, credit: &CreditRecord, name: u32) -> Self {
        let date = |date: Date| u64::from((date.days() - Date::MIN.days()).unsigned_abs());
        let bits = date(credit.tier_effective_from)
            | credit.tier_valid_until.map_or(NO_END, date) << UNTIL
            | u64::from(credit.credit_tier.number()) << TIER
            | u64::from(credit.suspended) << SUSPENDED;
        Self {
            social_credit,
            credit: bits,
            name,
        }
    }

    /// Dates, tier and flags in [`Self::CREDIT_BITS`].
    pub(super) const fn credit_bits(&self) -> u64 {
        self.credit
    }

    /// The record of what a record gave.
    pub(super) const fn again(social_credit: SocialCreditKey, credit: u64, name: u32) -> Self {
        Self {
            social_credit,
            credit,
            name,
        }
    }

    fn flag(&self, bit: u32) -> bool {
        self.credit >> bit & 1 != 0
    }

    fn set_flag(&mut self, bit: u32, on: bool) {
        self.credit = self.credit & !(1 << bit) | u64::from(on) << bit;
    }

    pub(super) fn credit(&self) -> CreditRecord {
        let date = |shift: u32| {
            let days = self.credit >> shift & NO_END;
            i32::try_from(days)
                .ok()
                .and_then(|days| Date::from_days(days + Date::MIN.days()))
        };
        let tier = i32::try_from(self.credit >> TIER & 7)
            .ok()
            .and_then(CreditTier::from_number);
        CreditRecord {
            // Only `new` writes these bits, so the fallbacks are never taken.
            credit_tier: tier.unwrap_or(CreditTier::Regular),
            tier_effective_from: date(0).unwrap_or(Date::MIN),
            tier_valid_until: date(UNTIL),
            suspended: self.flag(SUSPENDED),
        }
    }

    /// The credit as an image carries it: without what the schedules say again.
    pub(super) fn image_bits(&self) -> u64 {
        self.credit & !(1 << SCHEDULED)
    }

    /// The record that an image carries, still without a name; `None` where the bits are those of no record.
    pub(super) fn from_image(social_credit: SocialCreditKey, bits: u64) -> Option<Self> {
        let date = |shift: u32| bits >> shift & NO_END;
        let is_date = |days: u64| days <= u64::from((Date::MAX.days() - Date::MIN.days()).unsigned_abs());
        let tier = i32::try_from(bits >> TIER & 7)
            .ok()
            .and_then(CreditTier::from_number);
        let until = date(UNTIL);
        let known = bits >> Self::CREDIT_BITS == 0 && bits >> SCHEDULED & 1 == 0;
        if tier.is_none() || !known || !is_date(date(0)) || !(is_date(until) || until == NO_END) {
            return None;
        }
        Some(Self::again(social_credit, bits, u32::MAX))
    }

    /// Whether the enterprise has scheduled tier changes, so that the common case needs no second look-up.
    pub(super) fn is_scheduled(&self) -> bool {
        self.flag(SCHEDULED)
    }

    pub(super) fn set_scheduled(&mut self, scheduled: bool) {
        self.set_flag(SCHEDULED, scheduled);
    }

    /// Whether the store's row could not be read in full.
    pub(super) fn is_quarantined(&self) -> bool {
        self.flag(QUARANTINED)
    }

    pub(super) fn set_quarantined(&mut self) {
        self.set_flag(QUARANTINED, true);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_are_taken_from_an_image_only_where_a_record_has_them(bits: u64, valid: bool) {
            // Few of all numbers are a record's; with tier, flags and dates in range more are.
            let bits = if valid { bits & 0x0001_3f5f_ffdf_ffff | 1 << TIER } else { bits };
            if let Some(record) = Record::from_image(SocialCreditKey::NONE, bits) {
                let mut again = Record::new(SocialCreditKey::NONE, &record.credit(), record.name);
                if record.is_quarantined() {
                    again.set_quarantined();
                }
                prop_assert_eq!(again, record);
                prop_assert_eq!(record.image_bits(), bits);
            }
        }
    }

    #[test]
    fn a_record_gives_back_what_went_in() {
        for &credit_tier in CreditTier::ALL {
            for (from, until) in [
                (Date::MIN, Some(Date::MAX)),
                (Date::MAX, None),
                (Date::from_days(0).expect("a date"), Date::from_days(20_000)),
            ] {
                for suspended in [false, true] {
                    let credit = CreditRecord {
                        credit_tier,
                        tier_effective_from: from,
                        tier_valid_until: until,
                        suspended,
                    };
                    let mut record = Record::new(SocialCreditKey::NONE, &credit, 7);
                    record.set_scheduled(true);
                    assert_eq!(record.credit(), credit);
                    assert!(record.is_scheduled() && !record.is_quarantined());
                    record.set_scheduled(false);
                    record.set_quarantined();
                    assert_eq!(record.credit(), credit);
                    assert!(!record.is_scheduled() && record.is_quarantined());
                }
            }
        }
    }
}
