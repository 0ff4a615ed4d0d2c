//! From a store's columns to the registry's vocabulary; what cannot be read errs on the strict side.

use std::{str::FromStr, sync::Arc};

use arrayvec::ArrayString;
use jiff::Timestamp;

use super::columns::Column;
use crate::{
    domain::{
        CreditTier, Date,
        enterprise::{CreditRecord, Enterprise, ScheduledTier},
        identifier::{AeoCode, Country, CustomsCode, ParsedAeoCode, SocialCreditCode, is_container_form},
        order::{ControlOrder, OrderBasis, OrderKind, Selectors},
        recognition::{Arrangement, RecognisedOperator},
    },
    registry::row::{Change, Entity, Keyed},
};

/// Reads a row that was put, from its columns in the order of [`Entity::columns`].
pub fn put(entity: Entity, columns: &[Column<'_>]) -> Change {
    let mut reader = Reader {
        entity,
        columns,
        problems: Vec::new(),
    };
    let key = reader.key();
    let row = match entity {
        Entity::Enterprise => reader.enterprise(),
        Entity::ScheduledTier => reader.scheduled(),
        Entity::RecognisedOperator => reader.operator(),
        Entity::MutualRecognition => reader.arrangement(),
        Entity::ControlOrder => reader.order(),
    };
    let problems = reader.problems;
    Change {
        key,
        row,
        unreadable: (!problems.is_empty()).then(|| problems.join("; ")),
    }
}

/// Reads a row that is gone, from its key.
pub fn gone(entity: Entity, key: &str) -> Change {
    let nowhere = Keyed::Nowhere(entity);
    let row = match entity {
        Entity::Enterprise => key.parse().map_or(nowhere, Keyed::EnterpriseGone),
        Entity::ScheduledTier => {
            let (code, date) = key.split_once('|').unwrap_or((key, ""));
            code.parse()
                .map_or(nowhere, |code| Keyed::ScheduledGone(code, date.parse().ok()))
        }
        Entity::RecognisedOperator => normalised_aeo(key).map_or(nowhere, Keyed::OperatorGone),
        Entity::MutualRecognition => Keyed::ArrangementGone,
        Entity::ControlOrder => Keyed::OrderGone,
    };
    Change {
        key: key.to_owned(),
        row,
        unreadable: None,
    }
}

/// A row that was put and of which nothing but the key can be read: the strictest reading of it.
pub fn unreadable(entity: Entity, key: &str) -> Change {
    let parts: Vec<&str> = key.split('|').collect();
    let column = |name: &&str| {
        let place = entity.key_columns().iter().position(|own| own == name);
        place
            .and_then(|place| parts.get(place))
            .map_or(Column::Null, |part| Column::Text((*part).into()))
    };
    let columns: Vec<_> = entity.columns().iter().map(column).collect();
    let change = put(entity, &columns);
    Change {
        key: key.to_owned(),
        unreadable: Some("the row cannot be read".to_owned()),
        ..change
    }
}

/// The foreign AEO code that a text is, if it is in normal form.
pub fn normalised_aeo(text: &str) -> Option<AeoCode> {
    match text.parse() {
        Ok(ParsedAeoCode::Foreign(code)) if code.as_str() == text => Some(code),
        _ => None,
    }
}

struct Reader<'c> {
    entity: Entity,
    columns: &'c [Column<'c>],
    problems: Vec<String>,
}

impl<'c> Reader<'c> {
    fn column(&self, name: &str) -> &'c Column<'c> {
        let place = self.entity.columns().iter().position(|own| *own == name);
        place
            .and_then(|place| self.columns.get(place))
            .unwrap_or(&Column::Null)
    }

    fn key(&self) -> String {
        let parts = self
            .entity
            .key_columns()
            .iter()
            .map(|name| match self.column(name) {
                Column::Text(text) => text.clone(),
                Column::Integer(number) => number.to_string().into(),
                Column::Null | Column::Foreign => "".into(),
            });
        parts.collect::<Vec<_>>().join("|")
    }

    fn problem(&mut self, name: &str, problem: impl std::fmt::Display) {
        self.problems.push(format!("{name}: {problem}"));
    }

    fn text(&mut self, name: &str) -> Option<&'c str> {
        match self.column(name) {
            Column::Text(text) => return Some(text),
            Column::Null => {}
            Column::Integer(_) | Column::Foreign => self.problem(name, "is no text"),
        }
        None
    }

    fn optional<T: FromStr<Err: std::fmt::Display>>(&mut self, name: &str) -> Option<T> {
        match self.text(name)?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(name, error);
                None
            }
        }
    }

    fn required<T: FromStr<Err: std::fmt::Display>>(&mut self, name: &str) -> Option<T> {
        if *self.column(name) == Column::Null {
            self.problem(name, "is missing");
        }
        self.optional(name)
    }

    fn owned(&mut self, name: &str) -> String {
        if *self.column(name) == Column::Null {
            self.problem(name, "is missing");
        }
        self.text(name).unwrap_or_default().to_owned()
    }

    fn boolean(&mut self, name: &str) -> Option<bool> {
        match self.column(name) {
            Column::Integer(0) => Some(false),
            Column::Integer(1) => Some(true),
            Column::Null | Column::Text(_) | Column::Integer(_) | Column::Foreign => {
                self.problem(name, "must be 0 or 1");
                None
            }
        }
    }

    fn enterprise(&mut self) -> Keyed {
        let Some(customs_code) = self.required::<CustomsCode>("customs_code") else {
            return Keyed::Nowhere(self.entity);
        };
        let social_credit_code = self.optional::<SocialCreditCode>("social_credit_code");
        let name = self.owned("name");
        let credit_tier = self.required::<CreditTier>("credit_tier");
        let tier_effective_from = self.required::<Date>("tier_effective_from");
        let tier_valid_until = self.optional::<Date>("tier_valid_until");
        let suspended = self.boolean("suspended");
        // The strict side: what can be read stands, and the enterprise stands as suspended.
        let credit = CreditRecord {
            credit_tier: credit_tier.unwrap_or(CreditTier::Regular),
            tier_effective_from: tier_effective_from.unwrap_or(Date::MIN),
            tier_valid_until,
            suspended: suspended.unwrap_or(true) || !self.problems.is_empty(),
        };
        Keyed::Enterprise(Enterprise {
            customs_code,
            social_credit_code,
            name,
            credit,
        })
    }

    fn scheduled(&mut self) -> Keyed {
        let Some(customs_code) = self.required::<CustomsCode>("customs_code") else {
            return Keyed::Nowhere(self.entity);
        };
        let credit_tier = self.required::<CreditTier>("credit_tier");
        let effective_from = self.required::<Date>("effective_from");
        match (credit_tier, effective_from) {
            (Some(credit_tier), Some(effective_from)) => Keyed::Scheduled(
                customs_code,
                ScheduledTier {
                    effective_from,
                    credit_tier,
                },
            ),
            _ => Keyed::ScheduledUnreadable(customs_code),
        }
    }

    fn operator(&mut self) -> Keyed {
        let Some(aeo_code) = self.text("aeo_code").and_then(normalised_aeo) else {
            self.problem("aeo_code", "must be a foreign AEO code in normal form");
            return Keyed::Nowhere(self.entity);
        };
        let country = self.required::<Country>("country");
        let programme = self.owned("programme");
        let name = self.owned("name");
        let valid_from = self.required::<Date>("valid_from");
        let valid_until = self.optional::<Date>("valid_until");
        let suspended = self.boolean("suspended");
        let Some(country) = country.or_else(|| aeo_code.as_str().get(..2)?.parse().ok()) else {
            return Keyed::Nowhere(self.entity);
        };
        Keyed::Operator(RecognisedOperator {
            aeo_code,
            country,
            programme,
            name,
            valid_from: valid_from.unwrap_or(Date::MIN),
            valid_until,
            suspended: suspended.unwrap_or(true) || !self.problems.is_empty(),
        })
    }

    fn arrangement(&mut self) -> Keyed {
        let [country, programme, direction, transport_modes, effective_from] = Entity::MutualRecognition
            .key_columns()
            .as_array()
            .map_or([""; 5], |names| {
                names.map(|name| self.text(name).unwrap_or_default())
            });
        let effective_to = self.text("effective_to");
        let problems = !self.problems.is_empty();
        match Arrangement::read(
            country,
            programme,
            direction,
            transport_modes,
            effective_from,
            effective_to,
        ) {
            Ok(arrangement) if !problems => Keyed::Arrangement(arrangement),
            Ok(_) => Keyed::ArrangementGone,
            Err(error) => {
                self.problems.push(error.to_string());
                Keyed::ArrangementGone
            }
        }
    }

    fn order(&mut self) -> Keyed {
        let id = self.owned("id");
        let kind = self.required::<OrderKind>("kind");
        let basis = self.required::<OrderBasis>("basis");
        let selectors = Selectors {
            enterprise_id: self.order_enterprise(),
            hs_prefix: self.optional("hs_prefix"),
            origin_country: self.optional("origin_country"),
            customs_office: self.optional("customs_office"),
            container_number: self.order_container(),
            direction: self.optional("direction"),
        };
        let valid_from = self.required::<Timestamp>("valid_from");
        let valid_to = self.optional::<Timestamp>("valid_to");
        let legal_basis = self.owned("legal_basis");
        let public_reason = self.owned("public_reason");
        let confidential_reason = self.text("confidential_reason").map(str::to_owned);
        if selectors.is_empty() {
            self.problem("selectors", "none can be read: the order can be placed nowhere");
            return Keyed::OrderGone;
        }
        // The strict side: an order that cannot be read in full holds whatever its readable selectors match.
        let readable = self.problems.is_empty();
        Keyed::Order(Arc::new(ControlOrder {
            id,
            kind: kind.filter(|_| readable).unwrap_or(OrderKind::Hold),
            basis: basis.unwrap_or(OrderBasis::Mandated),
            selectors,
            valid_from: valid_from.unwrap_or(Timestamp::MIN),
            valid_to,
            legal_basis,
            public_reason,
            confidential_reason,
        }))
    }

    fn order_enterprise(&mut self) -> Option<ArrayString<32>> {
        let text = self.text("enterprise_id")?;
        let own_form = text.parse::<CustomsCode>().is_ok() || text.parse::<SocialCreditCode>().is_ok();
        let id = match text.parse() {
            _ if own_form => ArrayString::from(text).ok(),
            Ok(ParsedAeoCode::Foreign(code)) => ArrayString::from(code.as_str()).ok(),
            Ok(ParsedAeoCode::Chinese(code)) => ArrayString::from(code.as_str()).ok(),
            Err(_) => None,
        };
        if id.is_none() {
            self.problem(
                "enterprise_id",
                "is no customs code, social credit code or AEO code",
            );
        }
        id
    }

    fn order_container(&mut self) -> Option<ArrayString<11>> {
        let text = self.text("container_number")?;
        let number = is_container_form(text)
            .then(|| ArrayString::from(text).ok())
            .flatten();
        if number.is_none() {
            self.problem("container_number", "is no container number");
        }
        number
    }
}

#[cfg(test)]
mod tests;
