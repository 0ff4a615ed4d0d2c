//! What a request reads through.

use std::sync::Arc;

use arc_swap::Guard;

use super::{
    generation::Generation,
    key::{CustomsKey, SocialCreditKey},
    orders::Rules,
    record::Record,
};
use crate::domain::{
    enterprise::{CreditRecord, RegisteredEnterprise, Schedule},
    identifier::{AeoCode, CustomsCode, EnterpriseId},
    recognition::RecognisedOperator,
};

/// What a request reads through: everything it finds belongs to one commit.
#[derive(Debug, Clone, Copy)]
pub struct View<'a>(pub(super) &'a Generation);

impl View<'_> {
    pub(super) fn record(self, id: &EnterpriseId) -> Option<(CustomsKey, Record)> {
        let key = match id {
            EnterpriseId::Customs(code) => CustomsKey::from(*code),
            EnterpriseId::SocialCredit(code) => {
                *self.0.by_social_credit.get(&SocialCreditKey::from(*code))?
            }
            EnterpriseId::Foreign(_) => return None,
        };
        let record = *self.0.enterprises.get(&key)?;
        Some((key, record))
    }

    pub(super) fn registered(self, key: CustomsKey, record: Record) -> Option<RegisteredEnterprise> {
        let mut credit: CreditRecord = record.credit();
        let mut schedule = Schedule::new();
        if record.is_scheduled()
            && let Some(entry) = self.0.schedules.get(&key)
        {
            schedule.clone_from(&entry.changes);
            credit.suspended |= !entry.unreadable.is_empty();
        }
        Some(RegisteredEnterprise {
            customs_code: key.code()?,
            social_credit_code: record.social_credit.code(),
            credit,
            schedule,
        })
    }

    /// The registered enterprise that an identifier names.
    pub fn enterprise(self, id: &EnterpriseId) -> Option<RegisteredEnterprise> {
        let (key, record) = self.record(id)?;
        self.registered(key, record)
    }

    /// The scheduled tiers of an enterprise, registered or not.
    pub fn schedule(self, code: CustomsCode) -> Schedule {
        self.0
            .schedules
            .get(&CustomsKey::from(code))
            .map(|entry| entry.changes.clone())
            .unwrap_or_default()
    }

    /// The recognised operator of a foreign code.
    pub fn operator(self, code: &AeoCode) -> Option<Arc<RecognisedOperator>> {
        self.0.operators.get(code).map(|operator| Arc::clone(&operator))
    }

    /// Orders and arrangements.
    pub fn rules(self) -> Guard<Arc<Rules>> {
        self.0.rules.load()
    }
}
