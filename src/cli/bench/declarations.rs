//! What is asked: declarations that somebody gives, or that are made up; each asked once, under a number of its own.

use std::{path::Path, str::FromStr};

use anyhow::ensure;
use rand::RngExt as _;

use crate::{cli::decide, wire::pb};

/// Requests to take turns.
#[derive(Debug)]
pub(super) struct Declarations {
    requests: Vec<pb::DecideRequest>,
    /// The first eight digits of every number, which no other run has, so that nothing is a repetition.
    prefix: String,
}

/// Customs codes that follow on one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Codes {
    first: u64,
    count: u64,
}

/// Ten digits.
const MAX_CODE: u64 = 9_999_999_999;
/// Requests that are made up; they take turns.
const MADE_UP: usize = 4096;
/// Numbers that a declaration's nine last digits give.
const NUMBERS: u64 = 1_000_000_000;

impl FromStr for Codes {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "must be CODE:COUNT, ten digits and a number above 0 that stays within ten digits";
        let (first, count) = text.split_once(':').ok_or(FORM)?;
        let digits = first.len() == 10 && first.bytes().all(|byte| byte.is_ascii_digit());
        let (first, count): (u64, u64) = (first.parse().map_err(|_| FORM)?, count.parse().map_err(|_| FORM)?);
        let last = first.checked_add(count).ok_or(FORM)?;
        if digits && count > 0 && last <= MAX_CODE + 1 {
            Ok(Self { first, count })
        } else {
            Err(FORM)
        }
    }
}

impl Declarations {
    /// Those of a file.
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let requests = decide::read(file)?;
        ensure!(!requests.is_empty(), "{}: no declaration", file.display());
        Ok(Self::of(requests))
    }

    /// Imports of three kinds of goods by two of these enterprises each, in a container.
    pub(super) fn made_up(codes: &Codes) -> Self {
        let mut random = rand::rng();
        let requests = (0..MADE_UP).map(|_| {
            let mut party = |role: pb::PartyRole| {
                let code = codes.first + random.random_range(0..codes.count);
                pb::Party {
                    role: role.into(),
                    identifier: Some(pb::party::Identifier::CustomsCode(format!("{code:010}"))),
                }
            };
            let parties = vec![party(pb::PartyRole::Declarant), party(pb::PartyRole::Consignee)];
            let goods = ["8542310000", "8471300000", "3926909090"].map(|hs_code| pb::GoodsItem {
                hs_code: hs_code.to_owned(),
                origin_country: "DE".to_owned(),
            });
            pb::DecideRequest {
                direction: pb::Direction::Import.into(),
                parties,
                goods: goods.into(),
                customs_office: "2225".to_owned(),
                transport_mode: pb::TransportMode::Sea.into(),
                trade_mode: pb::TradeMode::General.into(),
                ..pb::DecideRequest::default()
            }
        });
        Self::of(requests.collect())
    }

    fn of(requests: Vec<pb::DecideRequest>) -> Self {
        Self {
            requests,
            prefix: format!("{:08}", rand::rng().random_range(0..100_000_000)),
        }
    }

    /// The `index`th to ask.
    pub(super) fn get(&self, index: u64) -> pb::DecideRequest {
        let turn = usize::try_from(index % self.requests.len() as u64).unwrap_or_default();
        let mut request = self.requests[turn].clone();
        // The ninth character says the direction (design of the contract: 0 and E out, 1 and I in).
        let direction = match pb::Direction::try_from(request.direction) {
            Ok(pb::Direction::Export) => '0',
            Ok(pb::Direction::Import | pb::Direction::Transit | pb::Direction::Unspecified) | Err(_) => '1',
        };
        request.declaration_number = format!("{}{direction}{:09}", self.prefix, index % NUMBERS);
        request
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_ten_digits_and_stay_so() {
        let codes = |text: &str| text.parse::<Codes>();
        assert_eq!(
            codes("1000000000:5"),
            Ok(Codes {
                first: 1_000_000_000,
                count: 5
            })
        );
        assert!(codes("9999999999:1").is_ok());
        for wrong in [
            "",
            "1000000000",
            "100000000:5",
            "1000000000:0",
            "9999999999:2",
            "+000000001:1",
            "1000000000:-1",
        ] {
            assert!(codes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_declaration_has_a_number_of_its_own_and_parties_of_the_codes() {
        let declarations = Declarations::made_up(&"1000000000:10".parse().unwrap());
        let mut numbers = HashSet::new();
        for index in 0..10_000 {
            let request = declarations.get(index);
            for party in &request.parties {
                let Some(pb::party::Identifier::CustomsCode(code)) = &party.identifier else {
                    panic!("no customs code");
                };
                assert!(("1000000000".."1000000010").contains(&code.as_str()), "{code}");
            }
            assert!(numbers.insert(request.declaration_number));
        }
    }
}
