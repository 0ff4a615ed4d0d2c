//! A decision on its way out: encoded once, logged, then given.

use bytes::Bytes;
use prost::Message as _;

use super::FacilitationRpc;
use crate::{
    audit::log::{Appended, record},
    facilitation::Moment,
    service::status::Refusal,
    wire::{convert, pb, validate::ValidRequest},
};

/// A decision that is not given before it is logged.
#[derive(Debug)]
pub(super) struct Decided {
    decision: Bytes,
    appended: Appended,
}

impl Decided {
    /// The encoded decision, once it is in the log.
    pub(super) async fn logged(self) -> Result<Bytes, Refusal> {
        self.appended.await.map_err(|_| Refusal::NotLogged)?;
        Ok(self.decision)
    }
}

impl FacilitationRpc {
    /// Decides a request, of which these are the bytes.
    pub(super) fn decide(
        &self,
        _bytes: Bytes,
        request: pb::DecideRequest,
        valid: &ValidRequest,
        moment: &Moment,
    ) -> Result<Decided, Refusal> {
        let ValidRequest {
            declaration,
            accepted_at,
        } = valid;
        let clock = &self.feed.clock;
        let decided = self
            .facilitation
            .decide(declaration, *accepted_at, clock, moment, |outcome| {
                let decision = convert::decision(decision_id(moment), request.clone(), &outcome);
                let bytes = decision.encode_to_vec();
                let appended = self.lane.append(|buffer| {
                    let entry = pb::audit_record::Entry::Decision(pb::DecisionEntry {
                        request: Some(request),
                        decision: Some(decision),
                        facts: None,
                        caller: "anonymous".to_owned(),
                        repeated_declaration: false,
                    });
                    buffer.extend(record(entry).encode_to_vec());
                });
                Decided {
                    decision: bytes.into(),
                    appended,
                }
            })?;
        Ok(decided)
    }
}

/// A `UUIDv7`: sorts by time, unique without any shared counter.
fn decision_id(moment: &Moment) -> String {
    let milliseconds = u64::try_from(moment.timestamp.as_millisecond()).unwrap_or_default();
    let random: [u8; 10] = rand::random();
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let id = uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid();
    id.hyphenated().encode_lower(&mut text).to_owned()
}
