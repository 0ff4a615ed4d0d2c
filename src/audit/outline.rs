//! A record as far as whole segments are read for, for the index, the counts and the draws that are remembered: the same
//! messages as the contract's with few of their fields, so that reading whole segments costs a fraction of decoding every
//! record. Texts are bytes of the group, not copies.
//!
//! The numbers are those of `audit_record.proto` and of the messages in it. As everywhere in Protobuf, of a number or a text
//! that stands twice the last one counts, and a message that does goes on.

use prost::Message as _;
use prost_types::Timestamp;
use smallvec::SmallVec;

use crate::wire::{
    pb,
    reading::{Undecodable, Value, each_field},
};

/// A message that is read field by field.
trait Message<'a>: Default {
    /// Takes a field, or passes it over.
    fn field(&mut self, number: u32, value: Value<'a>) -> Result<(), Undecodable>;

    /// Takes the fields of an encoded one.
    fn add(&mut self, value: Value<'a>) -> Result<(), Undecodable> {
        each_field(value.bytes()?, |number, value| self.field(number, value))
    }

    /// An encoded one.
    fn read(value: Value<'a>) -> Result<Self, Undecodable> {
        let mut own = Self::default();
        own.add(value)?;
        Ok(own)
    }
}

/// `AuditRecord`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outline<'a> {
    pub(super) recorded_at: Option<Timestamp>,
    pub(super) decision: Option<DecisionEntry<'a>>,
    pub(super) inspection: Option<pb::InspectionEntry>,
    /// Numbers of the fields that are set, as bits.
    entries: u16,
}

/// `DecisionEntry`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct DecisionEntry<'a> {
    pub(super) request: Option<Request<'a>>,
    pub(super) decision: Option<Decision<'a>>,
    pub(super) facts: Option<Facts<'a>>,
    pub(super) repeated_declaration: bool,
    pub(super) limit_ppm: u32,
}

/// `DecideRequest`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Request<'a> {
    pub(super) parties: SmallVec<[Party<'a>; 4]>,
    pub(super) customs_office: &'a [u8],
    pub(super) transport_document_number: &'a [u8],
    pub(super) container_numbers: SmallVec<[&'a [u8]; 4]>,
}

/// `Party`.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(clippy::struct_field_names, reason = "the contract's names")]
pub(super) struct Party<'a> {
    pub(super) customs_code: &'a [u8],
    pub(super) social_credit_code: &'a [u8],
    pub(super) aeo_code: &'a [u8],
}

/// `Decision`.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(clippy::struct_field_names, reason = "the contract's names")]
pub(super) struct Decision<'a> {
    pub(super) decision_id: &'a [u8],
    pub(super) declaration_number: &'a [u8],
    pub(super) credit_tier: i32,
    pub(super) parties: SmallVec<[PartyAssessment<'a>; 4]>,
    pub(super) inspection: Option<Inspection>,
    pub(super) lane: i32,
    pub(super) decided_at: Option<Timestamp>,
}

/// `PartyAssessment`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct PartyAssessment<'a> {
    pub(super) enterprise_id: &'a [u8],
    pub(super) customs_code: &'a [u8],
}

/// `Inspection`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Inspection {
    pub(super) rate_ppm: u32,
    pub(super) selected: bool,
    pub(super) basis: i32,
}

/// `DecisionFacts`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Facts<'a> {
    pub(super) accepted_at: Option<Timestamp>,
    pub(super) parties: SmallVec<[PartyFacts<'a>; 4]>,
    pub(super) draw: Option<Draw<'a>>,
}

/// `PartyFacts`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct PartyFacts<'a> {
    pub(super) enterprise: Option<Codes<'a>>,
    pub(super) operator: Option<Codes<'a>>,
}

/// `EnterpriseFacts` by its customs code and its social credit code, or `OperatorFacts` by its AEO code and country.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Codes<'a> {
    pub(super) first: &'a [u8],
    pub(super) second: &'a [u8],
}

/// `DrawFacts`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Draw<'a> {
    pub(super) epoch: &'a [u8],
    pub(super) subject_kind: &'a [u8],
    pub(super) subject: &'a [u8],
    pub(super) value: u64,
}

impl<'a> Outline<'a> {
    /// Reads an encoded `AuditRecord`; `None` where it is none.
    pub fn of(record: &'a [u8]) -> Option<Self> {
        Self::read(Value::Bytes(record)).ok()
    }

    /// The number of the entry's field; 0 for none that this program knows.
    pub(super) fn kind(&self) -> u8 {
        match self.entries.trailing_zeros() {
            // Eight are known.
            kind @ ..16 => u8::try_from(kind).unwrap_or_default(),
            _ => 0,
        }
    }
}

impl<'a> Message<'a> for Outline<'a> {
    fn field(&mut self, number: u32, value: Value<'a>) -> Result<(), Undecodable> {
        match number {
            1 => return self.recorded_at.get_or_insert_default().add(value),
            2 => self.decision.get_or_insert_default().add(value)?,
            // What these hold is not read.
            3..=5 | 7 | 8 => drop(value.bytes()?),
            6 => {
                let entry = self.inspection.get_or_insert_default();
                entry.merge(value.bytes()?).map_err(|_| Undecodable)?;
            }
            _ => return Ok(()),
        }
        self.entries |= 1 << number;
        Ok(())
    }
}

impl<'a> Message<'a> for DecisionEntry<'a> {
    fn field(&mut self, number: u32, value: Value<'a>) -> Result<(), Undecodable> {
        match number {
            1 => self.request.get_or_insert_default().add(value)?,
            2 => self.decision.get_or_insert_default().add(value)?,
            3 => self.facts.get_or_insert_default().add(value)?,
            5 => self.repeated_declaration = value.varint()? != 0,
            6 => self.limit_ppm = value.number()?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Message<'a> for Request<'a> {
    fn field(&mut self, number: u32, value: Value<'a>) -> Result<(), Undecodable> {
        match number {
            3 => self.parties.push(Party::read(value)?),
            5 => self.customs_office = value.bytes()?,
            8 => self.transport_document_number = value.bytes()?,
            9 => self.container_numbers.push(value.bytes()?),
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Message<'a> for Party<'a> {
    fn field(&mut self, number: u32, value: Value<'a>) -> Result<(), Undecodable> {
        match number {
            2 => self.customs_code = value.bytes()?,
            3 => self.social_credit_code = value.bytes()?,
            4 => self.aeo_code = value.bytes()?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Message<'a> for Decision<'a> {
    fn field(&mut self, number: u32, value: Value<'a>) -> Result<(), Undecodable> {
        match number {
            1 => self.decision_id = value.bytes()?,
            2 => self.declaration_number = value.bytes()?,
            3 => self.credit_tier = value.signed()?,
            4 => self.parties.push(PartyAssessment::read(value)?),
            6 => self.inspection.get_or_insert_default().add(value)?,
            10 => self.lane = value.signed()?,
            17 => self.decided_at.get_or_insert_default().add(value)?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Message<'a> for PartyAssessment<'a> {
    fn field(&mut self, number: u32, value: Value<'a>) -> Result<(), Undecodable> {
        match number {
            2 => self.enterprise_id = value.bytes()?,
            3 => self.customs_code = value.bytes()?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Message<'a> for Inspection {
    fn field(&mut self, number: u32, value: Value<'a>) -> Result<(), Undecodable> {
        match number {
            1 => self.rate_ppm = value.number()?,
            2 => self.selected = value.varint()? != 0,
            3 => self.basis = value.signed()?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Message<'a> for Facts<'a> {
    fn field(&mut self, number: u32, value: Value<'a>) -> Result<(), Undecodable> {
        match number {
            1 => self.accepted_at.get_or_insert_default().add(value)?,
            2 => self.parties.push(PartyFacts::read(value)?),
            5 => self.draw.get_or_insert_default().add(value)?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Message<'a> for PartyFacts<'a> {
    fn field(&mut self, number: u32, value: Value<'a>) -> Result<(), Undecodable> {
        match number {
            1 => self.enterprise.get_or_insert_default().add(value)?,
            2 => self.operator.get_or_insert_default().add(value)?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Message<'a> for Codes<'a> {
    fn field(&mut self, number: u32, value: Value<'a>) -> Result<(), Undecodable> {
        match number {
            1 => self.first = value.bytes()?,
            2 => self.second = value.bytes()?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Message<'a> for Draw<'a> {
    fn field(&mut self, number: u32, value: Value<'a>) -> Result<(), Undecodable> {
        match number {
            1 => self.epoch = value.bytes()?,
            2 => self.subject_kind = value.bytes()?,
            3 => self.subject = value.bytes()?,
            4 => self.value = value.fixed()?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Message<'a> for Timestamp {
    fn field(&mut self, number: u32, value: Value<'a>) -> Result<(), Undecodable> {
        match number {
            1 => self.seconds = value.varint()?.cast_signed(),
            2 => self.nanos = value.signed()?,
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
