//! What is in the blocks that hold no enterprises: header, tables, trailer.

use std::{sync::Arc, time::SystemTime};

use arrayvec::ArrayString;

use super::{
    codec::{Put, Take, Taken, Unreadable},
    error::FileError,
};
use crate::{
    domain::{
        CreditTier, Direction,
        enterprise::ScheduledTier,
        identifier::{AeoCode, Country, CustomsOffice, HsPrefix},
        order::{ControlOrder, OrderBasis, OrderKind, Selectors},
        recognition::{Arrangement, RecognisedOperator, TransportModes},
    },
    registry::{
        Mark, Place, Position, Quarantined,
        image::{Scheduled, Tables},
        row::Entity,
    },
    upstream::row::normalised_aeo,
};

/// The first block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) epoch: String,
    /// About how many enterprises follow.
    pub(super) enterprises: u64,
}

/// The last block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) place: Place,
    pub(super) confirmed_at: SystemTime,
    pub(super) written_at: SystemTime,
    pub(super) store: String,
    pub(super) policy_digest: String,
    pub(super) tiers: [u64; CreditTier::COUNT],
    pub(super) digest: [u8; 32],
    /// Blocks before it.
    pub(super) blocks: u64,
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut put = Put::default();
        put.text(&self.epoch);
        put.number(self.enterprises);
        put.0
    }

    pub(super) fn decode(bytes: &[u8]) -> Taken<Self> {
        let mut take = Take(bytes);
        let header = Self {
            epoch: take.owned()?,
            enterprises: take.number()?,
        };
        take.end(header)
    }
}

impl Trailer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let Self {
            place: Place { position, mark },
            confirmed_at,
            written_at,
            store,
            policy_digest,
            tiers,
            digest,
            blocks,
        } = self;
        let mut put = Put::default();
        put.text(&position.epoch);
        put.number(position.sequence);
        put.optional(*mark, |put, [first, second]| {
            put.number(first);
            put.number(second);
        });
        put.wall(*confirmed_at);
        put.wall(*written_at);
        put.text(store);
        put.text(policy_digest);
        put.each(tiers, |put, count| put.number(*count));
        put.bytes(digest);
        put.number(*blocks);
        put.0
    }

    pub(super) fn decode(bytes: &[u8]) -> Taken<Self> {
        let mut take = Take(bytes);
        let position = Position {
            epoch: take.text()?.into(),
            sequence: take.number()?,
        };
        let mark: Mark = take.optional(|take| Ok([take.number()?, take.number()?]))?;
        let trailer = Self {
            place: Place { position, mark },
            confirmed_at: take.wall()?,
            written_at: take.wall()?,
            store: take.owned()?,
            policy_digest: take.owned()?,
            tiers: take
                .each::<_, Vec<u64>>(Take::number)?
                .try_into()
                .map_err(|_| Unreadable)?,
            digest: *take.bytes()?,
            blocks: take.number()?,
        };
        take.end(trailer)
    }
}

/// Everything of the tables that the trailer does not say.
pub(super) fn encode_tables(tables: &Tables) -> Vec<u8> {
    let Tables {
        // These are in the trailer.
        place: _,
        tiers: _,
        digest: _,
        schedules,
        operators,
        arrangements,
        orders,
        quarantined,
    } = tables;
    let mut put = Put::default();
    put.each(schedules, put_scheduled);
    put.each(operators, |put, operator| put_operator(put, operator));
    put.each(arrangements, |put, (key, arrangement)| {
        put.text(key);
        put_arrangement(put, arrangement);
    });
    put.each(orders, |put, (key, order)| {
        put.text(key);
        put_order(put, order);
    });
    put.each(quarantined, |put, row| {
        put.text(row.entity.name());
        put.text(&row.key);
        put.text(&row.reason);
    });
    put.0
}

/// The tables of a trailer, from the bytes of [`encode_tables`].
pub(super) fn decode_tables(bytes: &[u8], trailer: &Trailer) -> Result<Tables, FileError> {
    let mut take = Take(bytes);
    let bad = |table: &str| FileError::inconsistent(format!("the table {table}"), "a row cannot be read");
    let tables = Tables {
        place: trailer.place.clone(),
        tiers: trailer.tiers,
        digest: trailer.digest,
        schedules: take.each(take_scheduled).map_err(|_| bad("scheduled_tier"))?,
        operators: take
            .each(|take| take_operator(take).map(Arc::new))
            .map_err(|_| bad("recognised_operator"))?,
        arrangements: take
            .each(|take| Ok((take.owned()?, take_arrangement(take)?)))
            .map_err(|_| bad("mutual_recognition"))?,
        orders: take
            .each(|take| Ok((take.owned()?, Arc::new(take_order(take)?))))
            .map_err(|_| bad("control_order"))?,
        quarantined: take
            .each(|take| {
                Ok(Quarantined {
                    entity: Entity::from_name(take.text()?).ok_or(Unreadable)?,
                    key: take.owned()?,
                    reason: take.owned()?,
                })
            })
            .map_err(|_| bad("of quarantined rows"))?,
    };
    take.end(tables)
        .map_err(|Unreadable| FileError::inconsistent("the tables", "there are bytes after their end"))
}

fn put_scheduled(put: &mut Put, scheduled: &Scheduled) {
    put.text(scheduled.customs_code.as_str());
    put.each(&scheduled.changes, |put, change| {
        put.date(change.effective_from);
        put.byte(change.credit_tier.number());
    });
    put.each(&scheduled.unreadable, |put, key| put.text(key));
}

fn take_scheduled(take: &mut Take<'_>) -> Taken<Scheduled> {
    Ok(Scheduled {
        customs_code: take.parsed()?,
        changes: take.each(|take| {
            Ok(ScheduledTier {
                effective_from: take.date()?,
                credit_tier: CreditTier::from_number(take.byte()?.into()).ok_or(Unreadable)?,
            })
        })?,
        unreadable: take.each(Take::owned)?,
    })
}

fn put_operator(put: &mut Put, operator: &RecognisedOperator) {
    let RecognisedOperator {
        aeo_code,
        country,
        programme,
        name,
        valid_from,
        valid_until,
        suspended,
    } = operator;
    put.text(aeo_code.as_str());
    put.text(country.as_str());
    put.text(programme);
    put.text(name);
    put.date(*valid_from);
    put.optional(*valid_until, Put::date);
    put.byte((*suspended).into());
}

fn take_operator(take: &mut Take<'_>) -> Taken<RecognisedOperator> {
    let aeo_code: AeoCode = normalised_aeo(take.text()?).ok_or(Unreadable)?;
    Ok(RecognisedOperator {
        aeo_code,
        country: take.parsed()?,
        programme: take.owned()?,
        name: take.owned()?,
        valid_from: take.date()?,
        valid_until: take.optional(Take::date)?,
        suspended: take.boolean()?,
    })
}

fn put_arrangement(put: &mut Put, arrangement: &Arrangement) {
    let Arrangement {
        country,
        programme,
        direction,
        transport_modes,
        effective_from,
        effective_to,
    } = arrangement;
    put.text(country.as_str());
    put.text(programme);
    put.byte(direction.map_or(0, Direction::number));
    put.byte(transport_modes.bits());
    put.date(*effective_from);
    put.optional(*effective_to, Put::date);
}

fn take_arrangement(take: &mut Take<'_>) -> Taken<Arrangement> {
    Ok(Arrangement {
        country: take.parsed()?,
        programme: take.owned()?,
        direction: take_direction(take)?,
        transport_modes: TransportModes::from_bits(take.byte()?),
        effective_from: take.date()?,
        effective_to: take.optional(Take::date)?,
    })
}

/// A direction, or 0 for none.
fn take_direction(take: &mut Take<'_>) -> Taken<Option<Direction>> {
    match take.byte()? {
        0 => Ok(None),
        number => Direction::from_number(number.into()).map(Some).ok_or(Unreadable),
    }
}

fn put_order(put: &mut Put, order: &ControlOrder) {
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
    put.text(id);
    put.byte(kind.number());
    put.byte(basis.number());
    put.optional(enterprise_id.as_deref(), Put::text);
    put.optional(hs_prefix.as_ref().map(HsPrefix::as_str), Put::text);
    put.optional(origin_country.as_ref().map(Country::as_str), Put::text);
    put.optional(customs_office.as_ref().map(CustomsOffice::as_str), Put::text);
    put.optional(container_number.as_deref(), Put::text);
    put.byte(direction.map_or(0, Direction::number));
    put.instant(*valid_from);
    put.optional(*valid_to, Put::instant);
    put.text(legal_basis);
    put.text(public_reason);
    put.optional(confidential_reason.as_deref(), Put::text);
}

fn take_order(take: &mut Take<'_>) -> Taken<ControlOrder> {
    Ok(ControlOrder {
        id: take.owned()?,
        kind: OrderKind::from_number(take.byte()?.into()).ok_or(Unreadable)?,
        basis: OrderBasis::from_number(take.byte()?.into()).ok_or(Unreadable)?,
        selectors: Selectors {
            enterprise_id: take.optional(|take| ArrayString::from(take.text()?).map_err(|_| Unreadable))?,
            hs_prefix: take.optional(Take::parsed)?,
            origin_country: take.optional(Take::parsed)?,
            customs_office: take.optional(Take::parsed)?,
            container_number: take
                .optional(|take| ArrayString::from(take.text()?).map_err(|_| Unreadable))?,
            direction: take_direction(take)?,
        },
        valid_from: take.instant()?,
        valid_to: take.optional(Take::instant)?,
        legal_basis: take.owned()?,
        public_reason: take.owned()?,
        confidential_reason: take.optional(Take::owned)?,
    })
}
