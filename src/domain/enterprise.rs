//! What the registry knows of enterprises.

use smallvec::SmallVec;

use super::{
    CreditTier, Date,
    identifier::{CustomsCode, EnterpriseId, ParsedAeoCode, SocialCreditCode},
};

/// The enterprise that an AEO code names: a Chinese one is registered by its customs code.
impl From<ParsedAeoCode> for EnterpriseId {
    fn from(code: ParsedAeoCode) -> Self {
        match code {
            ParsedAeoCode::Chinese(code) => Self::Customs(code),
            ParsedAeoCode::Foreign(code) => Self::Foreign(code),
        }
    }
}

/// A row of the store's table `enterprise`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enterprise {
    /// The key.
    pub customs_code: CustomsCode,
    /// A second key, where the enterprise has one.
    pub social_credit_code: Option<SocialCreditCode>,
    /// As registered.
    pub name: String,
    /// What the register says of its credit.
    pub credit: CreditRecord,
}

/// The credit part of a registered enterprise: what a decision needs of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreditRecord {
    /// The tier, from [`Self::tier_effective_from`] on.
    pub credit_tier: CreditTier,
    /// First day (UTC+8) of the tier.
    pub tier_effective_from: Date,
    /// First day (UTC+8) no longer covered; `None`: no end.
    pub tier_valid_until: Option<Date>,
    /// Under investigation: managed as REGULAR, not a change of tier (Decree 237 Art 27).
    pub suspended: bool,
}

/// A tier change decided in advance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScheduledTier {
    /// First day (UTC+8) of the tier; it has no end.
    pub effective_from: Date,
    /// The tier from that day on.
    pub credit_tier: CreditTier,
}

/// Scheduled changes of one enterprise, ascending by date; most enterprises have none, few have two.
pub type Schedule = SmallVec<[ScheduledTier; 2]>;

/// A registered enterprise as a decision sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredEnterprise {
    /// Its customs code.
    pub customs_code: CustomsCode,
    /// Its social credit code, where it has one.
    pub social_credit_code: Option<SocialCreditCode>,
    /// Its credit.
    pub credit: CreditRecord,
    /// Its scheduled changes.
    pub schedule: Schedule,
}

/// Where the tier on a given day comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TierOnDate {
    /// The own row or a scheduled one is due and has not ended.
    InForce(CreditTier),
    /// Nothing is due yet: the own row's tier.
    NotYetEffective(CreditTier),
    /// The own row is the latest due and has ended.
    Expired(CreditTier),
}

impl TierOnDate {
    /// The registered tier, whatever its dates say of its effect.
    pub const fn tier(self) -> CreditTier {
        match self {
            Self::InForce(tier) | Self::NotYetEffective(tier) | Self::Expired(tier) => tier,
        }
    }
}

impl RegisteredEnterprise {
    /// The tier on a day: of the row with the latest date among the own and the scheduled ones that are due; of equal
    /// dates the scheduled one, which has no end; the own one, not yet effective, where none is due.
    pub fn tier_on(&self, day: Date) -> TierOnDate {
        let own = &self.credit;
        let due = self
            .schedule
            .iter()
            .filter(|change| change.effective_from <= day)
            .max_by_key(|c| c.effective_from);
        let own_due = own.tier_effective_from <= day;
        match due {
            Some(change) if !own_due || change.effective_from >= own.tier_effective_from => {
                TierOnDate::InForce(change.credit_tier)
            }
            _ if !own_due => TierOnDate::NotYetEffective(own.credit_tier),
            _ if own.tier_valid_until.is_some_and(|end| day >= end) => TierOnDate::Expired(own.credit_tier),
            _ => TierOnDate::InForce(own.credit_tier),
        }
    }

    /// The days on which something known now about the tier changes.
    pub fn change_dates(&self) -> impl Iterator<Item = Date> {
        let own = [
            Some(self.credit.tier_effective_from),
            self.credit.tier_valid_until,
        ];
        own.into_iter()
            .flatten()
            .chain(self.schedule.iter().map(|change| change.effective_from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> Date {
        text.parse().expect("a date")
    }

    fn enterprise(from: &str, until: Option<&str>, schedule: &[(&str, CreditTier)]) -> RegisteredEnterprise {
        RegisteredEnterprise {
            customs_code: "1101919107".parse().expect("a customs code"),
            social_credit_code: None,
            credit: CreditRecord {
                credit_tier: CreditTier::Certified,
                tier_effective_from: date(from),
                tier_valid_until: until.map(date),
                suspended: false,
            },
            schedule: schedule
                .iter()
                .map(|&(from, credit_tier)| ScheduledTier {
                    effective_from: date(from),
                    credit_tier,
                })
                .collect(),
        }
    }

    #[test]
    fn the_latest_row_that_is_due_gives_the_tier() {
        use CreditTier::{Certified, Discredited, Regular};
        let plain = enterprise(
            "2020-01-01",
            Some("2023-01-01"),
            &[("2022-06-01", Regular), ("2022-09-01", Discredited)],
        );
        assert_eq!(
            plain.tier_on(date("2019-12-31")),
            TierOnDate::NotYetEffective(Certified)
        );
        assert_eq!(plain.tier_on(date("2020-01-01")), TierOnDate::InForce(Certified));
        assert_eq!(plain.tier_on(date("2022-05-31")), TierOnDate::InForce(Certified));
        assert_eq!(plain.tier_on(date("2022-06-01")), TierOnDate::InForce(Regular));
        assert_eq!(
            plain.tier_on(date("2022-09-01")),
            TierOnDate::InForce(Discredited)
        );
        assert_eq!(
            plain.tier_on(date("2023-01-01")),
            TierOnDate::InForce(Discredited),
            "a scheduled tier has no end"
        );
    }

    #[test]
    fn of_equal_dates_the_scheduled_row_wins_and_an_ended_own_row_is_expired() {
        use CreditTier::{Certified, Regular};
        let equal = enterprise("2020-01-01", Some("2021-01-01"), &[("2020-01-01", Regular)]);
        assert_eq!(equal.tier_on(date("2020-01-01")), TierOnDate::InForce(Regular));
        let ended = enterprise("2020-01-01", Some("2021-01-01"), &[("2019-01-01", Regular)]);
        assert_eq!(ended.tier_on(date("2021-01-01")), TierOnDate::Expired(Certified));
        assert_eq!(
            ended.tier_on(date("2019-06-01")),
            TierOnDate::InForce(Regular),
            "the own row is not due yet"
        );
    }
}
