//! What is asked: declarations that somebody gives, or that are made up; each asked once, under a number of its own.

use std::{path::Path, str::FromStr};

use anyhow::ensure;
use bytes::BufMut;
use prost::{Message as _, encoding};
use rand::RngExt as _;

use super::load::Shape;
use crate::{cli::decide, wire::pb};

/// Requests to take turns.
#[derive(Debug)]
pub(super) struct Declarations {
    requests: Vec<Encoded>,
    /// The first eight digits of every number, which no other run has, so that nothing is a repetition.
    prefix: String,
}

/// A request that was encoded once, so that who asks has little to do, without its number.
#[derive(Debug)]
struct Encoded {
    /// What the ninth character of the number says of it (design of the contract: 0 and E out, 1 and I in).
    direction: u8,
    fields: Vec<u8>,
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
/// Characters of a declaration's number.
const NUMBER: usize = 18;
/// Bytes of that field: its key, its length, and the characters.
const NUMBER_FIELD: usize = 2 + NUMBER;
/// gRPC's head of a message: that it is not compressed, and its length.
const HEAD: usize = 5;
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
        let encoded = |mut request: pb::DecideRequest| {
            request.declaration_number.clear();
            let direction = match pb::Direction::try_from(request.direction) {
                Ok(pb::Direction::Export) => b'0',
                Ok(pb::Direction::Import | pb::Direction::Transit | pb::Direction::Unspecified) | Err(_) => {
                    b'1'
                }
            };
            let fields = request.encode_to_vec();
            Encoded { direction, fields }
        };
        Self {
            requests: requests.into_iter().map(encoded).collect(),
            prefix: format!("{:08}", rand::rng().random_range(0..100_000_000)),
        }
    }

    /// The message of a call, as gRPC frames it: of `count` declarations from the `first` on where the shape is of several.
    pub(super) fn message(&self, shape: Shape, first: u64, count: usize) -> Vec<u8> {
        let mut out = vec![0; HEAD];
        match shape {
            Shape::Unary => self.put(first, &mut out),
            Shape::Stream => self.put_field(2, first, &mut out),
            Shape::Batch => {
                out.reserve(count * (self.get(first).length() + NUMBER_FIELD));
                (first..first + count as u64).for_each(|index| self.put_field(1, index, &mut out));
            }
        }
        let length = u32::try_from(out.len() - HEAD).unwrap_or(u32::MAX);
        out[1..HEAD].copy_from_slice(&length.to_be_bytes());
        out
    }

    fn get(&self, index: u64) -> &Encoded {
        &self.requests[usize::try_from(index % self.requests.len() as u64).unwrap_or_default()]
    }

    /// Appends the `index`th to ask, as a field of another message.
    fn put_field(&self, field: u32, index: u64, out: &mut Vec<u8>) {
        encoding::encode_key(field, encoding::WireType::LengthDelimited, out);
        encoding::encode_varint(self.get(index).length() as u64, out);
        self.put(index, out);
    }

    /// Appends the `index`th to ask.
    fn put(&self, index: u64, out: &mut Vec<u8>) {
        let Encoded { direction, fields } = self.get(index);
        encoding::encode_key(1, encoding::WireType::LengthDelimited, out);
        encoding::encode_varint(NUMBER as u64, out);
        out.put_slice(self.prefix.as_bytes());
        out.put_u8(*direction);
        let mut digits = [b'0'; 9];
        let mut rest = index % NUMBERS;
        for digit in digits.iter_mut().rev() {
            *digit += u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
        out.put_slice(&digits);
        out.put_slice(fields);
    }
}

impl Encoded {
    /// Bytes of it with its number.
    fn length(&self) -> usize {
        NUMBER_FIELD + self.fields.len()
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
            let message = declarations.message(Shape::Unary, index, 1);
            let request = pb::DecideRequest::decode(&message[HEAD..]).unwrap();
            for party in &request.parties {
                let Some(pb::party::Identifier::CustomsCode(code)) = &party.identifier else {
                    panic!("no customs code");
                };
                assert!(("1000000000".."1000000010").contains(&code.as_str()), "{code}");
            }
            let number = request.declaration_number;
            assert_eq!((number.len(), &number[8..9]), (NUMBER, "1"));
            assert!(number.ends_with(&format!("{index:09}")) && numbers.insert(number));
        }
    }

    #[test]
    fn messages_of_all_shapes_say_how_long_they_are_and_hold_what_was_given() {
        let given = |direction: pb::Direction, office: &str| pb::DecideRequest {
            declaration_number: "whatever".to_owned(),
            direction: direction.into(),
            customs_office: office.to_owned(),
            ..pb::DecideRequest::default()
        };
        let declarations = Declarations::of(vec![
            given(pb::Direction::Export, "2225"),
            given(pb::Direction::Import, &"long".repeat(100)),
        ]);
        let payload = |shape, count| {
            let message = declarations.message(shape, 1_000_000_007, count);
            let (head, payload) = message.split_at(HEAD);
            assert_eq!(
                head,
                [&[0], &u32::try_from(payload.len()).unwrap().to_be_bytes()[..]].concat()
            );
            payload.to_vec()
        };
        let decoded = |bytes: &[u8]| pb::DecideRequest::decode(bytes).unwrap();
        let one = decoded(&payload(Shape::Unary, 1));
        let prefix = declarations.prefix.clone();
        assert_eq!(one.declaration_number, format!("{prefix}1000000007"));
        assert_eq!(one.customs_office, "long".repeat(100));
        let streamed = pb::DecideStreamRequest::decode(&*payload(Shape::Stream, 1)).unwrap();
        assert_eq!(decoded(&streamed.request.unwrap()), one);
        let batch = pb::BatchDecideRequest::decode(&*payload(Shape::Batch, 3)).unwrap();
        let batch: Vec<_> = batch.requests.iter().map(|request| decoded(request)).collect();
        assert_eq!((batch.len(), &batch[0]), (3, &one));
        assert_eq!(batch[1].declaration_number, format!("{prefix}0000000008"));
        assert_eq!(batch[1].direction(), pb::Direction::Export);
    }
}
