//! What a logged decision is looked up by, and whether it passes a filter: the same wherever decisions are kept.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use prost::Message as _;

use super::{frame, read::Group};
use crate::{
    upstream::archive::{DecisionFilter, ShippedDecision, ShippedGroup},
    wire::pb::{self, audit_record::Entry, party::Identifier},
};

/// The decision of a record; `None` where it holds something else, or is no record.
pub fn of_record(record: &[u8]) -> Option<pb::DecisionEntry> {
    match pb::AuditRecord::decode(record).ok()?.entry? {
        Entry::Decision(entry) => Some(entry),
        Entry::Opened(_)
        | Entry::Activation(_)
        | Entry::OrderChange(_)
        | Entry::Inspection(_)
        | Entry::Unlogged(_)
        | Entry::Commitment(_) => None,
    }
}

/// When it was decided.
pub fn decided_at(entry: &pb::DecisionEntry) -> Timestamp {
    let at = entry.decision.as_ref().and_then(|decision| decision.decided_at);
    at.and_then(|at| Timestamp::new(at.seconds, at.nanos).ok())
        .unwrap_or_default()
}

/// The lane by its word, such as `GREEN`.
pub fn lane(entry: &pb::DecisionEntry) -> &'static str {
    let lane = entry.decision.as_ref().map_or(0, |decision| decision.lane);
    let name = pb::Lane::try_from(lane).unwrap_or_default().as_str_name();
    name.strip_prefix("LANE_").unwrap_or(name)
}

/// The customs codes of its parties, as sent and as the registry knew them; each once.
pub fn customs_codes(entry: &pb::DecisionEntry) -> Vec<&str> {
    let mut codes = Vec::new();
    // Whatever else a party may be called, it is no customs code.
    let is_code = |code: &str| code.len() == 10 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let sent = entry.request.iter().flat_map(|request| &request.parties);
    let sent = sent.filter_map(|party| match &party.identifier {
        Some(Identifier::CustomsCode(code)) => Some(code.as_str()),
        Some(Identifier::SocialCreditCode(_) | Identifier::AeoCode(_)) | None => None,
    });
    let resolved = entry.decision.iter().flat_map(|decision| &decision.parties);
    let registered = entry.facts.iter().flat_map(|facts| &facts.parties);
    let registered = registered.filter_map(|party| party.enterprise.as_ref());
    for code in sent
        .chain(resolved.map(|party| party.customs_code.as_str()))
        .chain(registered.map(|enterprise| enterprise.customs_code.as_str()))
    {
        if is_code(code) && !codes.contains(&code) {
            codes.push(code);
        }
    }
    codes
}

/// Whether it passes a filter.
pub fn passes(filter: &DecisionFilter, entry: &pb::DecisionEntry) -> bool {
    let at = decided_at(entry);
    let decision = entry.decision.as_ref();
    let request = entry.request.as_ref();
    let is = |wanted: &Option<String>, own: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| own == Some(wanted))
    };
    filter.decided_from.is_none_or(|from| at >= from)
        && filter.decided_to.is_none_or(|to| at < to)
        && is(
            &filter.customs_office,
            request.map(|request| request.customs_office.as_str()),
        )
        && is(
            &filter.declaration_number,
            decision.map(|decision| decision.declaration_number.as_str()),
        )
        && is(&filter.lane, Some(lane(entry)))
        && filter
            .customs_code
            .as_deref()
            .is_none_or(|code| customs_codes(entry).contains(&code))
}

/// A group as it is shipped.
pub fn shipped(group: &Group) -> ShippedGroup {
    let mut whole = Vec::with_capacity(frame::HEADER + group.payload.len());
    whole.extend(group.header.to_bytes());
    whole.extend(&group.payload);
    let mut decisions = Vec::new();
    let mut begin = frame::HEADER;
    for (sequence, record) in group.records() {
        let Some(record) = record else { break };
        begin += prost::length_delimiter_len(record.len());
        if let Some(entry) = of_record(record) {
            decisions.push(shipped_decision(&entry, sequence, begin, record.len()));
        }
        begin += record.len();
    }
    ShippedGroup {
        first_sequence: group.header.first_sequence,
        records: group.header.records,
        written_at: time(group.header.written_at),
        chain: group.header.chain,
        frame: whole.into(),
        decisions,
    }
}

fn shipped_decision(
    entry: &pb::DecisionEntry,
    sequence: u64,
    offset: usize,
    length: usize,
) -> ShippedDecision {
    let decision = entry.decision.as_ref();
    let id = decision.and_then(|decision| uuid::Uuid::try_parse(&decision.decision_id).ok());
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    ShippedDecision {
        sequence,
        decided_at: decided_at(entry),
        decision_id: id.map(|id| id.hyphenated().to_string()),
        declaration_number: decision.map_or_else(String::new, |d| d.declaration_number.clone()),
        customs_office: entry
            .request
            .as_ref()
            .map_or_else(String::new, |request| request.customs_office.clone()),
        lane: lane(entry).to_owned(),
        customs_codes: customs_codes(entry).into_iter().map(str::to_owned).collect(),
        offset: small(offset),
        length: small(length),
    }
}

fn time(nanoseconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or_default())
}
