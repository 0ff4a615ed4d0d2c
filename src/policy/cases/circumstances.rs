//! A case's parties and orders as the evaluation knows them.

use std::sync::Arc;

use arrayvec::ArrayString;

use super::{CaseOrder, CaseParty, parse};
use crate::{
    domain::{
        Date,
        declaration::Declaration,
        enterprise::{CreditRecord, RegisteredEnterprise, ScheduledTier},
        identifier::{EnterpriseId, ParsedAeoCode},
        order::{ControlOrder, Selectors},
        recognition::RecognisedOperator,
    },
    policy::PartyFacts,
};

impl CaseParty {
    pub(super) fn id(&self, index: usize) -> Result<EnterpriseId, String> {
        let foreign = match (&self.operator, &self.operator_unknown) {
            (Some(operator), None) => Some(format!("{}{index:010}", operator.country)),
            (None, Some(code)) => Some(code.clone()),
            (None, None) => None,
            (Some(_), Some(_)) => {
                return Err(format!(
                    "parties[{index}]: operator or operator_unknown, not both"
                ));
            }
        };
        match foreign {
            Some(code) => code
                .parse::<ParsedAeoCode>()
                .map(EnterpriseId::from)
                .map_err(|error| format!("parties[{index}]: {error}")),
            None => parse(&format!("11019{index:05}")).map(EnterpriseId::Customs),
        }
    }

    pub(super) fn facts(&self, id: EnterpriseId) -> Result<PartyFacts, String> {
        let long_ago: Date = parse("2010-01-01")?;
        match (id, &self.operator, self.tier) {
            (EnterpriseId::Customs(customs_code), None, Some(credit_tier)) if !self.unknown => {
                let mut schedule: Vec<_> = self
                    .scheduled
                    .iter()
                    .map(|change| ScheduledTier {
                        effective_from: change.from,
                        credit_tier: change.tier,
                    })
                    .collect();
                schedule.sort();
                let credit = CreditRecord {
                    credit_tier,
                    tier_effective_from: self.from.unwrap_or(long_ago),
                    tier_valid_until: self.until,
                    suspended: self.suspended,
                };
                let enterprise = RegisteredEnterprise {
                    customs_code,
                    social_credit_code: None,
                    credit,
                    schedule: schedule.into(),
                };
                Ok(PartyFacts {
                    enterprise: Some(enterprise),
                    operator: None,
                })
            }
            (EnterpriseId::Foreign(aeo_code), Some(operator), None) => {
                let operator = RecognisedOperator {
                    aeo_code,
                    country: parse(&operator.country)?,
                    programme: operator.programme.clone(),
                    name: String::new(),
                    valid_from: operator.from.unwrap_or(long_ago),
                    valid_until: operator.until,
                    suspended: operator.suspended,
                };
                Ok(PartyFacts {
                    enterprise: None,
                    operator: Some(Arc::new(operator)),
                })
            }
            (_, None, None) if self.unknown || self.operator_unknown.is_some() => Ok(PartyFacts::default()),
            _ => Err("a party has a tier, or is unknown, or is an operator".to_owned()),
        }
    }
}

impl CaseOrder {
    pub(super) fn order(&self, declaration: &Declaration) -> Result<ControlOrder, String> {
        let party = |index: usize| {
            declaration
                .parties
                .get(index)
                .ok_or(format!("order {}: no party {index}", self.id))
        };
        let enterprise = self.party.map(party).transpose()?;
        let text = |text: &Option<String>| text.as_deref().map(parse).transpose();
        Ok(ControlOrder {
            id: self.id.clone(),
            kind: self.kind,
            basis: self.basis,
            selectors: Selectors {
                enterprise_id: enterprise.and_then(|party| ArrayString::from(party.id.as_str()).ok()),
                hs_prefix: self.hs_prefix.as_deref().map(parse).transpose()?,
                origin_country: self.origin_country.as_deref().map(parse).transpose()?,
                customs_office: self.customs_office.as_deref().map(parse).transpose()?,
                container_number: self
                    .container_number
                    .as_deref()
                    .and_then(|number| ArrayString::from(number).ok()),
                direction: self.direction,
            },
            valid_from: parse(self.valid_from.as_deref().unwrap_or("2010-01-01T00:00:00Z"))?,
            valid_to: text(&self.valid_to)?,
            legal_basis: self.legal_basis.clone(),
            public_reason: self.public_reason.clone(),
            confidential_reason: self.confidential_reason.clone(),
        })
    }
}
