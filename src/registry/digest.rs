//! An order-independent digest of every row: replica and store agree when theirs are equal.
//!
//! Each row is hashed alone (SHA-256 over its table and fields) and the hashes are added, lane by lane, modulo 2^64:
//! rows can be taken out as well as put in, so the digest follows each change without reading the rest.

use ring::digest::{Context, SHA256};

use super::{
    names,
    row::{Change, Entity, Keyed},
};
use crate::domain::{
    Date,
    enterprise::{CreditRecord, ScheduledTier},
    identifier::{CustomsCode, SocialCreditCode},
    order::{ControlOrder, Selectors},
    recognition::{Arrangement, RecognisedOperator},
};

/// The sum of the rows' hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Digest([u64; 4]);

/// The hash of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowHash([u64; 4]);

impl Digest {
    pub(super) fn add(&mut self, row: RowHash) {
        for (sum, lane) in self.0.iter_mut().zip(row.0) {
            *sum = sum.wrapping_add(lane);
        }
    }

    pub(super) fn take(&mut self, row: RowHash) {
        for (sum, lane) in self.0.iter_mut().zip(row.0) {
            *sum = sum.wrapping_sub(lane);
        }
    }

    pub(super) fn hex(&self) -> String {
        hex::encode(self.bytes())
    }

    pub(super) fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (place, lane) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *place = lane.to_be_bytes();
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut lanes = [0; 4];
        for (lane, bytes) in lanes.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *lane = u64::from_be_bytes(*bytes);
        }
        Self(lanes)
    }
}

/// The digest of a store's rows, read one by one without keeping them: what a replica's is compared with.
#[derive(Debug, Clone, Copy, Default)]
pub struct StoreDigest(Digest);

impl StoreDigest {
    /// Adds a row as it was read from its table; rows that a replica cannot place add nothing there either.
    pub fn add(&mut self, row: &Change) {
        let hash = match &row.row {
            Keyed::Enterprise(row) => enterprise(
                row.customs_code,
                row.social_credit_code.as_ref().map(SocialCreditCode::as_str),
                names::kept(&row.name),
                &row.credit,
            ),
            Keyed::Scheduled(code, change) => scheduled(*code, *change),
            Keyed::Operator(row) => operator(row),
            Keyed::Arrangement(terms) => arrangement(&row.key, terms),
            Keyed::Order(row) => order(row),
            Keyed::EnterpriseGone(_)
            | Keyed::ScheduledUnreadable(_)
            | Keyed::ScheduledGone(..)
            | Keyed::OperatorGone(_)
            | Keyed::ArrangementGone
            | Keyed::OrderGone
            | Keyed::Nowhere(_) => return,
        };
        self.0.add(hash);
    }

    /// 64 hex digits.
    pub fn hex(&self) -> String {
        self.0.hex()
    }
}

/// Builds a row's hash field by field; every field carries its length, so that no two rows run together.
struct Fields(Context);

impl Fields {
    fn of(entity: Entity) -> Self {
        Self(Context::new(&SHA256)).text(entity.name())
    }

    fn text(mut self, text: &str) -> Self {
        self.0
            .update(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.0.update(text.as_bytes());
        self
    }

    fn optional(self, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.number(1).text(text),
            None => self.number(0),
        }
    }

    fn number(mut self, number: i64) -> Self {
        self.0.update(&number.to_le_bytes());
        self
    }

    fn date(self, date: Date) -> Self {
        self.number(date.days().into())
    }

    fn end(self, date: Option<Date>) -> Self {
        self.number(date.map_or(i64::MAX, |date| date.days().into()))
    }

    fn hash(self) -> RowHash {
        let digest = self.0.finish();
        let mut lanes = [0; 4];
        for (lane, bytes) in lanes.iter_mut().zip(digest.as_ref().as_chunks::<8>().0) {
            *lane = u64::from_le_bytes(*bytes);
        }
        RowHash(lanes)
    }
}

pub(super) fn enterprise(
    code: CustomsCode,
    social_credit: Option<&str>,
    name: &str,
    credit: &CreditRecord,
) -> RowHash {
    Fields::of(Entity::Enterprise)
        .text(code.as_str())
        .optional(social_credit)
        .text(name)
        .number(credit.credit_tier.number().into())
        .date(credit.tier_effective_from)
        .end(credit.tier_valid_until)
        .number(credit.suspended.into())
        .hash()
}

pub(super) fn scheduled(code: CustomsCode, change: ScheduledTier) -> RowHash {
    Fields::of(Entity::ScheduledTier)
        .text(code.as_str())
        .number(change.credit_tier.number().into())
        .date(change.effective_from)
        .hash()
}

pub(super) fn operator(operator: &RecognisedOperator) -> RowHash {
    let RecognisedOperator {
        aeo_code,
        country,
        programme,
        name,
        valid_from,
        valid_until,
        suspended,
    } = operator;
    Fields::of(Entity::RecognisedOperator)
        .text(aeo_code.as_str())
        .text(country.as_str())
        .text(programme)
        .text(name)
        .date(*valid_from)
        .end(*valid_until)
        .number((*suspended).into())
        .hash()
}

pub(super) fn arrangement(key: &str, arrangement: &Arrangement) -> RowHash {
    // The key holds every other column.
    Fields::of(Entity::MutualRecognition)
        .text(key)
        .end(arrangement.effective_to)
        .hash()
}

pub(super) fn order(order: &ControlOrder) -> RowHash {
    let ControlOrder {
        id,
        kind,
        basis,
        selectors,
        valid_from,
        valid_to,
        legal_basis,
        public_reason,
        confidential_reason,
    } = order;
    let Selectors {
        enterprise_id,
        hs_prefix,
        origin_country,
        customs_office,
        container_number,
        direction,
    } = selectors;
    let instant = |at: &jiff::Timestamp| at.as_microsecond();
    Fields::of(Entity::ControlOrder)
        .text(id)
        .number(kind.number().into())
        .number(basis.number().into())
        .optional(enterprise_id.as_deref())
        .optional(
            hs_prefix
                .as_ref()
                .map(super::super::domain::identifier::HsPrefix::as_str),
        )
        .optional(
            origin_country
                .as_ref()
                .map(super::super::domain::identifier::Country::as_str),
        )
        .optional(
            customs_office
                .as_ref()
                .map(super::super::domain::identifier::CustomsOffice::as_str),
        )
        .optional(container_number.as_deref())
        .number(direction.map_or(0, |direction| direction.number().into()))
        .number(instant(valid_from))
        .number(valid_to.as_ref().map_or(i64::MAX, instant))
        .text(legal_basis)
        .text(public_reason)
        .optional(confidential_reason.as_deref())
        .hash()
}
