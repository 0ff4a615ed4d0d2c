//! What a request reads through.

use std::sync::Arc;

use arc_swap::Guard;
use arrayvec::ArrayVec;

use super::{
    generation::Generation,
    key::{CustomsKey, SocialCreditKey},
    orders::Rules,
    record::Record,
};
use crate::domain::{
    declaration::{MAX_PARTIES, Party},
    enterprise::{CreditRecord, RegisteredEnterprise, Schedule},
    identifier::{AeoCode, CustomsCode, EnterpriseId},
    recognition::RecognisedOperator,
};

/// What a request reads through: everything it finds belongs to one commit.
#[derive(Debug, Clone, Copy)]
pub struct View<'a>(pub(super) &'a Generation);

impl View<'_> {
    pub(super) fn record(self, id: &EnterpriseId) -> Option<(CustomsKey, Record)> {
        let enterprises = &self.0.enterprises;
        match id {
            EnterpriseId::Customs(code) => {
                let key = CustomsKey::from(*code);
                Some((key, enterprises.get(key)?))
            }
            EnterpriseId::SocialCredit(code) => enterprises.with_social_credit(SocialCreditKey::from(*code)),
            EnterpriseId::Foreign(_) => None,
        }
    }

    pub(super) fn registered(
        self,
        id: &EnterpriseId,
        key: CustomsKey,
        record: Record,
    ) -> Option<RegisteredEnterprise> {
        let mut credit: CreditRecord = record.credit();
        let mut schedule = Schedule::new();
        if record.is_scheduled()
            && let Some(entry) = self.0.schedules.get(&key)
        {
            schedule.clone_from(&entry.changes);
            credit.suspended |= !entry.unreadable.is_empty();
        }
        // A code that was asked for need not be made again of what is packed.
        Some(RegisteredEnterprise {
            customs_code: match id {
                EnterpriseId::Customs(code) => *code,
                EnterpriseId::SocialCredit(_) | EnterpriseId::Foreign(_) => key.code()?,
            },
            social_credit_code: match id {
                EnterpriseId::SocialCredit(code) => Some(*code),
                EnterpriseId::Customs(_) | EnterpriseId::Foreign(_) => record.social_credit.code(),
            },
            credit,
            schedule,
        })
    }

    /// The registered enterprise that an identifier names.
    pub fn enterprise(self, id: &EnterpriseId) -> Option<RegisteredEnterprise> {
        let (key, record) = self.record(id)?;
        self.registered(id, key, record)
    }

    /// The registered enterprises that parties name, in their order.
    pub fn enterprises(
        self,
        parties: &ArrayVec<Party, MAX_PARTIES>,
    ) -> impl Iterator<Item = Option<RegisteredEnterprise>> {
        let customs_key = |party: &Party| match party.id {
            EnterpriseId::Customs(code) => Some(CustomsKey::from(code)),
            EnterpriseId::SocialCredit(_) | EnterpriseId::Foreign(_) => None,
        };
        let keys: ArrayVec<_, MAX_PARTIES> = parties.iter().filter_map(customs_key).collect();
        let mut records = keys.clone().into_iter().zip(self.0.enterprises.get_all(&keys));
        parties.iter().map(move |Party { id, .. }| {
            let (key, record) = match id {
                EnterpriseId::Customs(_) => {
                    let (key, record) = records.next()?;
                    (key, record?)
                }
                EnterpriseId::SocialCredit(_) | EnterpriseId::Foreign(_) => self.record(id)?,
            };
            self.registered(id, key, record)
        })
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
