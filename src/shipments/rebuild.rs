//! Shipments from the audit log: what an earlier life, or a store that was away, left unsaved.

use std::path::Path;

use bytes::Bytes;
use jiff::Timestamp;
use prost::Message as _;
use uuid::Uuid;

use super::{
    evaluation::ties,
    handed_over::NewDecision,
    shipment::{Decided, Inspected, Outlook, Version},
};
use crate::{
    audit::read::{LogReader, ReadError},
    domain::{
        CreditTier, Date,
        date::later,
        decision::{Lane, PriorityClass},
        identifier::DeclarationNumber,
    },
    facilitation::Facilitation,
    wire::{
        pb,
        record::{DECISION, INSPECTION, LoggedDecision, entry_of},
    },
};

/// What a record of the log says of a shipment.
#[derive(Debug)]
pub enum LogEntry {
    /// A decision was given.
    Decision(Box<NewDecision>),
    /// An officer recorded an inspection.
    Inspection(DeclarationNumber, Inspected),
}

impl LogEntry {
    /// What an encoded record says; `None` where it says nothing of shipments, or cannot be read by this program.
    pub fn read(facilitation: &Facilitation, record: &[u8]) -> Option<Self> {
        match entry_of(record) {
            Ok(Some((DECISION, entry))) => Some(Self::Decision(Box::new(decision(facilitation, entry)?))),
            Ok(Some((INSPECTION, entry))) => {
                let (number, inspected) = inspection(entry)?;
                Some(Self::Inspection(number, inspected))
            }
            _ => None,
        }
    }
}

/// What a stretch of the log holds.
#[derive(Debug, Default)]
pub struct Logged {
    /// Decisions, in their order.
    pub decisions: Vec<NewDecision>,
    /// Inspections, in theirs.
    pub inspections: Vec<(DeclarationNumber, Inspected)>,
}

/// Reads a log from a record on.
#[derive(Debug)]
pub struct Reading {
    reader: LogReader,
    after: u64,
}

impl Reading {
    /// Begins behind the record of that sequence.
    pub fn after(directory: &Path, after: u64) -> Result<Self, ReadError> {
        Ok(Self {
            reader: LogReader::open(directory, after.saturating_add(1))?,
            after,
        })
    }

    /// The next stretch; `None` at the log's end. What cannot be read as a decision of this program is passed over: `audit
    /// verify` tells of it.
    pub fn next(&mut self, facilitation: &Facilitation) -> Result<Option<Logged>, ReadError> {
        let Some(group) = self.reader.next_group()? else {
            return Ok(None);
        };
        let mut logged = Logged::default();
        let records = group.records().filter(|(sequence, _)| *sequence > self.after);
        for record in records.filter_map(|(_, record)| record) {
            match LogEntry::read(facilitation, record) {
                Some(LogEntry::Decision(decision)) => logged.decisions.push(*decision),
                Some(LogEntry::Inspection(number, inspected)) => logged.inspections.push((number, inspected)),
                None => {}
            }
        }
        Ok(Some(logged))
    }
}

fn instant(sent: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    sent.and_then(|sent| Timestamp::new(sent.seconds, sent.nanos).ok())
}

fn decision(facilitation: &Facilitation, entry: &[u8]) -> Option<NewDecision> {
    let logged = LoggedDecision::read(entry).ok()?;
    let given = pb::Decision::decode(logged.decision).ok()?;
    let facts = &*logged.facts;
    let declaration = &facts.declaration;
    let valid_until = instant(given.valid_until.as_ref())?;
    let priority = given.priority?;
    let first = facts.drawn.unwrap_or_else(|| {
        // What a hold or an order decided stands in the log without a draw; it is the same whenever it is made.
        let draws = facilitation.draws();
        draws.draw(declaration, Date::of(facts.accepted_at)).drawn
    });
    let version = logged.given.registry_version.as_ref();
    let order_ends = facts
        .orders
        .iter()
        .any(|order| order.valid_to == Some(valid_until));
    Some(NewDecision {
        outlook: Outlook {
            lane: Lane::from_number(given.lane)?,
            class: PriorityClass::from_number(priority.priority_class)?,
            rank: priority.rank,
            valid_until,
            orders: facts
                .orders
                .iter()
                .map(|order| order.id.as_str().into())
                .collect(),
        },
        evaluated: version.map_or_else(Version::default, |version| {
            Version::new(&version.epoch, version.sequence)
        }),
        ties: ties(declaration, &facts.parties),
        decided: Decided {
            number: declaration.number,
            request: Bytes::copy_from_slice(logged.request_bytes),
            containers: declaration.containers.iter().copied().collect(),
            office: declaration.customs_office,
            accepted_at: facts.accepted_at,
            decided_at: facts.decided_at,
            decision_id: Uuid::try_parse(&given.decision_id).ok()?,
            first,
            credit_tier: CreditTier::from_number(given.credit_tier)?,
            valid_at_most: if order_ends {
                later(facts.decided_at, facilitation.policies().parameters.valid_for)
            } else {
                valid_until
            },
        },
    })
}

fn inspection(entry: &[u8]) -> Option<(DeclarationNumber, Inspected)> {
    let entry = pb::InspectionEntry::decode(entry).ok()?;
    let inspected = Inspected {
        inspected_at: instant(entry.inspected_at.as_ref())?,
        discrepancy_found: entry.discrepancy_found,
        documents_only: entry.documents_only,
    };
    Some((entry.declaration_number.parse().ok()?, inspected))
}
