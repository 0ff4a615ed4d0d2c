//! A decision on its way out: encoded once, logged, then given.

use std::time::Instant;

use bytes::Bytes;
use uuid::{Uuid, fmt::Hyphenated};

use super::{FacilitationRpc, Request, encoded::Encoded};
use crate::{
    access::Caller,
    audit::{index::notes::NotedDecision, log::Appended, rates::Observation},
    domain::{decision::Lane, identifier::DeclarationNumber},
    facilitation::Moment,
    service::{given::Given, status::Refusal},
    shipments::HandedOver,
    wire::{
        encode::{self, Asked},
        record,
        validate::ValidRequest,
    },
};

/// Room for the usual answer, in bytes.
const USUAL_BYTES: usize = 1024;

/// A decision that is not given before it is logged.
#[derive(Debug)]
pub(super) struct Decided {
    decision: Encoded,
    id: Uuid,
    appended: Appended,
    observation: Observation,
    lane: Lane,
    number: DeclarationNumber,
    repeated: bool,
    shipment: Option<HandedOver>,
}

/// A decision that is in the log and may be given.
#[derive(Debug)]
pub struct Answered {
    /// As its caller may see it.
    pub(super) decision: Encoded,
    /// For the call that asked for it alone.
    pub(in crate::service) given: Given,
}

impl Answered {
    /// A whole `DecideResponse` as gRPC frames it.
    pub(in crate::service) fn framed(self) -> Bytes {
        self.decision.framed()
    }
}

impl FacilitationRpc {
    /// The encoded decision, once it is in the log; then it counts. Its request was at hand when it `begun`.
    pub(super) async fn logged(&self, decided: Decided, begun: Instant) -> Result<Answered, Refusal> {
        let Decided {
            decision,
            id,
            appended,
            observation,
            lane,
            number,
            repeated,
            shipment,
        } = decided;
        if appended.await.is_err() {
            if !repeated {
                // Asked again, it is not a repetition: the log does not hold it.
                self.facilitation.draws().forget(&number);
            }
            return Err(Refusal::NotLogged);
        }
        let Observation {
            cell,
            basis,
            selected,
            ..
        } = &observation;
        let at = Instant::now();
        let after = at.saturating_duration_since(begun);
        self.metrics
            .decided(cell.credit_tier, lane, *basis, *selected, after);
        if !repeated {
            self.rates.count(&observation);
        }
        if let Some(shipment) = shipment {
            self.shipments.given(shipment);
        }
        let given = Given {
            at,
            decision: id,
            lane,
        };
        Ok(Answered { decision, given })
    }

    /// Decides a request of the caller's, of which these are the bytes.
    pub(super) fn decide(
        &self,
        bytes: &Bytes,
        request: &Request,
        moment: &Moment,
        caller: &Caller,
    ) -> Result<Decided, Refusal> {
        match &request.message {
            None => self.decided(bytes, request, &request.valid.declaration, moment, caller),
            Some(message) => self.decided(bytes, request, &**message, moment, caller),
        }
    }

    fn decided(
        &self,
        bytes: &Bytes,
        Request { valid, message }: &Request,
        asked: &impl Asked,
        moment: &Moment,
        caller: &Caller,
    ) -> Result<Decided, Refusal> {
        let ValidRequest {
            declaration,
            accepted_at,
        } = valid;
        let clock = &self.feed.clock;
        let decided = self
            .facilitation
            .decide(declaration, *accepted_at, clock, moment, |outcome| {
                let mut decision = Encoded::with_capacity(USUAL_BYTES);
                let id = decision_id(moment);
                let mut text = [0; Hyphenated::LENGTH];
                let text = id.hyphenated().encode_lower(&mut text);
                encode::decision(&mut decision.0, text, asked, &outcome);
                let observation = Observation::made(&outcome, declaration.customs_office);
                let write = |buffer: &mut Vec<u8>| {
                    let record = record::DecisionRecord {
                        recorded_at: moment.timestamp,
                        request: bytes,
                        decision: decision.bytes(),
                        outcome: &outcome,
                        caller: &caller.name,
                    };
                    record::decision(buffer, &record);
                };
                let appended = if message.is_none() {
                    let noted = NotedDecision {
                        id: text,
                        declaration,
                        outcome: &outcome,
                        observation: &observation,
                    };
                    self.lane.append_noted(write, |notes| notes.decided(&noted))
                } else {
                    // What was sent need not be in its normal form.
                    self.lane.append(write)
                };
                // The log keeps everything; few orders have a reason that not everybody may read.
                if !caller.sees_confidential() && outcome.decision.is_confidential() {
                    decision.clear();
                    encode::public_decision(&mut decision.0, text, asked, &outcome);
                }
                Decided {
                    decision,
                    id,
                    appended,
                    observation,
                    lane: outcome.decision.lane,
                    number: declaration.number,
                    repeated: outcome.repeated,
                    shipment: self.shipments.hand_over(declaration, bytes, id, &outcome),
                }
            })?;
        Ok(decided)
    }
}

/// A `UUIDv7`: sorts by time, unique without any shared counter.
fn decision_id(moment: &Moment) -> Uuid {
    let milliseconds = u64::try_from(moment.timestamp.as_millisecond()).unwrap_or_default();
    let random: [u8; 10] = rand::random();
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid()
}
